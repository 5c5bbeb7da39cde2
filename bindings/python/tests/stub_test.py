"""The stubs of the native module say what it has, and the package is typed."""

import ast
import inspect
import pathlib
import subprocess
import sys
import unittest

import weir
from weir import _native

PACKAGE = pathlib.Path(weir.__file__).parent
NATIVE = ast.parse((PACKAGE / "_native" / "__init__.pyi").read_text(encoding="utf-8"))
SPECIAL_ALLOWED = {"__init__", "__repr__", "__eq__", "__hash__", "__reduce__", "__getstate__", "__setstate__"}


def classes():
    return {node.name: node for node in NATIVE.body if isinstance(node, ast.ClassDef)}


def typed_dict_fields(name):
    node = classes()[name]
    fields = {one.target.id for one in node.body if isinstance(one, ast.AnnAssign)}
    for base in node.bases:
        if base.id in classes():
            fields |= typed_dict_fields(base.id)
    return fields


def is_typed_dict(name):
    return name.endswith("Fields")


def shape(arguments):
    """Names and defaults of a signature, without types."""
    positional = [argument.arg for argument in arguments.args]
    keyword = [(argument.arg, default and ast.unparse(default))
               for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults)]
    return positional, [ast.unparse(default) for default in arguments.defaults], keyword, arguments.kwarg is not None


def runtime_shape(function):
    """The same from the signature that pybind11 writes."""
    signature = inspect.getdoc(function).splitlines()[0]
    return shape(ast.parse(f"def {signature}: ...").body[0].args)


class StubTest(unittest.TestCase):
    def test_functions_have_the_signatures_of_the_stubs(self):
        checked = 0
        owners = [(_native, NATIVE.body)]
        owners += [(getattr(_native, name), node.body) for name, node in classes().items() if not is_typed_dict(name)]
        for owner, body in owners:
            for node in body:
                if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                    continue
                with self.subTest(f"{owner.__name__}.{node.name}"):
                    member = inspect.getattr_static(owner, node.name)
                    if any(isinstance(one, ast.Name) and one.id == "property" for one in node.decorator_list):
                        self.assertIsInstance(member, property)
                    elif not node.name.startswith("__") or node.name == "__init__":
                        self.assertEqual(runtime_shape(getattr(owner, node.name)), shape(node.args))
                    checked += 1
        self.assertGreater(checked, 80)

    def test_everything_public_has_a_stub(self):
        known = {node.name for node in NATIVE.body if hasattr(node, "name")}
        known |= {node.target.id for node in NATIVE.body if isinstance(node, ast.AnnAssign)} | {"sim"}
        self.assertEqual({name for name in dir(_native) if not name.startswith("_")} - known, set())
        for name, node in classes().items():
            if is_typed_dict(name):
                continue
            members = {one.name for one in node.body if hasattr(one, "name")}
            extra = {member for member in vars(getattr(_native, name)) if "pybind11" not in member} - members
            extra = {member for member in extra if not member.startswith("__") or member not in dir(object)}
            with self.subTest(name):
                self.assertEqual(extra - SPECIAL_ALLOWED - {"__module__", "__dict__", "__doc__"}, set())

    def test_keyword_fields_are_those_that_are_read(self):
        self.assertEqual(typed_dict_fields("RequestFields"), set(_native.request_fields))
        router = weir.Router.default()
        router.pool.upsert("a", **({name: None for name in typed_dict_fields("EndpointFields")} | {"address": "h:1"}))
        router.pool.replace([{name: None for name in typed_dict_fields("NamedEndpointFields")}
                             | {"name": "a", "address": "h:1"}])
        router.pool.update("a", **{name: None for name in typed_dict_fields("MetricFields")})

    def test_everything_public_is_documented(self):
        for name in weir.__all__:
            with self.subTest(name):
                self.assertTrue(name.startswith("__") or name == "abi_version" or inspect.getdoc(getattr(weir, name)))
        self.assertEqual(sorted(weir.__all__), list(weir.__all__))
        for owner in (_native.Router, _native.Pool, _native.Decision, _native.Flight, _native.PluginEndpoints,
                      _native.PluginRequest):
            for name, member in vars(owner).items():
                if name.startswith("_"):
                    continue
                text = member.__doc__ or ""
                if not isinstance(member, property):
                    text = "\n".join(text.splitlines()[1:]).strip()
                with self.subTest(f"{owner.__name__}.{name}"):
                    self.assertTrue(text)


class MypyTest(unittest.TestCase):
    def test_mypy_is_content(self):
        try:
            import mypy  # noqa: F401
        except ImportError:
            self.skipTest("mypy is not installed")
        source = pathlib.Path(__file__).resolve().parent.parent
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", "--cache-dir", "/dev/null",
             "-p", "weir"],
            cwd=source, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_wrong_uses_are_found(self):
        try:
            import mypy.api
        except ImportError:
            self.skipTest("mypy is not installed")
        program = "\n".join((
            "import weir",
            "router = weir.Router.default(seed=1)",
            "router.decide(tokens=[1, 2])",
            "router.decide(token=[1])",
            "router.decide(prompt=5)",
            "router.pool.upsert('a', address='h:1', waiting_requests='2')",
            "decision: int = router.decide()"))
        import os
        os.environ["MYPYPATH"] = str(pathlib.Path(__file__).resolve().parent.parent)
        output, _, _ = mypy.api.run(["--cache-dir", "/dev/null", "--follow-imports", "silent",
                                     "--ignore-missing-imports", "-c", program])
        self.assertEqual([line.split(":")[1] for line in output.splitlines() if ": error:" in line],
                         ["4", "5", "6", "7"], output)


if __name__ == "__main__":
    unittest.main()
