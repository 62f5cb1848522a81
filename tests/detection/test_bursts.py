"""When suspects make an incident: the thresholds, by tables and by chance."""

from hypothesis import given
from hypothesis import strategies as st

from guardd.analysis.imports import Modules
from guardd.detection.bursts import Limits, joining, opening, verdict
from guardd.detection.moves import broken_importers
from guardd.detection.rules.deleted import deleted, moved
from guardd.model import Finding, Severity, Suspect

S = 1_000_000_000
NOW = 1_000_000 * S
LIMITS = Limits(60 * S, 7200 * S, 2 * S, damaged=5, protected=2, slow=8, deleted=20, approve_above=100)
DAMAGE = (Finding("marker", "x"),)


def suspects(count: int, *, damaged: bool = True, ago_s: float = 0, name: str = "f", edit: str = "") -> list[Suspect]:
    time_ns = NOW - int(ago_s * S)
    return [Suspect(f"{name}{n}.py", n + 1, 1000 + n, time_ns, DAMAGE if damaged else (), edit) for n in range(count)]


def why(found: list[Suspect], protected: tuple[str, ...] = ()) -> str | None:
    opened = opening(found, LIMITS, NOW, lambda path: path in protected)
    return opened.why if opened else None


def test_each_threshold_opens_at_its_number_and_not_below() -> None:
    assert why(suspects(4)) is None
    assert why(suspects(5)) == "damaged"
    assert why(suspects(4) + suspects(1, ago_s=61, name="old")) is None
    assert why(suspects(7, ago_s=61)) is None
    assert why(suspects(8, ago_s=61)) == "slow"
    assert why(suspects(8, ago_s=7201)) is None
    assert why(suspects(1), ("f0.py",)) is None
    assert why(suspects(2), ("f0.py", "f1.py")) == "protected"
    assert why(suspects(100, damaged=False)) is None
    assert why(suspects(101, damaged=False)) == "volume"
    assert why(suspects(101, damaged=False, ago_s=61)) is None


def test_honest_edits_long_before_the_damage_are_no_members() -> None:
    opened = opening(suspects(5) + suspects(3, damaged=False, ago_s=30, name="mine"), LIMITS, NOW, lambda path: False)
    assert opened
    assert {one.path for one in opened.members} == {f"f{n}.py" for n in range(5)}


def test_damage_joins_within_the_window_and_the_rest_until_it_has_settled() -> None:
    late = suspects(1, ago_s=-30) + suspects(1, damaged=False, ago_s=-1, name="near")
    assert len(joining(late, LIMITS, NOW, LIMITS.window_ns, settled=False)) == 2
    assert [one.path for one in joining(late, LIMITS, NOW, LIMITS.window_ns, settled=True)] == ["f0.py"]
    assert joining(suspects(1, ago_s=-61), LIMITS, NOW, LIMITS.window_ns, settled=False) == []


@given(st.integers(0, 60), st.integers(0, 150), st.integers(1, 5000))
def test_volume_alone_is_never_more_than_a_warning_and_enough_damage_never_less_than_high(
    damaged: int, rest: int, of: int
) -> None:
    members = suspects(damaged) + suspects(rest, damaged=False, name="u")
    found = verdict(members, of, LIMITS)
    assert (found.files, found.damaged) == (len(members), damaged)
    assert (found.severity in (Severity.HIGH, Severity.CRITICAL)) == (damaged >= LIMITS.damaged)
    assert ("volume" in found.rules) == (len(members) > 100)


@given(st.lists(st.tuples(st.booleans(), st.floats(-10, 8000), st.booleans()), max_size=60))
def test_more_damage_never_closes_what_less_would_open(seen: list[tuple[bool, float, bool]]) -> None:
    found = [
        Suspect(f"p{n}.py", 1, 2, NOW - int(ago * S), DAMAGE if damaged else (), gone=gone)
        for n, (damaged, ago, gone) in enumerate(seen)
    ]
    if opening(found, LIMITS, NOW, lambda path: False):
        assert opening(found + suspects(3, name="more"), LIMITS, NOW, lambda path: False)


def test_the_same_edit_makes_ten_files_critical() -> None:
    assert verdict(suspects(10, edit="# X"), 5000, LIMITS).severity is Severity.CRITICAL
    assert "same-edit" in verdict(suspects(10, edit="# X"), 5000, LIMITS).rules
    assert verdict(suspects(10), 5000, LIMITS).severity is Severity.HIGH
    assert verdict(suspects(10), 40, LIMITS).severity is Severity.CRITICAL


def test_removed_files_count_from_the_threshold_moved_ones_only_if_imports_break() -> None:
    assert [deleted(count, 20) is not None for count in (1, 19, 20, 21)] == [False, False, True, True]
    assert [moved("new/a.py", importers) is not None for importers in (0, 2, 3, 90)] == [False, False, True, True]


def test_importers_of_moved_modules_are_counted_by_every_form_of_import() -> None:
    modules = Modules([], (), lambda path: None, lambda folder, name: False, lambda: None)
    importers = [
        ("a.py", b"import pkg.old\n"), ("b.py", b"from pkg.old import x\n"), ("c.py", b"from pkg import (old, y)\n"),
        ("d.py", b"def f():\n    from pkg.old.sub import z\n"), ("e.py", b"import sys, pkg.old as o\n"),
        ("not.py", b"import pkg.older\n# import pkg.old\nfrom pkg import older\nx = 'import pkg.old'\n"),
    ]  # fmt: skip
    assert broken_importers(modules, ["pkg/old.py"], ["pkg/new.py"], importers) == 5
    assert broken_importers(modules, ["src/pkg/old/__init__.py"], [], importers) == 5
    assert broken_importers(modules, ["pkg/old.py"], ["src/pkg/old.py"], importers) == 0, "the imports work as before"
