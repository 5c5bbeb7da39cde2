"""The decisions page of weir-gateway and the report of weir-load in a headless browser: their
scripts run, and what they draw is there. Pictures are left in $WEIR_SCREENSHOTS if it is set."""

import html.parser
import json
import os
import pathlib
import struct
import zlib

import fleet
from fleet import BIN, MODEL

CHROMIUM = fleet.need_program("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--hide-scrollbars"]
HOSTILE = "</script><img src=x onerror=alert(1)>"  # a model name that tries to leave the page


class Document(html.parser.HTMLParser):
    """The elements of a page as (tag, attributes, text before the next element)."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])

    def handle_data(self, data):
        if self.elements:
            self.elements[-1][2] += data

    def all(self, tag, **attributes):
        return [e for e in self.elements if e[0] == tag
                and all(e[1].get(k) == v for k, v in attributes.items())]

    def texts(self, tag):
        return [e[2].strip() for e in self.all(tag)]


def colours(png):
    """How many different pixels a picture of 8-bit channels has."""
    data = png.read_bytes()
    width, height, depth, kind = struct.unpack(">IIBB", data[16:26])
    assert data.startswith(b"\x89PNG") and depth == 8, png
    compressed, at = b"", 8
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at:at + 8])
        if name == b"IDAT":
            compressed += data[at + 8:at + 8 + size]
        at += size + 12
    bytes_per_pixel = {2: 3, 6: 4}[kind]
    raw = zlib.decompress(compressed)
    # Filtered lines: equal neighbours stay few values, drawn things make many.
    return width, height, len({raw[i:i + bytes_per_pixel]
                               for i in range(0, len(raw), bytes_per_pixel)})


class PagesTest(fleet.FleetTest):
    @classmethod
    def start(cls, programs):
        servers = programs.sim(4, "--seed", 3)
        cls.gateway = programs.gateway(servers)
        cls.gateway.wait_scraped(4)
        cls.results = []
        for name, flags in (("first", []), ("second", ["--groups", "2"])):
            file = programs.folder / f"{name}.json"
            done = fleet.run([
                BIN / "weir-load", "run", "--target", cls.gateway.url, "--model", MODEL, "--name",
                name, "--json", file, "--quiet", "--conversations", 20, "--system-tokens", 600,
                "--turns", 3, "--output-tokens", 20, "--concurrency", 6, *flags])
            if done.returncode != 0:
                raise AssertionError(done.stderr)
            cls.results.append(file)
        cls.gateway.chat("short", headers={"X-Request-Id": "the-last"}, max_tokens=4)
        cls.gateway.chat("hello " * 300, max_tokens=4, model=HOSTILE)

    def browse(self, url, name, size="1200,1000"):
        """The page after its scripts have run, and a look at its picture."""
        folder = pathlib.Path(os.environ.get("WEIR_SCREENSHOTS", self.fleet.folder))
        folder.mkdir(parents=True, exist_ok=True)
        base = [CHROMIUM, *FLAGS, f"--window-size={size}", "--virtual-time-budget=5000"]
        dump = fleet.run([*base, f"--user-data-dir={self.fleet.folder}/{name}-1", "--dump-dom",
                          url], timeout=120)
        self.assertEqual(dump.returncode, 0, dump.stderr)
        picture = folder / f"{name}.png"
        shot = fleet.run([*base, f"--user-data-dir={self.fleet.folder}/{name}-2",
                          f"--screenshot={picture}", url], timeout=120)
        self.assertEqual(shot.returncode, 0, shot.stderr)
        width, height, count = colours(picture)
        self.assertEqual(f"{width},{height}", size)
        self.assertGreater(count, 100, "an empty picture")
        return Document(dump.stdout)

    def test_decisions(self):
        decisions = self.gateway.decisions()
        page = self.browse(f"{self.gateway.url}/debug/decisions?format=html", "decisions")
        boxes = page.all("details")
        self.assertEqual(len(boxes), len(decisions))
        self.assertEqual([("open" in b[1]) for b in boxes],
                         [True] + [False] * (len(boxes) - 1))
        profiles = [p for d in decisions for p in d["profiles"]]
        self.assertEqual(len(page.all("table")), len(profiles))
        endpoints = sum(len(p["endpoints"]) for p in profiles)
        self.assertEqual(len(page.all("tr")), endpoints + len(profiles))  # with table heads
        self.assertEqual(len(page.all("tr", **{"class": "picked"})), len(profiles))
        bars = [e for e in page.all("i") if "raw" in e[1].get("title", "")]
        self.assertEqual(len(bars), sum(len(e["weighted"]) for p in profiles
                                        for e in p["endpoints"]))
        self.assertTrue(any("width: 0%" not in b[1]["style"] for b in bars))
        scorers = {s["name"] for p in profiles for s in p["scorers"]}
        for scorer in scorers:
            self.assertTrue(any(scorer in b[1]["title"] for b in bars), scorer)
        # A browser asks for an icon where a page names none, and that would go to a server.
        self.assertEqual(self.gateway.decisions()[0]["model"], HOSTILE)
        self.assertEqual(page.all("img"), [], "a name from outside became an element")
        self.assertTrue(any(HOSTILE in e[2] for e in page.elements))

    def test_a_browser_gets_the_page_and_a_program_the_json(self):
        page = self.gateway.admin("/debug/decisions", {"Accept": "text/html,*/*"})
        self.assertTrue(page.headers["content-type"].startswith("text/html"))
        plain = self.gateway.admin("/debug/decisions")
        self.assertEqual(plain.headers["content-type"], "application/json")
        self.assertEqual(plain.json()[1]["request_id"], "the-last")

    def test_report(self):
        report = self.fleet.folder / "report.html"
        done = fleet.run([BIN / "weir-load", "compare", *self.results, "--html", report,
                          "--title", "Two runs & <b>one</b> page"])
        self.assertEqual(done.returncode, 0, done.stderr)
        text = report.read_text()
        self.assertNotIn("http://", text.replace("http://www.w3.org/2000/svg", "").replace(
            self.gateway.url, ""), "the page should need nothing else")
        self.assertNotIn("https://", text)
        page = self.browse(report.as_uri(), "report", "1200,1500")
        self.assertEqual(page.texts("h1"), ["Two runs & <b>one</b> page"])
        lines = [e[1].get("points", "") for e in page.all("polyline")]
        self.assertEqual(len(lines), 4, "two plots of two runs")
        for line in lines:
            self.assertNotIn("NaN", line)
        self.assertGreater(min(len(line.split()) for line in lines[:2]), 10)
        runs = [json.loads(r.read_text()) for r in self.results]
        servers = {s["name"] for run in runs for s in run["servers"]}
        rects = page.all("rect")
        self.assertEqual(len(rects), 2 + 2 + 2 * len(servers))
        self.assertTrue(all(float(r[1]["height"]) > 0 for r in rects))
        rows = page.all("tr")
        self.assertEqual(len(rows), 1 + len(runs))
        cells = page.texts("td")
        for run in runs:
            self.assertIn(run["name"], cells)
            self.assertIn(str(run["requests"]), cells)


if __name__ == "__main__":
    fleet.main()
