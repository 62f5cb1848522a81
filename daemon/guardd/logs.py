"""The daemon's log: JSON lines, or for people on a terminal, with priorities under systemd."""

import os
import sys
import threading
from collections.abc import MutableMapping
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def _lean() -> "Iterator[None]":
    """An import in which rich is not found (a None in `sys.modules`: importlib's way to say so), and asyncio has nothing in it.

    structlog loads them for tracebacks that we print plainly, and for methods that we do not call: rich, with Pygments, took
    150 of 210 ms of CPU, and 14 MB; asyncio, with ssl, half of what was left.
    """
    stand_ins: dict[str, ModuleType | None] = {"rich": None, "asyncio": ModuleType("asyncio")}
    missing = [name for name in stand_ins if name not in sys.modules]
    for name in missing:
        sys.modules[name] = stand_ins[name]  # type: ignore[assignment]  # what importlib documents, typeshed does not know
    try:
        yield
    finally:
        for name in missing:
            del sys.modules[name]


with _lean():
    import structlog

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
"""Events go here: short nouns with keys. Safe for any number of threads."""

_PRIORITY = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def set_up(level: str, format_: str) -> None:
    """Log to stdout from here on; `format_` is auto, json or console (auto: console on a terminal, else JSON).

    Under systemd, lines carry their priority. A second call holds for loggers that are in use, too.
    """
    on_terminal = sys.stdout.isatty()
    as_json = format_ == "json" or (format_ == "auto" and not on_terminal)
    renderer: structlog.typing.Processor
    if as_json:
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=on_terminal and "NO_COLOR" not in os.environ, sort_keys=False)
    processors: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _escape,
        renderer,
    ]
    if _under_journal():
        processors.append(_prefix_priority)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=_Stdout,
        cache_logger_on_first_use=False,  # so that a reload reaches them
    )


def tell(event: str, **keys: Any) -> None:
    """Log what someone asked for, whatever the least level that is logged."""
    structlog.wrap_logger(_Stdout(), structlog.get_config()["processors"], structlog.BoundLogger).info(event, **keys)


class _Stdout:
    """Writes lines to stdout. One that cannot be written (a full disk, a reader that left) must not stop what it tells of."""

    _lock = threading.Lock()

    def msg(self, line: str) -> None:
        with self._lock, suppress(OSError):
            print(line, flush=True)  # noqa: T201  # this is where lines go

    debug = info = warning = error = critical = msg


def _escape(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Paths may hold newlines, escape sequences and bytes of no encoding: none of that reaches a terminal raw."""
    for key, value in event.items():
        if key == "exception":  # has lines of its own, indented: one that a name in it begins is no event
            event[key] = "\n  ".join(map(_printable, str(value).split("\n")))
        elif isinstance(value, str):
            event[key] = _printable(value)
    return event


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return text.encode("unicode_escape", "surrogateescape").decode("ascii", "backslashreplace")


def _prefix_priority(_logger: object, method: str, line: Any) -> str:
    """Each line with its priority, as the journal reads it (sd-daemon(3): SD_ERR and others)."""
    return "\n".join(f"<{_PRIORITY.get(method, 6)}>{part}" for part in str(line).splitlines())


def _under_journal() -> bool:
    """Whether stdout goes to systemd's journal (JOURNAL_STREAM: systemd.exec(5))."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(1)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"
