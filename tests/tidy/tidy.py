#!/usr/bin/env python3
"""The rules of the house that no compiler checks.

  tidy.py RULE ROOT    checks one rule on a source tree; prints each violation, exits with 1 if any
  tidy.py --list       names the rules

Exits with 77 if a rule needs a program that is not installed.
"""

import pathlib
import re
import shutil
import subprocess
import sys

# The top level, whole. What version control ignores does not count.
FOLDERS = {"sdk", "plugins", "bindings", "apps", "examples", "conan", "tests", "docs"}
FILES = {"CMakeLists.txt", "CMakePresets.json", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE",
         ".ci", ".clang-format", ".clang-tidy", ".editorconfig", ".gitignore", ".git-blame-ignore-revs"}
IGNORED = {".git", ".cache", "build", "compile_commands.json", "CMakeUserPresets.json", "shared"}

# Layers of sdk/src and rooms of sdk/io: which others each may include.
LAYERS = {
    "base": set(), "model": {"base"}, "wire": {"base", "model"}, "index": {"base", "model"},
    "flow": {"base", "model"}, "predict": {"base", "model"}, "disagg": {"base", "model"},
    "scale": {"base", "model"}, "sched": {"base", "model"}, "plugin": {"base", "model", "wire"},
    "engine": {"base", "model", "wire", "index", "flow", "predict", "disagg", "scale", "sched", "plugin"},
    "capi": set(),
}
ROOMS = {
    "loop": set(), "http": {"loop"}, "files": {"loop"}, "relay": {"loop", "http"}, "scrape": {"loop", "http"},
    "grpc_server": {"loop"}, "ext_proc": {"loop", "grpc_server"},
    "fleet": {"loop", "scrape", "files", "metrics"}, "metrics": {"loop", "ext_proc"}, "admin": {"loop", "http"},
    "decision_log": {"loop", "metrics"},
}
# Third-party includes of the core, by file; everything else is public Abseil.
CORE_LIBRARIES = {
    "boost/": {"plugin/loader.cc"}, "yaml-cpp/": {"wire/config_parser.cc"},
    "simdjson.h": {"wire/body_scan.h"}, "xxhash.h": {"index/prefix_hash.cc"},
    "nlohmann/": {"plugin/schema_compiler.cc", "wire/config_node.cc", "engine/explanation.cc"},
}
# The core starts no thread and reads no clock; its only clock is SystemClock().
CORE_HEADERS_BANNED = {"thread", "chrono", "random", "iostream", "fstream", "sys/socket.h", "sys/epoll.h"}
CORE_HEADERS_ALLOWED = {("engine/router.cc", "fstream")}
LIBRARIES_OUTSIDE_HEADERS = ("boost/", "grpc", "google/", "yaml-cpp/", "nlohmann/", "simdjson", "openssl/",
                             "CLI/", "spdlog/", "prometheus/", "xxhash")

# What examples include beside the installed package.
EXAMPLE_LIBRARIES = {"custom_gateway": ("boost/",)}

FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70
README_LINES_MAX = 40

BANNED_IN_UNIT_TESTS = re.compile(
    r"\b(sleep_for|sleep_until|usleep|nanosleep|sleep|random_device|system_clock|high_resolution_clock|srand|rand)\b"
    r"(?=\s*[({;:>])")
MARKERS = re.compile(r"\b(TODO|FIXME|HACK)\b|\bfor now\b", re.I)
MACHINE_PATHS = re.compile(r"(?<![\w.])/(work|root|home|tmp/wt)/\w|\.\./shared\b")

CODE = {".h", ".cc", ".c", ".in"}
TEXT = CODE | {".py", ".sh", ".cmake", ".txt", ".md", ".json", ".yaml", ".yml", ".html", ".map"}


