"""The detector on a real log: what it asks of the parsers before it says something, and what it waits for."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from guardd import clock
from guardd.analysis.sources import Parsers
from guardd.capture.capturer import Capturer
from guardd.config import Settings
from guardd.detection import detector as module
from guardd.detection.detector import Detector
from guardd.detection.settings import limits_of
from guardd.model import Incident, IncidentState, Origin
from guardd.selection import SelectionRules
from guardd.store.repos import Repo
from guardd.store.store import Store

FILES = 110
"""More than detection reads of the log at once."""

WHOLE, MARKED = "import os\n", "# REMOVED_SYNTAX_ERROR: import os\n"
SETTINGS = Settings()
LIMITS = limits_of(SETTINGS.detection, SETTINGS.response)


def a_second_later() -> int:
    """The wall clock of a detector that is behind."""
    return clock.now().wall_ns + 1_000_000_000


class Told:
    """A repo of many files, its detector, and what that told: after how many sources, which incidents."""

    def __init__(self, root: Path, store: Store) -> None:
        self.root, self._store = root, store
        self.asked = 0
        self.incidents: list[tuple[int, Incident]] = []
        self.could_wait: list[bool] = []
        self.rounds: list[int] = []
        for number in range(FILES):
            self.write(f"m{number}.py", f"import os\n\n\ndef f{number}():\n    return os.sep\n")
        self.repo: Repo = store.repos.add(str(root), SelectionRules())
        self.capture()
        with store.db.transaction():
            store.incidents.move_cursor(self.repo.id, store.log.last_seq())
        self.wall_ns = a_second_later
        self._parsers = Parsers(go_on=self._count)
        self._detector = Detector(
            store,
            self.repo,
            SETTINGS.detection,
            LIMITS,
            None,
            self._parsers,
            wall_ns=lambda: self.wall_ns(),  # noqa: PLW0108  tests put others in its place
        )

    def _count(self) -> None:
        self.asked += 1
        self.could_wait.append(self._detector.can_wait)

    def close(self) -> None:
        self._parsers.close()

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text)

    def replace(self, old: str, new: str, files: int = FILES) -> None:
        """A script that changes every file, or so many."""
        for number in range(files):
            path = self.root / f"m{number}.py"
            path.write_text(path.read_text().replace(old, new, 1))

    def capture(self, at_ns: int | None = None) -> None:
        """Record all that changed; as if it had happened then."""
        capturer = Capturer(self._store, self.repo)
        if at_ns is None:
            capturer.scan(Origin.WATCH)
        else:
            paths = sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*.py"))
            capturer.look(paths, Origin.WATCH, times=dict.fromkeys(paths, at_ns))
        capturer.close()
        self.repo = self._store.repos.find(str(self.root)) or self.repo

    def newest_ns(self) -> int:
        """When the last change was recorded."""
        newest = self._store.log.newest()
        assert newest is not None
        return newest.time_ns

    def detect(self) -> None:
        """Judge all that is in the log."""
        while self.detect_some():
            pass

    def detect_some(self) -> bool:
        """Judge some of what is in the log."""
        return self._detector.round(self._tell)

    def _tell(self) -> None:
        self.rounds.append(len(self._detector.incidents))
        self.incidents += [(self.asked, incident) for incident, _ in self._detector.incidents]

    def answer(self, state: IncidentState) -> None:
        """Close the incidents, as a command does."""
        for incident in self._store.incidents.open(self.repo.id):
            self._store.incidents.close(incident.id, state, clock.now().wall_ns, "")

    def is_put_right(self, path: str) -> bool:
        """Whether a member of the newest incident is whole again."""
        last = self._store.incidents.last(self.repo.id)
        assert last is not None
        return next(one.returned for one in self._store.incidents.members(last.id) if one.path == path)

    def known_damage(self) -> set[bytes]:
        """The contents that nothing excuses."""
        return self._store.incidents.known_damage(self.repo.id)


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    root = tmp_path / "repo"
    root.mkdir()
    with Store(str(tmp_path / "state"), create=True) as store, closing(Told(root, store)) as one:
        yield one


@pytest.mark.parametrize(
    ("old", "new", "sources"),
    [
        ("import os", "# REMOVED_SYNTAX_ERROR: import os", 0),
        ("import os", "import (os", 2 * (LIMITS.damaged + 1)),
        ("import os", "import os_unified", 2 * (LIMITS.damaged + 1)),
    ],
    ids=["lines", "syntax", "imports"],
)
def test_an_incident_is_told_of_before_the_rest_is_parsed(told: Told, old: str, new: str, sources: int) -> None:
    told.replace(old, new)
    told.capture()
    told.detect()
    asked, first = told.incidents[0]
    assert asked <= sources
    assert first.damaged > 0
    assert told.incidents[-1][1].damaged == FILES


@pytest.mark.parametrize("comes", [True, False])
def test_where_detection_is_behind_a_module_that_came_since_explains_its_imports(told: Told, comes: bool) -> None:
    told.replace("import os", "import os_unified as os")
    told.capture()
    if comes:
        told.write("os_unified.py", "sep = '/'\n")
        told.capture()
    told.detect()
    assert bool(told.incidents) is not comes


def test_names_that_a_module_is_still_to_bring_have_their_turn_in_the_log(told: Told) -> None:
    told.write("lib.py", "old = 1\n")
    told.capture()
    told.replace("import os\n", "import os\nfrom lib import new\n")
    told.capture()
    told.write("lib.py", "old = new = 1\n")
    told.detect_some()
    told.capture()
    told.detect()
    assert told.incidents == []


def test_what_is_mended_by_what_follows_at_once_is_no_incident(told: Told) -> None:
    now_ns = clock.now().wall_ns
    told.replace("import os", "import (os", 20)
    told.capture(now_ns)
    told.replace("import (os", "import os  # mended", 20)
    told.capture(now_ns)
    told.detect()
    assert told.incidents == []


def test_an_import_that_is_mended_by_now_is_not_due(told: Told) -> None:
    now_ns = clock.now().wall_ns
    told.replace("import os", "import os_unified as os")
    told.capture(now_ns)
    told.replace("import os_unified as os", "import os  # mended")
    told.capture(now_ns)
    told.detect()
    assert told.incidents == []


@pytest.mark.parametrize(("filled", "is_member"), [("# REMOVED_SYNTAX_ERROR: \n", True), ("import os\n", False)])
def test_an_empty_file_that_is_filled_is_damaged_if_its_lines_say_so(told: Told, filled: str, is_member: bool) -> None:
    told.write("empty.py", "")
    told.capture()
    told.detect()
    told.replace(WHOLE, MARKED)
    told.write("empty.py", filled)
    told.capture()
    told.detect()
    assert told.incidents[-1][1].damaged == FILES + is_member
    if is_member:
        told.write("empty.py", "")
        told.capture()
        told.detect()
        assert told.is_put_right("empty.py")


def test_what_was_approved_is_damage_no_more_wherever_else_it_was_seen(told: Told) -> None:
    for old, new in ((WHOLE, MARKED), (MARKED, WHOLE), (WHOLE, MARKED)):
        told.replace(old, new)
        told.capture()
        told.detect()
    assert {incident.id for _, incident in told.incidents} == {1, 2}
    assert len(told.known_damage()) == FILES
    told.answer(IncidentState.APPROVED)
    assert told.known_damage() == set()


def test_what_becomes_of_an_incident_elsewhere_is_told(told: Told) -> None:
    told.replace("import os", "import (os")
    told.capture()
    told.detect()
    told.answer(IncidentState.DISMISSED)
    before = len(told.rounds)
    told.detect()
    assert told.rounds[before:] == [0], "told once, and by then there is none"


def test_what_other_changes_may_explain_waits_for_them(told: Told) -> None:
    told.replace("import os", "import os_unified as os")
    told.capture()
    then_ns = told.newest_ns()
    told.wall_ns = lambda: then_ns
    told.detect()
    assert told.incidents == []


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_burst_that_does_no_harm_can_wait_for_its_capture(told: Told, damaged: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_HARMLESS", FILES // 2)
    told.replace("os.sep", "os.sep + ''")
    if damaged:
        (told.root / "m50.py").write_text("import (\n")  # in the middle, as names are sorted
    told.capture()
    told.detect()
    assert any(told.could_wait) is not bool(damaged)
