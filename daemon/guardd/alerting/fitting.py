"""Text cut to what a target takes: measured as it is sent, escapes included, and never cut within an escape. Pure."""

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable

Escape = Callable[[str], str]
Measure = Callable[[str], int]


def as_is(text: str) -> str:
    """No escape, for what a target takes as plain text."""
    return text


def utf16(text: str) -> int:
    """The length in UTF-16 units: what chat systems count, or more than that."""
    return len(text) + sum(char > "\uffff" for char in text)


def json_bytes(text: str) -> int:
    """The length in bytes within a JSON document in UTF-8."""
    return len(encoded(text)) - 2


def encoded(document: object) -> bytes:
    """A document as JSON in UTF-8, small."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def fitted(text: str, limit: int, escape: Escape = as_is, measure: Measure = utf16) -> str:
    """The text escaped; of one that would be longer than `limit` as much as fits, with an ellipsis."""
    beginning = text[: limit + 1]  # no measure is less than the number of characters
    whole = escape(beginning)
    if len(beginning) == len(text) and measure(whole) <= limit:
        return whole
    room = limit - measure("…")
    count = bisect_right(range(len(beginning) + 1), room, key=lambda count: measure(escape(beginning[:count]))) - 1
    return escape(beginning[: max(count, 0)]) + "…"


def fitted_lines(
    lines: Iterable[str], limit: int, line_limit: int, escape: Escape = as_is, measure: Measure = utf16
) -> tuple[str, ...]:
    """The first lines that take no more than `limit` together, a newline after each, each cut to `line_limit`."""
    taken: list[str] = []
    for line in lines:
        fit = fitted(line, line_limit, escape, measure)
        limit -= measure(fit) + measure("\n")
        if limit < 0:
            break
        taken.append(fit)
    return tuple(taken)
