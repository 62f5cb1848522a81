"""What modules bind, which imports may fail, and where they lead: tables, one row for each kind of statement."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from guardd.analysis.environment import CompiledModules, InstalledNames, installed_names
from guardd.analysis.imports import Modules
from guardd.analysis.layout import Layout, LayoutOf, read_layout
from guardd.analysis.sources import Facts, Import, Parsers


@pytest.fixture(scope="module")
def parsers():
    with Parsers() as parsers:
        yield parsers


def facts_of(parsers: Parsers, *sources: str) -> list[Facts]:
    return [Facts.from_json(text) for text in parsers.ask([source.encode() for source in sources])]


BINDS = {
    "def": "def x(): pass",
    "async def": "async def x(): pass",
    "class": "class x: pass",
    "assignment": "x = 1",
    "unpacking": "(a, *x), [b] = ((1, 2), [3])",
    "annotated": "x: int = 1",
    "for": "for x in 1, 2: pass",
    "with": "import io\nwith io.StringIO() as x: pass",
    "walrus": "print(x := 1)",
    "walrus in a comprehension": "[x := 1 for _ in 'a']",
    "match": "match {'k': 1}:\n    case {'k': x}: pass",
    "match star": "match [1, 2]:\n    case [_, *x]: pass",
    "match rest": "match {'k': 1}:\n    case {**x}: pass",
    "import": "import json as x",
    "from import": "from json import loads as x",
    "global in a function": "def f():\n    global x\n    x = 1\nf()",
    "global in a class": "class C:\n    global x\n    x = 1",
    "a condition": "if len('a'): x = 1",
    "else": "if not len('a'): pass\nelse: x = 1",
    "try": "try: x = 1\nfinally: pass",
    "a handler": "try: 1 / 0\nexcept ZeroDivisionError: x = 1",
    "globals()": "globals()['x'] = 1",
    "globals() in a function": "def f(n): globals()[n] = 1\nf('x')",
    "vars()": "vars()['x'] = 1",
    "exec": "exec('x = 1')",
    "setattr on itself": "import sys\nsetattr(sys.modules[__name__], 'x', 1)",
    "__getattr__": "def __getattr__(name):\n    if name == 'x': return 1\n    raise AttributeError(name)",
    "__getattr__ by a table": "T = {'x': 1}\ndef __getattr__(n):\n    if n in T: return T[n]\n    raise AttributeError(n)",
    "__getattr__ for everything": "def __getattr__(name): return name",
    "__getattr__ by prefix": "def __getattr__(n):\n    if n.startswith('x'): return 1\n    raise AttributeError(n)",
    "__getattr__ that hands on": "def f(n): return 1\ndef __getattr__(n):\n    if f(n): return 1\n    raise AttributeError",
    "del, then bound again": "x = 1\ndel x\nx = 2",
    "conditional del": "x = 1\nif not x: del x",
    "enum": "import enum\n@enum.global_enum\nclass E(enum.IntEnum):\n    x = 1",
}
DOES_NOT = {
    "it is only used": "def f(): return x",
    "used at the top": "try: x\nexcept NameError: pass",
    "a member of a class": "class C: x = 1",
    "a local": "def f(): x = 1",
    "a comprehension's own": "y = [x for x in 'a']",
    "a keyword": "dict(x=1)",
    "an attribute": "class C: pass\nC.x = 1",
    "setattr on a class": "class C: pass\nsetattr(C, 'x', 1)",
    "deleted at the end": "x = 1\ndel x",
    "deleted after a loop": "for x in 'a': pass\ndel x",
    "the exception of a handler": "try: 1 / 0\nexcept ZeroDivisionError as x: pass",
    "a lambda's argument": "f = lambda x: x",
    "globals() that is read": "y = globals().get('x'), 'x' in globals(), eval('1', globals())",
    "__getattr__ that knows others": "def __getattr__(n):\n    if n == 'y': return open\n    raise AttributeError(f'no {n}')",
}


@pytest.fixture(scope="module")
def really_bound() -> dict[str, bool]:
    """What Python says of each row: the tables are not taken on trust."""
    program = (
        "import json, sys, types\n"
        "for source in json.load(sys.stdin):\n"
        "    module = sys.modules['m'] = types.ModuleType('m')\n"
        "    exec(compile(source, 'm', 'exec'), module.__dict__)\n"
        "    print(hasattr(module, 'x'), file=sys.stderr)\n"
    )
    rows = {**BINDS, **DOES_NOT}
    done = subprocess.run(
        [sys.executable, "-c", program], input=json.dumps([*rows.values()]), capture_output=True, text=True, check=True
    )
    return dict(zip(rows, (line == "True" for line in done.stderr.split()), strict=True))


@pytest.mark.parametrize("row", [*BINDS, *DOES_NOT])
def test_a_name_is_there_if_and_only_if_a_statement_binds_it(parsers: Parsers, really_bound: dict[str, bool], row: str) -> None:
    assert really_bound[row] == (row in BINDS)
    (facts,) = facts_of(parsers, (BINDS | DOES_NOT)[row])
    assert (facts.dynamic or "x" in facts.exports) == (row in BINDS)


MAY_FAIL = {
    "try": "try:\n    {}\nexcept ImportError:\n    pass",
    "try, other name": "try:\n    {}\nexcept (ValueError, builtins.ModuleNotFoundError):\n    pass",
    "try, bare": "try:\n    {}\nexcept:\n    pass",
    "try, some variable": "try:\n    {}\nexcept OPTIONAL_ERRORS:\n    pass",
    "the fallback": "try:\n    import a\nexcept ImportError:\n    {}",
    "else": "try:\n    import a\nexcept ImportError:\n    pass\nelse:\n    {}",
    "try around a function": "try:\n    def f():\n        {}\nexcept ImportError:\n    pass",
    "TYPE_CHECKING": "if TYPE_CHECKING:\n    {}",
    "typing.TYPE_CHECKING": "if typing.TYPE_CHECKING:\n    {}",
    "not TYPE_CHECKING": "if not TYPE_CHECKING:\n    pass\nelse:\n    {}",
    "platform": "if sys.platform == 'win32':\n    {}",
    "version": "if sys.version_info >= (3, 99):\n    {}",
    "os.name": "if os.name == 'nt':\n    {}",
    "a flag": "if HAS_GONE:\n    {}",
    "find_spec": "if importlib.util.find_spec('gone'):\n    {}",
    "never": "if False:\n    {}",
    "a constant": "if not TWISTED_NEW_API:\n    {}",
    "a constant of another": "if compat.PYNAMODB4:\n    {}",
    "a module in a function": "def test():\n    def __init__():\n        {}",
    "suppress": "with contextlib.suppress(ImportError):\n    {}",
    "raises": "def test():\n    with pytest.raises(ImportError):\n        {}",
    "an unknown context": "with optional_imports():\n    {}",
    "importorskip": "pytest.importorskip('gone')\n{}",
    "skipif": "@pytest.mark.skipif(no_gone, reason='')\ndef test():\n    {}",
    "match": "match sys.platform:\n    case 'win32':\n        {}",
    "put in place": "sys.modules['gone'] = fake\n{}",
}
MUST_NOT_FAIL = {
    "plain": "{}",
    "in a function": "def f():\n    {}",
    "in a class": "class C:\n    {}",
    "another exception": "try:\n    {}\nexcept KeyError:\n    pass",
    "finally": "try:\n    pass\nexcept ImportError:\n    pass\nfinally:\n    {}",
    "a constructor": "class C:\n    def __init__(self):\n        {}",
    "a comparison": "if MODE == 'fast':\n    {}",
    "main": "if __name__ == '__main__':\n    {}",
    "some condition": "if found is None:\n    {}",
    "a warning filter": "with warnings.catch_warnings():\n    {}",
    "importorskip of another": "pytest.importorskip('other')\n{}",
}


@pytest.mark.parametrize("row", [*MAY_FAIL, *MUST_NOT_FAIL])
def test_an_import_that_may_fail_is_told_from_one_that_must_not(parsers: Parsers, row: str) -> None:
    (facts,) = facts_of(parsers, (MAY_FAIL | MUST_NOT_FAIL)[row].format("import gone"))
    (found,) = [one for one in facts.imports if one.module == "gone"]
    assert found.guarded == (row in MAY_FAIL)


TREE = {
    "pkg/__init__.py": "from .stars import *\nfrom .listed import *\nfrom . import sub",
    "pkg/stars.py": "public = _hidden = 1",
    "pkg/listed.py": "__all__ = ['a', '_b']\n__all__ += ['c']\nif a:\n    __all__.append('d')\na = _b = c = d = e = 1",
    "pkg/unlisted.py": "__all__ = [n for n in dir()]\nx = 1",
    "pkg/sub.py": "y = 1",
    "pkg/ring_a.py": "from .ring_b import *\nin_a = 1",
    "pkg/ring_b.py": "from .ring_a import *\nin_b = 1",
    "pkg/stub.pyi": "declared: int\ndef f(): ...",
    "pkg/both.py": "x = 1",
    "pkg/both.pyi": "y: int",
    "pkg/deep/leaf.py": "z = 1",
    "pkg/json.py": "mine = 1",
    "pkg/os.py": "mine = 1",
    "pkg/proxy/__init__.py": "import sys\nsys.modules[__name__ + '.made'] = sys",
    "pkg/placing/__init__.py": "import sys\nsys.modules['pkg.placing.made'] = sys",
    "pkg/spread/__init__.py": "__path__ = __import__('pkgutil').extend_path(__path__, __name__)",
    "pkg/listing/__init__.py": "import pkgutil\nfor one in pkgutil.iter_modules(__path__): pass",
    "pkg/injector.py": "import sys\ndef both(f):\n    g = sys._getframe(1).f_globals\n    g[f.__name__ + 'Py'] = f\n    return f",
    "pkg/injected.py": "from .injector import both\n@both\ndef walk(): pass",
    "lib/inner/__init__.py": "",
    "lib/inner/api.py": "call = 1",
    "namespace/part/__init__.py": "",
    "outer/tool.py": "use = 1",
    "pathed.py": "import sys\nsys.path.insert(0, 'elsewhere')\nimport unknown",
}
RESOLVES = [
    ("a.py", "from pkg import public, a, _b, c, d, sub", []),
    ("a.py", "from pkg import _hidden", ["pkg has no '_hidden'"]),
    ("a.py", "from pkg import e", ["pkg has no 'e'"]),
    ("a.py", "from pkg.listed import e", []),
    ("a.py", "from pkg.unlisted import *", []),
    ("a.py", "from pkg.ring_a import in_a, in_b", []),
    ("a.py", "from pkg.ring_a import gone", ["pkg.ring_a has no 'gone'"]),
    ("a.py", "from pkg.stub import declared, f, __file__", []),
    ("a.py", "from pkg.stub import gone", ["pkg.stub has no 'gone'"]),
    ("a.py", "from pkg.sub import __version__", ["pkg.sub has no '__version__'"]),
    ("a.py", "from pkg.both import x, y", []),
    ("a.py", "from pkg.deep import leaf", []),
    ("a.py", "from pkg.deep.leaf import z", []),
    ("a.py", "import pkg.deep.gone", ["there is no module 'pkg.deep.gone'"]),
    ("a.py", "import pkg.proxy.made, pkg.spread.anything, pkg.placing.made", []),
    ("a.py", "import pkg.placing.gone", ["there is no module 'pkg.placing.gone'"]),
    ("a.py", "import pkg.listing.gone", ["there is no module 'pkg.listing.gone'"]),
    ("a.py", "from pkg.injected import walkPy", []),
    ("a.py", "from pkg.injected import talk", ["pkg.injected has no 'talk'"]),
    ("a.py", "import pkg.fast, pkg._version, pkg.wire_pb2", []),
    ("a.py", "import pkg.gone_fast", ["there is no module 'pkg.gone_fast'"]),
    ("a.py", "from inner.api import call", []),
    ("a.py", "from inner.api import gone", ["inner.api has no 'gone'"]),
    ("a.py", "import inner.gone", ["there is no module 'inner.gone'"]),
    ("a.py", "import distutils.core, imp, annotationlib, os.path, _testcapi", []),
    ("a.py", "import called_otherwise.anything, declared_one", []),
    ("a.py", "import namespace.other", []),
    ("a.py", "import namespace.unknown", ["there is no module 'namespace.unknown'"]),
    ("a.py", "import namespace.part.gone", ["there is no module 'namespace.part.gone'"]),
    ("pkg/sub.py", "from json import loads", []),
    ("pkg/sub.py", "import os.path", []),
    ("pkg/sub.py", "from .json import mine", []),
    ("pkg/sub.py", "from .json import loads", [".json has no 'loads'"]),
    ("pkg/sub.py", "from ..pkg import sub", []),
    ("pkg/sub.py", "from ...pkg import sub", ["there is no module '...pkg'"]),
    ("pkg/sub.py", "from ..stars import public", ["there is no module '..stars'"]),
    ("pkg/deep/leaf.py", "from ..sub import y", []),
    ("pkg/stub.pyi", "from .sub import of_types_alone", []),
    ("pkg/stub.pyi", "from .both import gone", [".both has no 'gone'"]),
    ("pkg/stub.pyi", "from .gone import x", ["there is no module '.gone'"]),
    ("outer/tool.py", "import tool", []),
    ("a.py", "from tool import use", []),
    ("a.py", "import unknown", ["there is no module 'unknown'"]),
    ("pathed.py", "import unknown", []),
    ("pathed.py", "import pkg.gone", ["there is no module 'pkg.gone'"]),
]
LAYOUT = {
    "pyproject.toml": '[project]\nname = "x"\ndependencies = ["Declared-One>=1"]\n'
    '[tool.setuptools.packages.find]\nwhere = ["lib"]\n'
    '[tool.setuptools.package-dir]\ncalled_otherwise = "pkg"\n',
    "setup.py": "from setuptools import Extension, setup\nsetup(ext_modules=[Extension('pkg.fast', ['fast.c'])])\n",
}


@pytest.fixture(scope="module")
def tree(parsers: Parsers) -> Modules:
    facts = dict(zip(TREE, facts_of(parsers, *TREE.values()), strict=True))
    installed = frozenset({"namespace", "namespace.", "namespace.other"})
    return Modules(TREE, (), facts.get, lambda folder, name: False, lambda: installed, lambda: read_layout(LAYOUT))


@pytest.mark.parametrize(("importer", "statement", "missing"), RESOLVES)
def test_an_import_is_missing_only_where_nothing_can_give_it(
    parsers: Parsers, tree: Modules, importer: str, statement: str, missing: list[str]
) -> None:
    (facts,) = facts_of(parsers, statement)
    assert [found.what for one in facts.imports for found in tree.missing(importer, one) if found.sure] == missing


def test_stars_are_followed_however_long_their_chain_is() -> None:
    facts = {f"m{at}.py": Facts(parses=True, imports=(Import(1, 0, f"m{(at - 1) % 2000}", ("*",), False),)) for at in range(2000)}
    facts["m0.py"] = facts["m0.py"]._replace(exports=frozenset({"x"}))
    modules = Modules(facts, (), facts.get, lambda folder, name: False, frozenset)
    asked = modules.missing("a.py", Import(1, 0, "m1999", ("x", "y"), False))
    assert [one.what for one in asked] == ["m1999 has no 'y'"]


BUILD_FILES = {
    "setuptools": ("pyproject.toml", '[tool.setuptools.packages.find]\nwhere = ["lib"]', "lib"),
    "package-dir": ("pyproject.toml", '[tool.setuptools.package-dir]\n"" = "lib"', "lib"),
    "hatch": ("pyproject.toml", '[tool.hatch.build.targets.wheel]\npackages = ["lib/pkg"]', "lib"),
    "poetry": ("pyproject.toml", '[tool.poetry]\npackages = [{include = "pkg", from = "lib"}]', "lib"),
    "pdm": ("pyproject.toml", '[tool.pdm.build]\npackage-dir = "lib"', "lib"),
    "maturin": ("pyproject.toml", '[tool.maturin]\npython-source = "lib"', "lib"),
    "pytest": ("pyproject.toml", '[tool.pytest.ini_options]\npythonpath = ["lib"]', "lib"),
    "setup.cfg": ("setup.cfg", "[options]\npackage_dir =\n    = lib\n", "lib"),
    "find: in setup.cfg": ("setup.cfg", "[options.packages.find]\nwhere = lib\n", "lib"),
    "setup.py": ("setup.py", "setup(packages=find_packages('lib'), package_dir={'': 'lib'})", "lib"),
    "a member of a workspace": ("packages/one/pyproject.toml", '[project]\nname = "one"', "packages/one/src"),
}
BROKEN = ["[tool", "setup(", "[tool.setuptools]\npackages = 7\n[tool.poetry]\npackages = 1\n", "\0", "a = [1, {}]"]


@pytest.mark.parametrize("row", BUILD_FILES)
def test_source_roots_are_found_in_build_files(row: str) -> None:
    path, text, root = BUILD_FILES[row]
    assert root in read_layout({path: text}).roots


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "Pipfile"])
def test_build_files_that_are_broken_say_nothing(name: str) -> None:
    for text in BROKEN:
        assert read_layout({name: text}).renamed == frozenset()


def test_a_root_outside_of_the_tree_is_none() -> None:
    assert read_layout({"pyproject.toml": '[tool.setuptools.packages.find]\nwhere = ["../lib", "/lib"]'}).roots == ("", "src")


def test_build_files_are_read_again_when_they_change(tmp_path: Path) -> None:
    layout = LayoutOf(str(tmp_path))
    assert layout().roots == ()
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\npythonpath = ["lib"]')
    assert "lib" in layout().roots
    assert layout() is layout()


def test_what_is_installed_is_seen_when_it_comes(tmp_path: Path) -> None:
    site = tmp_path / ".venv/lib/python3.11/site-packages"
    (site / "pip").mkdir(parents=True)
    (tmp_path / ".venv/pyvenv.cfg").write_text("home = /usr\n")
    names = InstalledNames(str(tmp_path), None)
    assert names() is None  # nothing was installed into it yet
    (site / "space/part").mkdir(parents=True)
    (site / "space/part/__init__.py").write_text("")
    (site / "fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    found = names()
    assert found is not None
    assert {"pip", "fast", "space", "space.", "space.part"} <= found
    assert "space.part." not in found
    assert names() is found
    assert installed_names(str(tmp_path), ".venv/bin/python") == found


def test_what_is_compiled_is_seen_when_it_comes_and_goes(tmp_path: Path) -> None:
    compiled = CompiledModules(str(tmp_path))
    assert not compiled.has("", "fast")
    (tmp_path / "fast.cpython-311-x86_64-linux-gnu.so").write_bytes(b"")
    assert compiled.has("", "fast")
    (tmp_path / "fast.cpython-311-x86_64-linux-gnu.so").unlink()
    assert not compiled.has("", "fast")
    (tmp_path / "data").mkdir()
    assert not compiled.has("", "data")
    (tmp_path / "data/table.csv").write_text("")
    assert compiled.has("", "data")
    assert not compiled.has("gone", "data")


def test_files_that_come_and_go_are_resolved_anew(parsers: Parsers) -> None:
    (facts,) = facts_of(parsers, "import pkg.one, other.two")
    modules = Modules(["pkg/__init__.py"], (), lambda path: None, lambda folder, name: False, frozenset, Layout)

    def missing() -> set[str]:
        return {found.what for one in facts.imports for found in modules.missing("a.py", one)}

    both = {"there is no module 'pkg.one'", "there is no module 'other.two'"}
    assert missing() == both
    for path in ("pkg/one.py", "other/two/three.py"):
        modules.add(path)
        modules.add(path)
    assert missing() == set()
    for path in ("pkg/one.py", "other/two/three.py", "never/there.py"):
        modules.remove(path)
    assert missing() == both
