"""Loss of protection, as people are told of it."""

import pytest

from guardd.alerting.protection import UNGUARDED, Protection, unguarded, watch
from guardd.model import Alert, RepoState, Stage

NOW = 1_764_000_000_000_000_000
STUCK = "capture-stuck: a read takes long; look at the disk"
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
            tick_ns = self.second * 1_000_000_000
            self.known, alert = watch(self.known, state, reasons, NOW + tick_ns, tick_ns)
            told += [alert] if alert else []
        self.told += told
        return [one.stage for one in told]


def test_a_loss_that_lasts_is_told_once_and_so_is_its_end() -> None:
    people = People()
    assert people.see(RepoState.STARTING, seconds=600) == []
    assert people.see(RepoState.DEGRADED, STUCK, seconds=3) == []
    assert people.see(RepoState.DEGRADED, STUCK, seconds=3600) == [Stage.OPENED]
    assert people.see(RepoState.PROTECTED, seconds=3600) == [Stage.RESOLVED]
    assert len({one.thread for one in people.told}) == 1
    assert people.told[0].detail == STUCK


@pytest.mark.parametrize(("state", "reasons"), [(RepoState.DEGRADED, [STUCK]), (RepoState.DESYNCED, [BLIND])])
def test_a_moment_is_not_worth_a_message(state: RepoState, reasons: list[str]) -> None:
    people = People()
    for _ in range(20):
        assert people.see(state, *reasons, seconds=3) == []
        assert people.see(RepoState.PROTECTED, seconds=2) == []


def test_a_full_disk_is_told_at_once_while_there_is_room_for_the_alert() -> None:
    assert People().see(RepoState.DEGRADED, FULL, seconds=1) == [Stage.OPENED]


def test_what_comes_and_goes_for_hours_is_told_once_and_once_more_when_it_is_over() -> None:
    people = People()
    stages = [stage for _ in range(600) for stage in (
        *people.see(RepoState.DEGRADED, STUCK, seconds=6), *people.see(RepoState.PROTECTED, seconds=6))]  # fmt: skip
    assert stages == [Stage.OPENED, Stage.RESOLVED]
    assert people.see(RepoState.DEGRADED, STUCK, seconds=70) == [Stage.OPENED], "but what stays is"
    assert people.see(RepoState.PROTECTED, seconds=70) == [Stage.RESOLVED]


def test_a_loss_that_people_know_of_ends_when_its_repo_is_guarded_no_more() -> None:
    people = People()
    assert unguarded(people.known, NOW) is None
    people.see(RepoState.DEGRADED, STUCK, seconds=10)
    ended = unguarded(people.known, NOW)
    assert ended
    assert (ended.thread, ended.stage, ended.detail) == (people.told[0].thread, Stage.RESOLVED, UNGUARDED)


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
