#!/usr/bin/env python3
"""The table of plugin_readmes.py, and that --check finds what is wrong."""

import json
import pathlib
import tempfile
import unittest

import plugin_readmes

SCHEMA = {
    "title": "acme-scorer",
    "type": "object",
    "required": ["key"],
    "properties": {
        "key": {"type": "string", "minLength": 1, "description": "a|b"},
        "ratio": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5, "x-unit": "tokens"},
        "terms": {"type": "array", "maxItems": 4, "items": {"type": "object", "properties": {
            "mode": {"enum": ["x", "y"], "deprecated": True, "description": "Old."}}}},
    },
    "additionalProperties": False,
}
TABLE = """| parameter | type | default | meaning |
| --- | --- | --- | --- |
| `key` | text, not empty | required | a\\|b |
| `ratio` | number, 0..1, tokens | `0.5` |  |
| `terms` | list of map, at most 4 elements |  |  |
| `terms[].mode` | `"x"` or `"y"` |  | Deprecated. Old. |"""


class PluginReadmesTest(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.TemporaryDirectory()
        self.addCleanup(self.root.cleanup)
        self.folder = pathlib.Path(self.root.name) / "plugins/scorers/acme-scorer"
        self.folder.mkdir(parents=True)
        self.schema = self.folder / "params.schema.json"
        self.readme = self.folder / "README.md"
        self.schema.write_text(json.dumps(SCHEMA))
        self.readme.write_text(f"# acme\n\n{plugin_readmes.BEGIN}\nold\n{plugin_readmes.END}\nend\n")

    def run_tool(self, *options):
        return plugin_readmes.main([*options, self.root.name])

    def test_writes_the_table_and_leaves_the_rest(self):
        self.assertEqual(self.run_tool("--check"), 1)
        self.assertIn("old", self.readme.read_text())
        self.assertEqual(self.run_tool(), 0)
        self.assertEqual(
            self.readme.read_text(),
            f"# acme\n\n{plugin_readmes.BEGIN}\n{TABLE}\n{plugin_readmes.END}\nend\n")
        self.assertEqual(self.run_tool("--check"), 0)

    def test_no_parameters(self):
        table = plugin_readmes.table_of({"properties": {}, "additionalProperties": True})
        self.assertEqual(table, "No parameters.\n\nUnknown parameters are ignored with a warning.")

    def test_missing_parts_are_found(self):
        self.run_tool()
        for spoil in (lambda: self.schema.unlink(), lambda: self.readme.unlink(),
                      lambda: self.readme.write_text("# no markers\n"),
                      lambda: self.schema.write_text("{"),
                      lambda: self.schema.write_text(json.dumps({**SCHEMA, "title": "other"}))):
            self.setUp()
            self.run_tool()
            self.assertEqual(self.run_tool("--check"), 0)
            spoil()
            self.assertEqual(self.run_tool("--check"), 1)

    def test_an_empty_tree_is_wrong(self):
        with tempfile.TemporaryDirectory() as empty:
            (pathlib.Path(empty) / "plugins").mkdir()
            self.assertEqual(plugin_readmes.main(["--check", empty]), 1)


if __name__ == "__main__":
    unittest.main()
