"""Mass damage is one incident with evidence, named while it happens, and answered by one command or by itself."""

import random
import time
from datetime import datetime
from typing import Any

import pytest
from benchmarks.damage import KINDS, Damage, hollow
from benchmarks.make_tree import copy_packages, copy_stdlib
from tests.world import Daemon, World, snapshot, wait_until

SETTLE = '[response]\nsettle = "0.5s"\n'
PACKAGES = (
    "asyncio", "collections", "concurrent", "ctypes", "email", "http", "importlib", "json", "logging", "multiprocessing",
    "os.py", "re", "types.py", "unittest", "urllib", "xml",
)  # fmt: skip


@pytest.fixture
def watched(world: World) -> tuple[World, Daemon]:
    copy_packages(world.root, PACKAGES)
    world.configure(SETTLE)
    return world, world.start_configured()


def hollow_files(world: World, count: int, below: str = "", seed: int = 1) -> set[str]:
    """Hollow some files, as the founding incident did."""
    damaged: set[str] = set()
    for path in sorted((world.root / below).rglob("*.py")):
        after = hollow(path.read_bytes(), random.Random(seed)) if path.stat().st_size > 1500 else None
        if len(damaged) < count and after:
            path.write_bytes(after)
            damaged.add(path.relative_to(world.root).as_posix())
    assert len(damaged) == count
    return damaged


def opened_s(incident: dict[str, Any]) -> float:
    return datetime.fromisoformat(incident["opened_at"]).timestamp()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "slow drip"])
def test_each_kind_of_damage_is_seen_at_once_named_whole_and_taken_back(watched: tuple[World, Daemon], kind: str) -> None:
    world, daemon = watched
    before = snapshot(world.root)
    damage = Damage(world.root, kind, 30, pause_s=0.03)
    damage.run()
    after = snapshot(world.root)
    assert len(damage.damaged) >= 20
    incidents = world.wait_settled(daemon)
    assert len(incidents) == 1
    found = {member["path"] for member in incidents[0]["members"] if member["damaged"]}
    assert found == damage.damaged | damage.born
    assert incidents[0]["severity"] in ("high", "critical")
    assert all(member["findings"][0]["message"] for member in incidents[0]["members"] if member["damaged"])
    assert opened_s(incidents[0]) - damage.first_s < 1.0 + (0.3 if "import" in kind else 0.0)
    id_ = str(incidents[0]["id"])
    report = world.json("restore", "--incident", id_, "--only-damaged", "--yes")
    assert report["failed"] == report["skipped"] == []
    honest = {path: after[path] for path in damage.honest}
    assert snapshot(world.root) == before | honest
    assert [one["state"] for one in world.json("incidents", "list")] == ["restored"]
    assert world.json("status")["incidents_open"] == 0


def test_damage_that_drips_slowly_is_found_over_the_long_window(world: World) -> None:
    copy_packages(world.root)
    world.configure('[detection]\nwindow = "1s"\n' + SETTLE)
    daemon = world.start_configured()
    before = snapshot(world.root)
    files = sorted(path for path in world.root.rglob("*.py") if path.stat().st_size > 2000)
    for count, path in enumerate(files[:8], 1):
        after = hollow(path.read_bytes(), random.Random(1))
        assert after
        path.write_bytes(after)
        name = path.relative_to(world.root).as_posix()
        world.wait_captured(name, after)
        time.sleep(1.1)  # what is tested: no two of them lie within one window
        assert count == 8 or world.json("incidents", "list") == []
    incident = world.wait_settled(daemon)[0]
    assert incident["damaged"] == 8
    world.json("restore", "--incident", "last", "--yes")
    assert snapshot(world.root) == before


def test_what_heals_in_time_is_forgotten(world: World) -> None:
    """Half-typed edits: eight files are broken in turn and mended again."""
    copy_packages(world.root)
    world.configure(SETTLE)
    daemon = world.start_configured()
    files = sorted(path for path in world.root.rglob("*.py") if path.stat().st_size > 2000)
    for path in files[:8]:
        content = path.read_bytes()
        for typed in (b"\ndef half(", b"\ndef half():\n    return 1\n"):
            path.write_bytes(content + typed)
            world.wait_captured(path.relative_to(world.root).as_posix(), content + typed)
    damaged = hollow_files(world, 5, "unittest")
    incidents = world.wait_settled(daemon)
    assert len(incidents) == 1
    assert {member["path"] for member in incidents[0]["members"] if member["damaged"]} == damaged


