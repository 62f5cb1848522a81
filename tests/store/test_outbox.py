"""The outbox: what is queued, in which order it leaves, and what is kept."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from guardd.alerting.planning import Terms, assign
from guardd.model import Alert, Delivery, Severity, Stage
from guardd.store.outbox import Failing
from guardd.store.store import Store

SECOND = 1_000_000_000
NIGHT = int(datetime.fromisoformat("2026-11-24 23:30").timestamp()) * SECOND
TERMS = Terms("chat", Severity.WARNING, (22 * 60, 7 * 60), 300 * SECOND, 14_400 * SECOND)
LOSS = Alert(0, "protection-1-1", Stage.OPENED, Severity.HIGH, NIGHT, settled=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(str(tmp_path / "state"), create=True) as made:
        yield made


def hear(store: Store, alert: Alert, now_ns: int = NIGHT, terms: Terms = TERMS) -> None:
    with store.db.transaction():
        store.outbox.queue([alert])
    for one in store.outbox.unassigned():
        found = assign(one, terms, store.outbox.of_thread(one.thread, terms.target), now_ns)
        store.outbox.assign(one, found.deliveries, found.dropped)


def due(store: Store, now_ns: int) -> Delivery | None:
    found = store.outbox.next("chat")
    return found if found is not None and found.due_ns <= now_ns else None


def test_a_critical_does_not_wait_behind_a_warning_that_quiet_hours_hold_back(store: Store) -> None:
    warning = LOSS._replace(thread="incident-7-1", severity=Severity.WARNING, incident_id=None)
    hear(store, warning)
    assert due(store, NIGHT) is None
    hear(store, warning._replace(stage=Stage.UPDATED, severity=Severity.CRITICAL))
    found = due(store, NIGHT)
    assert found is not None
    assert (found.stage, found.alert.severity) == (Stage.OPENED, Severity.CRITICAL)


def test_messages_of_one_thread_keep_their_order_and_threads_do_not_wait_for_each_other(store: Store) -> None:
    hear(store, LOSS)
    first = due(store, NIGHT)
    assert first
    store.outbox.postponed(first, 1, NIGHT + 60 * SECOND, "no answer", NIGHT)
    hear(store, LOSS._replace(stage=Stage.RESOLVED))
    assert due(store, NIGHT) is None, "not its end before its beginning"
    hear(store, LOSS._replace(thread="protection-2-1"))
    other = due(store, NIGHT)
    assert other
    assert other.alert.thread == "protection-2-1"
    store.outbox.sent(other, 1, NIGHT, "ok")
    assert [one.stage for one in drain(store, NIGHT + 60 * SECOND)] == [Stage.OPENED, Stage.RESOLVED]


def drain(store: Store, now_ns: int) -> list[Delivery]:
    found = []
    while (one := due(store, now_ns)) is not None:
        store.outbox.sent(one, 1, now_ns, "ok")
        found.append(one)
    return found


def test_a_target_that_refuses_for_good_is_a_failing_one_and_its_recovery_is_told(store: Store) -> None:
    hear(store, LOSS)
    first = due(store, NIGHT)
    assert first
    store.outbox.refused(first, 1, "HTTP 413", NIGHT)
    assert store.outbox.failing() == [Failing("chat", NIGHT, told=False)]
    store.outbox.tell_failing(store.outbox.failing()[0], NIGHT)
    store.outbox.answers("chat", NIGHT + SECOND)
    assert store.outbox.failing() == []
    assert [one.stage for one in store.outbox.unassigned()] == [Stage.OPENED, Stage.RESOLVED]


def test_what_is_still_open_is_never_forgotten(store: Store) -> None:
    hear(store, LOSS)
    hear(store, LOSS._replace(thread="protection-2-1"))
    drain(store, NIGHT)
    hear(store, LOSS._replace(thread="protection-2-1", stage=Stage.RESOLVED))
    drain(store, NIGHT)
    store.outbox.forget(NIGHT + SECOND)
    assert {one.alert.thread for one in store.outbox.newest(10)} == {"protection-1-1"}
    hear(store, LOSS._replace(stage=Stage.RESOLVED))
    assert [one.stage for one in drain(store, NIGHT)] == [Stage.RESOLVED]


def test_a_clock_that_is_set_moves_what_is_tried_again_along(store: Store) -> None:
    hear(store, LOSS)
    first = due(store, NIGHT)
    assert first
    store.outbox.postponed(first, 1, NIGHT + 60 * SECOND, "no answer", NIGHT)
    store.outbox.shift(-3600 * SECOND)
    assert due(store, NIGHT - 3540 * SECOND)
