"""How things stand, as the store and the lock tell it."""

from pathlib import Path

import pytest

from guardd.model import Moment, RepoState
from guardd.selection import SelectionRules
from guardd.service.checkup import check_up
from guardd.service.standing import standing
from guardd.store.lock import acquire_daemon_lock
from guardd.store.repos import Live
from guardd.store.store import Store

SECOND = 1_000_000_000


BEAT = Moment(1000 * SECOND, 500 * SECOND, "boot", 400 * SECOND)


def later(awake_s: int, wall_s: int) -> Moment:
    return Moment(BEAT.wall_ns + wall_s * SECOND, 0, "boot", BEAT.awake_ns + awake_s * SECOND)


@pytest.mark.parametrize(
    ("now", "state"),
    [
        (later(1, 1), RepoState.PROTECTED),
        (later(40, 40), RepoState.PROTECTED),
        (later(60, 60), RepoState.DESYNCED),
        (later(1, 8 * 3600), RepoState.PROTECTED),  # back from a suspend, or the clock was set forward
        (later(60, -3600), RepoState.DESYNCED),  # the clock was set back
        (later(-1, 1), RepoState.PROTECTED),  # it spoke after we had looked at the clock
    ],
)
def test_a_daemon_that_falls_silent_is_desynced_whatever_it_said_last(tmp_path: Path, now: Moment, state: RepoState) -> None:
    tmp_path.chmod(0o700)
    with Store(str(tmp_path), create=True) as store, acquire_daemon_lock(str(tmp_path)):
        repo = store.repos.add("/repo", SelectionRules())
        store.repos.say(repo.id, Live(RepoState.PROTECTED, (), 3, SECOND, BEAT.wall_ns, BEAT.awake_ns))
        found = standing(store, now).repos[0]
        assert found.state is state
        assert found.dirty == 3
        assert bool(found.reasons) is (state is RepoState.DESYNCED)


def test_what_an_earlier_daemon_said_is_void_when_a_new_one_begins(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with Store(str(tmp_path), create=True) as store, acquire_daemon_lock(str(tmp_path)):
        (tmp_path / "old").mkdir()
        old, kept = (store.repos.add(path, SelectionRules()) for path in (str(tmp_path / "old"), "/kept"))
        for repo in (old, kept):
            store.repos.say(repo.id, Live(RepoState.PROTECTED, (), 0, 0, BEAT.wall_ns, BEAT.awake_ns))
        store.repos.begin_all([kept.id], BEAT)
        states = {repo.path: (repo.state, repo.reasons) for repo in standing(store, BEAT).repos}
        assert states["/kept"] == (RepoState.STARTING, ())
        assert states[old.path][0] is RepoState.STOPPED
        assert "not-guarded" in states[old.path][1][0]


def test_a_repo_that_is_gone_and_that_no_one_names_any_more_is_retired(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    gone = tmp_path / "gone"
    gone.mkdir()
    with Store(str(tmp_path), create=True) as store, acquire_daemon_lock(str(tmp_path)):
        store.repos.add(str(gone), SelectionRules())
        said = "; ".join(standing(store, BEAT).repos[0].reasons)
        assert said.startswith("not-guarded")
        gone.rmdir()
        found = standing(store, BEAT).repos[0]
        assert found.state is RepoState.STOPPED
        assert found.reasons[0].startswith("retired")
        assert [one.ok for one in check_up(store, BEAT) if one.name == f"repo {gone}"] == [True]
