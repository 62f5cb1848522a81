"""Each rule on pairs of contents: what it must catch, and what it must not."""

import textwrap

import pytest

from guardd.analysis.environment import installed_names
from guardd.analysis.imports import Modules
from guardd.analysis.markers import DEFAULT_MARKERS, marker_pattern
from guardd.analysis.sources import Facts, Parsers
from guardd.detection.benign.same_code import same_code
from guardd.detection.change import Change
from guardd.detection.rules import Rules
from guardd.model import Finding

GOOD = textwrap.dedent(
    '''
    """A module."""
    import os
    from json import loads


    class Reader:
        """Reads."""

        def read(self, path):
            with open(path) as file:
                return loads(file.read())

        def names(self, path):
            return sorted(os.listdir(path))


    def first(values):
        for value in values:
            return value
        return None


    def second(values):
        found = list(values)
        if len(found) > 1:
            return found[1]
        return None
    '''
).encode()


OURS = GOOD.replace(b"from json", b"from other")
UNUSED = b"import sys\n" + GOOD
FUTURE = b"from __future__ import annotations\n" + GOOD
USED = GOOD + b"value = first([1])\n"
SMALL = b"import os\na = os\nb = a\nc = b\nd = c\n"
ACCENTS = GOOD.replace(b"Reads.", "Reads caf\u00e9s.".encode())
NEWER = GOOD + b"def f[T: int = int](x: T): return t'{x}'\n"
LIBRARY = b"import requests\n\n\ndef get(url):\n    return requests.get(url)\n"
PRINTS = GOOD + b"def loud():\n    print(1)\n    print(2)\n    log.info(3)\n    return 1\n"


@pytest.fixture(scope="module")
def parsers():
    with Parsers() as parsers:
        yield parsers


def changed(parsers: Parsers, before: bytes, after: bytes, path: str = "pkg/mod.py") -> Change:
    then, now = (Facts.from_json(text) for text in parsers.ask([before, after]))
    return Change(path, before, after, then, now)


def findings(parsers: Parsers, before: bytes, after: bytes) -> list[Finding]:
    modules = Modules(
        ["pkg/mod.py", "pkg/__init__.py", "other.py"], (), lambda path: None, lambda folder, name: False, lambda: None
    )
    rules = Rules(marker_pattern(DEFAULT_MARKERS), modules).all()
    change = changed(parsers, before, after)
    return [finding for rule in rules for finding in rule.look(change)]


def commented(content: bytes, prefix: bytes = b"# ") -> bytes:
    return b"\n".join(prefix + line if line.strip() else line for line in content.split(b"\n"))


