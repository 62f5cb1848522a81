"""What is said to people: one message, before any target gives it its form. Pure."""

from typing import NamedTuple

from guardd.escaping import one_line
from guardd.model import Severity, Stage

TOP_FILES = 10
"""How many files a message names."""


class Subject(NamedTuple):
    """The incident that a message is about."""

    id: int
    state: str
    files: int
    damaged: int
    files_in_repo: int
    rules: tuple[tuple[str, int], ...]
    certainty: str
    pid: int | None
    command: str | None
    note: str
    opened_ns: int
    settled: bool


class Message(NamedTuple):
    """One message. `dedup_key` is the same in every attempt to deliver it, `thread` in all messages of one subject.

    `facts` are (label, text) pairs, `files` the first few paths of `incident.files`, `hunk` lines of an example diff,
    `commands` what to type. All text is on one line and harmless to a terminal; what is special in a target's markup is the
    target's to escape.
    """

    dedup_key: str
    thread: str
    stage: Stage
    severity: Severity
    title: str
    host: str
    time_ns: int
    repo: str = ""
    incident: Subject | None = None
    facts: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    hunk: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether its subject needs no one any more."""
        return self.stage is Stage.RESOLVED

    @property
    def more_files(self) -> int:
        """How many files there are besides those that it names."""
        return max(0, (self.incident.files if self.incident else 0) - len(self.files))

    @property
    def file_lines(self) -> tuple[str, ...]:
        """The first few files, one a line, and how many more there are."""
        named = self.files[:TOP_FILES]
        more = self.more_files + len(self.files) - len(named)
        return (*named, f"and {more:,} more") if named and more else named


def clipped(text: str, limit: int) -> str:
    """A text of at most `limit` characters, with an ellipsis where something was cut off."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def plain(message: Message) -> str:
    """The message as plain text, for targets that have no markup."""
    return "\n".join((message.title, "", *details(message)))


def details(message: Message) -> list[str]:
    """The lines of plain text below the title; what to type comes before what is long."""
    lines = [f"{label}: {text}" for label, text in message.facts]
    for block in (message.commands, message.file_lines, message.hunk):
        lines += ["", *(f"  {line}" for line in block)] if block else []
    return lines


def harmless(text: str, limit: int = 300) -> str:
    """Text from outside on one line, bounded, with nothing raw in it."""
    return clipped(one_line(text), limit)
