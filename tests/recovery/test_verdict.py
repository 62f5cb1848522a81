"""What speaks against keeping what a command changed."""

import pytest

from guardd.checking.check import Problem
from guardd.recovery.command import Ended
from guardd.recovery.verdict import Policy, how_it_ended, objections
from guardd.recovery.verify import CommandRun

_FINE = Ended(0)
_PROBLEM = Problem("a.py", 3, "import", "b has no 'c'")


@pytest.mark.parametrize(
    ("ended", "changed", "problems", "verified", "policy", "expected"),
    [
        (_FINE, ["a.py"], [], [], Policy(), []),
        (_FINE, [], [], [], Policy(), []),
        (Ended(3), ["a.py"], [], [], Policy(), ["the command exited 3"]),
        (Ended(3), ["a.py"], [], [], Policy(ignore_exit=True), []),
        (Ended(137), [], [], [], Policy(), ["the command was ended by SIGKILL"]),
        (Ended(0, interrupted=True), [], [], [], Policy(ignore_exit=True), ["interrupted (Ctrl-C)"]),
        (Ended(143, told_to_stop="SIGTERM"), [], [], [], Policy(), ["guardctl was told to stop (SIGTERM)"]),
        (None, ["a.py"], [], [], Policy(), []),
        (_FINE, ["a.py", "b.py"], [], [], Policy(max_files=2), []),
        (_FINE, ["a.py", "b.py"], [], [], Policy(max_files=1), ["2 files changed, more than --max-files 1"]),
        (_FINE, ["a.py"], [], [], Policy(max_files=0), ["1 file changed, more than --max-files 0"]),
        (_FINE, ["s/b.py", "s/a.py", "t.py"], [], [], Policy(protected=("s/",)),
         ["protected: s/a.py and 1 more changed without --allow-protected"]),
        (_FINE, ["s/a.py"], [], [], Policy(protected=("s/",), allow_protected=True), []),
        (_FINE, ["s/\udcff\x1b[m.py"], [], [CommandRun("\udcff", 1, "")], Policy(protected=("s/",)),
         [r"protected: s/\xff\x1b[m.py changed without --allow-protected", r"verify: \xff: exit 1"]),
        (_FINE, ["a.py"], [_PROBLEM], [], Policy(ignore_exit=True), ["new damage in 1 file: import (1)"]),
        (_FINE, ["a.py"], [], [CommandRun("x", 0, ""), CommandRun("y", 124, "")], Policy(), ["verify: y: exit 124"]),
        (Ended(2), ["a.py"], [_PROBLEM], [], Policy(), ["the command exited 2", "new damage in 1 file: import (1)"]),
    ],
)  # fmt: skip
def test_each_thing_that_speaks_against_a_run_is_named(
    ended: Ended | None,
    changed: list[str],
    problems: list[Problem],
    verified: list[CommandRun],
    policy: Policy,
    expected: list[str],
) -> None:
    assert list(objections(ended, changed, problems, verified, policy)) == expected


def test_an_exit_code_is_told_as_what_it_is() -> None:
    assert [how_it_ended(code) for code in (0, 1, 127, 128 + 15, 255)] == [
        "exited 0", "exited 1", "exited 127", "was ended by SIGTERM", "exited 255",
    ]  # fmt: skip