def files(root, *folders, suffixes=TEXT):
    """The files below these folders (the whole tree without one), in order."""
    starts = [root / folder for folder in folders] if folders else [
        path for path in root.iterdir() if path.name not in IGNORED]
    found = []
    for start in starts:
        if start.is_file():
            found.append(start)
        elif start.is_dir():
            found += [path for path in start.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return sorted(path for path in found if path.suffix in suffixes or path.name in ("run", ".gitignore"))


def read(path):
    return path.read_text(encoding="utf-8", errors="replace")


def includes(path):
    """(line number, name) of each #include."""
    for number, line in enumerate(read(path).splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*[<"]([^>"]+)[>"]', line)
        if match:
            yield number, match.group(1)


def top_level(root):
    present = {path.name for path in root.iterdir()} - IGNORED
    for name in sorted(present - FOLDERS - FILES):
        yield f"{name}: not an entry of the top level"
    for name in sorted({"CMakeLists.txt", "README.md", "LICENSE", "CHANGELOG.md"} - present):
        yield f"{name}: missing"
    for name in sorted(FOLDERS - present):
        yield f"{name}: missing; a folder whose time has not come holds one README line"


def core_includes(root):
    source = root / "sdk" / "src"
    for path in files(root, "sdk/src", suffixes=CODE):
        inside = path.relative_to(source)
        layer = inside.parts[0]
        if layer not in LAYERS:
            yield f"{path}: {layer} is no layer"
            continue
        for number, name in includes(path):
            where = f"{path}:{number}: {name}"
            first = name.split("/")[0]
            if first in LAYERS and first != layer and first not in LAYERS[layer]:
                yield f"{where}: layer {layer} must not include {first}"
            elif name.startswith(("weir/io/", "weir/sim/")) and not (
                    layer == "capi" and name.startswith("weir/io/metrics/")):
                yield f"{where}: the core knows neither sockets nor the simulator"
            elif name in CORE_HEADERS_BANNED and (inside.as_posix(), name) not in CORE_HEADERS_ALLOWED:
                yield f"{where}: the core starts no thread, reads no clock and opens no socket"
            for library, users in CORE_LIBRARIES.items():
                if name.startswith(library) and inside.as_posix() not in users:
                    yield f"{where}: expected in {', '.join(sorted(users))} only"


def io_includes(root):
    for path in files(root, "sdk/io", "sdk/sim", suffixes=CODE):
        parts = path.relative_to(root / "sdk").parts
        room = parts[1] if parts[0] == "io" else "sim"
        if parts[0] == "io" and room not in ROOMS:
            yield f"{path}: {room} is no room"
            continue
        for number, name in includes(path):
            where = f"{path}:{number}: {name}"
            if name.split("/")[0] in LAYERS:
                yield f"{where}: public headers only, never sdk/src"
            elif name.startswith("weir/sim/") and room != "sim":
                yield f"{where}: weir_io does not know the simulator"
            elif name.startswith("weir/io/"):
                other = name.split("/")[2]
                if room == "sim" or (other != room and other not in ROOMS[room]):
                    yield f"{where}: {room} must not include room {other}"


def user_includes(root):
    """Plugins see the plugin API; programs and examples see what is public."""
    for path in files(root, "plugins", "apps", "examples", suffixes=CODE):
        area = path.relative_to(root).parts[0]
        for number, name in includes(path):
            where = f"{path}:{number}: {name}"
            if name.split("/")[0] in LAYERS and name.split("/")[0] != path.parent.name:
                yield f"{where}: sdk/src is private"
            elif area == "plugins" and name.startswith(("weir/io/", "weir/sim/", "weir/router.h", "weir/weir.h")):
                yield f"{where}: plugins see weir/plugin and public value headers"
            elif area == "plugins" and name != "xxhash.h" and name.startswith(
                    ("absl/",) + LIBRARIES_OUTSIDE_HEADERS):
                yield f"{where}: plugins link no library"
            elif area == "examples" and not (name.startswith(("weir/",) + EXAMPLE_LIBRARIES.get(path.parent.name, ()))
                                             or "/" not in name):
                yield f"{where}: examples use the installed package only"


def public_headers(root):
    folder = root / "sdk" / "include"
    for path in files(root, "sdk/include", suffixes={".h"}):
        plugin_api = "plugin" in path.relative_to(folder).parts
        for number, name in includes(path):
            where = f"{path}:{number}: {name}"
            if name.startswith(LIBRARIES_OUTSIDE_HEADERS):
                yield f"{where}: public headers know none of these libraries"
            elif name.startswith(("weir/io/", "weir/sim/")) or name.split("/")[0] in LAYERS:
                yield f"{where}: public headers include public headers only"
            elif plugin_api and name.startswith("absl/"):
                yield f"{where}: a plugin links no library"


def headers_tested(root):
    included = {name for path in files(root, "tests", "examples", suffixes=CODE) for _, name in includes(path)}
    included.add("weir/plugin/host_slots.h")  # a list that only abi.h expands
    for path in files(root, "sdk/include", suffixes={".h"}):
        name = path.relative_to(root / "sdk" / "include").as_posix()
        if name not in included:
            yield f"{path}: no test includes it"


def without_comments_and_texts(code):
    """The code with comments and literals blanked; line breaks stay."""
    pattern = re.compile(r'R"(\w*)\(.*?\)\1"|//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|(?<![0-9a-fA-F])\'(?:\\.|[^\'\\\n])+\'',
                         re.S)
    blank = lambda match: re.sub(r"[^\n]", " ", match.group(0))
    code = pattern.sub(blank, code)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, code, flags=re.M)


def long_functions(code):
    """(first line, lines) of each function that is too long. A brace after a parameter list opens one."""
    code = without_comments_and_texts(code)
    opened, begin, function = [], 0, None
    line, start_line = 1, 1
    for position, char in enumerate(code):
        if char == "\n":
            line += 1
        elif char == "{":
            before = code[begin:position].strip()
            container = re.match(r"(template\s*<.*>\s*)?(inline\s+)?(namespace|class|struct|union|enum|extern)\b[^(]*$",
                                 before, re.S) or before in ("", "extern")
            is_function = not container and "(" in before and not re.search(r"[^=!<>]=\s*[\w:<>, ]*$", before)
            opened.append(char)
            if function is None and is_function:
                function = len(opened)
                start_line = line - before.count("\n")
            begin = position + 1
        elif char == "}":
            if function is not None and len(opened) == function:
                if line - start_line + 1 > FUNCTION_LINES_MAX:
                    yield start_line, line - start_line + 1
                function = None
            if opened:
                opened.pop()
            begin = position + 1
        elif char == ";" and function is None:
            begin = position + 1


def sizes(root):
    for path in files(root, suffixes=TEXT - {".json", ".yaml"}):
        inside = path.relative_to(root)
        if inside.parts[:2] == ("tests", "golden") or path.name == "LICENSE":
            continue
        text = read(path)
        count = text.count("\n")
        if count > FILE_LINES_MAX:
            yield f"{path}: {count} lines, expected at most {FILE_LINES_MAX}"
        if path.suffix in (".cc", ".c", ".h"):
            for line, length in long_functions(text):
                yield f"{path}:{line}: a function of {length} lines, expected at most {FUNCTION_LINES_MAX}"


def unit_tests(root):
    """Tests own time and randomness."""
    for path in files(root, "tests/unit", suffixes=CODE):
        for number, line in enumerate(without_comments_and_texts(read(path)).splitlines(), 1):
            match = BANNED_IN_UNIT_TESTS.search(line)
            if match:
                yield f"{path}:{number}: {match.group(1)} in a unit test"


def plugin_folders(root):
    cmake = read(root / "plugins" / "CMakeLists.txt")
    registered = set(re.findall(r"^weir_(?:builtin|configured)\(([\w/-]+)", cmake, re.M))
    found = set()
    for kind in sorted(path for path in (root / "plugins").iterdir() if path.is_dir()):
        for folder in sorted(path for path in kind.iterdir() if path.is_dir()):
            name = f"{kind.name}/{folder.name}"
            found.add(name)
            for needed in ("README.md", "params.schema.json"):
                if not (folder / needed).is_file():
                    yield f"plugins/{name}/{needed}: missing"
            source = folder / (folder.name.replace("-", "_") + ".cc")
            if f"weir_builtin({name} " in cmake and (
                    not source.is_file() or f'"{folder.name}"' not in read(source)):
                yield f"{source}: expected the type {folder.name!r} here"
    for name in sorted(found ^ registered):
        yield f"plugins/{name}: a folder and a line of plugins/CMakeLists.txt, expected both or none"


def marks(root):
    this = pathlib.Path(__file__).name
    for path in files(root):
        if path.name in (this, this.replace(".py", "_test.py")):
            continue
        for number, line in enumerate(read(path).splitlines(), 1):
            if MARKERS.search(line):
                yield f"{path}:{number}: unfinished: {line.strip()[:80]}"
            if MACHINE_PATHS.search(line):
                yield f"{path}:{number}: a path of one machine: {line.strip()[:80]}"


def limits(root):
    """A limit of the engine that nobody checks is none."""
    names = re.findall(r"constexpr \w+ (k\w+)\b", read(root / "sdk" / "include" / "weir" / "limits.h"))
    product = "".join(read(path) for path in files(root, "sdk", "apps", "plugins", suffixes=CODE)
                      if path.name != "limits.h")
    for name in names:
        if not re.search(rf"\b{name}\b", product):
            yield f"sdk/include/weir/limits.h: nothing enforces {name}"


def readmes(root):
    folders = [root / "sdk" / "src" / layer for layer in LAYERS]
    folders += [root / "sdk" / "io" / room for room in ROOMS] + [root / "sdk" / "sim"]
    folders += [path for path in (root / "apps").iterdir() if path.is_dir()]
    for folder in sorted(folders):
        path = folder / "README.md"
        if not path.is_file():
            yield f"{path}: missing"
        elif "sdk" in path.relative_to(root).parts and len(read(path).splitlines()) > README_LINES_MAX:
            yield f"{path}: {len(read(path).splitlines())} lines, expected at most {README_LINES_MAX}"


def formatted(root):
    if shutil.which("clang-format") is None:
        print("skipped: clang-format is not installed")
        sys.exit(77)
    paths = [str(path) for path in files(root, "sdk", "plugins", "bindings", "apps", "examples", "tests",
                                         suffixes={".h", ".cc", ".c"})]
    result = subprocess.run(["clang-format", "--dry-run", "-Werror", "--style=file", *paths],
                            capture_output=True, text=True, check=False)
    wrong = sorted(set(re.findall(r"^(\S+?):\d+:\d+: error:", result.stderr, re.M)))
    for path in wrong:
        yield f"{path}: run clang-format -i on it"
    if result.returncode != 0 and not wrong:
        yield result.stderr


RULES = {rule.__name__: rule for rule in (
    top_level, core_includes, io_includes, user_includes, public_headers, headers_tested, sizes, unit_tests,
    plugin_folders, marks, limits, readmes, formatted)}


def main(arguments):
    if arguments == ["--list"]:
        print("\n".join(RULES))
        return 0
    if len(arguments) != 2 or arguments[0] not in RULES:
        sys.exit(__doc__)
    violations = list(RULES[arguments[0]](pathlib.Path(arguments[1])))
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
