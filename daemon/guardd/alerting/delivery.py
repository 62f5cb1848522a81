"""The process that delivers alerts: one thread a target, so that one that hangs holds up no other, and none the daemon.

`python -m guardd.alerting.delivery STATE_DIR` reads one line of JSON on stdin, the targets; each further line says that
something new is due. It ends when stdin does, or when nothing is due for a while.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from guardd import clock
from guardd.alerting.composing import compose
from guardd.alerting.endpoint import endpoint
from guardd.alerting.http import NotDelivered
from guardd.alerting.planning import due_in_ns, next_try_s
from guardd.alerting.targets import least_interval_s, send
from guardd.config.alerts import AlertSettings, unpack
from guardd.errors import GuardError
from guardd.logs import log
from guardd.model import Delivery
from guardd.store.lock import delivery_lock
from guardd.store.outbox import Outbox
from guardd.store.store import Store

_IDLE_S = 10.0
_LOOK_S = 1.0
_LOCK_S = 60.0
_FINISH_S = 12.0
_ATTEMPTS = 4
_SOON_S = 30.0
"""A longer wait that a target asks for is kept in the outbox, where it outlives this process."""

_LONGEST_NS = 7 * 86_400 * 1_000_000_000
"""What no one took for a week is given up."""

_SECOND_NS = 1_000_000_000


@dataclass
class Shift:
    """What the couriers share: `wake` is notified of news and guards the rest; once `over`, no one begins to send."""

    wake: threading.Condition = field(default_factory=threading.Condition)
    over: bool = False
    busy: int = 0
    worked: float = field(default_factory=time.monotonic)


class Courier:
    """Delivers to one target, one message after the other, in a thread of its own."""

    def __init__(self, state_dir: str, settings: AlertSettings, shift: Shift) -> None:
        self._state_dir = state_dir
        self._settings = settings
        self._shift = shift
        self._unwritten: Callable[[Outbox], None] | None = None
        self._rest_s = 0.0

    def run(self) -> None:
        """Deliver what is due, for ever."""
        while True:
            try:
                with Store(self._state_dir) as store:
                    while True:
                        self._round(store)
            except Exception as error:  # the outermost loop of this thread: the store may be there again in a moment
                log.error("alerts not delivered", target=self._settings.label, error=str(error))
                time.sleep(_LOOK_S)  # not on a condition: no news mends a store

    def _round(self, store: Store) -> None:
        if self._unwritten is not None:  # what was sent must be written down, lest it be sent again
            self._unwritten(store.outbox)
            self._unwritten = None
        delivery = store.outbox.next(self._settings.label)
        wait_s = _LOOK_S if delivery is None else min(_LOOK_S, due_in_ns(delivery.due_ns, clock.now().wall_ns) / _SECOND_NS)
        with self._shift.wake:
            if delivery is None or wait_s > 0 or self._shift.over:
                self._shift.wake.wait(wait_s or _LOOK_S)
                return
            self._shift.busy += 1
        try:
            self._unwritten = self._deliver(store, delivery)
            self._unwritten(store.outbox)
            self._unwritten = None
        finally:
            with self._shift.wake:
                self._shift.busy -= 1
                self._shift.worked = time.monotonic()
        time.sleep(self._rest_s)  # the target's own limit (Slack: one message a second), once it is written down what was sent
        self._rest_s = 0.0

    def _deliver(self, store: Store, delivery: Delivery) -> Callable[[Outbox], None]:
        """Try to send it; how to write down what became of it."""
        about = {"target": delivery.target, "alert": delivery.dedup_key}
        begun_ns, tries = clock.now().wall_ns, 0
        try:
            to = endpoint(self._settings)
            message = compose(store, delivery, redact=to.redact)
            for attempt in self._attempts():
                with attempt:
                    tries = attempt.num
                    answer = send(message, to)
        except Exception as error:  # whatever a target's code raises: this message waits, the others go on
            failure = _failure(error)
            log.warning("alert not delivered", **about, attempts=delivery.attempts + tries, error=str(failure))
            return self._put_back(delivery, tries, failure, begun_ns)
        log.info("alert delivered", **about, attempts=delivery.attempts + tries, answer=answer)
        self._rest_s = least_interval_s(to.kind)
        return partial(Outbox.sent, delivery=delivery, attempts=tries, now_ns=clock.now().wall_ns, answer=answer)

    def _attempts(self) -> Iterator[Any]:
        import stamina

        return iter(
            stamina.retry_context(
                on=_again, attempts=_ATTEMPTS, timeout=_SOON_S + self._settings.timeout / _SECOND_NS, wait_initial=0.5,
                wait_max=8.0, wait_jitter=0.5,
            )
        )  # fmt: skip

    def _put_back(self, delivery: Delivery, tries: int, failure: NotDelivered, begun_ns: int) -> Callable[[Outbox], None]:
        answer = str(failure)
        if failure.refused or begun_ns - delivery.alert.time_ns > _LONGEST_NS:
            return partial(Outbox.refused, delivery=delivery, attempts=tries, answer=answer, failing_ns=begun_ns)
        wait_s = next_try_s(delivery.attempts, failure.retry_after_s, passing=failure.passing, spread=random.random())  # noqa: S311  # jitter
        due_ns = clock.now().wall_ns + int(wait_s * _SECOND_NS)
        return partial(Outbox.postponed, delivery=delivery, attempts=tries, due_ns=due_ns, answer=answer, failing_ns=begun_ns)


def _failure(error: Exception) -> NotDelivered:
    if isinstance(error, NotDelivered):
        return error
    why = str(error) if isinstance(error, GuardError) else f"it failed: {type(error).__name__}"  # others may quote a URL
    return NotDelivered(why, passing=False)


def _again(error: Exception) -> bool | float:
    """Whether to try again in a moment, and when (a backoff hook of stamina)."""
    if not isinstance(error, NotDelivered) or not error.passing:
        return False
    if error.retry_after_s is None:
        return True
    return max(error.retry_after_s, 0.1) if error.retry_after_s <= _SOON_S else False


def deliver(state_dir: str, targets: list[AlertSettings]) -> None:
    """Deliver until stdin ends, or nothing was due for a while."""
    shift = Shift()
    for one in targets:
        courier = Courier(state_dir, one, shift)
        threading.Thread(target=courier.run, name=f"alert-{one.label}", daemon=True).start()
    ended = threading.Event()
    threading.Thread(target=_listen, args=(shift, ended), name="alert-news", daemon=True).start()
    while not (ended.wait(_LOOK_S) or _is_idle(shift)):
        pass
    deadline = time.monotonic() + _FINISH_S
    with shift.wake:
        shift.over = True
        while shift.busy and time.monotonic() < deadline:  # what is under way is written down, lest it be sent twice
            shift.wake.wait(0.05)


def _is_idle(shift: Shift) -> bool:
    with shift.wake:
        shift.over = not shift.busy and time.monotonic() - shift.worked > _IDLE_S
        return shift.over


def _listen(shift: Shift, ended: threading.Event) -> None:
    for _ in sys.stdin:
        with shift.wake:
            shift.wake.notify_all()
    ended.set()


def main() -> None:
    """Deliver the alerts of a store, unless another process does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the daemon closes stdin when it ends, however it ends
    import stamina

    stamina.instrumentation.set_on_retry_hooks([])
    told = json.loads(sys.stdin.readline() or "{}")
    log.set_up(told["log_level"], told["log_format"])
    with delivery_lock(sys.argv[1]) as lock:
        if not lock.try_acquire(_LOCK_S):
            log.error("alerts not delivered", error=f"another process (pid {lock.holder()}) delivers them")
            return
        deliver(sys.argv[1], [unpack(one) for one in told["targets"]])
    sys.stdout.flush()
    os._exit(0)  # a thread that hangs in a target must not keep this process


if __name__ == "__main__":
    main()
