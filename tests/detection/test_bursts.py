"""When suspects make an incident: the thresholds, by tables and by chance."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.analysis.imports import Modules
from guardd.detection.bursts import Limits, joining, opening, verdict, without_moved_code
from guardd.detection.moves import broken_importers
from guardd.detection.rules.deleted import came_from, deleted, moved
from guardd.detection.rules.same_edit import same_edit, shared_edit
from guardd.detection.rules.volume import volume
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


def test_the_windows_end_where_they_say() -> None:
    assert [why(suspects(5, ago_s=ago)) for ago in (59.999, 60)] == ["damaged", None]
    assert [why(suspects(8, ago_s=ago)) for ago in (7199.999, 7200)] == ["slow", None]


def test_members_are_the_damage_and_what_came_with_it() -> None:
    honest = [one for ago in (0, 11, 12, 12.001) for one in suspects(1, damaged=False, ago_s=ago, name=f"at{ago}_")]
    found = suspects(5, ago_s=10) + honest
    opened = opening(found, LIMITS, NOW, lambda path: False)
    assert opened
    assert opened.members == found[:-1], "what came up to settle_ns before the first damage is part of it"
    late = opening(suspects(5, ago_s=10) + suspects(1, ago_s=50, name="first"), LIMITS, NOW, lambda path: False)
    assert late
    assert len(late.members) == 6
    dripped = opening(found := suspects(8, ago_s=100) + honest, LIMITS, NOW, lambda path: False)
    assert dripped
    assert dripped.members == found[:8]
    bulk = opening(found := suspects(101, damaged=False), LIMITS, NOW, lambda path: False)
    assert bulk
    assert bulk.members == found


@pytest.mark.parametrize(
    ("damaged", "after_s", "settled", "joins"),
    [(True, 60, True, True), (True, 60.001, True, False), (True, -100, True, True), (False, 2, False, True),
     (False, 2.001, False, False), (False, -2, False, True), (False, -2.001, False, False), (False, 0, True, False)],
)  # fmt: skip
def test_what_joins_an_open_incident(damaged: bool, after_s: float, settled: bool, joins: bool) -> None:
    late = suspects(1, damaged=damaged, ago_s=-after_s)
    assert joining(late, LIMITS, NOW, LIMITS.window_ns, settled=settled) == (late if joins else [])


@pytest.mark.parametrize(
    ("damaged", "files_of_repo", "protected", "severity"),
    [(4, 4, 0, Severity.WARNING), (4, 4, 1, Severity.WARNING), (2, 4, 2, Severity.HIGH), (5, 5, 0, Severity.HIGH),
     (9, 9, 0, Severity.HIGH), (10, 50, 0, Severity.CRITICAL), (10, 51, 0, Severity.HIGH), (49, 5000, 0, Severity.HIGH),
     (50, 5000, 0, Severity.CRITICAL)],
)  # fmt: skip
def test_how_severe_an_incident_is(damaged: int, files_of_repo: int, protected: int, severity: Severity) -> None:
    is_protected = {f"f{number}.py" for number in range(protected)}.__contains__
    assert verdict(suspects(damaged), files_of_repo, LIMITS, is_protected).severity is severity


def test_an_incident_is_summed_up_in_one_line() -> None:
    both = [one._replace(findings=(*DAMAGE, *DAMAGE, Finding("syntax", "y"))) for one in suspects(1, name="b")]
    found = verdict(suspects(1200, edit="# X") + both + suspects(2, damaged=False, name="u"), 5000, LIMITS)
    assert found.rules == ("marker", "syntax", "same-edit", "volume")
    assert found.summary == (
        "1,201 of 1,203 changed files damaged: marker in 1,201, syntax in 1, 1200 files share one edit: '# X'…, "
        "1203 files changed at once, and nothing explains it"
    )
    assert verdict(suspects(3, damaged=False), 10, LIMITS).summary == "3 files changed"
    assert verdict(suspects(1, damaged=False), 10, LIMITS).rules == ()


@pytest.mark.parametrize(
    ("lost", "gained", "moved_from"),
    [
        ({"a": ["f", "g", "h"]}, ["f", "g", "h"], {"a"}),
        ({"a": list("abcdefghij")}, list("abcdefg"), {"a"}),
        ({"a": list("abcdefghij")}, list("abcdef"), set()),
        ({"a": []}, ["f"], set()),
        ({"a": ["f"], "b": ["f"]}, ["f"], {"a"}),
        ({"a": ["f"], "b": ["f"], "c": ["g"]}, ["f", "f", "g"], {"a", "b", "c"}),
        ({"a": ["f", "x", "y"], "b": ["f"]}, ["f"], {"b"}),
        ({"a": ["f"]}, [], set()),
    ],
)
def test_code_that_turns_up_elsewhere_was_moved_once(lost: dict[str, list[str]], gained: list[str], moved_from: set[str]) -> None:
    assert without_moved_code(lost, Counter(gained)) == moved_from


def test_what_is_said_of_files_that_are_gone_moved_or_many() -> None:
    assert deleted(20, 20) == Finding("deleted", "deleted with many others, and not by git")
    assert moved("new/a.py", 3) == Finding("deleted", "moved to new/a.py; 3 files still import what was moved with it")
    assert came_from("old/a.py") == Finding("deleted", "came from old/a.py")
    assert volume(suspects(101), 100) == Finding("volume", "101 files changed at once, and nothing explains it", damage=False)
    assert volume(suspects(100), 100) is None


def test_ten_files_and_six_in_ten_that_share_an_edit_are_a_script_at_work() -> None:
    said = Finding("same-edit", "12 files share one edit: '# X'…", damage=False)
    assert same_edit(suspects(12, edit="# X") + suspects(8, edit="y", name="u")) == said
    assert same_edit(suspects(12, edit="# X") + suspects(9, name="u")) is None
    assert [same_edit(suspects(count, edit="# X")) is not None for count in (9, 10)] == [False, True]
    assert same_edit(suspects(20)) is None


def test_the_edit_that_damaged_most_others_is_damage_where_no_rule_saw_it() -> None:
    def told(damaged: list[Suspect]) -> list[tuple[str, Finding]]:
        alike = suspects(1, damaged=False, edit="# X", name="alike")
        others = [*suspects(1, damaged=False, edit="y", name="other"), *suspects(1, damaged=False, name="none")]
        back = [one._replace(returned=True) for one in suspects(1, damaged=False, edit="# X", name="back")]
        return [(one.path, finding) for one, finding in shared_edit([*damaged, *alike, *others, *back])]

    said = [("alike0.py", Finding("same-edit", "the edit that damaged 12 others: '# X'…"))]
    assert told(suspects(12, edit="# X") + suspects(8, edit="y", name="u")) == said
    assert told(suspects(12, edit="# X") + suspects(9, name="u")) == []
    assert [len(told(suspects(count, edit="# X"))) for count in (9, 10)] == [0, 1]
    assert told(suspects(20)) == told([]) == []
