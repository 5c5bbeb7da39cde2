"""docs/python.md runs as it stands, and so do the examples in docstrings."""

import contextlib
import doctest
import importlib
import io
import pathlib
import re
import unittest

import weir

ROOT = pathlib.Path(__file__).resolve().parents[3]
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.M | re.S)


class DocsTest(unittest.TestCase):
    def test_the_page_runs(self):
        try:
            import numpy  # noqa: F401
        except ImportError:
            self.skipTest("NumPy is not installed")
        blocks = BLOCK.findall((ROOT / "docs" / "python.md").read_text(encoding="utf-8"))
        names, shown, compared = {}, "", 0
        for kind, text in blocks:
            if kind == "text":
                self.assertEqual(shown, text)
                compared += 1
                continue
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(text, "docs/python.md", "exec"), names)  # noqa: S102
            shown = output.getvalue()
        self.assertGreaterEqual(compared, 6)
        router = weir.Router.from_config({
            "plugins": [{"type": "same-zone"}, {"type": "max-score-picker"}],
            "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "same-zone"}]}]})
        for zone in "xyz":
            router.pool.upsert(zone, address="h:1", labels={"zone": zone})
        self.assertEqual(router.decide(headers={"X-Zone": "y"}).endpoint, "y")

    def test_docstrings(self):
        for name in ("weir", "weir.errors", "weir.plugins", "weir.router"):
            result = doctest.testmod(importlib.import_module(name))
            with self.subTest(name):
                self.assertGreater(result.attempted, 0)
                self.assertEqual(result.failed, 0)


if __name__ == "__main__":
    unittest.main()
