"""Backup files: of which file, and of when, their names tell; what may be meant twice is not guessed."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.rescue.backups import Found, Pair, Reader, Unclear, without_stamps
from guardd.rescue.stamps import Undatable, stamp_of

NOW = int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp()) * 10**9
THERE = {"x.py", "y.pyi", "pkg/x.py", "a.py", "a.py.bak.py", "src/m.py", "src/m.bak.py"}


def reader(*suffixes: str, zone: ZoneInfo | timezone | None = UTC) -> Reader:
    return Reader(lambda path: path.endswith((".py", ".pyi")), THERE.__contains__, NOW, zone, suffixes)


def ns(*when: int) -> int:
    return int(datetime(*when, tzinfo=UTC).timestamp()) * 10**9  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("name", "path", "time_ns"),
    [
        ("x.py.backup_20250917_084026", "x.py", ns(2025, 9, 17, 8, 40, 26)),
        ("x.py.backup_20250917_084026_123456", "x.py", ns(2025, 9, 17, 8, 40, 26)),
        ("x.py.bak-2025-09-17T08:40:26Z", "x.py", ns(2025, 9, 17, 8, 40, 26)),
        ("x.py.bak.20250917-084026+0200", "x.py", ns(2025, 9, 17, 6, 40, 26)),
        ("x.py-2025-09-17_0840", "x.py", ns(2025, 9, 17, 8, 40)),
        ("x.py.20250917084026", "x.py", ns(2025, 9, 17, 8, 40, 26)),
        ("x.py.20250917", "x.py", ns(2025, 9, 17)),
        ("x.py.1758098426", "x.py", ns(2025, 9, 17, 8, 40, 26)),
        ("x.20250917.py", "x.py", ns(2025, 9, 17)),
        ("x.py.bak", "x.py", None),
        ("x.py.BAK", "x.py", None),
        ("x.py.bak2", "x.py", None),
        ("x.py.orig", "x.py", None),
        ("x.py.save.1", "x.py", None),
        ("x.py.backup_fix", "x.py", None),
        ("x.py.backup (copy)", "x.py", None),
        ("x.py_backup", "x.py", None),
        ("x.py~", "x.py", None),
        ("x.py.~1~", "x.py", None),
        ("x.py.1", "x.py", None),
        ("x.bak.py", "x.py", None),
        ("#x.py#", "x.py", None),
        ("y.pyi.bak", "y.pyi", None),
        ("gone.py.bak", "gone.py", None),
    ],
)
def test_a_backup_is_paired_with_its_file_and_dated(name: str, path: str, time_ns: int | None) -> None:
    found = reader().read(Found(name, name, ""))
    assert found == Pair(name, path, time_ns, "mtime" if time_ns is None else "name", path in THERE)


@pytest.mark.parametrize(
    "name",
    ["x.py", ".x.py.swp", "x.py.rej", "x.pyc", ".#x.py", "x.py.bak.swp", "x.py.gz", "x.py.bak.gz", "notes.bak", ".py.bak",
     "gone.bak.py", "other_backup.py", "x.txt.bak", "x.python", "setup.cfg~", "test.py", "x.py.lock", ".guardd-1-x.py.bak"],
)  # fmt: skip
def test_what_is_no_backup_is_passed_over(name: str) -> None:
    assert reader().read(Found(name, name, "")) is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x_backup.py", "--suffix '_backup.py'"),
        ("x-old.py", "file of its own"),
        ("x.bak", "another file of that name"),
        ("x.py.backup_20251345", "no time that there was"),
        ("x.py.backup_20250230_120000", "no time that there was"),
        ("x.py.bak_20250917_to_20250918", "2 different times"),
        ("x.py.17-09-2025.bak", "day and month"),
        ("x.py.bak.20991231", "still to come"),
        ("a.py.bak.py.bak", "it may be a backup of a.py or of a.py.bak.py"),
    ],
)
def test_what_may_be_meant_twice_is_listed_with_the_reason(name: str, reason: str) -> None:
    found = reader().read(Found(name, name, ""))
    assert isinstance(found, Unclear)
    assert reason in found.reason


def test_a_suffix_that_is_asked_for_is_the_only_one() -> None:
    asked = reader("_backup.py", ".mine*")
    assert asked.read(Found("x_backup.py", "x_backup.py", "")) == Pair("x_backup.py", "x.py", None, "mtime")
    assert asked.read(Found("x.py.mine3", "x.py.mine3", "")) == Pair("x.py.mine3", "x.py", None, "mtime")
    assert asked.read(Found("x.py.bak", "x.py.bak", "")) is None


def test_in_a_tree_of_backups_the_folder_dates_a_file_with_its_own_name() -> None:
    found = reader().read(Found("backups/2025-09-17/x.py", "x.py", "pkg", ("2025-09-17", "backups"), plain=True))
    assert found == Pair("backups/2025-09-17/x.py", "pkg/x.py", ns(2025, 9, 17), "folder")
    by_name = reader().read(Found("b/x.py.bak_20250901", "x.py.bak_20250901", "pkg", ("2025-09-17",), plain=True))
    assert by_name == Pair("b/x.py.bak_20250901", "pkg/x.py", ns(2025, 9, 1), "name")
    assert isinstance(
        reader().read(Found("b/m.bak.py", "m.bak.py", "src", (), plain=True)), Unclear
    )  # m.py and m.bak.py are there


def test_folders_that_only_say_when_are_no_part_of_a_path() -> None:
    assert without_stamps(["2025-09-17", "pkg"]) == ("pkg",)
    assert without_stamps(["backup_20250917_084026", "pkg", "2025-09-18"]) == ("pkg", "2025-09-18")
    assert without_stamps(["pkg"]) == ("pkg",)


def test_times_are_of_the_zone_that_is_named_or_of_the_one_in_the_name() -> None:
    rome = ZoneInfo("Europe/Rome")
    assert stamp_of("20250917_084026", rome, NOW) == ns(2025, 9, 17, 6, 40, 26)
    assert stamp_of("20250117_084026", rome, NOW) == ns(2025, 1, 17, 7, 40, 26)
    assert stamp_of("20250917_084026Z", rome, NOW) == ns(2025, 9, 17, 8, 40, 26)
    assert stamp_of("20250917_084026 UTC", rome, NOW) == ns(2025, 9, 17, 8, 40, 26)


_MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2026, 1, 30), timezones=st.just(UTC)).map(
    lambda one: one.replace(microsecond=0)
)
_FORMS = ["%Y%m%d_%H%M%S", "%Y-%m-%d_%H-%M-%S", "%Y-%m-%dT%H:%M:%SZ", "%Y%m%d%H%M%S", "%Y.%m.%d.%H.%M.%S"]
_STEMS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,12}", fullmatch=True)


@given(_STEMS, _MOMENTS, st.sampled_from(_FORMS), st.sampled_from([".backup_", ".bak.", ".", "_backup-", ".orig-"]))
def test_any_file_and_any_moment_come_back_out_of_a_backups_name(stem: str, moment: datetime, form: str, before: str) -> None:
    name = f"{stem}.py{before}{moment.strftime(form)}"
    found = reader().read(Found(name, name, "some/folder"))
    assert found == Pair(name, f"some/folder/{stem}.py", int(moment.timestamp()) * 10**9, "name", is_known=False)


@given(st.text(max_size=40))
def test_no_name_makes_the_reader_fail_or_leave_the_folder(name: str) -> None:
    if not name or "/" in name or "\0" in name:
        return
    found = reader().read(Found(name, name, "pkg"))
    assert found is None or isinstance(found, Unclear) or found.path.startswith("pkg/")
    assert found is None or found.source == name


@given(st.text(alphabet="0123456789-_.TZ+:", max_size=30))
def test_a_stamp_is_never_later_than_now(text: str) -> None:
    try:
        found = stamp_of(text, timezone(timedelta(hours=-11)), NOW)
    except Undatable:
        return
    assert found is None or found <= NOW
