"""Where a program hangs, from its stacks: what is common to all looks, and the loop around it."""

import faulthandler
import os
import threading
from pathlib import Path

import pytest

from guardd.checking.stacks import Frame, Stack, enclosing_loop, parse_stacks, standing


def stack(*calls: tuple[str, int]) -> Stack:
    return tuple(Frame("a.py", line, function) for function, line in calls)


def test_what_faulthandler_writes_is_read_back_whatever_the_names(tmp_path: Path) -> None:
    odd = str(tmp_path / 'ä\udcff", line 3 in 🐍.py')
    with open(tmp_path / "trace", "w+b") as file:
        read, write = os.pipe()
        other = threading.Thread(target=os.read, args=(read, 1))
        other.start()
        space = {"look": lambda: faulthandler.dump_traceback(file.fileno(), all_threads=True)}
        exec(compile("\n\ndef ä():\n    look()\nä()", odd, "exec"), space)
        os.write(write, b"x")
        other.join()
        file.seek(0)
        text = file.read().decode()
    os.close(read)
    os.close(write)
    (found,) = parse_stacks(text, threading.get_ident())
    assert found[-3:-1] == (Frame(odd, 5, "<module>"), Frame(odd, 4, "ä"))
    assert parse_stacks(text, 1) == []
    assert parse_stacks(text * 3, threading.get_ident()) == [found] * 3
    assert parse_stacks("", 1) == []


@pytest.mark.parametrize(
    ("stacks", "innermost", "lines"),
    [
        ([stack(("top", 9), ("work", 3), ("one", 5)), stack(("top", 9), ("work", 4), ("two", 7))], "work", (3, 4)),
        ([stack(("top", 9), ("work", 3), ("one", 5)), stack(("top", 9), ("work", 3), ("two", 7))], "work", (3, 3)),
        ([stack(("top", 9), ("work", 3), ("one", 5)), stack(("top", 9), ("work", 4), ("one", 5))], "work", (3, 4)),
        ([stack(("top", 9), ("work", 3)), stack(("top", 9), ("work", 3))], "work", (3, 3)),
        ([stack(("top", 9), ("work", 3)), stack(("top", 8))], "top", (9, 8)),
        ([stack(("a", 1), ("b", 2)), stack(("c", 1), ("d", 2))], "d", (2,)),
        ([stack(("top", 9))], "top", (9,)),
    ],
)
def test_a_program_stands_where_all_looks_agree(stacks: list[Stack], innermost: str, lines: tuple[int, ...]) -> None:
    found = standing(stacks)[-1]
    assert (found.frame.function, found.lines) == (innermost, lines)
    assert found.frame.line == lines[-1]


def test_no_look_is_no_place() -> None:
    assert standing([]) == []


SOURCE = b"""for a in x:
    while a:
        b()
    with c: pass

    def f():
        for g in x: g()
        h()
    try:
        i()
    except E:
        while j:
            k()
    match l:
        case 1:
            for m in l:
                n()
o()
"""


@pytest.mark.parametrize(
    ("lines", "loop"),
    [
        ([1], 1),
        ([3], 2),
        ([2, 3], 2),
        ([3, 4], 1),
        ([4], 1),
        ([7], 7),
        ([8], None),
        ([10], 1),
        ([13], 12),
        ([17], 16),
        ([18], None),
    ],
)
def test_the_loop_around_lines_is_that_of_their_own_function(lines: list[int], loop: int | None) -> None:
    assert enclosing_loop(SOURCE, lines) == loop


@pytest.mark.parametrize("source", [b"def (", b"x = " + b"(" * 100_000, b"\0", b"# coding: zork\n", b"-" * 100_000 + b"1", b""])
def test_a_source_that_cannot_be_read_has_no_loop(source: bytes) -> None:
    assert enclosing_loop(source, [1]) is None