DAMAGE = {
    "hollowed": (GOOD, commented(GOOD, b"# REMOVED_SYNTAX_ERROR: "), {"marker", "code-loss"}),
    "commented out without a marker": (GOOD, commented(GOOD), {"code-loss"}),
    "hollowed though it did not parse before": (GOOD + b"def f(:\n", commented(GOOD + b"def f(:\n"), {"code-loss"}),
    "a marker, code kept": (GOOD, GOOD + b"# REMOVED_SYNTAX_ERROR: x\n", {"marker"}),
    "a conflict": (GOOD, GOOD + b"<<<<<<< HEAD\na = 1\n=======\na = 2\n>>>>>>> x\n", {"marker", "syntax"}),
    "statements gone": (GOOD, GOOD[: GOOD.index(b"        with open")] + b"        pass\n", {"code-loss"}),
    "unbalanced": (GOOD, GOOD.replace(b"(values)", b"(values", 1), {"syntax"}),
    "emptied": (GOOD, b"", {"emptied", "code-loss"}),
    "only blanks left": (GOOD, b"\n\n \n", {"emptied", "code-loss"}),
    "cut in a line": (GOOD, GOOD[: GOOD.index(b"ed(os")], {"emptied"}),
    "NUL": (GOOD, GOOD.replace(b"class", b"\0\0\0\0\0"), {"null-bytes", "syntax"}),
    "UTF-16": (GOOD, GOOD.decode().encode("utf-16"), {"null-bytes", "encoding", "syntax", "code-loss"}),
    "not decodable": (GOOD, GOOD.replace(b"Reads.", b"Reads \xff."), {"encoding", "syntax"}),
    "a missing submodule": (GOOD, GOOD.replace(b"import os", b"import os\nfrom pkg.gone import x"), {"import"}),
    "a missing relative module": (GOOD, GOOD.replace(b"import os", b"import os\nfrom .gone import x"), {"import"}),
    "our import pointed at nothing": (OURS, OURS.replace(b"from other", b"from other_ssot"), {"import"}),
    "an import renamed, its name still used": (GOOD, GOOD.replace(b"import os", b"import os_ssot"), {"import"}),
    "an unused import renamed": (UNUSED, UNUSED.replace(b"import sys", b"import sys_ssot"), {"import"}),
    "a future that there is none of": (FUTURE, FUTURE.replace(b"annotations", b"unified"), {"syntax"}),
    "an import removed, its name still used": (GOOD, GOOD.replace(b"import os\n", b""), {"import"}),
    "a definition renamed, its name still used": (USED, USED.replace(b"def first", b"def unified"), {"code-loss"}),
    "a small file that loses all but its import": (SMALL, b"import os\n", {"code-loss"}),
    "mojibake": (ACCENTS, ACCENTS.decode("latin-1").encode(), {"encoding"}),
    "question marks": (ACCENTS, ACCENTS.decode().encode("ascii", "replace"), {"encoding"}),
    "doubled line ends": (GOOD, GOOD.replace(b"\n", b"\r\r\n"), {"encoding"}),
    "a coding that there is none of": (GOOD, b"# coding: utf-ssot\n" + GOOD, {"syntax"}),
    "a coding that is none of text": (GOOD, b"# coding: hex\n" + GOOD, {"syntax"}),
    "a coding that decodes nothing": (GOOD, b"# coding: undefined\n" + GOOD, {"syntax"}),
    "newer syntax broken": (NEWER, NEWER.replace(b"(x: T)", b"(x: T"), {"syntax"}),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_by_these_rules(parsers: Parsers, name: str) -> None:
    before, after, rules = DAMAGE[name]
    assert {finding.rule for finding in findings(parsers, before, after) if finding.damage} == rules


HARMLESS = {
    "typing for its backport": (b"import typing\n" + GOOD, b"import typing_extensions\n" + GOOD),
    "one library for another": (LIBRARY, LIBRARY.replace(b"requests", b"httpx")),
    "a name from another library": (GOOD, GOOD.replace(b"from json", b"from orjson")),
    "prints silenced": (PRINTS, PRINTS.replace(b"    print", b"    # print").replace(b"    log", b"    # log")),
    "generated anew": (b"# Generated by tool. DO NOT EDIT!\n" + GOOD, b"# Generated by tool. DO NOT EDIT!\nimport os\nx = os\n"),
    "an edit": (GOOD, GOOD.replace(b"found[1]", b"found[-1]")),
    "a marker that was there": (GOOD + b"# REMOVED_SYNTAX_ERROR: x\n", b"# REMOVED_SYNTAX_ERROR: x\n" + GOOD + b"y = 1\n"),
    "broken before": (b"def f(:\n" + GOOD, b"def f(:\n" + GOOD + b"z = 2\n"),
    "a function removed": (GOOD, GOOD[: GOOD.index(b"def second")]),
    "two lines commented out": (GOOD, GOOD.replace(b"    return None\n", b"    # return None\n")),
    "renamed definitions": (GOOD, GOOD.replace(b"first", b"head").replace(b"second", b"next_one").replace(b"Reader", b"Source")),
    "an empty file that gets code": (b"", GOOD),
    "an empty __init__ that loses its blank line": (b"\n", b""),
    "Latin-1 as declared": (GOOD, b"# -*- coding: latin-1 -*-\n" + GOOD.replace(b"Reads.", b"Reads \xe9.")),
    "an import that may fail": (GOOD, GOOD + b"try:\n    import ujson_gone\nexcept ImportError:\n    ujson_gone = None\n"),
    "an import for type checkers": (
        GOOD,
        GOOD + b"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .gone import T\n",
    ),
    "a third party added, environment unknown": (GOOD, GOOD + b"import requests\n"),
    "a submodule of the standard library": (GOOD, GOOD + b"import os.path\nfrom xml.etree import ElementTree\n"),
    "newer syntax than ours": (GOOD, GOOD + b"type Alias[T] = list[T]\ndef f[T: int = int](x: T): return t'{x}'\n"),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_what_people_do_is_no_damage(parsers: Parsers, name: str) -> None:
    before, after = HARMLESS[name]
    assert [finding for finding in findings(parsers, before, after) if finding.damage] == []


SAME = {
    "layout": (b"x = [1,2]\nif x: y = ( 3 )\n", b"x = [1, 2]\nif x:\n    y = 3\n"),
    "order of imports": (b"import sys, os\nfrom a import c, b\n", b"import os\nimport sys\nfrom a import b\nfrom a import c\n"),
    "docstring indented anew": (b'def f():\n  """A\n  b."""\n', b'def f():\n    """A\n    b."""\n'),
    "__future__": (b'"""D."""\nimport os\n', b'"""D."""\nfrom __future__ import annotations\nimport os\n'),
    "pyupgrade": (b"class A(object):\n    x = '%s' % set([1])\n", b"class A:\n    x = '{}'.format({1})\n"),
    "moved import": (b"from old.place import thing\nthing()\n", b"from new.place import thing\nthing()\n"),
}  # fmt: skip
OTHER = {
    "a new statement": (b"x = 1\n", b"x = 1\ny = 2\n"),
    "a name pointed elsewhere": (b"def f(a):\n    return a\n", b"def f(a):\n    return zork\n"),
    "a definition renamed": (b"def f(a):\n    return a\n", b"def g(a):\n    return a\n"),
    "does not parse": (b"x = 1\n", b"x = (\n"),
    "a comment behind which code went": (b"x = 1\ny = 2\n", b"x = 1\n# y = 2\n"),
}


@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_the_same_code_in_other_words_is_told_from_other_code(parsers: Parsers, name: str) -> None:
    before, after = (SAME | OTHER)[name]
    assert (same_code(changed(parsers, before, after)) is not None) == (name in SAME)


def test_third_parties_are_judged_where_the_environment_is_known(parsers: Parsers, tmp_path) -> None:
    site = tmp_path / ".venv/lib/python3.11/site-packages"
    (site / "requests").mkdir(parents=True)
    (tmp_path / ".venv/pyvenv.cfg").write_text("home = /usr\n")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/editable_one.py").write_text("")
    (site / "x.pth").write_text(f"{tmp_path}/linked\nimport something\n")
    names = installed_names(str(tmp_path), None)
    assert names is not None
    assert {"requests", "editable_one"} <= names
    modules = Modules(["a.py"], (), lambda path: None, lambda folder, name: False, lambda: names)
    (facts,) = [Facts.from_json(text) for text in parsers.ask([b"import requests, editable_one, os, zork\n"])]
    assert [missing.what for one in facts.imports for missing in modules.missing("a.py", one)] == ["there is no module 'zork'"]
    assert installed_names(str(tmp_path / "linked"), None) is None


MODULE = {
    "b.py": b"import os\nx = y = 1\n(p, *q), r = f()\nfor i in z: pass\nwith a as w: pass\nif (v := 1): pass\n"
    b"def g():\n    global made\n    made = 1\nclass C: inner = 1\nmatch m:\n    case {'k': cap}: pass\n",
    "stars.py": b"from b import *\n",
    "open_stars.py": b"from _socket import *\n",
    "lazy.py": b"def __getattr__(name):\n    if name in ('known', 'other'): return 1\n    raise AttributeError(name)\n",
    "dynamic.py": b"globals().update(a=1)\n",
    "reads.py": b"__all__ = [n for n in globals() if n]\nk = globals()['k2']\n",
    "broken.py": b"def f(:\n",
    "pkg/__init__.py": b"from .sub import thing as renamed\n",
    "pkg/sub.py": b"thing = 1\n",
    "space/part.py": b"part = 1\n",
    "lib/rooted.py": b"",
}


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("from b import x, y, p, q, r, i, w, v, g, made, C, cap, os, __name__", []),
        ("from b import zork, x", ["b has no 'zork'"]),
        ("import b.sub", ["there is no module 'b.sub'"]),
        ("from stars import x", []),
        ("from stars import zork", ["stars has no 'zork'"]),
        ("from open_stars import zork", []),
        ("from lazy import known, other", []),
        ("from lazy import zork", ["lazy has no 'zork'"]),
        ("from dynamic import zork", []),
        ("from reads import zork", ["reads has no 'zork'"]),
        ("from broken import zork", []),
        ("from pkg import sub, renamed", []),
        ("from pkg import thing_gone", ["pkg has no 'thing_gone'"]),
        ("import pkg.sub, pkg.gone", ["there is no module 'pkg.gone'"]),
        ("from pkg.sub import *", []),
        ("from space import part", []),
        ("from space import gone", ["space has no 'gone'"]),
        ("import rooted", []),
        ("from . import b", []),
        ("from .gone import b", ["there is no module '.gone'"]),
        ("from ... import b", []),
        ("import sys, numpy", ["there is no module 'numpy'"]),
    ],
)
def test_imports_resolve_against_the_tree(parsers: Parsers, statement: str, missing: list[str]) -> None:
    facts = {path: Facts.from_json(text) for path, text in zip(MODULE, parsers.ask(list(MODULE.values())), strict=True)}
    modules = Modules([*MODULE, "a.py"], ("lib",), facts.get, lambda folder, name: False, frozenset)
    found = Facts.from_json(parsers.ask([statement.encode()])[0])
    assert [one.what for statement_ in found.imports for one in modules.missing("a.py", statement_)] == missing
