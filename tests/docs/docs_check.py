#!/usr/bin/env python3
"""Holds the pages of the documentation against programs and sources.

  docs_check.py CHECK ROOT BIN     prints what does not hold, exits with 1 if anything

Marked blocks:
  ```yaml pipeline           a pipeline that weir-gateway accepts
  ```yaml pipeline default   and that is the gateway's own
  ```yaml refused            one that it refuses, with exactly the lines of the ```text errors that follows
  <!-- from: PATH -->        before a block: its lines stand in that file
  <!-- python below is run by: PATH -->  the test that takes the Python blocks up to the next such line, by python_blocks()
  ```sh                      commands; each weir program has the flags that are used, each script exists
"""

import pathlib
import re
import subprocess
import sys
import tempfile

BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.M | re.S)
INTERNALS = "docs/internals/life_of_a_request.md"


def pages(root):
    found = [root / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    found += sorted((root / "docs").rglob("*.md")) + sorted((root / "apps").rglob("*.md"))
    found += sorted((root / "examples").rglob("*.md")) + sorted((root / "sdk").rglob("*.md"))
    return [page for page in found if page.is_file()]


def read(path):
    return path.read_text(encoding="utf-8")


def blocks(page):
    """(line, info words, body) of each fenced block."""
    text = read(page)
    for match in BLOCK.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.group(1).split(), match.group(2)


def run(*command, cwd=None):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=cwd)
    return done.returncode, done.stdout + done.stderr


def anchors(page):
    """The anchors that headings give, as GitHub makes them."""
    for heading in re.findall(r"^#+ (.+)$", read(page), re.M):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def links(root, _bin):
    for page in pages(root) + sorted((root / "plugins").rglob("*.md")):
        text = BLOCK.sub("", read(page))
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"\w+:", target):
                continue
            name, _, anchor = target.partition("#")
            path = (page.parent / name) if name else page
            if not path.exists():
                yield f"{page}: {target} does not exist"
            elif anchor and anchor not in anchors(path):
                yield f"{page}: {target} has no such heading"


def definitions(root):
    """All names Class::Method, and functions and classes, that the sources declare or define."""
    names = set()
    for folder in ("sdk", "apps"):
        for path in sorted((root / folder).rglob("*.h")) + sorted((root / folder).rglob("*.cc")):
            text = re.sub(r"//[^\n]*", "", read(path))
            names.update(re.findall(r"\b(\w+::\w+)\(", text))
            names.update(re.findall(r"\b(\w+)\(", text))
            if path.suffix != ".h":
                continue
            owner = ""
            for line in text.splitlines():
                match = re.match(r"\s*(?:class|struct)\s+(\w+)(?:\s+final)?\s*[:{]", line)
                if match:
                    owner = match.group(1)
                    names.add(owner)
                for method in re.findall(r"\b(\w+)\(", line):
                    names.add(f"{owner}::{method}")
    return names


def sources(root, _bin):
    """Functions and files that pages name exist; lists in pages are the lists in the sources."""
    known = definitions(root)
    named = re.findall(r"`([A-Z]\w*(?:::\w+)?)`", read(root / INTERNALS))
    if len(named) < 20:
        yield f"{INTERNALS}: names {len(named)} functions, expected at least 20"
    for name in named:
        if name not in known:
            yield f"{INTERNALS}: {name} is not in the sources"
    for page in pages(root):
        for path in re.findall(r"`((?:sdk|apps|plugins|tests|docs|examples)/[\w./-]*\w/?)`", read(page)):
            if not (root / path).exists():
                yield f"{page}: {path} does not exist"
    shown = set(re.findall(r"`(weir_\w+)[`{]", read(root / "docs/metrics.md")))
    sources = ("apps/gateway/metrics_page.cc", "sdk/io/metrics/engine_metrics.cc", "sdk/io/fleet/fleet_metrics.cc",
               "sdk/io/decision_log/log_metrics.cc")
    written = {name for path in sources for name in re.findall(r'"(weir_\w+)"', read(root / path))}
    for name in sorted(shown ^ written):
        yield f"docs/metrics.md: {name} is {'written by no page' if name in shown else 'missing'}"
    values = set()
    for path, function in (("sdk/io/relay/relay.cc", "RelayOutcomeName"), ("sdk/io/relay/relay.cc", "RelayRejectName"),
                           ("sdk/io/scrape/scraper.cc", "ScrapeErrorName")):
        body = read(root / path).split(f"std::string_view {function}(")[1].split("\n}\n")[0]
        values.update(re.findall(r'"(\w+)"', body))
    values.update(re.findall(r'\{"(\w+)", &WorkerCounters', read(root / "apps/gateway/metrics_page.cc")))
    values.update(re.findall(r'"reason", "(\w+)"', read(root / "apps/gateway/metrics_page.cc")))
    metrics = read(root / "docs/metrics.md")
    for name in sorted(values - {"unknown"}):
        if f"`{name}`" not in metrics:
            yield f"docs/metrics.md: the label value {name} is missing"
    dependencies = read(root / "docs/dependencies.md")
    cmake = read(root / "sdk/cmake/weir_dependencies.cmake")
    packages = re.findall(r"find_package\((\S+)", cmake)
    for group in re.findall(r"^(?:build|test)=\(([^)]*)\)", read(root / "tests/packages.sh"), re.M):
        packages += group.split()
    for name in packages:
        if not re.search(rf"(?<![\w.-]){re.escape(name)}(?![\w-])", dependencies):
            yield f"docs/dependencies.md: {name} is missing"


