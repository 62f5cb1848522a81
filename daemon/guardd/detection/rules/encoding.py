"""encoding: bytes that are no text any more, and line ends flipped throughout."""

import codecs
import re
from collections.abc import Iterator
from typing import ClassVar

from guardd.detection.change import Change
from guardd.model import Finding

_DECLARED = re.compile(rb"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", re.ASCII)
_FEWEST_LINES = 5
_NEARLY_ALL = 0.95


class Encoding:
    """Catches files that could be decoded (UTF-8, or what they declare as by PEP 263) and cannot any more.

    So is text that was decoded as what it is not and written back (mojibake, question marks), and doubled line ends.
    Line ends flipped throughout are found too but are no damage by themselves: the code still runs, and git or an editor may
    have been told to do so. Must not catch: files in an encoding of their own that they declare.
    """

    name: ClassVar = "encoding"
    needs_facts: ClassVar = False

    def look(self, change: Change) -> Iterator[Finding]:
        """At most one finding."""
        error = _undecodable(change.after)
        if error is not None:
            if _undecodable(change.before) is None:
                yield Finding(self.name, f"not decodable any more: {error}", change.after[: max(0, error.start)].count(b"\n") + 1)
        elif how := _mangled(change.before, change.after):
            yield Finding(self.name, how)
        elif b"\r\r\n" in change.after and b"\r\r\n" not in change.before:
            yield Finding(self.name, "line ends doubled: CR CR LF", change.after.split(b"\r\r\n")[0].count(b"\n") + 1)
        elif len(change.lines_after) >= _FEWEST_LINES:
            then, now = _crlf_share(change.before), _crlf_share(change.after)
            if (then < 1 - _NEARLY_ALL and now > _NEARLY_ALL) or (then > _NEARLY_ALL and now < 1 - _NEARLY_ALL):
                yield Finding(self.name, f"line ends flipped to {'CRLF' if now > then else 'LF'} throughout", damage=False)


def _mangled(before: bytes, after: bytes) -> str | None:
    """How text beyond ASCII was lost on the way, if it was: read as Latin-1 or Windows-1252, or written as ASCII."""
    if before.isascii() or before == after:
        return None
    try:
        old, new = before.decode(), after.decode()
    except UnicodeDecodeError:
        return None
    for codec in ("latin-1", "cp1252"):
        try:
            if new.encode(codec) == before:
                return f"read as {codec} and written back as UTF-8"
        except UnicodeEncodeError:
            continue
    if after.isascii() and old.encode("ascii", "replace") == after:
        return "every character beyond ASCII became a question mark"
    return None


def _undecodable(content: bytes) -> UnicodeDecodeError | None:
    try:
        content.decode(_declared(content))
    except UnicodeDecodeError as error:
        return error
    except (LookupError, ValueError):  # "hex", "undefined": declared, and no encoding of text; the parser says what it thinks
        return None
    return None


def _declared(content: bytes) -> str:
    for line in content.split(b"\n", 2)[:2]:
        if match := _DECLARED.match(line):
            try:
                return codecs.lookup(match[1].decode()).name
            except LookupError:
                return "latin-1"  # not ours to judge
    return "utf-8-sig"


def _crlf_share(content: bytes) -> float:
    lines = content.count(b"\n")
    return content.count(b"\r\n") / lines if lines else 0.0
