"""The threads of detection in the daemon: when they look at what."""

import threading
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from tests.world import wait_until

from guardd.capture.capturer import Capturer
from guardd.config import Settings
from guardd.model import Origin
from guardd.selection import SelectionRules
from guardd.service import detecting as module
from guardd.service.detecting import Detecting
from guardd.service.proof import Life
from guardd.service.settings import Duties, default_duties
from guardd.service.tallies import Tallies
from guardd.store.store import Store

WHOLE = b"def f():\n    return 1\n\n\nx = f()\n"


def damaged(store: Store, root: Path) -> int:
    """A repo with damage in the log that no one has judged."""
    root.mkdir()
    repo = store.repos.add(str(root), SelectionRules())
    for content in (WHOLE, b"# REMOVED_SYNTAX_ERROR: def f():\n"):
        for number in range(6):
            (root / f"m{number}.py").write_bytes(content)
        capturer = Capturer(store, repo)
        capturer.scan(Origin.WATCH)
        capturer.close()
        repo = store.repos.find(str(root)) or repo
        if content is WHOLE:
            with store.db.transaction():
                store.incidents.move_cursor(repo.id, store.log.last_seq())
    return repo.id


def test_a_repo_that_a_reload_adds_is_looked_at_at_once(tmp_path: Path) -> None:
    """Nothing else goes on: no capture, no commit of others, which would make detection look anyway."""
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    with Store(str(tmp_path / "state"), create=True) as store:
        store.repos.add(str(quiet), SelectionRules())
        repo_id = damaged(store, tmp_path / "added")
        duties: list[Duties] = [default_duties([str(quiet)])]
        stop, captured, life = threading.Event(), threading.Event(), Life()
        detecting = Detecting(
            str(tmp_path / "state"), lambda: duties[-1], stop, {}, lambda: False, captured, threading.Event(), Tallies(), life
        )
        detecting.start()
        try:
            first = life.sign
            for _ in range(3):  # it has gone round, and found nothing to do
                wait_until(lambda first=first: life.sign is not first and not life.sign.busy)  # type: ignore[misc]
                first = life.sign
            duties.append(default_duties([str(quiet), str(tmp_path / "added")]))
            captured.set()
            wait_until(lambda: store.incidents.open(repo_id), 8, "the damage is seen")
        finally:
            stop.set()
            for thread in detecting.finish():
                thread.join(10)


def test_what_keeps_waiting_for_an_answer_is_looked_at_ever_later_and_a_finished_restore_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SETTLED_LOOK_S", 0.01)
    monkeypatch.setattr(module, "_ANSWER_LATER_S", 0.16)
    looked_s: list[float] = []
    finished: list[int] = []
    monkeypatch.setattr(module, "respond", lambda *_: looked_s.append(time.monotonic()))
    monkeypatch.setattr(module, "cut_short", lambda _, repo: finished.append(repo.id) or [])
    with Store(str(tmp_path / "state"), create=True) as store:
        repo_id = damaged(store, tmp_path / "repo")
        settings = Settings.model_validate({"response": {"auto_restore": "all"}})
        duties = replace(default_duties([str(tmp_path / "repo")]), give_settings=lambda: settings)
        stop = threading.Event()
        detecting = Detecting(
            str(tmp_path / "state"),
            lambda: duties,
            stop,
            {},
            lambda: False,
            threading.Event(),
            threading.Event(),
            Tallies(),
            Life(),
        )
        detecting.start()
        try:
            wait_until(lambda: len(looked_s) > 3 and min(b - a for a, b in pairwise(looked_s[-4:])) > 0.15, what="it backs off")
        finally:
            stop.set()
            for thread in detecting.finish():
                thread.join(10)
    assert finished == [repo_id]
