"""The daemon's log: JSON lines, or for people on a terminal, with priorities under systemd.

Our own, as structlog brings rich, Pygments and asyncio: 258 of the 737 ms that the daemon's imports took, and 14 MB.
"""

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

_PRIORITY = {"error": 3, "warning": 4, "info": 6, "debug": 7}
_LEVELS = ("debug", "info", "warning", "error")
_COLORS = {"debug": "\x1b[32m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
_BOLD, _DIM, _CYAN, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[36m", "\x1b[0m"
_EVENT_WIDTH = 30

Line = Mapping[str, Any]


class Log:
    """Where events go to: a short noun and its keys. Safe for any number of threads.

    A line that cannot be written (a full disk, a reader that left) is lost: it must not stop what it tells of.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._least = "info"
        self._render: Callable[[Line], str] = _as_json
        self._has_priorities = False

    def set_up(self, level: str, format_: str) -> None:
        """Log to stdout from here on; `format_` is auto, json or console (auto: console on a terminal, else JSON).

        Under systemd, lines carry their priority. A second call holds for whoever logs already, too.
        """
        on_terminal = sys.stdout.isatty()
        if format_ == "json" or (format_ == "auto" and not on_terminal):
            self._render = _as_json
        else:
            self._render = _colored if on_terminal and "NO_COLOR" not in os.environ else _plain
        self._least, self._has_priorities = level, _under_journal()

    def debug(self, event: str, **keys: Any) -> None:
        """What helps to see how something came about."""
        self._write("debug", event, keys)

    def info(self, event: str, **keys: Any) -> None:
        """What went as it should."""
        self._write("info", event, keys)

    def warning(self, event: str, **keys: Any) -> None:
        """What people may have to look at."""
        self._write("warning", event, keys)

    def error(self, event: str, **keys: Any) -> None:
        """What failed. `exc_info=True` adds the exception that is being handled."""
        self._write("error", event, keys)

    def tell(self, event: str, **keys: Any) -> None:
        """Log what someone asked for, whatever the least level that is logged."""
        self._write("info", event, keys, asked_for=True)

    def _write(self, level: str, event: str, keys: dict[str, Any], *, asked_for: bool = False) -> None:
        if not asked_for and _LEVELS.index(level) < _LEVELS.index(self._least):
            return
        exception = {"exception": traceback.format_exc().rstrip()} if keys.pop("exc_info", False) else {}
        line = {key: _escaped(value) for key, value in keys.items()}
        text = self._render(line | {"event": event, "level": level, "timestamp": _now()} | exception)
        if self._has_priorities:  # each line with its priority, as the journal reads it (sd-daemon(3): SD_ERR and others)
            text = "\n".join(f"<{_PRIORITY[level]}>{part}" for part in text.splitlines())
        with self._lock, suppress(OSError):
            sys.stdout.write(text + "\n")
            sys.stdout.flush()


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _as_json(line: Line) -> str:
    return json.dumps(line, default=repr)


def _plain(line: Line) -> str:
    keys = " ".join(f"{key}={_shown(value)}" for key, value in _keys_of(line))
    return f"{line['timestamp']} [{line['level']:<9}] {line['event']:<{_EVENT_WIDTH}} {keys}".rstrip() + _below(line)


def _colored(line: Line) -> str:
    keys = " ".join(f"{_CYAN}{key}{_PLAIN}={_shown(value)}" for key, value in _keys_of(line))
    level = f"{_COLORS[line['level']]}{line['level']:<9}{_PLAIN}"
    event = f"{_BOLD}{line['event']:<{_EVENT_WIDTH}}{_PLAIN}"
    return f"{_DIM}{line['timestamp']}{_PLAIN} [{level}] {event} {keys}".rstrip() + _below(line)


def _keys_of(line: Line) -> list[tuple[str, Any]]:
    return [(key, value) for key, value in line.items() if key not in ("timestamp", "level", "event", "exception")]


def _below(line: Line) -> str:
    return f"\n{line['exception']}" if "exception" in line else ""


def _shown(value: object) -> str:
    return value if isinstance(value, str) and value and not set(value) & set(" ='\"") else repr(value)


def _escaped(value: Any) -> Any:
    """Paths may hold newlines, escape sequences and bytes of no encoding: none of that reaches a terminal raw."""
    if not isinstance(value, str) or value.isprintable():
        return value
    return value.encode("unicode_escape", "surrogateescape").decode("ascii", "backslashreplace")


def _under_journal() -> bool:
    """Whether stdout goes to systemd's journal (JOURNAL_STREAM: systemd.exec(5))."""
    stream = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(1)
    except OSError:
        return False
    return stream == f"{found.st_dev}:{found.st_ino}"


log = Log()
"""The one log of a process."""
