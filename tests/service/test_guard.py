"""The guard of one repo: its state follows from proof, not from silence."""

import shutil
import threading
from pathlib import Path

import pytest
from tests.world import wait_until

from guardd.model import RepoState
from guardd.selection import SelectionRules
from guardd.service.guard import Guard
from guardd.store.store import Store


def test_a_watch_whose_events_stop_is_desynced_until_one_has_really_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardd.watching.pulse.SILENT_NS", 300_000_000)  # 35 s are no test's patience
    root, state = tmp_path / "repo", tmp_path / "state"
    root.mkdir()
    (root / "a.py").write_text("a = 1\n")
    with Store(str(state), create=True) as store:
        repo = store.repos.add(str(root), SelectionRules())
        guard = Guard(store, repo, threading.Event(), threading.Event(), threading.Event())
        assert guard.live().state is RepoState.STARTING
        guard.start()
        try:
            guard.work()
            wait_until(lambda: guard.supervise() or guard.live().state is RepoState.PROTECTED)
            shutil.rmtree(state / "beat")
            wait_until(lambda: guard.live().state is RepoState.DESYNCED)
            assert guard.live().reasons[0].startswith("events-stopped")
            guard.supervise()  # begins the watch anew, with a directory to beat in
            wait_until(lambda: guard.work() or guard.live().state is RepoState.PROTECTED)
            (root / "b.py").write_text("b = 1\n")
            wait_until(lambda: guard.work() or store.log.head(repo.id, "b.py").state.present)
        finally:
            guard.stop()


def test_a_capture_is_stuck_when_it_stands_still_however_long_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("guardd.service.guard.STUCK_S", 0.3)  # a minute is no test's patience
    steps, free = threading.Semaphore(0), threading.Event()

    def go_on(_: bool) -> None:
        free.is_set() or steps.acquire()

    def is_stuck() -> bool:
        return any(reason.startswith("capture-stuck") for reason in guard.live().reasons)

    root = tmp_path / "repo"
    for number in range(3):
        (root / f"p{number}").mkdir(parents=True)
    with Store(str(tmp_path / "state"), create=True) as store:
        repo = store.repos.add(str(root), SelectionRules())
        guard = Guard(store, repo, threading.Event(), threading.Event(), threading.Event(), go_on=go_on)
        free.set()
        guard.start()
        try:
            guard.work()
            free.clear()
            guard.dirty.rescan("", "")
            scan = threading.Thread(target=guard.work)
            scan.start()
            for _ in range(3):
                wait_until(is_stuck, what="that it stands still")
                steps.release()
                wait_until(lambda: not is_stuck(), what="that it moved on")
            free.set()
            steps.release()
            scan.join(10)
            assert not is_stuck()
        finally:
            free.set()
            steps.release()
            guard.stop()


def test_setting_the_watches_gives_signs_of_life(tmp_path: Path) -> None:
    root, signs = tmp_path / "repo", []
    for number in range(30):
        (root / f"p{number}").mkdir(parents=True)
    with Store(str(tmp_path / "state"), create=True) as store:
        repo = store.repos.add(str(root), SelectionRules())
        guard = Guard(store, repo, threading.Event(), threading.Event(), threading.Event(), go_on=signs.append)
        guard.start()
        try:
            assert len(signs) >= 30
        finally:
            guard.stop()
