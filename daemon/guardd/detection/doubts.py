"""Doubts: findings that other changes may explain yet, and whether any does."""

from collections import Counter
from collections.abc import Callable, Iterable, KeysView, Sequence
from dataclasses import replace

from guardd.detection.bursts import without_moved_code
from guardd.detection.departures import RIPE_NS, Departures
from guardd.detection.judge import Case, Judge
from guardd.model import Kind, RepoPath
from guardd.store.log import Log

_AT_ONCE = 100
"""Cases that are looked at again in one go."""

_BURST_GOES_ON_NS = 500_000_000
"""The longest that findings which other changes may explain wait for the end of a burst: an incident opens within a second.
What explains them after that closes it; until then it is a warning."""

_DUE_NS = 100_000_000
"""Between two looks at what has waited by the wall clock."""

_THINK_AGAIN_NS = 2_000_000_000

_LATEST_BIRTHS = 200


class Doubts:
    """The doubtful cases of one repo: those that wait before they count, and damage that counts until something explains it.

    `acquit` is called with each case that something explains, `is_watched` with a path: whether its damage counts still.
    `wall_ns` is the wall clock.
    """

    def __init__(
        self,
        judge: Judge,
        departures: Departures,
        log: Log,
        repo_id: int,
        *,
        acquit: Callable[[Case], None],
        is_watched: Callable[[RepoPath], bool],
        wall_ns: Callable[[], int],
    ) -> None:
        self._judge = judge
        self._departures = departures
        self._log = log
        self._repo_id = repo_id
        self._acquit = acquit
        self._is_watched = is_watched
        self._wall_ns = wall_ns
        self._waiting: dict[RepoPath, Case] = {}
        self._standing: dict[RepoPath, Case] = {}
        self._gained: dict[RepoPath, tuple[int, Counter[str]]] = {}
        self._due_ns = self._thought_at = self._thought_ns = 0

    @property
    def waiting(self) -> KeysView[RepoPath]:
        """The paths that do not count yet; it goes with the time."""
        return self._waiting.keys()

    @property
    def standing(self) -> KeysView[RepoPath]:
        """The paths whose damage counts, and may be explained yet; it goes with the time."""
        return self._standing.keys()

    def take(self, case: Case) -> None:
        """A change that was judged: it waits if time or others may explain it."""
        if case.may_be_halfway or _may_be_explained(case):
            self._waiting[case.version.path] = _without_content(case)

    def take_up(self, case: Case) -> None:
        """A change whose damage counted before this time of guardd's: it stands if others may explain it."""
        if _may_be_explained(case):
            self._standing[case.version.path] = case

    def note_gained(self, case: Case) -> None:
        """Keep which names a change defines anew: code that was cut elsewhere may have gone here."""
        if case.change is not None and case.change.facts_before and case.change.facts_after:
            new = Counter(case.change.facts_after.definitions) - Counter(case.change.facts_before.definitions)
            if new:
                self._gained[case.version.path] = case.version.time_ns, new

    def forget(self, path: RepoPath) -> None:
        """The path has changed again, or needs no explanation any more."""
        self._waiting.pop(path, None)
        self._standing.pop(path, None)

    def expire(self, since_ns: int) -> None:
        """Forget names that were defined before this."""
        if any(time_ns <= since_ns for time_ns, _ in self._gained.values()):
            self._gained = {path: one for path, one in self._gained.items() if one[0] > since_ns}

    def ripe(self, now_ns: int) -> list[Case]:
        """Judge anew what has waited long enough for git, or for other changes of the same burst: what counts from now on."""
        quiet = now_ns >= max((one.version.time_ns for one in self._waiting.values()), default=0) + RIPE_NS
        patience = RIPE_NS if quiet else _BURST_GOES_ON_NS
        ripe = [one for one in self._waiting.values() if now_ns >= one.version.time_ns + patience][:_AT_ONCE] or self._due()
        cases = [case for case in ripe if not self._judge.waits_for_git(case.version.path, case.version.time_ns, now_ns)]
        for case in cases:
            del self._waiting[case.version.path]
        self._judge.look(cases)
        left = self._unexplained(cases)
        self._keep_standing(case for case in left if case.convicted)
        return left

    def think_again(self, cursor: int, now_ns: int, *, is_settling: bool) -> None:
        """Later changes may have brought what imports lacked, or the code that was cut: judge anew what stands.

        Some come where no one watches, as packages that are installed: while an incident is settling it is worth a look now and
        then. `cursor` is how far the log has been read.
        """
        is_time = is_settling and now_ns > self._thought_ns + _THINK_AGAIN_NS
        if not self._standing or (cursor == self._thought_at and not is_time):
            return
        self._thought_at, self._thought_ns = cursor, now_ns
        cases = [replace(case) for path, case in self._standing.items() if self._is_watched(path)]
        self._standing.clear()
        self._judge.look(cases)
        damaged = {case.version.path: case for case in self._unexplained(cases) if case.convicted}
        self._keep_standing(damaged.values())
        for case in cases:
            if case.version.path not in damaged:
                self._acquit(case)

    def _keep_standing(self, damaged: Iterable[Case]) -> None:
        self._standing.update((case.version.path, _without_content(case)) for case in damaged if _may_be_explained(case))

    def _due(self) -> list[Case]:
        """Of what waits, where detection is behind, what has waited long enough by the wall clock.

        Only imports of modules that are nowhere on disk by now, by files that have not changed since: whatever else may explain
        a finding is in the log, and has its turn.
        """
        wall_ns = self._wall_ns()
        if wall_ns < self._due_ns:
            return []
        self._due_ns = wall_ns + _DUE_NS
        due = {
            path: one
            for path, one in self._waiting.items()
            if wall_ns >= one.version.time_ns + _BURST_GOES_ON_NS and one.lacks_modules and not one.superseded
        }
        heads = self._log.heads(self._repo_id, list(due)[:_AT_ONCE])
        for path, head in heads.items():
            due[path].superseded = head.seq != due[path].version.seq
        return [due[path] for path in heads if not due[path].superseded]

    def _unexplained(self, cases: Sequence[Case]) -> list[Case]:
        """The cases that nothing explains by now, judged anew; those that something explains are acquitted."""
        left = []
        for case in cases:
            if self._judge.evidence(case) is None:
                left.append(case)
            else:
                self._acquit(case)
        self._judge.look_closely(left)
        lost = {case.version.path: case.lost for case in left if not case.is_commented_out}
        moved = without_moved_code(lost, self._gained_now(left)) if any(lost.values()) else set()
        for case in left:
            if case.explained:
                self._acquit(case)
            elif case.version.path in moved:
                case.findings = [finding for finding in case.findings if finding.rule != "code-loss"]
        return [case for case in left if not case.explained]

    def _gained_now(self, cases: Iterable[Case]) -> Counter[str]:
        """The names defined anew of late, those of new files among them; a copy of what was cut is no place it went to."""
        copies = {case.before.state.blob for case in cases}
        files = (one.state.blob for one in self._departures.births[-_LATEST_BIRTHS:] if one.state.kind is Kind.FILE)
        born = self._judge.definitions(blob for blob in files if blob not in copies)
        gained = Counter(name for facts in born.values() for name in facts.definitions)
        for _, names in self._gained.values():
            gained.update(names)
        return gained


def _may_be_explained(case: Case) -> bool:
    """Whether all damage in it is of a kind that changes of other files explain: a module to come, code cut to be pasted."""
    if case.dangling:
        return False
    return case.rules == {"import"} or (
        bool(case.lost) and not case.is_commented_out and bool(case.rules) and case.rules <= {"import", "code-loss"}
    )


def _without_content(case: Case) -> Case:
    """It may wait for long, and its content would take memory."""
    return replace(case, change=None)
