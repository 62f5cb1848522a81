"""Where a program stands, from the stacks that faulthandler writes: pure, but for the text that is handed in."""

import ast
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

_THREAD = re.compile(r"(?:Current thread|Thread) 0x([0-9a-f]+)\b.*:")
_FRAME = re.compile(r'  File "(.*)", line (\d+) in (.*)')
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_CUT = "  ..."
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


class Frame(NamedTuple):
    """One call: the file as its code names it, the line that it has come to, the function."""

    file: str
    line: int
    function: str


Stack = tuple[Frame, ...]
"""Outermost first."""


class Standing(NamedTuple):
    """A call that was there at every look, and the lines at which it was seen, last one last."""

    frame: Frame
    lines: tuple[int, ...]


def parse_stacks(text: str, thread: int) -> list[Stack]:
    """Every stack of this thread that is in the text, in order. One that was cut at its outer end is kept as it is."""
    found: list[list[Frame]] = []
    ours = False
    for line in text.splitlines():
        if header := _THREAD.match(line):
            ours = int(header[1], 16) == thread
            if ours:
                found.append([])
        elif ours and (call := _FRAME.fullmatch(line)):
            found[-1].append(Frame(_unescaped(call[1]), int(call[2]), _unescaped(call[3])))
        elif line != _CUT:
            ours = False
    return [tuple(reversed(frames)) for frames in found if frames]


def standing(stacks: Sequence[Stack]) -> list[Standing]:
    """The calls that the stacks have in common, outermost first: what is deeper comes and goes, so it is no place to hang in.

    Where a call was seen at different lines, nothing below it is common. Stacks without a common beginning (of a recursion,
    only the inner end is written) are told by the last of them.
    """
    common: list[Standing] = []
    for calls in zip(*stacks, strict=False):
        if len({(one.file, one.function) for one in calls}) > 1:
            break
        lines = tuple(one.line for one in calls)
        common.append(Standing(calls[-1], lines))
        if len(set(lines)) > 1:
            break
    return common or [Standing(one, (one.line,)) for one in (stacks[-1] if stacks else ())]


def enclosing_loop(source: bytes, lines: Iterable[int]) -> int | None:
    """The line of the innermost `for` or `while` around all of these lines of one function; None where there is none."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    wanted = set(lines)
    loop: int | None = None
    for node in _around(tree, min(wanted), max(wanted)):
        if isinstance(node, _SCOPES):
            loop = None
        elif isinstance(node, _LOOPS):
            loop = node.lineno
    return loop


def _around(tree: ast.AST, first: int, last: int) -> Iterator[ast.AST]:
    """The nodes that enclose these lines, outermost first."""
    node: ast.AST | None = tree
    while node is not None:
        yield node
        node = next((child for child in ast.iter_child_nodes(node) if _spans(child, first, last)), None)


def _spans(node: ast.AST, first: int, last: int) -> bool:
    begin, end = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
    if begin is None or end is None:  # an except clause has lines, a match case or a with item has none of its own
        return any(_spans(child, first, last) for child in ast.iter_child_nodes(node))
    return bool(begin <= first and last <= end)


def _unescaped(text: str) -> str:
    """Faulthandler writes ASCII alone; it leaves a backslash as it is, so a name with one may come out wrong."""
    return _ESCAPED.sub(lambda match: chr(int(next(filter(None, match.groups())), 16)), text)
