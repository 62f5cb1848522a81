"""When the watchdog may be fed: on signs of life of the threads, not because time has passed."""

import pytest

from guardd.service.proof import STUCK_S, Life, Sign, is_proven

FED, NOW = 100.0, 130.0
WENT_ROUND = Sign(120.0, busy=False)


@pytest.mark.parametrize(
    ("sign", "proven"),
    [
        (Sign(120.0, busy=False), True),  # went round since
        (Sign(120.0, busy=True), True),  # went on since
        (Sign(90.0, busy=False), False),  # asleep, although it was asked to go round
        (Sign(NOW - STUCK_S + 1, busy=True), True),  # at one capture for long, but not for too long
        (Sign(NOW - STUCK_S, busy=True), False),  # stuck
    ],
)
def test_each_thread_must_have_moved_on_or_be_at_young_work(sign: Sign, proven: bool) -> None:
    assert is_proven([sign, WENT_ROUND], FED, NOW, is_told=True) is proven
    assert is_proven([WENT_ROUND, sign], FED, NOW, is_told=True) is proven


def test_how_things_stand_must_be_told() -> None:
    assert not is_proven([WENT_ROUND, WENT_ROUND], FED, NOW, is_told=False)


def test_a_life_tells_what_it_does_and_when_it_moved_on() -> None:
    life = Life()
    begun = life.sign
    life.works()
    assert life.sign.busy
    life.waits()
    assert not life.sign.busy
    assert life.sign.at_s > begun.at_s
