"""Pages that need nothing but weir run as they stand, and so do the examples in docstrings."""

import contextlib
import doctest
import importlib
import io
import pathlib
import re
import sys
import tempfile
import unittest

import weir

ROOT = pathlib.Path(__file__).resolve().parents[3]
sys.path.insert(1, str(ROOT / "tests/docs"))

import docs_check  # noqa: E402

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

    def test_the_other_pages_run(self):
        pages = {}
        for page, body in docs_check.python_blocks(ROOT, "bindings/python/tests/docs_test.py"):
            pages[page] = pages.get(page, "") + body
        self.assertEqual(sorted(pages), ["README.md", "docs/python.md", "docs/python_hosts.md"])
        ids, sent = [1, 2, 3] * 100, []
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            pathlib.Path("pipeline.yaml").write_text(
                (ROOT / "examples/rl_rollout/pipeline.yaml").read_text(encoding="utf-8"), encoding="utf-8")
            names = {"ids": ids}
            exec(compile(pages["README.md"], "README.md", "exec"), names)  # noqa: S102
            self.assertEqual(names["decision"].address, "10.0.0.1:8000")
            names |= {"send": lambda *what: sent.append(what), "prompts": [ids, [4] * 100]}
            exec(compile(pages["docs/python_hosts.md"], "docs/python_hosts.md", "exec"), names)  # noqa: S102
        self.assertEqual(sent, [("10.0.0.1:8000", ids)])
        self.assertEqual((len(names["group"]), len(names["many"])), (8, 2))

    def test_docstrings(self):
        for name in ("weir", "weir.errors", "weir.plugins", "weir.router"):
            result = doctest.testmod(importlib.import_module(name))
            with self.subTest(name):
                self.assertGreater(result.attempted, 0)
                self.assertEqual(result.failed, 0)


if __name__ == "__main__":
    unittest.main()
