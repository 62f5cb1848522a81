"""How things stand, as the store and the lock tell it."""

from pathlib import Path

import pytest

from guardd.model import RepoState
from guardd.selection import SelectionRules
from guardd.service.standing import standing
from guardd.store.lock import acquire_daemon_lock
from guardd.store.repos import Live
from guardd.store.store import Store

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("silent_for_s", "state"), [(1, RepoState.PROTECTED), (40, RepoState.PROTECTED), (60, RepoState.DESYNCED)]
)
def test_a_daemon_that_falls_silent_is_desynced_whatever_it_said_last(
    tmp_path: Path, silent_for_s: int, state: RepoState
) -> None:
    tmp_path.chmod(0o700)
    with Store(str(tmp_path), create=True) as store, acquire_daemon_lock(str(tmp_path)):
        repo = store.repos.add("/repo", SelectionRules())
        store.repos.say(repo.id, Live(RepoState.PROTECTED, (), 3, SECOND, 1000 * SECOND))
        now = standing(store, (1000 + silent_for_s) * SECOND)
        assert now.repos[0].state is state
        assert now.repos[0].dirty == 3
        assert bool(now.repos[0].reasons) is (state is RepoState.DESYNCED)


def test_what_an_earlier_daemon_said_is_void_when_a_new_one_begins(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with Store(str(tmp_path), create=True) as store, acquire_daemon_lock(str(tmp_path)):
        old, kept = (store.repos.add(path, SelectionRules()) for path in ("/old", "/kept"))
        for repo in (old, kept):
            store.repos.say(repo.id, Live(RepoState.PROTECTED, (), 0, 0, SECOND))
        store.repos.begin_all([kept.id], SECOND)
        states = {repo.path: (repo.state, repo.reasons) for repo in standing(store, SECOND).repos}
        assert states["/kept"] == (RepoState.STARTING, ())
        assert states["/old"][0] is RepoState.STOPPED
        assert "not-guarded" in states["/old"][1][0]
