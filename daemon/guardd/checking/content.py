"""What can be said of a content by itself, whatever tree it lies in. Pure."""

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Self

from blake3 import blake3

from guardd.analysis import sources
from guardd.analysis.markers import Pattern
from guardd.analysis.sources import Facts, imports_from_raw
from guardd.checking.marked import marked
from guardd.detection.change import Change
from guardd.detection.rules.encoding import Encoding
from guardd.detection.rules.null_bytes import NullBytes
from guardd.detection.rules.syntax import Syntax

UNDEFINED_NAME = "undefined-name"

_VERSION = 3
"""Raise it when other things are said of a content."""

_RULES = (NullBytes(), Encoding(), Syntax())
_ONLY_FOR_CHANGES = ("definitions", "statements", "shape", "skeleton", "unbound", "undefined", "early")
_NAMES_THAT_IMPORTS_NEED = {"__all__"}
_EMPTY = Facts(parses=True)


class Trouble(NamedTuple):
    """Something that is wrong with a content; `line` is 1-based, 0 where none can be named."""

    line: int
    rule: str
    message: str


class Content:
    """A content: its facts, without those that only a comparison of two needs, and what is wrong with it.

    The facts are put together when they are asked for: of most files a check needs the imports alone.
    """

    __slots__ = ("_facts", "_raw", "imports", "repathed", "troubles")

    def __init__(self, raw: dict[str, Any]) -> None:
        self._raw: dict[str, Any] = raw["facts"]
        self._facts: Facts | None = None
        self.imports = imports_from_raw(self._raw.get("imports", ())) if self._raw["parses"] else ()
        self.repathed: bool = self._raw.get("repathed", False)
        self.troubles = tuple([Trouble(*one) for one in raw["troubles"]])

    @property
    def facts(self) -> Facts:
        """The facts."""
        if self._facts is None:
            self._facts = Facts.from_raw({**self._raw, "exports": self._raw.get("exports", "").split()})
        return self._facts

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote."""
        return cls(json.loads(text))

    @classmethod
    def all_from_json(cls, texts: Iterable[bytes]) -> list[Self]:
        """What `to_json` wrote, of many contents: read as one document, in half of the time."""
        return [cls(raw) for raw in json.loads(b"[" + b",".join(texts) + b"]")]


def to_json(facts: str, troubles: Sequence[Trouble]) -> str:
    """A content as it is kept, out of the facts that a worker wrote: what is false or empty goes without saying."""
    raw: dict[str, Any] = json.loads(facts)
    for key in _ONLY_FOR_CHANGES:
        raw.pop(key, None)
    if "imports" in raw:  # of one that may fail, only the names that a star may bind count
        raw["imports"] = [one for one in raw["imports"] if not one[4] or one[3] == ["*"]]
    raw["exports"] = " ".join(raw.get("exports", ()))  # read much faster than a list
    raw["names"] = sorted(_NAMES_THAT_IMPORTS_NEED.intersection(raw.get("names", ())))
    raw = {key: value for key, value in raw.items() if value or key in ("parses", "listed")}
    return json.dumps({"facts": raw, "troubles": troubles}, separators=(",", ":"))


def version_of(markers: Iterable[str]) -> int:
    """Of what is said of contents where these are the markers: another number for every other set of rules."""
    told = repr((sources.VERSION, _VERSION, tuple(markers)))
    return int.from_bytes(blake3(told.encode()).digest(8)) >> 1


def troubles_of(
    content: bytes, facts: Facts | None, markers: Pattern, undefined: Iterable[tuple[int, str]] = ()
) -> Iterator[Trouble]:
    """What is wrong with a content by itself; without facts, one that is no Python: marked lines only."""
    change = Change("", b"", content, _EMPTY, facts)
    yield from (Trouble(*one) for one in marked(change, markers))
    if facts is None:
        return
    for rule in _RULES:
        for finding in rule.look(change):
            if finding.damage:
                yield Trouble(finding.line, finding.rule, finding.message.replace(" any more", "", 1))
    yield from (Trouble(line, UNDEFINED_NAME, message) for line, message in undefined)