def test_an_unexplained_bulk_change_waits_for_approval_even_undamaged(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    for path in sorted(world.root.rglob("*.py"))[:101]:
        path.write_bytes(path.read_bytes() + b"\nSTAMPED = True\n")
    incident = world.wait_settled(daemon)[0]
    assert (incident["state"], incident["severity"], incident["damaged"], incident["files"]) == ("open", "warning", 0, 101)
    assert "volume" in incident["rules"]
    assert "same-edit" in incident["rules"]
    assert world.json("status")["incidents_open"] == 1
    world.ctl("incidents", "approve", str(incident["id"]), "--reason", "stamped on purpose")
    approved = world.json("incidents", "show", str(incident["id"]))
    assert (approved["state"], approved["note"]) == ("approved", "stamped on purpose")
    assert approved["closed_at"]
    assert "approved already" in world.ctl("incidents", "approve", str(incident["id"]), check=2).stderr


def test_line_ends_flipped_throughout_are_a_warning_not_damage(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    for path in sorted(world.root.rglob("*.py"))[:110]:
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    incident = world.wait_settled(daemon)[0]
    assert (incident["severity"], incident["damaged"]) == ("warning", 0)
    assert "encoding" in incident["rules"]


def test_a_second_wave_joins_and_two_repos_are_two_incidents(world: World) -> None:
    other = World(world.root.parent / "second")
    for root in (world.root, other.root):
        copy_packages(root)
    world.configure(f'[[repo]]\npath = "{other.root}"\n{SETTLE}')
    daemon = world.start_command(world_guardd(), ready=False)
    daemon.wait_ready(repos=2)
    damaged = hollow_files(world, 6, "asyncio") | hollow_files(world, 6, "unittest")
    hollow_files(other, 7)
    listed = world.wait_settled(daemon, 2)
    assert {(one["repo"], one["damaged"]) for one in listed} == {(str(world.root), 12), (str(other.root), 7)}
    assert {member["path"] for one in listed if one["repo"] == str(world.root) for member in one["members"]} == damaged
    assert len(world.json("incidents", "list", "--repo", str(other.root))) == 1


def world_guardd() -> list[str]:
    from tests.world import PROGRAMS

    return [str(PROGRAMS / "guardd")]


def test_protected_paths_need_less(world: World) -> None:
    copy_packages(world.root)
    world.configure(SETTLE, 'protected = ["/http/"]')
    daemon = world.start_configured()
    damaged = hollow_files(world, 2, "http")
    incident = world.wait_settled(daemon)[0]
    assert {member["path"] for member in incident["members"]} == damaged


def test_show_says_at_three_in_the_morning_what_happened_and_what_to_type(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    hollow_files(world, 12)
    incident = world.wait_settled(daemon)[0]
    shown = world.ctl("incidents", "show", "last").stdout
    for text in ("12 of 12 changed files damaged", "marker (12)", "since", "who", "# REMOVED_SYNTAX_ERROR: ", "and 2 more",
                 f"guardctl restore --incident {incident['id']}", f"guardctl incidents approve {incident['id']}"):  # fmt: skip
        assert text in shown, (text, shown)
    assert "incident waits for an answer" in world.ctl("status").stdout
    assert incident["actor"]["certainty"] in ("probable", "unknown")
    versions = world.json("log", "--incident", str(incident["id"]))
    assert len(versions) == 12
    assert {version["incident"] for version in versions} == {incident["id"]}
    assert len(world.json("diff", "--incident", str(incident["id"]))) == 12
    first = incident["members"][0]["path"]
    assert b"REMOVED_SYNTAX_ERROR" not in world.ctl_bytes("show", first, "--at", f"incident:{incident['id']}")
    dry = world.json("restore", "--incident", "last", "--dry-run")
    assert len(dry["restored"]) == 12
    world.ctl("incidents", "dismiss", str(incident["id"]), check=2)
    world.ctl("incidents", "dismiss", str(incident["id"]), "--reason", "a drill")
    assert world.json("incidents", "list")[0]["state"] == "dismissed"


def test_wrong_incident_numbers_are_refused_with_what_to_do(watched: tuple[World, Daemon]) -> None:
    world, _ = watched
    assert "no incident" in world.ctl("restore", "--incident", "last", "--yes", check=3).stderr
    assert "guardctl incidents" in world.ctl("incidents", "show", "99", check=3).stderr
    assert "give its number" in world.ctl("incidents", "show", "x", check=2).stderr
    assert "--incident" in world.ctl("restore", "--since", "1h", "--only-damaged", "--yes", check=2).stderr
    assert "there is no incident 7" in world.ctl("log", "--since", "incident:7", check=2).stderr
    assert world.ctl("incidents").stdout == "no incident so far\n"


def test_replay_shows_what_other_thresholds_would_have_said(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    hollow_files(world, 4)
    assert world.json("replay", "--since", "1h") == []
    found = world.json("replay", "--since", "1h", "--set", "detection.thresholds.damaged=3")
    assert [(one["damaged"], one["severity"]) for one in found] == [(4, "high")]
    assert (
        world.json("replay", "--since", "1h", "--set", 'detection.markers=["nothing"]', "--set", "detection.approve_above=3")
        != []
    )
    assert world.json("incidents", "list") == []
    assert "did you mean damaged?" in world.ctl("replay", "--set", "detection.thresholds.damged=3", check=2).stderr
    assert "detection.KEY=VALUE" in world.ctl("replay", "--set", "window=3s", check=2).stderr
    hollow_files(world, 2, "xml")
    assert world.wait_settled(daemon)[0]["damaged"] == 6


def test_a_daemon_killed_in_the_middle_of_a_burst_finds_all_of_it_when_it_is_back(world: World) -> None:
    copy_packages(world.root)
    world.configure(SETTLE)
    daemon = world.start_configured()
    first = hollow_files(world, 5, "asyncio")
    daemon.kill()
    second = hollow_files(world, 7, "unittest")
    daemon = world.start_configured()
    wait_until(lambda: sum(one["damaged"] for one in world.json("incidents", "list")) >= 12, 40)
    found = {member["path"] for one in world.incidents() for member in one["members"]}
    assert found == first | second


def test_what_an_open_incident_needs_outlives_retention(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    before = snapshot(world.root)
    damaged = hollow_files(world, 6)
    world.wait_settled(daemon)
    daemon.stop()
    world.configure(SETTLE + '[retention]\nkeep_all = "0s"\nkeep_hourly = "0s"\nkeep_daily = "0s"\n')
    world.json("gc")
    world.json("restore", "--incident", "last", "--yes")
    assert snapshot(world.root) == before
    assert damaged


# -- response ------------------------------------------------------------------------------------------------------


def test_the_founding_incident_is_restored_by_itself_within_five_seconds(world: World) -> None:
    assert copy_stdlib(world.root) > 1500
    before = snapshot(world.root)
    world.configure('[response]\nauto_restore = "all"\n')
    daemon = world.start_configured()
    contents = {
        path: after
        for path, content in sorted(before.items())
        if b"\0" not in content and (after := hollow(content, random.Random(1))) is not None
    }
    names = list(contents)[:1381]
    assert len(names) == 1381
    for name in names:
        (world.root / name).write_bytes(contents[name])
    wait_until(lambda: daemon.events("auto-restored"), 60)
    assert snapshot(world.root) == before
    restored = daemon.events("auto-restored")[0]
    assert (restored["restored"], restored["failed"], restored["skipped"]) == (1381, 0, 0)
    incident = world.incidents()[0]
    assert (incident["state"], incident["damaged"], incident["rounds"]) == ("restored", 1381, 1)
    assert "guardctl undo" in incident["note"]


def test_only_protected_files_are_restored_by_themselves_if_so_told_and_honest_edits_stay(world: World) -> None:
    copy_packages(world.root)
    before = snapshot(world.root)
    world.configure(
        '[response]\nsettle = "0.5s"\nauto_restore = "protected"\n', 'protected = ["/json/"]\nverify = ["true", "false"]'
    )
    daemon = world.start_configured()
    (world.root / "json/tool.py").write_bytes(before["json/tool.py"] + b"\nhonest = True\n")
    damaged = hollow_files(world, 3, "json") | hollow_files(world, 4, "asyncio")
    wait_until(lambda: daemon.events("auto-restored"), 40)
    now = snapshot(world.root)
    changed = {path for path in before if now[path] != before[path]}
    assert changed == {path for path in damaged if path.startswith("asyncio/")} | {"json/tool.py"}
    incident = world.incidents()[0]
    assert incident["state"] == "open"
    wait_until(lambda: "verify: false: exit 1" in world.incidents()[0]["note"])


def test_a_writer_that_goes_on_is_fought_for_a_few_rounds_only(world: World) -> None:
    copy_packages(world.root)
    world.configure('[response]\nsettle = "0.3s"\nauto_restore = "all"\nmax_rounds = 2\n')
    daemon = world.start_configured()
    for rounds in (1, 2):
        hollow_files(world, 6, "unittest")
        wait_until(lambda wanted=rounds: len(daemon.events("auto-restored")) == wanted, 40)  # type: ignore[misc]  # bound at once
        wait_until(lambda: world.json("incidents", "list")[0]["state"] == "restored")
    damaged = hollow_files(world, 6, "unittest")
    wait_until(lambda: world.json("incidents", "list")[0]["state"] == "escalated", 40)
    assert all(b"REMOVED_SYNTAX_ERROR" in (world.root / path).read_bytes() for path in damaged)
    listed = world.json("incidents", "list")
    assert len(listed) == 1
    assert world.json("status")["incidents_open"] == 1
    world.json("restore", "--incident", "last", "--yes")
    assert world.json("incidents", "list")[0]["state"] == "restored"
    assert all(b"REMOVED_SYNTAX_ERROR" not in (world.root / path).read_bytes() for path in damaged)
