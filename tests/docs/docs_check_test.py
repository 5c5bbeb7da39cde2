#!/usr/bin/env python3
"""The checks of docs_check.py find what does not hold."""

import pathlib
import stat
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import docs_check  # noqa: E402

GATEWAY = """#!/bin/sh
case "$*" in
  *--help*) printf '  --endpoint TEXT\\n --config TEXT\\n --validate\\n' ;;
  *) if grep -q bad pipeline.yaml; then echo 'pipeline.yaml:1: bad'; exit 1; fi ;;
esac
"""


class DocsCheckTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        self.write("bin/weir-gateway", GATEWAY)
        (self.root / "bin/weir-gateway").chmod(stat.S_IRWXU)
        for page in ("apps/gateway/README.md", "docs/quickstart.md", "docs/configuration.md"):
            self.write(page, "")

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def found(self, check):
        return "\n".join(docs_check.CHECKS[check](self.root, self.root / "bin"))

    def test_python(self):
        self.write("docs/a.md", "<!-- python below is run by: tests/a_test.py -->\n```python\na = 1\n```\n"
                                "```sh\ntrue\n```\n```python\na\n```\n")
        self.assertIn("tests/a_test.py: runs no", self.found("python"))
        self.write("tests/a_test.py", "docs_check.python_blocks(ROOT, 'tests/a_test.py')")
        self.assertEqual(self.found("python"), "")
        self.assertEqual(list(docs_check.python_blocks(self.root, "tests/a_test.py")),
                         [("docs/a.md", "a = 1\n"), ("docs/a.md", "a\n")])
        self.write("docs/b.md", "```python\nb\n```\n")
        self.assertIn("1 Python blocks name no test", self.found("python"))

    def test_excerpts(self):
        self.write("examples/a.c", "int a;\n  int b;\n  int c;\n}\n")
        self.write("docs/a.md", "<!-- from: examples/a.c -->\n```c\nint b;\nint c;\n```\n")
        self.assertEqual(self.found("excerpts"), "")
        self.write("docs/a.md", "x\n<!-- from: examples/a.c -->\n```c\nint a;\nint c;\n```\n")
        self.assertIn("a.md:2: not in examples/a.c", self.found("excerpts"))
        self.write("docs/a.md", "<!-- from: examples/b.c -->\n```c\nint a;\n```\n")
        self.assertIn("not in examples/b.c", self.found("excerpts"))
        self.write("docs/a.md", "")
        self.assertIn("no excerpt found", self.found("excerpts"))

    def test_links(self):
        self.write("docs/a.md", "# One word\n[b](b.md) [c](a.md#one-word) [d](a.md#two) [e](https://example.com)\n")
        self.assertIn("b.md does not exist", self.found("links"))
        self.assertIn("a.md#two has no such heading", self.found("links"))
        self.assertEqual(self.found("links").count("\n"), 1)

    def test_pipelines(self):
        self.write("README.md", "```yaml pipeline\ngood\n```\n")
        self.assertEqual(self.found("pipelines"), "")
        self.write("README.md", "text\n```yaml pipeline\nbad\n```\n")
        self.assertIn("README.md:2: pipeline.yaml:1: bad", self.found("pipelines"))

    def test_refusals(self):
        page = "```yaml refused\n{}\n```\n```text errors\n{}\n```\n"
        self.write("README.md", page.format("bad", "pipeline.yaml:1: bad"))
        self.assertEqual(self.found("refusals"), "")
        self.write("README.md", page.format("bad", "pipeline.yaml:2: bad"))
        self.assertIn("exit code 1", self.found("refusals"))
        self.write("README.md", page.format("good", ""))
        self.assertIn("exit code 0", self.found("refusals"))

    def test_flags(self):
        used = "weir-gateway --endpoint a --endpoint b --config c --validate \\\n  --config d | grep --color x\n" * 3
        self.write("README.md", f"```sh\n{used}```\n")
        self.assertEqual(self.found("flags"), "")
        self.write("README.md", f"```sh\n{used}tests/no.sh\nweir-gateway --fast\n```\n")
        self.assertIn("weir-gateway has no --fast", self.found("flags"))
        self.assertIn("tests/no.sh does not exist", self.found("flags"))
        self.write("docs/configuration.md", "Use `--slow`.")
        self.assertIn("weir-gateway has no --slow", self.found("flags"))

    def test_compatibility(self):
        self.write("plugins/CMakeLists.txt", "weir_configured(a/one)\nweir_configured(a/two ALPHA)\n")
        self.write("plugins/a/x/x.cc", 'module\n  .AddScorer<X>("three")\n  .Beta();\n'
                                       'module.AddFilter<Y>("four").Deprecated("three");\n')
        self.write("sdk/src/engine/known_types.cc", 'kKnownTypes[] = {\n{"one", kA},\n{"five", kB},\n'
                                                    '{"six", kC, kSixSchema},\n};')
        rows = {"one": "built", "two": "experimental", "three": "built", "four": "deprecated", "five": "refused",
                "six": "no effect"}
        self.assertEqual(docs_check.plugin_states(self.root), rows)
        rows["five"] = "built"
        del rows["six"]
        table = "".join(f"| `{name}` | {state} | |\n" for name, state in rows.items())
        self.write("docs/compatibility.md", f"<!-- plugin types -->\n{table}<!-- end of plugin types -->\n")
        found = self.found("compatibility")
        self.assertIn("five is built, the sources say refused", found)
        self.assertIn("six is missing, the sources say no effect", found)
        self.assertNotIn("one is", found)

    def test_epp_flags(self):
        self.write("bin/weir-epp", "#!/bin/sh\necho '  --port UINT   A port'\necho '  --trace   No effect'\n")
        (self.root / "bin/weir-epp").chmod(stat.S_IRWXU)
        self.write("apps/epp/flags.cc", 'add("--port"); add("--trace");')
        page = "<!-- flags -->\n{}<!-- end of flags -->\n<!-- own flags -->\n| `--port` | x |\n<!-- end of own flags -->\n"
        self.write("docs/compatibility.md", page.format("| `--trace` | no effect | |\n"))
        self.assertEqual(self.found("epp_flags"), "")
        self.write("docs/compatibility.md", page.format("| `--trace` | same | |\n| `--gone` | same | |\n"))
        self.assertIn("--gone is no flag", self.found("epp_flags"))
        self.assertIn("--trace has no effect, the page says same", self.found("epp_flags"))
        self.write("docs/compatibility.md", page.format(""))
        self.assertIn("--trace is missing", self.found("epp_flags"))
        self.write("apps/epp/flags.cc", 'add("--port"); add("--trace"); add("--hidden");')
        self.assertIn("--hidden is not in the help", self.found("epp_flags"))

    def test_epp_metrics(self):
        for source in docs_check.METRIC_SOURCES:
            self.write(source, "")
        self.write(docs_check.METRIC_SOURCES[0], '"llm_d_epp_a_total" "inference_pool_a"')
        self.write("docs/epp_metrics.md", "| `llm_d_epp_a_total` | counter | | a | `inference_pool_a` |\n")
        page = "<!-- metrics -->\n{}<!-- end of metrics -->\n"
        self.write("docs/compatibility.md", page.format("| `a_total` | same | |\n| `b_total` | no | |\n"))
        self.write("tests/golden/metrics/requests.prom", "# TYPE llm_d_epp_a_total counter\n")
        self.assertEqual(self.found("epp_metrics"), "")
        self.write("docs/compatibility.md", page.format("| `b_total` | same | |\n"))
        self.assertIn("a_total is missing, expected same", self.found("epp_metrics"))
        self.assertIn("b_total is same, expected no", self.found("epp_metrics"))
        self.write("docs/epp_metrics.md", "| `llm_d_epp_b` | counter | | b | |\n")
        self.assertIn("llm_d_epp_a_total is missing", self.found("epp_metrics"))
        self.assertIn("llm_d_epp_b is written by no page", self.found("epp_metrics"))
        self.write("tests/golden/metrics/requests.prom", "# TYPE llm_d_epp_c counter\n")
        self.assertIn("llm_d_epp_c is written by no page", self.found("epp_metrics"))

    def test_definitions(self):
        self.write("sdk/a.h", "class Engine final {\n  // Gone();\n  void Run();\n};\n")
        self.write("sdk/a.cc", "int Relay::Drive(int a) { return Help(a); }\n")
        names = docs_check.definitions(self.root)
        self.assertLessEqual({"Engine", "Engine::Run", "Relay::Drive"}, names)
        self.assertNotIn("Engine::Gone", names)
        self.assertNotIn("Engine::Help", names)


if __name__ == "__main__":
    unittest.main()
