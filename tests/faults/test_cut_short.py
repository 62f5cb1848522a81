"""Auto-restores that a crash cut short, and what became of their incidents before the next guardd."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from guardd import clock
from guardd.capture.capturer import Capturer
from guardd.model import Incident, IncidentState, Origin, Severity
from guardd.recovery.report import Report
from guardd.response.responder import Policy, complete, cut_short
from guardd.selection import SelectionRules
from guardd.store.appending import Observation
from guardd.store.repos import Repo
from guardd.store.restores import Restore
from guardd.store.store import Store

WHOLE, DAMAGED = b"whole = 1\n", b"# gone\n"
ALL = Policy("all", 3, (), (), (), 10.0)


@dataclass
class Interrupted:
    """A repo with a damaged file, and an auto-restore of it that was killed before it wrote."""

    store: Store
    root: Path
    incident_id: int = field(init=False)

    def __post_init__(self) -> None:
        self.root.mkdir()
        self.store.repos.add(str(self.root), SelectionRules())
        self._captured(WHOLE)
        whole = self.store.log.head(self.repo.id, "a.py")
        self._captured(DAMAGED)
        damaged = self.store.log.head(self.repo.id, "a.py")
        now = clock.now()
        about = Incident(
            0,
            self.repo.id,
            IncidentState.OPEN,
            Severity.HIGH,
            now.wall_ns,
            None,
            damaged.seq,
            now.wall_ns,
            ("marker",),
            1,
            1,
            "x",
        )
        with self.store.db.transaction():
            self.incident_id = self.store.incidents.add(about)
        targets = [Observation("a.py", damaged.seq, whole.state)]
        self.store.restores.begin(self.repo.id, f"auto-restore of incident {self.incident_id}", targets, now)
        self._captured(DAMAGED)  # by the next guardd: the disk has the last word

    @property
    def repo(self) -> Repo:
        found = self.store.repos.find(str(self.root))
        assert found is not None
        return found

    @property
    def waiting(self) -> list[Restore]:
        return cut_short(self.store, self.repo)

    @property
    def incident(self) -> Incident:
        found = self.store.incidents.get(self.incident_id)
        assert found is not None
        return found

    def close(self, state: IncidentState) -> None:
        self.store.incidents.close(self.incident_id, state, clock.now().wall_ns, "as I wanted it")

    def complete(self, policy: Policy = ALL) -> Report | None:
        return complete(self.store, self.repo, self.waiting, policy, clock.now().wall_ns)

    def read(self) -> bytes:
        return (self.root / "a.py").read_bytes()

    def _captured(self, content: bytes) -> None:
        (self.root / "a.py").write_bytes(content)
        capturer = Capturer(self.store, self.repo)
        capturer.scan(Origin.SCAN)
        capturer.close()


@pytest.fixture
def interrupted(tmp_path: Path) -> Iterator[Interrupted]:
    with Store(str(tmp_path / "state"), create=True) as store:
        yield Interrupted(store, tmp_path / "repo")


@pytest.mark.promise("the past is what it was", "an incident is closed by a person after its auto-restore was killed")
@pytest.mark.parametrize("state", [IncidentState.APPROVED, IncidentState.DISMISSED])
def test_what_a_person_approved_is_not_overwritten_and_nothing_waits_for_ever(
    interrupted: Interrupted, state: IncidentState
) -> None:
    interrupted.close(state)
    assert interrupted.complete() is None
    assert interrupted.read() == DAMAGED
    assert interrupted.waiting == []
    assert interrupted.incident.note.startswith("as I wanted it; auto-restore 1 had been cut short")


def test_what_was_escalated_or_is_protected_no_more_is_left_to_people(interrupted: Interrupted) -> None:
    assert interrupted.complete(Policy("protected", 3, ("b.py",), (), (), 10.0)) is None
    interrupted.store.incidents.escalate(interrupted.incident_id, clock.now().wall_ns, "again and again")
    assert interrupted.complete() is None
    assert interrupted.read() == DAMAGED
    assert [one.id for one in interrupted.waiting] == [1]


@pytest.mark.parametrize("state", [None, IncidentState.RESTORED])
def test_what_is_completed_is_verified_and_noted(interrupted: Interrupted, state: IncidentState | None, tmp_path: Path) -> None:
    if state is not None:
        interrupted.close(state)
    report = interrupted.complete(Policy("protected", 3, ("a.py",), (), (f"touch {tmp_path}/verified",), 10.0))
    assert report is not None
    assert interrupted.read() == WHOLE
    assert interrupted.waiting == []
    assert (tmp_path / "verified").exists()
    assert "completed after it was cut short: guard restored 1" in interrupted.incident.note
