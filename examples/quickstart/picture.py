#!/usr/bin/env python3
"""Draws a report of weir-load compare as a small SVG, the picture in the README.

  picture.py build/quickstart/report.json > docs/quickstart.svg
"""

import json
import sys

WIDTH, HEIGHT, BAR, GAP = 860, 250, 26, 10
COLORS = ["#9aa5b1", "#1f7a8c", "#d17a22", "#6a4c93"]
PANELS = [
    ("time to first token, p50", lambda p: p["ttft_ms"]["p50"], "{:,.0f} ms", "lower is better"),
    ("time to first token, p90", lambda p: p["ttft_ms"]["p90"], "{:,.0f} ms", "lower is better"),
    ("output tokens per second", lambda p: p["output_tokens_per_s"], "{:,.0f}", "higher is better"),
    ("prompt tokens from cache", lambda p: 100 * p["prefix_hit_ratio"], "{:.0f} %", "higher is better"),
]


def text(x, y, content, size=13, color="#24323f", weight="400", anchor="start"):
    return (f'<text x="{x:.0f}" y="{y:.0f}" font-size="{size}" fill="{color}" font-weight="{weight}" '
            f'text-anchor="{anchor}">{content}</text>')


def panel(policies, left, width, title, value, form, note):
    parts = [text(left, 74, title, weight="600"), text(left, 92, note, 11, "#6b7b8a")]
    largest = max(value(policy) for policy in policies) or 1
    for index, policy in enumerate(policies):
        top = 108 + index * (BAR + GAP)
        length = max(2, value(policy) / largest * (width - 72))
        parts.append(f'<rect x="{left:.0f}" y="{top}" width="{length:.0f}" height="{BAR}" rx="3" '
                     f'fill="{COLORS[index % len(COLORS)]}"/>')
        parts.append(text(left + length + 7, top + 18, form.format(value(policy)), weight="600"))
    return parts


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        policies = json.load(file)["policies"]
    height = HEIGHT + (len(policies) - 2) * (BAR + GAP)
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
             f'height="{height}" font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif">',
             f'<rect width="{WIDTH}" height="{height}" rx="10" fill="#f7f9fb"/>',
             text(28, 38, "The same conversations, the same four servers: only the routing differs", 17, weight="600")]
    width = (WIDTH - 56) / len(PANELS)
    for index, (title, value, form, note) in enumerate(PANELS):
        parts += panel(policies, 28 + index * width, width, title, value, form, note)
    left = 28
    for index, policy in enumerate(policies):
        parts.append(f'<rect x="{left}" y="{height - 46}" width="14" height="14" rx="3" '
                     f'fill="{COLORS[index % len(COLORS)]}"/>')
        parts.append(text(left + 21, height - 34, policy["name"]))
        left += 60 + 8 * len(policy["name"])
    parts.append(text(WIDTH - 28, height - 34, "examples/quickstart/run.sh", 12, "#6b7b8a", anchor="end"))
    print("\n".join(parts + ["</svg>"]))


if __name__ == "__main__":
    main()
