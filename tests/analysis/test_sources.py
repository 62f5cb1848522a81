"""The parsing processes: hostile sources cost one answer each, never the daemon's."""

import os
import time
from pathlib import Path

import pytest

from guardd.analysis.sources import Facts, Parsers, accepted_by_ruff, asked_of_ruff

HOSTILE = {
    "nested brackets": b"x = " + b"(" * 100_000 + b")" * 100_000,
    "nested lists": b"[" * 5_000 + b"]" * 5_000,
    "a chain of minus signs": b"x = " + b"-" * 2_000_000 + b"1\n",
    "a chain of attributes": b"x" + b".a" * 100_000 + b"\n",
    "one line of 10 MB": b"x = '" + b"a" * 10_000_000 + b"'\n",
    "nul": b"\0",
    "a wrong cookie": b"# coding: zork\nx = 1\n",
    "a lone surrogate": b"x = '\xed\xa0\x80'\n",
    "a number of 100,000 digits": b"x = " + b"9" * 100_000 + b"\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_source_is_unknown_or_refused_and_the_next_one_is_read(name: str) -> None:
    with Parsers(timeout_s=3.0) as parsers:
        started = time.monotonic()
        hostile, *good = (Facts.from_json(text) for text in parsers.ask([HOSTILE[name], b"def f(): pass\n", b"x = 1\n"]))
        assert time.monotonic() - started < 15
        assert hostile.parses in (None, False, True)
        assert [one.parses for one in good] == [True, True]


def test_no_answer_comes_after_the_deadline() -> None:
    with Parsers() as parsers:
        late = parsers.ask([b"x = 1\n"] * 5, deadline=time.monotonic() - 1)
    assert [Facts.from_json(text).parses for text in late] == [None] * 5


def test_facts_are_equal_from_process_to_process() -> None:
    source = b"import b, a\nx = {1, 'two', (3, 4)}\nif x in {5, 'six', None}:\n    y = 1\n"
    answers = set()
    for _ in range(3):
        with Parsers() as parsers:
            answers.update(parsers.ask([source]))
    assert len(answers) == 1


def test_what_our_interpreter_refuses_is_asked_of_a_newer_parser() -> None:
    assert accepted_by_ruff([b"type X[T] = list[T]\n", b"def f(:\n", b"return 1\n"]) == [True, False, False]


def test_an_ignore_file_above_the_scratch_folder_hides_nothing_from_ruff(tmp_path: Path) -> None:
    for name in (".ignore", ".gitignore"):
        (tmp_path / name).write_text("*\n")
    problems = asked_of_ruff([b"x = 1\n", b"def f(:\n"], "F701", 10.0, folder=str(tmp_path))
    assert problems is not None
    assert {number for number, _ in problems} == {1}
    assert sorted(path.name for path in tmp_path.iterdir()) == [".gitignore", ".ignore"]


def test_scratch_folders_of_the_killed_are_removed_and_those_in_use_are_not(tmp_path: Path) -> None:
    for name, age_s in (("guard-ruff-killed", 3600), ("guard-ruff-in-use", 0), ("others", 3600)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.py").write_bytes(b"secret = 1\n")
        os.utime(tmp_path / name, (time.time() - age_s,) * 2)
    os.symlink("others", tmp_path / "guard-ruff-link")
    asked_of_ruff([b"x = 1\n"], "F701", 10.0, folder=str(tmp_path))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["guard-ruff-in-use", "guard-ruff-link", "others"]
