"""The baseline's progress: a bar on a terminal, log lines otherwise."""

import sys
import time
from collections.abc import Callable

from guardd.logs import log

_LINE_EVERY_S = 2.0
_BAR_WIDTH = 30


def progress() -> Callable[[str, int, int], None]:
    """A function to call with (repo, done, total)."""
    last = 0.0
    on_terminal = sys.stderr.isatty()

    def show(repo: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if on_terminal and (done == total or now - last > 0.1):
            filled = _BAR_WIDTH * done // max(total, 1)
            end = "\r\x1b[K" if done == total else ""
            sys.stderr.write(f"\r[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] {done:,}/{total:,} files{end}")
            sys.stderr.flush()
            last = now
        elif not on_terminal and done < total and now - last > _LINE_EVERY_S:
            log.info("baseline", repo=repo, done=done, total=total)
            last = now

    return show