def plugin_states(root):
    """The state of each type of the configuration language, and of weir's own, as the sources have it."""
    cmake = read(root / "plugins/CMakeLists.txt")
    states = {}
    for folder, alpha in re.findall(r"^weir_configured\(\w+/([\w-]+)( ALPHA)?\)", cmake, re.M):
        states[folder] = "experimental" if alpha else "built"
    for path in sorted((root / "plugins").rglob("*.cc")):
        for added in re.findall(r"\.\s*Add\w*<[^(]*\(\s*\"[\w-]+\"\)[^;]*;", read(path)):
            state = "deprecated" if ".Deprecated(" in added else "experimental" if ".Alpha(" in added else "built"
            states[re.search(r'"([\w-]+)"', added).group(1)] = state
    table = read(root / "sdk/src/engine/known_types.cc").split("kKnownTypes[] = {")[1].split("\n};")[0]
    for name, rest in re.findall(r'\{"([\w-]+)",([^}]*)\}', table):
        states.setdefault(name, "no effect" if re.search(r"k\w+(?:Schema|Parameters)", rest) else "refused")
    return states


def compatibility(root, _bin):
    """The table of plugin types in docs/compatibility.md is what the sources have."""
    page = read(root / "docs/compatibility.md")
    table = page.split("<!-- plugin types -->")[1].split("<!-- end of plugin types -->")[0]
    shown = dict(re.findall(r"^\| `([\w-]+)` \| ([^|]+) \|", table, re.M))
    states = plugin_states(root)
    for name in sorted(set(states) | set(shown)):
        if states.get(name) != shown.get(name):
            yield f"docs/compatibility.md: {name} is {shown.get(name, 'missing')}, the sources say {states.get(name, 'unknown')}"
    if len(states) < 97:
        yield f"{len(states)} plugin types found in the sources, expected at least 97"


def configuration(root, _bin):
    """docs/configuration.md names every section and every type."""
    page = read(root / "docs/configuration.md")
    reader = read(root / "sdk/src/engine/pipeline_reader.cc")
    sections = re.search(r"RefuseUnknownFields\(\s*root, \"\",\s*\{([^}]*)\}", reader)
    for name in re.findall(r'"(\w+)"', sections.group(1)):
        if not re.search(rf"`{name}\b", page):
            yield f"docs/configuration.md: section {name} is missing"
    cmake = read(root / "plugins/CMakeLists.txt")
    types = set(re.findall(r"^weir_(?:builtin|configured)\([\w]+/([\w-]+)", cmake, re.M))
    table = page.split("## Types of this version")[1].split("\n\n")[1]
    shown = set(re.findall(r"`([\w-]+)`", table))
    for name in sorted(types ^ shown):
        yield f"docs/configuration.md: {name} is {'no type' if name in shown else 'missing'}"
    gateway = re.search(r'kDefaultPipeline = R"\((.*?)\)"', read(root / "apps/gateway/gateway.cc"), re.S).group(1)
    shown = [body for page in pages(root) for _, info, body in blocks(page) if info == ["yaml", "pipeline", "default"]]
    if not shown or any(body != gateway for body in shown):
        yield "docs/quickstart.md: the default pipeline is not the one of apps/gateway/gateway.cc"


