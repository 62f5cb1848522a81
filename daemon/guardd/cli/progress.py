"""A progress bar over half a second, on a terminal only."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from guardd.cli.context import Context

_PATIENCE_S = 0.5


@contextmanager
def bar(context: Context, what: str) -> Iterator[Callable[[int, int], None]]:
    """Gives a function to call with (done, total); the bar appears once it has taken half a second."""
    if context.quiet or context.json or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress  # 56 ms: only where a person watches

    begun = time.monotonic()
    shown = Progress(console=Console(stderr=True), transient=True, disable=False, auto_refresh=False)
    task = shown.add_task(what, visible=False)

    def on_progress(done: int, total: int) -> None:
        late = time.monotonic() - begun > _PATIENCE_S
        with suppress(OSError):  # the terminal may go away in the middle; what is measured here goes on
            shown.update(task, completed=done, total=total, visible=late, refresh=late)

    with suppress(OSError):
        shown.start()
    try:
        yield on_progress
    finally:
        with suppress(OSError):
            shown.stop()
