"""The canary: files of its own, planted in a guarded repo, damaged, seen and put back, as proof that protection works."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from guardd import clock
from guardd.beneath import Root
from guardd.errors import GuardError
from guardd.model import Incident, IncidentState, RepoState, Suspect
from guardd.recovery.planning import plan_incident
from guardd.recovery.restore import carry_out
from guardd.selection import Selection, is_canary
from guardd.service.checkup import Check
from guardd.service.planting import Planted, clear_leftovers, name_of_planting
from guardd.service.standing import states
from guardd.store.codec import digest
from guardd.store.lock import canary_lock, daemon_lock
from guardd.store.repos import Repo
from guardd.store.store import Store

if TYPE_CHECKING:
    from guardd.config import Settings

_NOTE = "canary"
_MOST_FILES = 500
_POLL_S = 0.005
_TRY_AGAIN_S = 0.2

Wait = Callable[[float], bool]
"""Waits for so many seconds; True where someone asked to stop."""


class Trial(NamedTuple):
    """How the canary is tried: with how many files, which marker (empty: none), how long each step may take (s)."""

    files: int
    marker: str
    deadline_s: float


class _Failed(Exception):
    """A step did not succeed: what was not seen, and the cure."""

    def __init__(self, step: str, message: str, cure: str) -> None:
        super().__init__(message)
        self.step = step
        self.message = message
        self.cure = cure


class Stopped(Exception):
    """Someone asked to stop; nothing of the canary is left in the repo."""


def trial_of(settings: "Settings", deadline_s: float) -> Trial:
    """The trial that opens an incident under these settings."""
    literals = [marker for marker in settings.detection.markers if not marker.startswith("re:")]
    return Trial(settings.detection.thresholds.damaged, literals[0] if literals else "", deadline_s)


def try_out(store: Store, repo: Repo, trial: Trial, tell: Callable[[Check], None], wait: Wait) -> None:
    """Try the protection of one repo; `tell` hears of each step as it ends, the first that fails is the last but cleaning up.

    Whatever happens, the files are removed. Raises Stopped, StoreError.
    """
    lock = canary_lock(store.state_dir, repo.id)
    if not lock.try_acquire():
        tell(Check(_name("planted", repo), False, f"another canary (pid {lock.holder()}) is at work", "wait for it to end"))
        return
    with lock:
        try:
            with Root(repo.path) as root:
                _clear_up_after_others(store, repo, root, tell)
                _check_free(store, repo, trial)
                with _planted(store, repo, root, trial, tell) as planted:
                    _Flight(store, repo, planted, trial, tell, wait).run()
        except _Failed as failed:
            tell(Check(_name(failed.step, repo), False, failed.message, failed.cure))
        except OSError as error:
            cure = "give this user the right to write there, or run doctor as the user who works in the repo"
            tell(Check(_name("planted", repo), False, f"{repo.path} cannot be written ({error.strerror})", cure))


class _Flight:
    """One run, step by step."""

    def __init__(
        self, store: Store, repo: Repo, planted: Planted, trial: Trial, tell: Callable[[Check], None], wait: Wait
    ) -> None:
        self._store = store
        self._repo = repo
        self._planted = planted
        self._trial = trial
        self._tell = tell
        self._wait = wait

    def run(self) -> None:
        """Plant, damage, put back. Raises _Failed at the first step that does not succeed."""
        files = len(self._planted.contents)
        began = self._planted.plant()
        planted = self._captured(self._planted.contents, "captured")
        self._pass("captured", began, f"{files} files: each new version was durable in the store")
        began = self._planted.damage()
        damaged = self._captured(self._planted.damaged, "damage captured")
        incident = self._flagged(files)
        self._pass("flagged", began, f"incident {incident.id} ({incident.severity}): {', '.join(incident.rules)}")
        began = time.monotonic()
        who = self._put_back(planted, damaged)
        self._pass("put back", began, f"{files} files, byte for byte, {who}")
        self._closed(incident.id)

    def _captured(self, contents: dict[str, bytes], step: str) -> dict[str, int]:
        """The places in the log of the versions with these contents, once the daemon has recorded all of them."""
        log, found = self._store.log, dict[str, int]()

        def all_there() -> bool:
            for path in contents.keys() - found.keys():
                versions = log.versions_of(self._repo.id, path)
                found.update((path, one.seq) for one in versions if one.state.blob == digest(contents[path]))
            return len(found) == len(contents)

        missing = "{} of {} files were not captured"
        self._until(all_there, step, lambda: missing.format(len(contents) - len(found), len(contents)))
        return found

    def _flagged(self, files: int) -> Incident:
        seen: list[Incident] = []

        def is_flagged() -> bool:
            seen[:] = [one for one, count in self._incidents() if count == files]
            return bool(seen)

        self._until(is_flagged, "flagged", lambda: f"damage in {files} files was captured, but no incident has all of them")
        return seen[0]

    def _put_back(self, planted: dict[str, int], damaged: dict[str, int]) -> str:
        """Restore exactly what was planted, unless auto-restore was quicker; who did it."""
        members = [Suspect(path, seq, damaged[path], 0) for path, seq in planted.items()]
        restored = 0

        def is_back() -> bool:
            nonlocal restored
            if self._planted.is_whole():
                return True
            plan = plan_incident(self._store, self._repo.id, members)
            if plan.work:
                restored += len(carry_out(self._store, self._repo, plan, "doctor --canary").restored)
            return self._planted.is_whole() or self._wait(_TRY_AGAIN_S)

        try:
            self._until(is_back, "put back", lambda: "the files are not what they were before the damage")
        except GuardError as error:
            raise _Failed("put back", str(error), "see 'guardctl status'") from error
        if not self._planted.is_whole():
            raise Stopped
        return "by this command" if restored == len(members) else "by auto-restore" if not restored else "by both"

    def _closed(self, incident_id: int) -> None:
        """Close the incident once detection has seen the files whole: what it still has in hand must not open another."""
        last = max(self._store.log.head(self._repo.id, path).seq for path in self._planted.contents)
        behind = "detection did not read on to the restored files"
        self._until(lambda: (self._store.incidents.cursor(self._repo.id) or 0) >= last, "closed", lambda: behind)
        _dismiss(self._store, [incident_id])

    def _incidents(self) -> Iterator[tuple[Incident, int]]:
        """The incidents that hold files of this run, and how many of them are damaged."""
        path = next(iter(self._planted.contents))
        versions = self._store.log.versions_of(self._repo.id, path)
        ids = {self._store.incidents.of_version(self._repo.id, path, one.seq) for one in list(versions)}
        for incident in [self._store.incidents.get(id_) for id_ in ids if id_ is not None]:
            if incident is not None:
                yield incident, sum(1 for one in self._store.incidents.members(incident.id) if one.damaged)

    def _until(self, condition: Callable[[], bool], step: str, missed: Callable[[], str]) -> None:
        deadline = time.monotonic() + self._trial.deadline_s
        while not condition():
            if time.monotonic() > deadline:
                message = f"{missed()} within {self._trial.deadline_s:g} s"
                raise _Failed(step, message, "see 'guardctl status' and the log of guardd; --deadline gives it more time")
            if self._wait(_POLL_S):
                raise Stopped

    def _pass(self, step: str, began: float, message: str) -> None:
        seconds = round(time.monotonic() - began, 4)
        self._tell(Check(_name(step, self._repo), True, f"{message}; {seconds:.3f} s", seconds=seconds))


@contextmanager
def _planted(store: Store, repo: Repo, root: Root, trial: Trial, tell: Callable[[Check], None]) -> Iterator[Planted]:
    """The files to be planted; whatever happens inside, they are gone after it, and no incident of theirs is open."""
    planted = Planted(root, trial.files, trial.marker, hide_from_git=not repo.rules.respect_gitignore)
    try:
        yield planted
    finally:
        left = planted.remove()
        if left:
            cure = f"remove {os.path.join(repo.path, planted.folder)} by hand"
            tell(Check(_name("removed", repo), False, left, cure))
        else:
            tell(Check(_name("removed", repo), True, f"nothing is left in {repo.path}"))
        _dismiss(store, [one.id for one in store.incidents.open(repo.id) if _is_canarys(store, one)])


def _clear_up_after_others(store: Store, repo: Repo, root: Root, tell: Callable[[Check], None]) -> None:
    """Remove what a canary left that was killed: we hold the lock, so none is at work."""
    for name, trouble in clear_leftovers(root):
        if trouble:
            cure = "look at it, and remove it by hand"
            tell(Check(_name(f"leftover {name}", repo), False, trouble, cure))
        else:
            tell(Check(_name(f"leftover {name}", repo), True, "a canary that was killed had left it; it is removed"))
    _dismiss(store, [one.id for one in store.incidents.open(repo.id) if _is_canarys(store, one)])


def _dismiss(store: Store, incidents: Sequence[int]) -> None:
    for id_ in incidents:
        if not store.incidents.close(id_, IncidentState.DISMISSED, clock.now().wall_ns, _NOTE):
            store.incidents.note(id_, _NOTE)  # closed by itself, when the files were whole again


def _is_canarys(store: Store, incident: Incident) -> bool:
    return any(is_canary(one.path) for one in store.incidents.members(incident.id))  # one of them is: all of them are


def _check_free(store: Store, repo: Repo, trial: Trial) -> None:
    """Refuse where the canary would prove nothing, or be in someone's way. Raises _Failed."""
    now = clock.now()
    now_ns = now.wall_ns
    if daemon_lock(store.state_dir).holder() is None:
        raise _Failed("planted", "guardd is not running: nothing can be shown", "start 'guardd'")
    (_, state, reasons), *_ = states(store, [repo.path], now)
    if state in (RepoState.STOPPED, RepoState.STARTING):
        cure = "wait for the baseline, then try again" if state is RepoState.STARTING else "see 'guardctl status'"
        raise _Failed("planted", "; ".join([f"{repo.path} is {state}", *reasons]), cure)
    if any(from_ns <= now_ns < to_ns for from_ns, to_ns, _ in store.incidents.pauses(repo.id, now_ns)):
        raise _Failed("planted", f"{repo.path} is paused: no damage is looked for now", "run 'guardctl resume', or wait")
    growing = [one for one in store.incidents.open(repo.id) if not one.settled]
    if growing:
        message = f"incident {growing[0].id} is open and still growing: there is real damage to look at"
        raise _Failed("planted", message, f"see 'guardctl incidents show {growing[0].id}'; answer it first")
    if store.restores.unfinished(repo.id):
        cure = "let it end; if it was interrupted, 'guardctl restore --resume' or 'guardctl undo'"
        raise _Failed("planted", "a restore of this repo is under way, or was interrupted", cure)
    if trial.files > _MOST_FILES:
        message = f"detection.thresholds.damaged is {trial.files}: no canary plants more than {_MOST_FILES} files"
        raise _Failed("planted", message, "lower it: so much damage would go unseen")
    path = name_of_planting()
    if not Selection(repo.path, repo.rules).wants(path):
        cure = "name '/guardd_canary_*/*.py' in 'include', and take '!/guardd_canary_*/' back in 'exclude' or .gitignore"
        raise _Failed("planted", f"{path} is not what the config (or .gitignore) has guard keep in {repo.path}", cure)


def _name(step: str, repo: Repo) -> str:
    return f"canary {step} in {repo.path}"