def excerpts(root, _bin):
    """A block after "<!-- from: PATH -->" stands in that file, line by line but for the indentation."""
    count = 0
    for page in pages(root):
        for match in re.finditer(r"^<!-- from: (\S+) -->\n```\w*\n(.*?)^```$", read(page), re.M | re.S):
            count += 1
            bare = lambda text: "".join(f"\n{line.strip()}" for line in text.splitlines()) + "\n"
            if not (root / match[1]).is_file() or bare(match[2]) not in bare(read(root / match[1])):
                line = read(page).count("\n", 0, match.start()) + 1
                yield f"{page}:{line}: not in {match[1]}"
    if count == 0:
        yield "no excerpt found"


RUN_BY = re.compile(r"^<!-- python below is run by: (\S+) -->$", re.M)


def python_blocks(root, test):
    """(page, body) of each Python block that a test runs, pages as they are named below the root."""
    for page in pages(root):
        text = read(page)
        for match in BLOCK.finditer(text):
            runners = RUN_BY.findall(text, 0, match.start())
            if match.group(1) == "python" and runners[-1:] == [test]:
                yield page.relative_to(root).as_posix(), match.group(2)


def python(root, _bin):
    """All Python blocks say which test runs them, and that test takes them."""
    tests, count = set(), 0
    for page in pages(root):
        tests.update(RUN_BY.findall(read(page)))
        count += sum(info[:1] == ["python"] for _, info, _ in blocks(page))
    for test in sorted(tests):
        if not (root / test).is_file() or "python_blocks(" not in read(root / test):
            yield f"{test}: runs no Python blocks"
        count -= len(list(python_blocks(root, test)))
    if count != 0:
        yield f"{count} Python blocks name no test that runs them"


def pipelines(root, binaries):
    count = 0
    for page in pages(root):
        for line, info, body in blocks(page):
            if info[:2] != ["yaml", "pipeline"]:
                continue
            count += 1
            with tempfile.TemporaryDirectory() as folder:
                (pathlib.Path(folder) / "pipeline.yaml").write_text(body, encoding="utf-8")
                code, output = run(binaries / "weir-gateway", "--config", "pipeline.yaml", "--validate", cwd=folder)
            if code != 0:
                yield f"{page}:{line}: {output}"
    if count == 0:
        yield "no pipeline found"


def refusals(root, binaries):
    count = 0
    for page in pages(root):
        found = list(blocks(page))
        for index, (line, info, body) in enumerate(found):
            if info != ["yaml", "refused"]:
                continue
            count += 1
            _, next_info, expected = found[index + 1]
            with tempfile.TemporaryDirectory() as folder:
                (pathlib.Path(folder) / "pipeline.yaml").write_text(body, encoding="utf-8")
                code, output = run(binaries / "weir-gateway", "--config", "pipeline.yaml", "--validate", cwd=folder)
            if code == 0 or next_info != ["text", "errors"] or output.strip() != expected.strip():
                yield f"{page}:{line}: exit code {code}, says\n{output}"
    if count == 0:
        yield "no refused pipeline found"


def commands_of(body):
    """The simple commands of a block: continued lines joined, comments cut, split at pipes and &&."""
    body = re.sub(r"\\\n", " ", body)
    for line in body.splitlines():
        line = re.sub(r"(^|\s)#.*", "", line)
        line = re.sub(r"'[^']*'|\"[^\"]*\"", "TEXT", line)
        for command in re.split(r"&&|\|\||[|;]", line):
            if command.strip():
                yield command.split()


def flags(root, binaries):
    helps = {}

    def help_of(program, words):
        """The help of a program, or of its subcommand if the first word names one."""
        for key in ((program, words[0]) if words and not words[0].startswith("-") else (), (program,)):
            if key and key not in helps:
                code, output = run(binaries / program, *key[1:], "--help")
                helps[key] = output if code == 0 else None
            if key and helps[key]:
                return helps[key]
        return ""

    count = 0
    for page in pages(root):
        for line, info, body in blocks(page):
            if info not in ([], ["sh"]):
                continue
            for words in commands_of(body):
                program = words[0].split("/")[-1]
                if info and re.match(r"(?:examples|tests)/[\w./]+\.(?:sh|py)$", words[0]):
                    if not (root / words[0]).is_file():
                        yield f"{page}:{line}: {words[0]} does not exist"
                if not (binaries / program).is_file() or not program.startswith("weir-"):
                    continue
                text = help_of(program, words[1:])
                for flag in [word.split("=")[0] for word in words[1:] if word.startswith("--")]:
                    count += 1
                    if not re.search(rf"(?<![\w-]){flag}(?![\w-])", text):
                        yield f"{page}:{line}: {program} has no {flag}"
    gateway = help_of("weir-gateway", [])
    for page in [root / "apps/gateway/README.md", root / "docs/quickstart.md", root / "docs/configuration.md"]:
        for flag in re.findall(r"`(--[\w-]+)", read(page)):
            count += 1
            if not re.search(rf"(?<![\w-]){flag}(?![\w-])", gateway):
                yield f"{page}: weir-gateway has no {flag}"
    if count < 10:
        yield f"{count} flags found, expected at least 10"


