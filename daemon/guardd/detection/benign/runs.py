"""What happened inside `guardctl run`: it was checked there, and a person was told."""

from collections.abc import Sequence
from enum import Enum, auto

from guardd.model import Origin, Version
from guardd.store.runs import Run, RunState
from guardd.store.store import Store


class Inside(Enum):
    """What a run has to say of a version of its own."""

    KEPT = auto()
    UNDONE = auto()
    """It was rolled back, or is the roll-back: as if nothing had happened."""


class RunEvidence:
    """The runs of one repo, for one detector. While one is under way, nothing after its beginning can be judged."""

    def __init__(self, store: Store, repo_id: int) -> None:
        self._store = store
        self._repo_id = repo_id
        self._runs: list[Run] = []
        self._held_after: int | None = None

    def look(self, cursor: int) -> None:
        """See how the runs stand that reach past this place in the log; after the versions were read that are to be judged."""
        alive = self._store.runs.alive(self._repo_id)
        self._held_after = alive.from_seq if alive is not None else None
        self._runs = self._store.runs.after(self._repo_id, cursor)

    def judgeable(self, versions: Sequence[Version]) -> Sequence[Version]:
        """The versions from before the run that is under way; what comes after waits for its end, or its guardctl's."""
        if self._held_after is None:
            return versions
        return [version for version in versions if version.seq <= self._held_after]

    @property
    def incidents(self) -> frozenset[int]:
        """The incidents that these runs left: what was damage in them."""
        return frozenset(run.incident_id for run in self._runs if run.incident_id is not None)

    def of(self, version: Version) -> Inside | None:
        """What a run says of this version; None where no run does, or where the run left it as damage."""
        for run in self._runs:
            if run.state is RunState.KEPT and run.made(version.path, version.seq):
                return Inside.KEPT
            if run.state in (RunState.ROLLED_BACK, RunState.PARTLY) and version.path not in run.unrestored:
                is_roll_back = version.origin is Origin.RESTORE and (run.to_seq or 0) < version.seq <= (run.end_seq or 0)
                if is_roll_back or run.made(version.path, version.seq):
                    return Inside.UNDONE
        return None
