"""Each rule on pairs of contents: what it must catch, and what it must not."""

import textwrap
from dataclasses import replace

import pytest

from guardd.analysis.environment import installed_names
from guardd.analysis.imports import Modules
from guardd.analysis.markers import DEFAULT_MARKERS, marker_pattern
from guardd.analysis.sources import Facts, Parsers
from guardd.detection.benign.same_code import same_code
from guardd.detection.change import Change
from guardd.detection.rules import Rules
from guardd.detection.rules.code_loss import dangling, lost_definitions
from guardd.detection.rules.encoding import Encoding
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


def lines(*numbers: int) -> bytes:
    """A statement for each number, a line each."""
    return b"".join(b"x%d = %d\n" % (number, number) for number in numbers)


def functions(*numbers: int) -> bytes:
    return b"".join(b"def f%02d(): pass\n" % number for number in numbers)


MARKED = b"    # REMOVED_SYNTAX_ERROR: x\n"
FIFTY = b"# " + b"3456789 " * 5 + b"REMOVED_SYNTAX_ERROR"  # 62 characters
EURO = GOOD.replace(b"Reads.", "Reads \u20ac.".encode())
FLIPPED = lines(*range(5)).replace(b"\n", b"\r\n")
IMPORTED = b"from json import (  \n    loads,\n    dumps\n)\nfrom os import path, \\\n    sep\n"
SAID = {
    "one marker": (GOOD, GOOD + MARKED, "marker", "1 added line with a marker: # REMOVED_SYNTAX_ERROR: x", 29),
    "two markers": (b"a\n", MARKED * 2, "marker", "2 added lines with a marker: # REMOVED_SYNTAX_ERROR: x", 1),
    "twenty markers": (b"a\n", b"a\n" + MARKED * 20, "marker", "20 added lines with a marker: # REMOVED_SYNTAX_ERROR: x", 2),
    "more than are counted": (b"a\n", MARKED * 30, "marker", "over 20 added lines with a marker: # REMOVED_SYNTAX_ERROR: x", 1),
    "a long marked line": (b"a\n", FIFTY, "marker", f"1 added line with a marker: {FIFTY[:60].decode()}", 1),
    "a marked line that is no text": (
        b"a\n", MARKED.strip() + b"\xff\n", "marker", "1 added line with a marker: # REMOVED_SYNTAX_ERROR: x\ufffd", 1
    ),
    "emptied": (GOOD, b"\n", "emptied", f"emptied: {len(GOOD)} bytes are gone", 0),
    "cut off": (b"x = 1\ny = 'abcdefghijkl'\n", b"x = 1\ny = 'ab", "emptied", "truncated: 12 of 25 bytes are gone", 2),
    "a NUL": (GOOD, b"a\nb\0\nc\n", "null-bytes", "1 NUL byte", 2),
    "two NUL": (GOOD, b"a\nb\0\nc\0\n", "null-bytes", "2 NUL bytes", 2),
    "not decodable": (
        b"a\n", b"a\nb\n\xff", "encoding",
        "not decodable any more: 'utf-8' codec can't decode byte 0xff in position 4: invalid start byte", 3,
    ),
    "mojibake": (ACCENTS, ACCENTS.decode("latin-1").encode(), "encoding", "read as latin-1 and written back as UTF-8", 0),
    "mojibake of Windows": (EURO, EURO.decode("cp1252").encode(), "encoding", "read as cp1252 and written back as UTF-8", 0),
    "question marks": (
        ACCENTS, ACCENTS.decode().encode("ascii", "replace"), "encoding",
        "every character beyond ASCII became a question mark", 0,
    ),
    "doubled line ends": (b"a\nb\nc\nd\n", b"a\nb\nc\r\r\nd\r\r\n", "encoding", "line ends doubled: CR CR LF", 3),
    "does not parse": (b"x = 1\n", b"x = 1\ny = (1\n", "syntax", "does not parse any more: '(' was never closed", 2),
    "commented out": (
        lines(*range(30)), lines(0) + commented(lines(1, 2, 3)) + lines(*range(4, 30)), "code-loss",
        "3 of 30 lines of code are commented out", 2,
    ),
    "statements": (lines(*range(25)), lines(*range(15)), "code-loss", "10 of 25 statements are gone", 0),
    "definitions": (
        functions(*range(10)), functions(*range(7)), "code-loss", "3 of 10 definitions are gone: f07, f08, f09", 0
    ),
    "many definitions": (
        functions(*range(12)), functions(*range(6)) + lines(*range(12)), "code-loss",
        "6 of 12 definitions are gone: f06, f07, f08, f09, f10", 0,
    ),
    "definitions in use": (
        functions(*range(30)) + b"f00, f01, f02, f03, f04, f05\n", functions(*range(6, 30)) + b"f00, f01, f02, f03, f04, f05\n",
        "code-loss", "gone, and the code still uses it: f00, f01, f02, f03, f04", 0,
    ),
    "an import in use": (
        GOOD, GOOD.replace(b"import os\n", b""), "import", "nothing imports 'os' any more, and the code still uses it", 0
    ),
    "imports over several lines in use": (
        IMPORTED + b"path, sep, loads, dumps\n", b"path, sep, loads, dumps\n", "import",
        "nothing imports 'dumps', 'loads', 'path' any more, and the code still uses it", 0,
    ),
    "the last of several lines in use": (
        IMPORTED + b"dumps, sep\n", b"dumps, sep\n", "import",
        "nothing imports 'dumps', 'sep' any more, and the code still uses it", 0,
    ),
    "a missing module": (GOOD, b"x = 1\nimport pkg.gone\n" + GOOD, "import", "there is no module 'pkg.gone'", 2),
    "a name from a missing module": (GOOD, b"x = 1\nfrom .gone import a\n" + GOOD, "import", "there is no module '.gone'", 2),
    "what was ours by a relative import": (
        b"from .mod import a\na\n", b"from elsewhere import a\na\n", "import", "there is no module 'elsewhere'", 1
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_people_are_told_what_is_wrong_and_in_which_line(parsers: Parsers, name: str) -> None:
    before, after, rule, message, line = SAID[name]
    said = [(found.message, found.line) for found in findings(parsers, before, after) if found.rule == rule and found.damage]
    assert said == [(message, line)]


FLIPS = {
    "to CRLF": (FLIPPED.replace(b"\r", b""), FLIPPED, "line ends flipped to CRLF throughout"),
    "to LF": (FLIPPED, FLIPPED.replace(b"\r", b""), "line ends flipped to LF throughout"),
    "of a few lines": (lines(1, 2, 3, 4), lines(1, 2, 3, 4).replace(b"\n", b"\r\n"), None),
    "of half of the lines": (lines(*range(10)), FLIPPED + lines(*range(5, 10)), None),
    "back of half of the lines": (FLIPPED * 2, FLIPPED + lines(*range(5)), None),
    "of all but one of twenty": (lines(*range(20)), FLIPPED * 3 + FLIPPED[:-2] + b"\n", None),
    "of the rest": (FLIPPED * 3 + FLIPPED[:-2] + b"\n", lines(*range(20)), None),
    "none, CRLF as before": (FLIPPED, FLIPPED + FLIPPED, None),
    "none, LF as before": (lines(*range(5)), lines(*range(6)), None),
    "none, there was no line end": (b"x = 1", lines(*range(5)), None),
}


@pytest.mark.parametrize("name", FLIPS)
def test_line_ends_flipped_throughout_are_told_and_are_no_damage(name: str) -> None:
    before, after, message = FLIPS[name]
    assert list(Encoding().look(Change("a.py", before, after))) == (
        [Finding("encoding", message, damage=False)] if message else []
    )


def test_where_nothing_can_be_decoded_the_first_line_is_told() -> None:
    (found,) = Encoding().look(Change("a.py", b"x = 1\n", b"\n# coding: utf-32\n"))
    assert found.line == 1


LATIN = b"x = '\xe9'\n"
LIMITS = {
    "a fifth cut off": (b"v = '" + b"a" * 95, b"v = '" + b"a" * 75, {"emptied"}),
    "less than a fifth cut off": (b"v = '" + b"a" * 95, b"v = '" + b"a" * 76, set()),
    "cut off before a line's end": (b"v = 1\nw = 2\n", b"v = 1", set()),
    "cut off before a line's end, CRLF": (b"v = 1\r\nw = 2\r\n", b"v = 1", set()),
    "cut off after a line's end, CR": (b"v = 1\rw = 2\r", b"v = 1\r", set()),
    "NUL that were there": (b"\0" + GOOD, b"\0\0" + GOOD, set()),
    "doubled line ends that were there": (b"a\r\r\nb\n", b"a\r\r\nb\nc\n", set()),
    "accents taken out": (ACCENTS, ACCENTS.replace("\u00e9".encode(), b"e"), set()),
    "declared in the second line": (b"x = 1\n", b"#!/usr/bin/python\n# coding: latin-1\ny = 1\n" + LATIN, set()),
    "declared in the third line": (b"x = 1\n", b"\n\n# coding: latin-1\n" + LATIN, {"encoding", "syntax"}),
    "not what it declares": (b"# coding: ascii\n", b"# coding: ascii\n" + LATIN, {"encoding", "syntax"}),
    "two statements of two": (lines(1, 2), b"# nothing\n", {"code-loss"}),
    "one statement of one": (lines(1), b"# nothing\n", set()),
    "nine statements of ten": (lines(*range(10)), lines(1), {"code-loss"}),
    "eight statements of ten": (lines(*range(10)), lines(1, 2), set()),
    "nine statements of twenty": (lines(*range(20)), lines(*range(11)), set()),
    "ten statements of 26": (lines(*range(26)), lines(*range(16)), set()),
    "three lines of 31 commented out": (lines(*range(31)), commented(lines(0, 1, 2)) + lines(*range(3, 31)), set()),
    "two lines of ten commented out": (lines(*range(10)), commented(lines(0, 1)) + lines(*range(2, 10)), set()),
    "three definitions of eleven": (functions(*range(11)), functions(*range(8)), set()),
    "two definitions of six": (functions(*range(6)), functions(*range(4)), set()),
    "a new star may bind it": (USED, USED.replace(b"def first", b"from other import *\ndef head"), set()),
    "the star was there": (
        b"from other import *\n" + USED, b"from other import *\n" + USED.replace(b"def first", b"def head"), {"code-loss"}
    ),
    "a name in an import's comment": (
        b"import os  # first\nfirst = 1\nos, first\n", b"import os  # first\nos, first\n", set()
    ),
    "a name that was no import": (b"first = 1\nx = first\n", b"x = first\n", set()),
    "an import in another encoding": (b"# coding: latin-1\nimport \xe9t\n", b"# coding: latin-1\nimport \xe9t\nx = 1\n", set()),
    "an import that was broken": (b"import pkg.gone\n", b"import pkg.gone\nx = 1\n", set()),
    "a name whose import was broken": (b"from .gone import a\n", b"from .gone import a\nx = 1\n", set()),
    "an import gone from what did not parse": (b"import os\ndef f(:\nos\n", b"os\n", set()),
    "what was relative, of a module out of sight": (b"from .native import a\na\n", b"from elsewhere import a\na\n", {"import"}),
    "a library for one with a longer name": (b"import requests\n", b"import requests_ssot\n", set()),
}  # fmt: skip


@pytest.mark.parametrize("name", LIMITS)
def test_a_limit_is_where_it_is_said_to_be(parsers: Parsers, name: str) -> None:
    before, after, rules = LIMITS[name]
    assert {finding.rule for finding in findings(parsers, before, after) if finding.damage} == rules


def test_imports_are_told_up_to_ten(parsers: Parsers) -> None:
    missing = b"".join(b"import pkg.gone%d\n" % number for number in range(12))
    assert [found.line for found in findings(parsers, GOOD, missing + GOOD)] == list(range(1, 11))
    assert len(findings(parsers, GOOD, missing + GOOD.replace(b"import os\n", b""))) == 10


@pytest.mark.parametrize("missing", [("facts_before",), ("facts_after",), ("facts_before", "facts_after")])
def test_without_facts_of_both_sides_only_lines_are_judged(parsers: Parsers, missing: tuple[str, ...]) -> None:
    change = replace(changed(parsers, USED, b"import pkg.gone\nfirst\n"), **dict.fromkeys(missing))  # type: ignore[arg-type]
    modules = Modules([change.path], (), lambda path: None, lambda folder, name: False, lambda: None)
    assert [found for rule in Rules(marker_pattern(DEFAULT_MARKERS), modules).all() for found in rule.look(change)] == []
    assert (dangling(change), lost_definitions(change)) == (frozenset(), [])


def test_a_renamed_definition_is_not_lost(parsers: Parsers) -> None:
    assert lost_definitions(changed(parsers, functions(1, 2), functions(1, 3))) == []
    assert lost_definitions(changed(parsers, functions(1, 2, 3), functions(1, 4))) == ["f02"]


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
    "imports of a module that no one knows": (
        b"from itertools import chain\nchain()\n",
        b"from nowhere.itertools import chain\nchain()\n",
    ),
    "a comment behind which code went": (b"x = 1\ny = 2\n", b"x = 1\n# y = 2\n"),
}


@pytest.mark.parametrize("name", [*SAME, *OTHER])
def test_the_same_code_in_other_words_is_told_from_other_code(parsers: Parsers, name: str) -> None:
    before, after = (SAME | OTHER)[name]
    explained = same_code(changed(parsers, before, after), lambda one: not one.module.startswith("nowhere"))
    assert (explained is not None) == (name in SAME)


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
