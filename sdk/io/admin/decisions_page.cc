#include <string>

#include "weir/io/admin/pages.h"

namespace weir::io {
namespace {

constexpr std::string_view kBeforeData = R"html(<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>weir: decisions</title>
<link rel="icon" href="data:,">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --bar: #4c8bf5; --bar2: #f5a94c; --line: #8884; --muted: #888; }
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 75rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0 0 .2rem; }
p { margin: .2rem 0 1rem; color: var(--muted); }
details { border: 1px solid var(--line); border-radius: 8px; margin: .5rem 0; padding: .5rem .8rem; }
summary { cursor: pointer; }
summary b { font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; width: 100%; margin: .6rem 0; }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; white-space: nowrap; }
th { font-weight: 600; color: var(--muted); }
tr.picked td { font-weight: 600; }
tr.dropped td { color: var(--muted); }
.scores { width: 40%; }
.stack { display: flex; height: 14px; background: #8882; border-radius: 3px; overflow: hidden; }
.stack i { display: block; height: 100%; }
.key { display: inline-block; margin-right: 1rem; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; margin-right: .3rem; }
</style></head><body>
<h1>Why each request went where it went</h1>
<p id="count"></p><div id="list"></div>
<script id="data" type="application/json">)html";

constexpr std::string_view kAfterData = R"html(</script>
<script>
const colors = ['#4c8bf5', '#f5a94c', '#54b87a', '#c062d6', '#e0605e', '#38b6c4', '#9a8f3a', '#7a7f9a'];
const data = JSON.parse(document.getElementById('data').textContent);
const make = (tag, text, className) => {
  const node = document.createElement(tag);
  if (text !== undefined) node.textContent = text;
  if (className) node.className = className;
  return node;
};
document.getElementById('count').textContent = data.length === 0
  ? 'No request was routed yet.' : data.length + ' decisions, newest first';
data.forEach((decision, index) => {
  const box = make('details');
  box.open = index === 0;
  const primary = decision.profiles.find(p => p.primary);
  const picked = primary && primary.endpoints.find(e => e.rank === 0);
  const summary = make('summary');
  summary.append(make('b', picked ? picked.name : 'nowhere'), ' · model ' + (decision.model || '-') +
    ' · ' + decision.prompt_tokens + ' prompt tokens' +
    (decision.request_id ? ' · ' + decision.request_id : ''));
  box.append(summary);
  for (const profile of decision.profiles) {
    const key = make('div');
    key.append(make('span', 'profile ' + profile.name + ', picker ' + profile.picker + (decision.draws ?
      ', first draw ' + decision.first_draw.toFixed(6) : ''), 'key'));
    profile.scorers.forEach((scorer, s) => {
      const item = make('span', undefined, 'key'), color = make('i');
      color.style.background = colors[s % colors.length];
      item.append(color, scorer.name + ' × ' + scorer.weight);
      key.append(item);
    });
    box.append(key);
    const table = make('table'), head = make('tr');
    for (const title of ['endpoint', 'rank', 'total', 'weighted scores', 'waiting', 'running', 'KV used',
      'sent since', 'age ms']) head.append(make('th', title));
    table.append(head);
    const scale = Math.max(1e-9, profile.scorers.reduce((sum, s) => sum + Math.max(0, s.weight), 0));
    const rows = [...profile.endpoints].sort((a, b) =>
      b.total - a.total || (a.rank < 0) - (b.rank < 0) || a.rank - b.rank);
    for (const row of rows) {
      const line = make('tr', undefined, row.rank === 0 ? 'picked' : row.dropped_by ? 'dropped' : '');
      line.append(make('td', row.name), make('td', row.rank < 0 ? '' : row.rank));
      if (row.dropped_by) {
        const cell = make('td', 'dropped by ' + row.dropped_by);
        cell.colSpan = 2;
        line.append(cell);
      } else {
        line.append(make('td', row.total.toFixed(3)));
        const cell = make('td', undefined, 'scores'), stack = make('div', undefined, 'stack');
        row.weighted.forEach((value, s) => {
          const bar = make('i');
          bar.style.width = Math.max(0, value) / scale * 100 + '%';
          bar.style.background = colors[s % colors.length];
          bar.title = profile.scorers[s].name + ': raw ' + (row.raw[s] ?? NaN).toFixed(3) + ', weighted ' +
            value.toFixed(3);
          stack.append(bar);
        });
        cell.append(stack);
        line.append(cell);
      }
      line.append(make('td', row.waiting_requests), make('td', row.running_requests),
        make('td', row.kv_used_ratio.toFixed(3)), make('td', row.sent_since_sample),
        make('td', row.sample_age_ms < 0 ? 'never' : row.sample_age_ms));
      table.append(line);
    }
    box.append(table);
  }
  document.getElementById('list').append(box);
});
</script></body></html>
)html";

}  // namespace

std::string DecisionsPage(std::string_view decisions_json) {
  std::string page(kBeforeData);
  page.reserve(page.size() + decisions_json.size() + kAfterData.size() + 64);
  // Names come from outside: "</script>" inside a string must not end the element.
  for (const char c : decisions_json) {
    if (c == '<') {
      page += "\\u003c";
    } else {
      page += c;
    }
  }
  return page.append(kAfterData);
}

}  // namespace weir::io
