#!/usr/bin/env python3
"""Each rule of tidy.py finds what it forbids, and lets a clean tree pass."""

import pathlib
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import tidy  # noqa: E402


class TidyTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.folder.name)
        for folder in tidy.FOLDERS:
            self.write(f"{folder}/README.md", "text\n")
        for name in ("plugins/CMakeLists.txt", "CMakeLists.txt", "README.md", "LICENSE", "CHANGELOG.md"):
            self.write(name, "")

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def found(self, rule):
        return "\n".join(tidy.RULES[rule](self.root))

    def expect(self, rule, name, text, finding):
        self.assertEqual(self.found(rule), "", "before")
        self.write(name, text)
        self.assertIn(finding, self.found(rule))

    def test_top_level(self):
        self.expect("top_level", "notes.txt", "", "notes.txt: not an entry")

    def test_top_level_without_a_folder(self):
        (self.root / "conan" / "README.md").unlink()
        (self.root / "conan").rmdir()
        self.assertIn("conan: missing", self.found("top_level"))

    def test_layer_upwards(self):
        self.expect("core_includes", "sdk/src/model/pool.cc", '#include "engine/engine.h"\n',
                    "layer model must not include engine")

    def test_layers_beside_each_other(self):
        self.expect("core_includes", "sdk/src/index/a.cc", '#include "flow/queue.h"\n', "must not include flow")

    def test_core_and_sockets(self):
        self.expect("core_includes", "sdk/src/engine/a.cc", '#include "weir/io/loop/event_loop.h"\n', "neither")

    def test_core_and_threads(self):
        self.expect("core_includes", "sdk/src/base/a.cc", "#include <thread>\n", "starts no thread")

    def test_core_and_libraries(self):
        self.expect("core_includes", "sdk/src/plugin/registry.cc", "#include <boost/dll.hpp>\n", "plugin/loader.cc only")

    def test_room_into_core(self):
        self.expect("io_includes", "sdk/io/http/a.cc", '#include "base/text.h"\n', "never sdk/src")

    def test_room_upwards(self):
        self.expect("io_includes", "sdk/io/loop/a.cc", '#include "weir/io/http/head.h"\n', "must not include room http")

    def test_plugin_and_router(self):
        self.expect("user_includes", "plugins/scorers/a/a.cc", '#include "weir/router.h"\n', "plugins see")

    def test_program_and_core(self):
        self.expect("user_includes", "apps/gateway/a.cc", '#include "engine/engine.h"\n', "private")

    def test_program_folder_named_like_a_layer(self):
        self.write("apps/load/model/a.cc", '#include "model/a.h"\n')
        self.assertEqual(self.found("user_includes"), "")

    def test_public_header_and_library(self):
        self.expect("public_headers", "sdk/include/weir/a.h", "#include <nlohmann/json.hpp>\n", "none of these")

    def test_plugin_header_and_abseil(self):
        self.expect("public_headers", "sdk/include/weir/plugin/a.h", '#include "absl/status/status.h"\n', "no library")

    def test_header_without_test(self):
        self.expect("headers_tested", "sdk/include/weir/a.h", "", "no test includes it")
        self.write("tests/unit/a_test.cc", '#include "weir/a.h"\n')
        self.assertEqual(self.found("headers_tested"), "")

    def test_long_file(self):
        self.expect("sizes", "apps/a.cc", "\n" * 801, "801 lines")

    def test_long_function(self):
        body = "  Call();\n" * 69
        self.expect("sizes", "apps/a.cc", f"namespace a {{\nint F(int b) {{\n{body}}}\n}}  // namespace a\n",
                    "a.cc:2: a function of 71 lines")

    def test_function_at_the_limit(self):
        body = "  if (b) {\n    Call();\n  }\n" * 22 + "  Call('{', \"{\", R\"({{{)\");  // {\n" * 2
        self.write("apps/a.cc", f"class A {{\n int F(int b) const noexcept {{\n{body}}}\n" + " int b_;\n" * 100 + "};\n")
        self.assertEqual(self.found("sizes"), "")

    def test_long_table_is_no_function(self):
        self.write("apps/a.cc", "constexpr Row kRows[] = {\n" + "    {1, F(2)},\n" * 90 + "};\n")
        self.assertEqual(self.found("sizes"), "")

    def test_sleep(self):
        self.expect("unit_tests", "tests/unit/a_test.cc", "void F() { usleep(1); }\n", "usleep in a unit test")

    def test_word_in_a_comment(self):
        self.write("tests/unit/a_test.cc", "// nobody calls usleep(1) or std::random_device{} here\n")
        self.assertEqual(self.found("unit_tests"), "")

    def test_plugin_folder_without_registration(self):
        self.write("plugins/scorers/a-scorer/README.md", "")
        self.assertIn("params.schema.json: missing", self.found("plugin_folders"))
        self.assertIn("expected both or none", self.found("plugin_folders"))

    def test_plugin_of_another_name(self):
        self.write("plugins/CMakeLists.txt", "weir_builtin(scorers/a-scorer SOURCES a_scorer.cc)\n")
        self.write("plugins/scorers/a-scorer/README.md", "")
        self.write("plugins/scorers/a-scorer/params.schema.json", "{}")
        self.write("plugins/scorers/a-scorer/a_scorer.cc", '"a-scorer"')
        self.assertEqual(self.found("plugin_folders"), "")
        self.write("plugins/scorers/a-scorer/a_scorer.cc", '"b-scorer"')
        self.assertIn("expected the type 'a-scorer'", self.found("plugin_folders"))

    def test_mark(self):
        self.expect("marks", "sdk/src/base/a.cc", "// TO" "DO: later\n", "unfinished")

    def test_machine_path(self):
        self.expect("marks", "docs/a.md", "see /ho" "me/me/weir\n", "one machine")

    def test_limit_without_a_check(self):
        self.write("sdk/include/weir/limits.h", "inline constexpr uint32_t kThingsMax = 1;\n")
        self.assertIn("nothing enforces kThingsMax", self.found("limits"))
        self.write("sdk/src/model/a.cc", "if (count > kThingsMax) return;\n")
        self.assertEqual(self.found("limits"), "")

    def test_readme_of_a_layer(self):
        self.assertIn("sdk/src/base/README.md: missing", self.found("readmes"))
        self.write("sdk/src/base/README.md", "\n" * 41)
        self.assertIn("base/README.md: 41 lines", self.found("readmes"))


if __name__ == "__main__":
    unittest.main()
