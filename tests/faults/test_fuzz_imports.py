"""Import resolution over random trees: an answer soon, whatever files are called and ask for, and none that Python refutes."""

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from guardd.analysis.imports import Missing, Modules
from guardd.analysis.layout import Layout
from guardd.analysis.sources import Facts, Import, Parsers
from guardd.analysis.stdlib import STDLIB
from tests.analysis.truth import Tree
from tests.faults import seeds
from tests.faults.test_fuzz import within

NO_FALSE_ALARM = "no false alarm"
LINE = "bad input gets one clear line"


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    with Parsers() as parsers:
        yield parsers


# -- whatever files are called ----------------------------------------------------------------------------------------

ODD = (
    "a", "b", "c", "__init__", "__init__.py", "__main__", "a.b", "a.py", "", " ", ".", "..", "\udcff", "é", "e\u0301", "µ", "ﬁ",
    "\n", "\0", "class", "json", "src", "x" * 250, "*", "٣", "a-b", "__pycache__", "%s", "\\", "\ufeff",
)  # fmt: skip
ENDS = (".py", ".py", ".pyi", "/__init__.py", "/__init__.pyi", ".pyc", ".PY", "", "/__init__/a.py", "/a.py/__init__.py")


def odd_path(chance: random.Random) -> str:
    depth = 100 if chance.random() < 0.02 else chance.choice((1, 1, 2, 2, 3, 4))
    parts = [chance.choice("abc") if depth > 9 else chance.choice(ODD) for _ in range(depth)]
    return "/".join(parts) + chance.choice(ENDS)


def odd_import(chance: random.Random) -> Import:
    module = ".".join(chance.choice(ODD) for _ in range(chance.choice((0, 1, 1, 2, 3, 3, 200))))
    names = chance.choice((None, (), ("*",), tuple(chance.choice(ODD) for _ in range(chance.choice((1, 2, 50))))))
    return Import(1, chance.choice((0, 0, 0, 1, 1, 2, 3, 101, 10**6)), module, names, guarded=chance.random() < 0.05)


def odd_facts(chance: random.Random) -> Facts | None:
    """Of a content that no parser need ever have seen: they come out of the store, too."""
    if chance.random() < 0.1:
        return None

    def some() -> frozenset[str]:
        return frozenset(chance.sample(ODD, chance.randrange(4)))

    return Facts(
        chance.choice((True, True, True, False, None)), imports=tuple(odd_import(chance) for _ in range(chance.randrange(5))),
        exports=some(), names=some(), listed=chance.choice((None, some())), placed=some(), dynamic=chance.random() < 0.1,
        reopened=chance.random() < 0.05, repathed=chance.random() < 0.1, injects=chance.random() < 0.1,
    )  # fmt: skip


