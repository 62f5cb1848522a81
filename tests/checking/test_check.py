"""The check of one tree against another: what is new is named, what was there before is not."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from guardd.analysis.sources import Parsers
from guardd.checking.check import Conditions, Problem, problems
from guardd.checking.facts import TreeFacts
from guardd.checking.trees import LogTree
from guardd.model import ABSENT, FileState, Kind, Moment, Origin
from guardd.selection import SelectionRules
from guardd.store.appending import Observation
from guardd.store.codec import digest, encode
from guardd.store.store import Store

HALF, OTHER_HALF = (
    "".join(f"def name_{number}():\n    return {number}\n\n\n" for number in numbers) for numbers in (range(6), range(6, 12))
)
FUNCTIONS = HALF + OTHER_HALF
START = {
    "pkg/__init__.py": "",
    "pkg/names.py": FUNCTIONS,
    "pkg/stars.py": "from pkg.names import *\n",
    "tests/test_one.py": "from pkg.names import name_1\n\n\ndef test():\n    assert name_1()\n",
    "tests/test_star.py": "from pkg.stars import name_2\n\n\ndef test():\n    assert name_2()\n",
    "broken.py": "def half(:\n    pass\nfrom pkg.names import nowhere\n",
    "old.py": "from pkg.names import never_was\n# REMOVED_SYNTAX_ERROR: x = 1\n",
}


@pytest.fixture(scope="module")
def parsers() -> Iterator[Parsers]:
    with Parsers() as parsers:
        yield parsers


class Past:
    """A store whose log has two states of a tree."""

    def __init__(self, folder: Path, parsers: Parsers) -> None:
        (folder / "state").mkdir(mode=0o700)
        self.store = Store(str(folder / "state"), create=True)
        self.root = str(folder)
        self.repo = self.store.repos.add(self.root, SelectionRules())
        self.parsers = parsers
        self._seconds = 0

    def write(self, files: dict[str, str | bytes | None]) -> int:
        self._seconds += 1
        seen = []
        for path, text in files.items():
            content = text.encode() if isinstance(text, str) else text
            head = self.store.log.head(self.repo.id, path)
            state = ABSENT if content is None else FileState(Kind.FILE, digest(content), len(content), 0o644)
            kept = None if content is None else encode(state.blob, content, None)
            seen.append(Observation(path, head.seq, state, None, content=kept))
        now = Moment(1_750_000_000_000_000_000 + self._seconds * 10**9, self._seconds * 10**9, "boot")
        self.store.log.record(self.repo.id, seen, Origin.WATCH, now)
        return self.store.log.last_seq()

    def problems(self, before: int | None, after: int | None = None) -> list[Problem]:
        tree = LogTree(self.store, self.repo.id, self.root, after)
        past = None if before is None else LogTree(self.store, self.repo.id, self.root, before)
        return problems(past, tree, Conditions(self.root), TreeFacts(self.parsers, self.store))


@pytest.fixture
def past(tmp_path: Path, parsers: Parsers) -> Iterator[Past]:
    made = Past(tmp_path, parsers)
    yield made
    made.store.close()


NAMES = START["pkg/names.py"]
NEW_TROUBLE = {
    "nothing": ({"tests/test_one.py": START["tests/test_one.py"] + "\n"}, set()),
    "a name that others import": (
        {"pkg/names.py": NAMES.replace("name_1()", "renamed_1()")}, {("tests/test_one.py", 1, "import")},
    ),
    "a name that others import through a star": (
        {"pkg/names.py": NAMES.replace("name_2()", "renamed_2()")}, {("tests/test_star.py", 1, "import")},
    ),
    "a module is deleted": (
        {"pkg/names.py": None},
        {("pkg/stars.py", 1, "import"), ("tests/test_one.py", 1, "import"), ("tests/test_star.py", 1, "import")},
    ),
    "a module moves, and those who import it know": (
        {"pkg/names.py": None, "pkg/better.py": NAMES, "pkg/stars.py": "from pkg.better import *\n",
         "tests/test_one.py": "from pkg.better import name_1\n\n\ndef test():\n    assert name_1()\n"}, set(),
    ),
    "an import of what is not there": (
        {"tests/test_one.py": START["tests/test_one.py"].replace("name_1", "missing_1")}, {("tests/test_one.py", 1, "import")},
    ),
    "a new file with all kinds of trouble": (
        {"new.py": "from pkg.names import nothing\n# REMOVED_SYNTAX_ERROR: a\n# REMOVED_SYNTAX_ERROR: b\n"},
        {("new.py", 1, "import"), ("new.py", 2, "marker"), ("new.py", 3, "marker")},
    ),
    "a conflict": (
        {"tests/test_one.py": "<<<<<<< HEAD\na = 1\n=======\na = 2\n>>>>>>> x\n" + START["tests/test_one.py"]},
        {("tests/test_one.py", 1, "conflict-marker"), ("tests/test_one.py", 1, "syntax")},
    ),
    "NUL": ({"tests/test_one.py": b"a\0"}, {("tests/test_one.py", 1, "null-bytes"), ("tests/test_one.py", 0, "syntax")}),
    "no text": ({"new.py": b"a = '\xff'\n"}, {("new.py", 1, "encoding"), ("new.py", 1, "syntax")}),
    "emptied": (
        {"tests/test_one.py": ""}, {("tests/test_one.py", 0, "emptied"), ("tests/test_one.py", 0, "code-loss")},
    ),
    "half of the code is gone": (
        {"pkg/names.py": HALF}, {("pkg/names.py", 0, "code-loss")},
    ),
    "half of the code is in another file": (
        {"pkg/names.py": "from pkg.more import *\n" + HALF,
         "pkg/more.py": OTHER_HALF}, set(),
    ),
    "what was broken stays broken": (
        {"broken.py": str(START["broken.py"]) + "\nx = 1\n", "old.py": str(START["old.py"]) + "x = 1\n"}, set(),
    ),
    "a broken file is mended": ({"broken.py": "def half():\n    pass\nfrom pkg.names import nowhere\n"}, set()),
    "a marked file moves": ({"old.py": None, "newer.py": START["old.py"]}, set()),
    "a marked file moves and is edited": ({"old.py": None, "pkg/old.py": str(START["old.py"]) + "x = 1\n"}, set()),
}  # fmt: skip


@pytest.mark.parametrize("name", NEW_TROUBLE)
def test_only_new_trouble_is_named(past: Past, name: str) -> None:
    edit, expected = NEW_TROUBLE[name]
    before = past.write(dict(START))
    past.write(edit)

    assert {(one.path, one.line, one.rule) for one in past.problems(before)} == expected


def test_without_an_earlier_tree_the_state_is_judged(past: Past) -> None:
    past.write(dict(START))

    found = past.problems(None)

    assert [(one.path, one.line, one.rule) for one in found] == [
        ("broken.py", 1, "syntax"), ("old.py", 1, "import"), ("old.py", 2, "marker"),
    ]  # fmt: skip
    assert not any("any more" in one.message for one in found)


def test_what_a_function_binds_in_its_callers_is_there_for_a_check_too(past: Past) -> None:
    past.write(
        {
            "inject.py": "import sys\ndef both(f):\n    sys._getframe(1).f_globals[f.__name__ + 'Py'] = f\n    return f\n",
            "walks.py": "from inject import both\n\n\n@both\ndef walk():\n    pass\n",
            "use.py": "from walks import walkPy\nfrom walks import talkPy\n",
        }
    )
    assert [(one.path, one.line) for one in past.problems(None)] == [("use.py", 2)]


def test_the_log_has_its_trees_as_they_were(past: Past) -> None:
    first = past.write(dict(START))
    second = past.write({"old.py": None, "new.py": "x = 1\n"})

    then, now = (LogTree(past.store, past.repo.id, past.root, place) for place in (first, second))

    assert set(then.blobs()) == set(START)
    assert {path: then.read(path) for path in then.blobs()} == {path: text.encode() for path, text in START.items()}
    assert set(now.blobs()) == set(START) - {"old.py"} | {"new.py"}


def test_what_a_helper_binds_in_its_callers_is_there_for_a_check_too(past: Past) -> None:
    """zope.interface's `_use_c_impl`; what is kept of a content for checks must be enough for it."""
    past.write(
        {
            "helper.py": "import sys\ndef alias(it):\n    sys._getframe(1).f_globals[it.__name__ + 'Py'] = it\n    return it\n",
            "made.py": "from helper import alias\n\n\n@alias\ndef work():\n    return 1\n",
            "user.py": "from made import workPy\n",
        }
    )
    assert past.problems(None) == []


def test_what_could_not_be_parsed_in_time_once_is_asked_again(past: Past, parsers: Parsers) -> None:
    past.write({"a.py": "def (\n"})
    tree = LogTree(past.store, past.repo.id, past.root)
    with Parsers(timeout_s=0.0) as none_in_time:
        facts = TreeFacts(none_in_time, past.store).of(tree, "a.py")
    assert facts is not None
    assert facts.parses is None
    assert [one.rule for one in past.problems(None)] == ["syntax"]
