"""Loss of protection, as people are told of it."""

import pytest

from guardd.alerting.protection import Protection, watch
from guardd.model import Alert, Moment, RepoState, Stage

FULL = "store-full: no space left; free some space"
BLIND = "events-stopped: no file event came; the watch begins anew"
RESCAN = "rescan: the kernel's queue overflowed; wait"


class People:
    """What they are told, looking once a second."""

    def __init__(self, known: Protection | None = None) -> None:
        self.known = known or Protection(2)
        self.second = 1000
        self.told: list[Alert] = []

    def see(self, state: RepoState, *reasons: str, seconds: int) -> list[Stage]:
        told = []
        for _ in range(seconds):
            self.second += 1
            now = Moment(self.second * 1_000_000_000, self.second * 1_000_000_000, "boot")
            self.known, alert = watch(self.known, state, reasons, now)
            told += [alert] if alert else []
        self.told += told
        return [one.stage for one in told]


def test_a_loss_that_lasts_is_told_once_and_so_is_its_end() -> None:
    people = People()
    assert people.see(RepoState.STARTING, seconds=600) == []
    assert people.see(RepoState.DEGRADED, FULL, seconds=3) == []
    assert people.see(RepoState.DEGRADED, FULL, seconds=3600) == [Stage.OPENED]
    assert people.see(RepoState.PROTECTED, seconds=3600) == [Stage.RESOLVED]
    assert len({one.thread for one in people.told}) == 1
    assert people.told[0].detail == FULL


@pytest.mark.parametrize(("state", "reasons"), [(RepoState.DEGRADED, [FULL]), (RepoState.DESYNCED, [BLIND])])
def test_a_moment_is_not_worth_a_message(state: RepoState, reasons: list[str]) -> None:
    people = People()
    for _ in range(20):
        assert people.see(state, *reasons, seconds=3) == []
        assert people.see(RepoState.PROTECTED, seconds=2) == []


def test_a_scan_after_an_overflow_is_told_only_if_it_goes_on() -> None:
    people = People()
    assert people.see(RepoState.DEGRADED, RESCAN, seconds=50) == []
    assert people.see(RepoState.PROTECTED, seconds=10) == []
    assert people.see(RepoState.DEGRADED, RESCAN, seconds=100) == [Stage.OPENED]


def test_another_reason_is_an_update_and_flapping_is_one_loss() -> None:
    people = People()
    assert people.see(RepoState.DEGRADED, FULL, seconds=10) == [Stage.OPENED]
    assert people.see(RepoState.DESYNCED, FULL, BLIND, seconds=10) == [Stage.UPDATED]
    for _ in range(5):
        assert people.see(RepoState.PROTECTED, seconds=3) == []
        assert people.see(RepoState.DEGRADED, FULL, seconds=3) == []
    assert people.see(RepoState.PROTECTED, seconds=10) == [Stage.RESOLVED]


def test_a_new_daemon_knows_what_people_were_told() -> None:
    people = People()
    people.see(RepoState.DEGRADED, FULL, BLIND, seconds=10)
    later = People(Protection.recalled(2, people.told[-1]))
    assert later.see(RepoState.DEGRADED, FULL, seconds=100) == []
    assert later.see(RepoState.PROTECTED, seconds=10) == [Stage.RESOLVED]
    assert later.told[0].thread == people.told[0].thread
    assert Protection.recalled(2, later.told[-1]) == Protection(2)
    assert Protection.recalled(2, None) == Protection(2)
