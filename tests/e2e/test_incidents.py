"""Mass damage is one incident with evidence, named while it happens, and answered by one command or by itself."""

import random
import threading
import time

import pytest
from benchmarks.damage import KINDS, Damage, hollow
from benchmarks.make_tree import copy_packages, copy_stdlib
from tests.e2e.test_daemon import git
from tests.world import Daemon, World, snapshot, some_of, wait_until

from guardd.response.responder import Policy, respond
from guardd.store.store import Store

SETTLE = '[response]\nsettle = "0.5s"\n'
PACKAGES = (
    "asyncio", "collections", "concurrent", "ctypes", "http", "importlib", "json", "logging", "multiprocessing", "os.py", "re",
    "types.py", "unittest", "urllib", "xml",
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


EVERYDAY = ("hollowed behind a marker", "imports of missing names", "emptied", "conflict markers")


@pytest.mark.parametrize("kind", some_of([kind for kind in KINDS if kind != "slow drip"], *EVERYDAY))
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
    id_ = str(incidents[0]["id"])
    report = world.json("restore", "--incident", id_, "--only-damaged", "--yes", "--no-verify")
    assert report["failed"] == report["skipped"] == []
    honest = {path: after[path] for path in damage.honest}
    assert snapshot(world.root) == before | honest
    assert [one["state"] for one in world.json("incidents", "list")] == ["restored"]
    assert world.json("status")["incidents_open"] == 0


@pytest.mark.parametrize(
    "kind", some_of(["hollowed behind a marker", "mass deletion", "mass rename to nonsense"], "mass deletion")
)
def test_an_incident_is_open_while_the_damage_still_goes_on_and_has_all_of_it_in_the_end(
    watched: tuple[World, Daemon], kind: str
) -> None:
    world, daemon = watched
    before = snapshot(world.root)
    damage = Damage(world.root, kind, 200, pause_s=0.05, goes_on=lambda: not daemon.events("incident opened"))
    damage.run()
    assert daemon.events("incident opened"), "damage of 200 files was over before anyone said so"
    assert len(damage.damaged) < 200
    more = Damage(world.root, kind, 10, seed=2, pause_s=0.05)
    more.run()
    (incident,) = world.wait_settled(daemon)
    named = {member["path"] for member in incident["members"] if member["damaged"]}
    assert damage.damaged | more.damaged <= named | damage.born
    world.json("restore", "--incident", "last", "--yes", "--no-verify")
    assert snapshot(world.root) == before


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
    world.json("restore", "--incident", "last", "--yes", "--no-verify")
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


def test_an_unexplained_bulk_change_waits_for_approval_even_undamaged(world: World) -> None:
    paths = [world.write(f"p{number % 5}/m{number}.py", f"def f(x):\n    return x + {number}\n") for number in range(101)]
    world.configure(SETTLE)
    daemon = world.start_configured()
    for path in paths:
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


def test_line_ends_flipped_throughout_are_a_warning_not_damage(world: World) -> None:
    copy_packages(world.root, ("asyncio", "importlib"))
    world.configure("[detection]\napprove_above = 30\n" + SETTLE)
    daemon = world.start_configured()
    for path in sorted(world.root.rglob("*.py"))[:35]:
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


def in_git(world: World) -> None:
    git(world.root, "init", "-q")
    git(world.root, "add", "-A")
    git(world.root, "commit", "-qm", "one")


def test_what_git_has_of_other_files_excuses_nothing(world: World) -> None:
    """Every repo has an empty __init__.py: an emptied file is no checkout of it."""
    copy_packages(world.root)
    world.write("asyncio/empty.py", b"")
    in_git(world)
    world.configure(SETTLE)
    daemon = world.start_configured()
    emptied = [path for path in sorted(world.root.rglob("*.py")) if path.stat().st_size > 500][:12]
    for path in emptied[:6]:
        path.write_bytes(b"")
    for path in emptied[6:]:
        path.write_bytes((world.root / "asyncio/locks.py").read_bytes())
    incident = world.wait_settled(daemon)[0]
    names = {path.relative_to(world.root).as_posix() for path in emptied}
    assert {member["path"] for member in incident["members"]} == names
    assert {member["path"] for member in incident["members"] if member["damaged"]} >= set(sorted(names)[:6])


def test_damage_that_is_staged_file_by_file_is_found(world: World) -> None:
    copy_packages(world.root)
    in_git(world)
    world.configure(SETTLE)
    daemon = world.start_configured()
    damaged = set()
    for path in sorted((world.root / "unittest").rglob("*.py"))[2:12]:
        path.write_bytes(hollow(path.read_bytes(), random.Random(1)) or b"# REMOVED_SYNTAX_ERROR: x\n")
        git(world.root, "add", str(path))
        damaged.add(path.relative_to(world.root).as_posix())
    incident = world.wait_settled(daemon)[0]
    assert {member["path"] for member in incident["members"] if member["damaged"]} == damaged


def test_damaged_files_that_are_deleted_then_are_damaged_still(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    before = snapshot(world.root)
    damaged = hollow_files(world, 8)
    world.wait_settled(daemon)
    for path in sorted(damaged)[:4]:
        (world.root / path).unlink()
    for path in sorted(damaged)[4:]:
        (world.root / path).rename(world.root / f"{path}.gone")
    for path in damaged:
        world.wait_gone(path)
    wait_until(lambda: world.incidents()[0]["settled"])
    assert world.incidents()[0]["damaged"] == 8
    world.json("restore", "--incident", "last", "--only-damaged", "--yes", "--no-verify")
    assert {path: content for path, content in snapshot(world.root).items() if not path.endswith(".gone")} == before


def test_an_incident_is_open_until_all_of_its_damage_is_answered(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    damaged = sorted(hollow_files(world, 8))
    world.wait_settled(daemon)
    done = world.ctl("restore", damaged[0], damaged[1], "--incident", "last", "--only-damaged", "--yes", "--no-verify")
    assert "stays open: 6 files" in done.stdout
    assert world.json("incidents", "list")[0]["state"] == "open"
    world.ctl("restore", *damaged[2:], "--incident", "last", "--yes", "--no-verify")
    wait_until(lambda: world.json("incidents", "list")[0]["state"] == "restored")


@pytest.mark.parametrize("kind", some_of(["hollowed behind a marker", "mass deletion"], "mass deletion"))
def test_damage_that_an_undo_brings_back_is_told_of(watched: tuple[World, Daemon], kind: str) -> None:
    world, daemon = watched
    Damage(world.root, kind, 30).run()
    (incident,) = world.wait_settled(daemon)
    back = {"incident": 1, "files": incident["damaged"]}
    line = f"the damage of incident 1 is back in {incident['damaged']} files"
    world.ctl("restore", "--incident", "last", "--yes", "--no-verify")
    assert world.status()["relapse"] is None
    said = world.ctl("undo", "--yes", "--no-verify").stdout
    assert line in said
    assert world.status()["relapse"] == back
    assert line in world.ctl("status").stdout
    world.ctl("restore", "--incident", "1", "--yes", "--no-verify")
    assert world.status()["relapse"] is None
    next(world.root / one["path"] for one in incident["members"] if one["damaged"]).unlink()
    world.ctl("log")
    assert world.status()["relapse"] is None, "no undo did that"


def test_restored_in_the_middle_of_a_burst_no_damage_is_left_without_an_incident(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    before = snapshot(world.root)
    damage = Damage(world.root, "hollowed behind a marker", 60, pause_s=0.03)
    writer = threading.Thread(target=damage.run)
    writer.start()
    while writer.is_alive():
        world.ctl("restore", "--incident", "last", "--yes", "--no-verify", check=None)
    known: set[str] = set()

    def all_known() -> bool:
        now = snapshot(world.root)
        wrong = {path for path in damage.damaged if now[path] != before[path]}
        known.clear()
        known.update(member["path"] for one in world.incidents() if one["state"] == "open" for member in one["members"])
        with Store(str(world.state)) as store:
            known.update(one.path for one in store.incidents.suspects(store.repos.all()[0].id) if one.damaged)
        return wrong <= known

    wait_until(all_known, 40)
    assert daemon.process.poll() is None


def test_copies_made_before_the_damage_excuse_nothing_and_small_files_go_with_the_large(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    damaged = set()
    mostly_functions = [
        path
        for path in sorted(world.root.rglob("*.py"))
        if path.read_bytes().count(b"\ndef ") >= 4 and path.read_bytes().find(b"\ndef ") < path.stat().st_size / 3
    ]
    for path in mostly_functions[:8]:
        path.with_name(f"{path.stem}_backup.py").write_bytes(path.read_bytes())
        path.write_bytes(path.read_bytes().partition(b"\ndef ")[0] + b"\n")
        damaged.add(path.relative_to(world.root).as_posix())
    incident = world.wait_settled(daemon)[0]
    assert {member["path"] for member in incident["members"] if member["damaged"]} == damaged


def test_files_that_went_behind_a_link_keep_no_incident_from_settling(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    (world.root / "json").rename(world.root / "real")
    (world.root / "json").symlink_to("real")
    world.wait_gone("json/tool.py")
    damaged = hollow_files(world, 6, "unittest")
    incident = world.wait_settled(daemon)[0]
    assert {member["path"] for member in incident["members"] if member["damaged"]} == damaged


def test_what_explains_the_first_damage_of_a_file_does_not_explain_the_next(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    paths = [f"unittest/{name}.py" for name in ("case", "loader", "main", "mock", "result", "runner", "suite", "util")]
    imported = {path: b"from unittest.unified import everything\n" + (world.root / path).read_bytes() for path in paths}
    for path, content in imported.items():
        world.write(path, content)
    wait_until(lambda: daemon.events("incident opened"))
    for path, content in imported.items():
        world.write(path, content + b"\ndef broken(:\n")
        world.wait_captured(path, content + b"\ndef broken(:\n")
    world.write("unittest/unified.py", b"everything = 1\n")
    incident = world.wait_settled(daemon)[0]
    assert (incident["state"], incident["damaged"], incident["severity"]) == ("open", 8, "high")


def test_without_an_index_of_git_a_mass_deletion_is_one(world: World) -> None:
    copy_packages(world.root)
    in_git(world)
    (world.root / ".git/index").unlink()
    world.configure(SETTLE)
    daemon = world.start_configured()
    gone = sorted((world.root / "asyncio").rglob("*.py"))[:25]
    for path in gone:
        path.unlink()
    assert world.wait_settled(daemon)[0]["damaged"] == 25


def test_work_done_between_two_damages_is_what_a_restore_goes_back_to(watched: tuple[World, Daemon]) -> None:
    world, daemon = watched
    before = snapshot(world.root)
    damaged = sorted(hollow_files(world, 6))
    world.wait_settled(daemon)
    mended = before[damaged[0]] + b"\n\ndef an_hours_work():\n    return 42\n"
    world.write(damaged[0], mended)
    world.wait_captured(damaged[0], mended)
    wait_until(lambda: any(member["returned"] for member in world.incidents()[0]["members"]))
    again = hollow(mended, random.Random(1))
    assert again
    world.write(damaged[0], again)
    world.wait_captured(damaged[0], again)
    wait_until(lambda: not any(member["returned"] for member in world.incidents()[0]["members"]))
    world.json("restore", "--incident", "last", "--yes", "--no-verify")
    assert snapshot(world.root) == before | {damaged[0]: mended}


def test_deletions_of_before_a_restart_are_judged_after_it(world: World) -> None:
    copy_packages(world.root)
    world.configure(SETTLE)
    daemon = world.start_configured()
    gone = sorted((world.root / "asyncio").rglob("*.py"))[:25]
    for path in gone:
        path.unlink()
    daemon.kill()
    daemon = world.start_configured()
    wait_until(lambda: [one["damaged"] for one in world.json("incidents", "list")] == [25], 40)


@pytest.mark.promise("bad input gets one clear line", "a marker of the config that would backtrack for ever")
def test_a_marker_that_would_backtrack_for_ever_stops_nothing(world: World) -> None:
    copy_packages(world.root)
    world.configure('[detection]\nmarkers = ["REMOVED_SYNTAX_ERROR", "re:^(a+)+$"]\n' + SETTLE)
    daemon = world.start_configured()
    for path in sorted((world.root / "json").rglob("*.py")):
        path.write_bytes(path.read_bytes() + b"# " + b"a" * 5000 + b"!\n" + b"a" * 5000 + b"!\n")
    damaged = hollow_files(world, 6, "unittest")
    incident = world.wait_settled(daemon)[0]
    assert damaged <= {member["path"] for member in incident["members"] if member["damaged"]}


def test_wrong_incident_numbers_are_refused_with_what_to_do(watched: tuple[World, Daemon]) -> None:
    world, _ = watched
    assert "no incident" in world.ctl("restore", "--incident", "last", "--yes", check=3).stderr
    assert "guardctl incidents" in world.ctl("incidents", "show", "99", check=3).stderr
    assert "give its number" in world.ctl("incidents", "show", "x", check=2).stderr
    assert "--incident" in world.ctl("restore", "--since", "1h", "--only-damaged", "--yes", check=2).stderr
    assert "'soon' is no time" in world.ctl("restore", "--since", "soon", check=2).stderr, "and not only that a yes is missing"
    assert "there is no incident 7" in world.ctl("log", "--since", "incident:7", check=2).stderr
    assert world.ctl("incidents").stdout == "no incident so far\n"
    for command in (("diff",), ("log",), ("export", "/nowhere")):
        assert "no incident" in world.ctl(*command, "--incident", "last", check=3).stderr
        assert "is not a number" in world.ctl(*command, "--incident", "x", check=2).stderr


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
    world.json("restore", "--incident", "last", "--yes", "--no-verify")
    assert snapshot(world.root) == before
    assert damaged


# -- response ------------------------------------------------------------------------------------------------------


@pytest.mark.long  # the demo and the founding test of restore have the same burst every day
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
    with Store(str(world.state)) as store:
        repo = store.repos.all()[0]
        [one] = store.incidents.open(repo.id)
        policy = Policy("protected", 3, ("/json/",), (), (), 10.0)
        assert respond(store, repo, one, policy, time.time_ns()) is None, "what is back is not restored once more"
    after = world.incidents()[0]
    assert "guardctl undo 1" in after["note"]
    assert after["rounds"] == 1


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
    world.json("restore", "--incident", "last", "--yes", "--no-verify")
    assert world.json("incidents", "list")[0]["state"] == "restored"
    assert all(b"REMOVED_SYNTAX_ERROR" not in (world.root / path).read_bytes() for path in damaged)