def table(page, name):
    """First cell -> second cell of each row of the table between the marks of that name."""
    part = page.split(f"<!-- {name} -->")[1].split(f"<!-- end of {name} -->")[0]
    return dict(re.findall(r"^\| `([^`]+)` \| (.*?) \|", part, re.M))


def epp_flags(root, binaries):
    """docs/compatibility.md has one row per flag of weir-epp, llm-d's or its own."""
    code, output = run(binaries / "weir-epp", "--help")
    if code != 0:
        yield output
    page = read(root / "docs/compatibility.md")
    has = set(re.findall(r"(--[a-z][\w-]*)", re.sub(r"\[default:.*", "", output)))
    defined = set(re.findall(r'"(?:-v,)?(--[a-z][\w-]*)"', read(root / "apps/epp/flags.cc")))
    defined |= {f"--{name}" for name in re.findall(r'"([a-z-]+-metric)"', read(root / "apps/epp/flags.cc"))}
    shown = set(table(page, "flags")) | set(table(page, "own flags"))
    for name in sorted(defined - has):
        yield f"apps/epp/flags.cc: {name} is not in the help"
    for name in sorted(defined ^ shown):
        yield f"docs/compatibility.md: {name} is {'no flag' if name in shown else 'missing'}"
    for name, state in table(page, "flags").items():
        if state not in ("same", "more", "other", "no effect"):
            yield f"docs/compatibility.md: {name} is {state}"
    help_says = set(re.findall(r"(--[\w-]+)[^\n]*(?:\n\s+[^-\s][^\n]*)*?No effect", output))
    for name in sorted(help_says):
        if table(page, "flags").get(name) != "no effect":
            yield f"docs/compatibility.md: {name} has no effect, the page says {table(page, 'flags').get(name)}"


METRIC_SOURCES = ("sdk/io/metrics/request_page.cc", "sdk/io/metrics/engine_metrics.cc", "sdk/io/fleet/fleet_metrics.cc",
                  "apps/epp/metrics_page.cc")


def epp_metrics(root, _bin):
    """docs/epp_metrics.md names what weir-epp shows, and docs/compatibility.md says so."""
    names = r"(?:llm_d_epp|llm_d_inference_scheduler|inference_objective|inference_pool|inference_extension|weir_epp)_\w+"
    written = {name for path in METRIC_SOURCES for name in re.findall(rf'"({names})"', read(root / path))}
    page = read(root / "docs/epp_metrics.md")
    shown = set(re.findall(rf"^\| `({names})`", page, re.M)) | set(re.findall(rf"`({names})` \|$", page, re.M))
    for name in sorted(written ^ shown):
        yield f"docs/epp_metrics.md: {name} is {'written by no page' if name in shown else 'missing'}"
    states = table(read(root / "docs/compatibility.md"), "metrics")
    own = {name[len("llm_d_epp_"):] for name in written if name.startswith("llm_d_epp_")}
    for name in sorted(own | set(states)):
        expected = "same" if name in own else "no"
        if states.get(name) != expected:
            yield f"docs/compatibility.md: {name} is {states.get(name, 'missing')}, expected {expected}"
    golden = read(root / "tests/golden/metrics/requests.prom")
    for name in re.findall(r"^# TYPE (\w+)", golden, re.M):
        if name not in written:
            yield f"tests/golden/metrics/requests.prom: {name} is written by no page"


CHECKS = {check.__name__: check for check in (links, sources, excerpts, python, compatibility, configuration, pipelines, refusals,
                                              flags, epp_flags, epp_metrics)}


def main(arguments):
    if len(arguments) != 3 or arguments[0] not in CHECKS:
        sys.exit(__doc__)
    problems = list(CHECKS[arguments[0]](pathlib.Path(arguments[1]), pathlib.Path(arguments[2]).resolve()))
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
