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
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import structlog

from guardd import clock, logs
from guardd.alerting.composing import compose
from guardd.alerting.endpoint import endpoint
from guardd.alerting.http import NotDelivered
from guardd.alerting.planning import next_try_s
from guardd.alerting.targets import least_interval_s, send
from guardd.config.alerts import AlertSettings, unpack
from guardd.errors import ConfigError, GuardError
from guardd.model import Delivery
from guardd.store.lock import delivery_lock
from guardd.store.store import Store

log = structlog.get_logger()

_IDLE_S = 10.0
_LOOK_S = 1.0
_LOCK_S = 60.0
_FINISH_S = 12.0
_ATTEMPTS = 4
_SOON_S = 30.0
"""A longer wait that a target asks for is kept in the outbox, where it outlives this process."""

_SECOND_NS = 1_000_000_000


@dataclass
class Courier:
    """Delivers to one target, one message after the other, in a thread of its own."""

    state_dir: str
    settings: AlertSettings
    wake: threading.Condition
    busy: bool = False
    worked: float = 0.0

    def run(self) -> None:
        """Deliver what is due, for ever."""
        while True:
            try:
                with Store(self.state_dir) as store:
                    while True:
                        self._round(store)
            except GuardError as error:  # the outermost loop of this thread: the store may be there again in a moment
                log.error("alerts not delivered", target=self.settings.label, error=str(error))
                time.sleep(_LOOK_S)  # not on a condition: no news mends a store

    def _round(self, store: Store) -> None:
        delivery = store.outbox.next(self.settings.label)
        now_ns = clock.now().wall_ns
        if delivery is not None and delivery.due_ns <= now_ns:
            self.busy = True
            try:
                self._deliver(store, delivery)
            finally:
                self.busy, self.worked = False, time.monotonic()
            return
        wait_s = _LOOK_S if delivery is None else min(_LOOK_S, (delivery.due_ns - now_ns) / _SECOND_NS)
        with self.wake:
            self.wake.wait(wait_s)

    def _deliver(self, store: Store, delivery: Delivery) -> None:
        about = {"target": delivery.target, "alert": delivery.dedup_key}
        begun_ns, tries = clock.now().wall_ns, 0
        try:
            to = endpoint(self.settings)
            message = compose(store, delivery, redact=to.redact)
            for attempt in self._attempts():
                with attempt:
                    tries = attempt.num
                    answer = send(message, to)
        except (NotDelivered, ConfigError) as error:
            failure = error if isinstance(error, NotDelivered) else NotDelivered(str(error), passing=False)
            self._put_back(store, delivery, tries, failure, begun_ns)
            log.warning("alert not delivered", **about, attempts=delivery.attempts + tries, error=str(error))
        else:
            store.outbox.sent(delivery, tries, clock.now().wall_ns, answer)
            log.info("alert delivered", **about, attempts=delivery.attempts + tries, answer=answer)
            time.sleep(least_interval_s(to.kind))  # the target's own limit (Slack: one message a second)

    def _attempts(self) -> Iterator[Any]:
        import stamina

        return iter(
            stamina.retry_context(
                on=_again, attempts=_ATTEMPTS, timeout=_SOON_S + self.settings.timeout / _SECOND_NS, wait_initial=0.5,
                wait_max=8.0, wait_jitter=0.5,
            )
        )  # fmt: skip

    def _put_back(self, store: Store, delivery: Delivery, tries: int, failure: NotDelivered, begun_ns: int) -> None:
        if failure.refused:
            store.outbox.refused(delivery, tries, str(failure))
            return
        wait_s = next_try_s(delivery.attempts, failure.retry_after_s, passing=failure.passing, spread=random.random())  # noqa: S311
        due_ns = clock.now().wall_ns + int(wait_s * _SECOND_NS)
        store.outbox.postponed(delivery, tries, due_ns, str(failure), begun_ns)


def _again(error: Exception) -> bool | float:
    """Whether to try again in a moment, and when (a backoff hook of stamina)."""
    if not isinstance(error, NotDelivered) or not error.passing:
        return False
    if error.retry_after_s is None:
        return True
    return max(error.retry_after_s, 0.1) if error.retry_after_s <= _SOON_S else False


def deliver(state_dir: str, targets: list[AlertSettings]) -> None:
    """Deliver until stdin ends, or nothing was due for a while."""
    wake = threading.Condition()
    couriers = [Courier(state_dir, one, wake) for one in targets]
    for one in couriers:
        threading.Thread(target=one.run, name=f"alert-{one.settings.label}", daemon=True).start()
    ended = threading.Event()
    threading.Thread(target=_listen, args=(wake, ended), name="alert-news", daemon=True).start()
    begun = time.monotonic()
    while not ended.wait(_LOOK_S):
        worked = max([begun, *(one.worked for one in couriers)])
        if not any(one.busy for one in couriers) and time.monotonic() - worked > _IDLE_S:
            return
    deadline = time.monotonic() + _FINISH_S
    while any(one.busy for one in couriers) and time.monotonic() < deadline:
        time.sleep(0.05)  # what is under way is written down, lest it be sent twice


def _listen(wake: threading.Condition, ended: threading.Event) -> None:
    for _ in sys.stdin:
        with wake:
            wake.notify_all()
    ended.set()


def main() -> None:
    """Deliver the alerts of a store, unless another process does."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the daemon closes stdin when it ends, however it ends
    import stamina

    stamina.instrumentation.set_on_retry_hooks([])
    told = json.loads(sys.stdin.readline() or "{}")
    logs.set_up(told["log_level"], told["log_format"])
    with delivery_lock(sys.argv[1]) as lock:
        if not lock.try_acquire(_LOCK_S):
            log.error("alerts not delivered", error=f"another process (pid {lock.holder()}) delivers them")
            return
        deliver(sys.argv[1], [unpack(one) for one in told["targets"]])
    sys.stdout.flush()
    os._exit(0)  # a thread that hangs in a target must not keep this process


if __name__ == "__main__":
    main()
