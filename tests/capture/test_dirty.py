"""The dirty set: how long a path has waited is counted from its first hint that nothing has settled."""

import threading
import time

from guardd.capture.dirty import Dirty


def test_a_path_that_a_look_did_not_settle_has_waited_since_its_first_hint() -> None:
    dirty = Dirty(threading.Event())
    before = time.monotonic()
    dirty.changed("a.py", settled=True)
    first = dirty.take().since["a.py"]
    assert before <= first <= time.monotonic()
    dirty.changed("a.py", settled=True)  # hinted again while it was being looked at
    dirty.again("a.py", 0.0, first)
    assert dirty.lag_ns() >= (time.monotonic() - first) * 1e9 - 1e8
    while not (due := dirty.take()).paths:
        pass
    assert due.since == {"a.py": first}
    assert dirty.lag_ns() == 0


def test_a_path_that_is_looked_at_again_for_another_reason_waits_from_then_on() -> None:
    dirty = Dirty(threading.Event())
    dirty.changed("a.py", settled=True)
    first = dirty.take().since["a.py"]
    dirty.again("a.py", 0.0)
    while not (due := dirty.take()).paths:
        pass
    assert due.since["a.py"] > first
