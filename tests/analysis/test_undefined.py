"""Undefined names: what can only fail is named, and nothing that may be there."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.make_tree import copy_packages, copy_stdlib

from guardd.analysis.sources import Facts, Parsers
from guardd.analysis.undefined import undefined_names

UNDEFINED = {
    "in a function": ("def f():\n    return nothing + 1\n", [2]),
    "in a method": ("class A(object):\n    def f(self):\n        return nothing(1)\n", [3]),
    "in a decorated method": ("class A:\n    @property\n    @staticmethod\n    def f():\n        return nothing\n", [5]),
    "in one function, another's own": ("def f():\n    nothing = 1\n    return nothing\n\n\ndef g():\n    return nothing\n", [7]),
    "in a comprehension": ("def f(x):\n    return [nothing for _ in x]\n", [2]),
    "in a class body": ("class A:\n    x = nothing()\n", [2]),
    "in a default": ("def f(x=nothing):\n    return x\n", [1]),
    "in a signature's annotation": ("def f(x: nothing):\n    return x\n", [1]),
    "an import that went away": ("import json\n\n\ndef f():\n    return json.loads(os.getcwd())\n", [5]),
    "a call before the function": ("x = later()\n\n\ndef later():\n    return 1\n", [1]),
    "a decorator before it is there": ("@later\ndef f():\n    pass\n\n\ndef later(f):\n    return f\n", [1]),
    "a base class before it is there": ("class A(Later):\n    pass\n\n\nclass Later:\n    pass\n", [1]),
    "a default before it is there": ("def f(x=LATER):\n    return x\n\n\nLATER = 1\n", [1]),
    "an import further down": ("x = os.getcwd()\nimport os\n", [1]),
    "a class body before it": ("class A:\n    x = Later()\n\n\nclass Later:\n    pass\n", [2]),
    "its own name": ("counter = counter + 1\n", [1]),
}
DEFINED = {
    "noqa": "def f():\n    return nothing + 1  # noqa: F821\n",
    "a noqa for the whole file": "# ruff: noqa\ndef f():\n    return nothing + 1\n",
    "a star": "from pkg import *\n\n\ndef f():\n    return nothing + 1\n",
    "exec": "exec('nothing = 1')\n\n\ndef f():\n    return nothing + 1\n",
    "globals": "globals()['nothing'] = 1\n\n\ndef f():\n    return nothing + 1\n",
    "globals, updated": "globals().update(read())\n\n\ndef f():\n    return nothing + 1\n",
    "asked for before": "def f():\n    if 'nothing' in globals():\n        return nothing + 1\n",
    "NameError is caught": "try:\n    x = nothing + 1\nexcept NameError:\n    x = 1\n",
    "for Python 2": "import sys\nif sys.version_info < (3,):\n    text = nothing + 1\n",
    "Python 2's own": "def f(x):\n    return isinstance(x, unicode)\n",
    "gettext's": "def f():\n    return _('text')\n",
    "a metaclass may give it": "from sly import Base\n\n\nclass Lexer(Base):\n    tokens = {NAME, NUMBER}\n",
    "a global of a function": "def f():\n    global made\n    made = 1\n\n\ndef g():\n    return made + 1\n",
    "used in a function, defined further down": "def f():\n    return later()\n\n\ndef later():\n    return 1\n",
    "used in a lambda, defined further down": "f = lambda: later()\n\n\ndef later():\n    return 1\n",
    "perhaps defined before": "import sys\nif sys.argv:\n    later = 1\nx = later\nlater = 2\n",
    "perhaps not evaluated": "import sys\nx = sys.argv or later\nlater = 2\n",
    "in a string": "def f(x: 'Later'):\n    return x\n\n\nclass Later:\n    pass\n",
    "an annotation that waits": "class A:\n    x: Later\n\n\nclass Later:\n    pass\n",
    "a loop that binds it": "for x in range(3):\n    if x:\n        print(last)\n    last = x\n",
    "a built-in one that is bound further down": "x = max(1, 2)\n\n\ndef max(*values):\n    return values\n",
    "a type parameter": "class A[T]:\n    def f(self, x: T) -> T:\n        return x\n",
    "a walrus": "if (found := len('x')):\n    print(found)\n",
    "what an import of a star may bind": "from tkinter import *\nroot = Tk()\n",
    "match": "match [1]:\n    case [first, *rest]:\n        print(first, rest)\n",
}


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    with Parsers() as parsers:
        yield parsers


def lines(parsers: Parsers, sources: list[bytes]) -> dict[bytes, list[int]]:
    facts = [Facts.from_json(text) for text in parsers.ask(sources)]
    found = undefined_names({source: (source, one) for source, one in zip(sources, facts, strict=True)})
    assert found is not None
    return {source: [line for line, _ in problems] for source, problems in found.items()}


def test_what_can_only_fail_is_named_with_its_line(parsers: Parsers) -> None:
    found = lines(parsers, [source.encode() for source, _ in UNDEFINED.values()])
    assert {name: found.get(source.encode()) for name, (source, _) in UNDEFINED.items()} == {
        name: expected for name, (_, expected) in UNDEFINED.items()
    }


def test_what_may_be_there_is_not_named(parsers: Parsers) -> None:
    found = lines(parsers, [source.encode() for source in DEFINED.values()])
    assert {name: found[source.encode()] for name, source in DEFINED.items() if source.encode() in found} == {}


def test_the_message_tells_whether_it_comes_too_late(parsers: Parsers) -> None:
    source = b"x = later()\n\n\ndef later():\n    return nothing + 1\n"
    (text,) = parsers.ask([source])
    assert undefined_names({b"k": (source, Facts.from_json(text))}) == {
        b"k": [
            (1, "'later' is used while the module is imported, and defined only further down"),
            (5, "'nothing' is not defined"),
        ]
    }


def test_nothing_is_undefined_in_packages_of_the_standard_library(parsers: Parsers, tmp_path: Path) -> None:
    copy_packages(tmp_path, ("json", "logging", "re"))
    assert lines(parsers, [path.read_bytes() for path in tmp_path.rglob("*.py")]) == {}


@pytest.mark.long
def test_nothing_is_undefined_in_the_standard_library_but_what_its_tests_mean(parsers: Parsers, tmp_path: Path) -> None:
    copy_stdlib(tmp_path)
    sources = {path.read_bytes(): path.name for path in tmp_path.rglob("*.py")}
    found = {sources[source] for source in lines(parsers, list(sources))}
    assert found <= {"test_code.py", "test_versionpredicate.py"}  # names that are not there indeed


def test_a_ruff_that_fails_says_nothing_rather_than_that_all_is_defined(monkeypatch: pytest.MonkeyPatch) -> None:
    source = b"def f():\n    return nowhere\n"
    with Parsers() as parsers:
        (text,) = parsers.ask([source])
    monkeypatch.setattr("guardd.analysis.sources.ruff_program", lambda: "/bin/false")
    assert undefined_names({b"k": (source, Facts.from_json(text))}) is None