class Odd:
    """A tree of odd files, that changes, and what is asked of it."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.facts = {odd_path(chance): odd_facts(chance) for _ in range(chance.choice((1, 5, 30)))}
        self.compiled = frozenset(chance.sample(ODD, 2))
        self.installed = chance.choice((None, frozenset(), frozenset(chance.sample(ODD, 3)) | {"a."}))
        self.layout = Layout(tuple(chance.sample(ODD, 2)), required=frozenset(chance.sample(ODD, 2)))
        self.roots = tuple(chance.sample(ODD, 2))

    def modules(self) -> Modules:
        facts, compiled = self.facts, self.compiled
        installed, layout = self.installed, self.layout
        return Modules(facts, self.roots, facts.get, lambda _, name: name in compiled, lambda: installed, lambda: layout)

    def change(self, modules: Modules) -> None:
        path = self.chance.choice((*self.facts, odd_path(self.chance)))
        if path in self.facts and self.chance.random() < 0.5:
            del self.facts[path]
            modules.remove(path)
        else:
            self.facts[path] = odd_facts(self.chance)
            modules.add(path)


@pytest.mark.promise(
    LINE, "import resolution: odd names of files and modules, deep packages, stars in circles, trees that change"
)
@pytest.mark.parametrize("seed", seeds(everyday=1, full=40))
def test_any_import_in_any_tree_is_judged_soon_and_the_same_after_changes(
    seed: int, record_property: Callable[..., None]
) -> None:
    chance = random.Random(seed)
    asked = 0
    for _ in range(4):
        odd = Odd(chance)
        modules = odd.modules()
        for _ in range(5):
            imports = [odd_import(chance) for _ in range(12)]
            imports += [one for facts in odd.facts.values() if facts is not None for one in facts.imports]
            importers = [chance.choice((*odd.facts, odd_path(chance))) for _ in imports]
            anew = odd.modules()
            for importer, one in zip(importers, imports, strict=True):
                with within(5):
                    found = modules.missing(importer, one)
                    assert found == anew.missing(importer, one), (importer, one)
                    assert all(isinstance(each, Missing) for each in found)
                    modules.is_ours(importer, one.level, one.module)
                    modules.names_of(importer)
                asked += 1
            odd.change(modules)
    record_property("faults", asked)


# -- what would keep it busy ------------------------------------------------------------------------------------------

_DEEP = "/".join("p" * 200)

BUSY: dict[str, Callable[[], tuple[dict[str, str], str]]] = {
    "a hundred thousand modules in one line": lambda: ({"a.py": ""}, "import " + ", ".join(f"m{n}" for n in range(100_000))),
    "ten thousand names in one line": lambda: ({"a.py": ""}, "from a import " + ", ".join(f"n{n}" for n in range(10_000))),
    "a module of ten thousand parts": lambda: ({"a/__init__.py": ""}, "import " + "a." * 10_000 + "b\n"),
    "ten thousand dots": lambda: ({"a/__init__.py": ""}, "from " + "." * 10_000 + " import b\n"),
    "many imports at the end of a deep path": lambda: (
        {f"{_DEEP}/__init__.py": "", f"{_DEEP}/a.py": ""},
        "".join(f"import m{n}\nfrom .. import n{n}\n" for n in range(1_000)),
    ),
}


@pytest.mark.faults
@pytest.mark.promise(LINE, "import statements made to keep their judge busy")
@pytest.mark.parametrize("what", BUSY)
def test_imports_made_to_keep_their_judge_busy_do_not(parsers: Parsers, what: str) -> None:
    files, asking = BUSY[what]()
    importer = f"{_DEEP}/asking.py" if "deep" in what else "asking.py"
    files[importer] = asking
    facts = dict(zip(files, map(Facts.from_json, parsers.ask([text.encode() for text in files.values()])), strict=True))
    with within(20):
        modules = Modules(facts, (), facts.get, lambda *_: False, lambda: frozenset({"sys"}))
        for one in facts[importer].imports:
            modules.missing(importer, one)


@pytest.mark.promise(LINE, "modules that take all of each other: a chain of 1,000 stars, 300 modules that each have 300")
@pytest.mark.parametrize("stars", ["a chain", pytest.param("all in all", marks=pytest.mark.faults)])
def test_stars_made_to_keep_their_judge_busy_do_not(stars: str) -> None:
    is_chain = stars == "a chain"
    count = 1_000 if is_chain else 300
    numbers = range(count)
    facts = {
        f"m{n}.py": Facts(
            True, imports=tuple(Import(1, 0, f"m{to}", ("*",), False) for to in ((n + 1,) if is_chain else numbers))
        )
        for n in numbers
    }
    facts[f"m{count}.py"] = Facts(True, exports=frozenset({"there"}))
    modules = Modules(facts, (), facts.get, lambda *_: False, frozenset)
    with within(5):
        assert modules.missing("asking.py", Import(1, 0, "m0", ("there",), False)) == []
        assert is_chain is bool(modules.missing("asking.py", Import(1, 0, "m0", ("absent",), False)))
        for number in range(2_000):
            modules.missing("asking.py", Import(1, 0, "m0", (f"n{number}",), False))


# -- plain trees: Python has the last word ----------------------------------------------------------------------------

PARTS = ("a", "b", "c", "µ", "μ", "json", "colorsys", "__init__", "__main__", "src", "a2")
NAMES = ("x", "y", "_z", "é", "a", "b", "c", "µ")


class Plain:
    """A random tree of modules that do nothing but bind names and import each other, with more imports to be judged."""

    def __init__(self, chance: random.Random, root: Path) -> None:
        self.chance = chance
        self.root = root
        folders = {""}
        for _ in range(chance.randint(1, 6)):
            above = chance.choice(sorted(folders))
            folder = f"{above}/{chance.choice(PARTS)}".lstrip("/")
            if folder.count("/") < 4:
                folders.add(folder)
        self.paths = {f"{folder}/__init__.py" for folder in folders if folder and chance.random() < 0.85}
        for _ in range(chance.randint(3, 14)):
            self.paths.add(f"{chance.choice(sorted(folders))}/{chance.choice(PARTS)}.py".lstrip("/"))
        self.paths -= {"__init__.py"}  # else the top is a package, and where imports begin is not known
        if chance.random() < 0.3:
            self.paths |= {f"{path}i" for path in chance.sample(sorted(self.paths), 1)}
        self.modules = sorted({re.sub(r"(/__init__)?\.pyi?$", "", path).replace("/", ".") for path in self.paths})
        for path in sorted(self.paths):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(self._source(path))

    def _source(self, path: str) -> str:
        chance = self.chance
        bound = chance.sample(NAMES, chance.randrange(5))
        lines = [f"{name} = 1" for name in bound]
        deleted = bound[:1] if chance.random() < 0.2 else []
        if chance.random() < 0.2:
            lines.append(f"__all__ = {[name for name in bound if name not in deleted][:2]}")
        imports = [self.statement(path) for _ in range(chance.choice((0, 0, 1, 2)))]
        if chance.random() < 0.25:
            imports.append(f"from {self._other(path)} import *")
        lines += [f"try: {one}\nexcept (ImportError, AttributeError): pass" for one in imports]
        chance.shuffle(lines)
        return "\n".join([*lines, *(f"del {name}" for name in deleted)]) + "\n"

    def _other(self, path: str) -> str:
        """A module as an import may call it, mostly one that is there."""
        module = self.chance.choice(self.modules)
        match self.chance.randrange(6):
            case 0:
                return ".".join(self.chance.choice(PARTS) for _ in range(self.chance.randint(1, 3)))
            case 1 | 2:
                return "." * self.chance.choice((1, 1, 2, path.count("/") + 2)) + self.chance.choice(("", *PARTS))
            case 3:
                return f"{module}.{self.chance.choice(PARTS)}"
            case _:
                return module

    def statement(self, path: str) -> str:
        module = self._other(path)
        if module.startswith(".") or self.chance.random() < 0.6:
            return f"from {module} import {self.chance.choice((*NAMES, *PARTS))}"
        return f"import {module}"


def _is_plainly_missing(plain: Plain, path: str, statement: str, said: str) -> bool:
    """Whether what Python misses is a module below regular packages of the tree: no doubt, for anyone who reads the tree."""
    said_missing = re.fullmatch(r"No module named '([^']*)'", said)
    asked = re.match(r"(?:from|import) (\.*)([^ ]*)", statement)
    around = path.split("/")[:-1]
    if said_missing is None or asked is None or len(asked[1]) > len(around) or any(one.endswith(".pyi") for one in plain.paths):
        return False
    base = around[: len(around) - len(asked[1]) + 1] if asked[1] else []
    whole, parts = ".".join([*base, *filter(None, [asked[2]])]), said_missing[1].split(".")
    if not f"{whole}.".startswith(f"{said_missing[1]}.") or parts[0] in {*STDLIB, "src", "__main__"}:
        return False
    others = ["/".join([*around[:at], parts[0]]) for at in range(1, len(around) + 1)]
    is_of_another_root = not asked[1] and any(one.startswith(tuple(others)) for one in plain.paths)
    packages = ["/".join(parts[:at]) for at in range(1, len(parts))]
    return bool(packages) and not is_of_another_root and all(f"{one}/__init__.py" in plain.paths for one in packages)


@pytest.mark.promise(NO_FALSE_ALARM, "imports in random trees of plain modules, held against what Python makes of them")
@pytest.mark.parametrize("seed", seeds(everyday=1, full=40))
def test_what_python_imports_is_never_called_broken_and_what_is_plainly_missing_is(
    parsers: Parsers, tmp_path: Path, seed: int, record_property: Callable[..., None]
) -> None:
    chance = random.Random(seed)
    plain = Plain(chance, tmp_path)
    asked = [(path, plain.statement(path)) for path in sorted(plain.paths) if path.endswith(".py") for _ in range(4)]
    parsed = map(Facts.from_json, parsers.ask([statement.encode() for _, statement in asked]))
    tree = Tree(tmp_path, ("",), parsers)
    try:
        for (path, statement), facts in zip(asked, parsed, strict=True):
            missing = [each for one in facts.imports for each in tree.modules.missing(path, one)]
            said = tree.really_fails(path, statement)
            about = (path, statement, said, missing, sorted(plain.paths))
            assert said or not missing, about
            assert missing or not _is_plainly_missing(plain, path, statement, said), about
    finally:
        tree.close()
    record_property("faults", len(asked))
