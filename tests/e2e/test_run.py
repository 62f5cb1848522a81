"""guardctl run: what a bulk command changed is kept if it passes, and put back byte for byte if not."""

import json
import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.fork_server import Begun
from tests.world import World, snapshot, some_of, wait_until

from guardd.cli.main import run as guardctl
from guardd.selection import SelectionRules
from guardd.store.lock import restore_lock
from guardd.store.store import Store

_FOUNDING_FILES = 1381
_CODEMOD = """
import pathlib, sys
for path in pathlib.Path("tests").glob("test_*.py"):
    path.write_text(path.read_text().replace("from app.core.", f"from app.{sys.argv[1]}."))
"""


Here = Callable[..., tuple[int, str, str]]


def modes(root: Path) -> dict[str, int]:
    """Path -> mode of everything below root, directories too."""
    return {str(path.relative_to(root)): path.lstat().st_mode for path in root.rglob("*")}


def state(root: Path) -> tuple[dict[str, bytes], dict[str, int]]:
    """All that a roll-back has to bring back."""
    return snapshot(root), modes(root)


def start(world: World, *arguments: str) -> Begun:
    """A guardctl run that goes on beside the test, with --json."""
    return world.begin_ctl("run", "--json", *arguments)


def finish(process: Begun, code: int) -> dict[str, Any]:
    """Its document, once it has ended with this code."""
    done = process.finish()
    assert done.returncode == code, done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def run(world: World, *arguments: str, check: int = 0) -> dict[str, Any]:
    """The document of a guardctl run; `--json` stands before the command's own words."""
    found: dict[str, Any] = json.loads(world.ctl("run", "--json", *arguments, check=check).stdout)
    return found


def told_by(here: Here, *arguments: str, check: int = 0) -> Any:
    """The one document of a command in this process."""
    code, out, err = here("--json", *arguments)
    assert code == check, (out[:2000], err)
    return json.loads(out)


@pytest.fixture
def guarded(world: World) -> World:
    for name in ("a", "b", "c"):
        world.write(f"pkg/{name}.py", f"def {name}():\n    return {name!r}\n")
    world.write("use.py", "from pkg.a import a\n\nprint(a())\n")
    world.write("secret/keys.py", "key = 1\n")
    world.write("notes.txt", "not guarded\n")
    (world.root / "empty" / "inside").mkdir(parents=True)
    (world.root / "pkg" / "b.py").chmod(0o755)
    world.configure("", 'protected = ["secret/"]\n')
    register(world)
    return world


@pytest.fixture
def here(guarded: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Here:
    """Guardctl in this process, which spares the start of another one: its exit code, stdout and stderr."""
    for name in ("GUARD_STATE_DIR", "XDG_CONFIG_HOME", "TZ"):
        monkeypatch.setenv(name, guarded.env[name])
    monkeypatch.chdir(guarded.root)

    def call(*arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        code = guardctl(list(arguments))
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def register(world: World) -> None:
    """What `guardctl init` leaves in the store."""
    with Store(str(world.state), create=True) as store:
        store.repos.add(str(world.root), SelectionRules())


@pytest.mark.parametrize("count", some_of([300, _FOUNDING_FILES], 300))
def test_the_founding_script_is_rolled_back_and_the_right_one_is_kept(world: World, count: int) -> None:
    alike = count < _FOUNDING_FILES  # equal contents are parsed once
    for package in ("app", "app/core", "app/facade", "app/wrong"):
        world.write(f"{package}/__init__.py", "")
    for number in range(20):
        world.write(f"app/core/part{number}.py", f"def work{number}():\n    return {number}\n")
        world.write(f"app/facade/part{number}.py", f"from app.core.part{number} import work{number}\n")
        world.write(f"app/wrong/part{number}.py", "def other():\n    return 0\n")
    for number in range(count):
        part = number % 20
        name = "it" if alike else number
        text = f"from app.core.part{part} import work{part}\n\n\ndef test_{name}():\n    assert work{part}() == {part}\n"
        world.write(f"tests/test_{number}.py", text).chmod(0o640 if number % 7 else 0o755)
    world.write("legacy/half.py", "def broken(:\n")
    world.write("legacy/lost.py", "from app.gone import nothing\n")
    script = world.root.parent / "codemod.py"
    script.write_text(_CODEMOD)
    register(world)
    before = state(world.root)
    told = run(world, "--", sys.executable, str(script), "wrong", check=1)
    assert (told["kept"], told["command_exit"], told["changed"]) == (False, 0, count)
    assert {one["path"] for one in told["findings"]} == {f"tests/test_{number}.py" for number in range(count)}
    assert {(one["rule"], one["line"]) for one in told["findings"]} == {("import", 1)}
    assert len(told["restored"]) == count
    assert told["not_restored"] == []
    assert state(world.root) == before
    told = run(world, "--", sys.executable, str(script), "facade")
    assert (told["kept"], told["changed"], told["findings"]) == (True, count, [])
    assert b"app.facade" in (world.root / "tests/test_0.py").read_bytes()


@pytest.mark.parametrize(
    ("options", "script", "reason"),
    [
        ([], "echo 'x = 1' >> pkg/c.py; exit 3", "the command exited 3"),
        ([], "echo 'x = 1' >> pkg/c.py; kill -KILL $$", "the command was ended by SIGKILL"),
        ([], "echo 'key = 2' > secret/keys.py", "protected: secret/keys.py"),
        (["--max-files", "1"], "for f in a b c; do echo 'x = 1' >> pkg/$f.py; done", "3 files changed, more than --max-files 1"),
        (["--verify", "grep -q nothing use.py"], "echo 'x = 1' >> pkg/c.py", "verify: grep -q nothing use.py: exit 1"),
        ([], "rm -r pkg secret use.py", "none of the files that guard keeps is left"),
        ([], "mv pkg other; chmod 600 use.py; rmdir -p empty/inside; echo '(' > new.py", "new damage in 2 files"),
    ],
)  # fmt: skip
def test_what_speaks_against_a_run_rolls_it_back(
    guarded: World, here: Here, options: list[str], script: str, reason: str
) -> None:
    before = state(guarded.root)
    code, _, said = here("run", *options, "--", "sh", "-c", script)
    assert code == 1
    assert reason in said
    assert "rolled back" in said
    assert "byte for byte" in said
    assert "guardctl undo 1" in said
    assert state(guarded.root) == before


def test_even_the_directory_of_the_repo_comes_back(guarded: World, here: Here) -> None:
    files, before = state(guarded.root)
    code, _, said = here("run", "--", "sh", "-c", "cd / && rm -r $OLDPWD")
    assert code == 1, said
    del files["notes.txt"], before["notes.txt"]
    assert state(guarded.root) == (files, before)


def test_what_passes_is_kept_recorded_and_can_be_taken_back(guarded: World, here: Here) -> None:
    before = state(guarded.root)
    script = "echo told; echo 'x = 1' >> pkg/c.py; rm pkg/b.py; echo 'key = 2' > secret/keys.py; echo more > notes.txt; exit 7"
    options = ("--allow-protected", "--ignore-exit", "--verify", "grep -q x pkg/c.py")
    code, out, err = here("run", *options, "--json", "--", "sh", "-c", script)
    assert (code, err) == (0, "told\n")
    told = json.loads(out)
    assert (told["kept"], told["command_exit"], told["changed"], told["restore_id"]) == (True, 7, 3, None)
    assert told["not_guarded"] == ["notes.txt"]
    assert [one["exit"] for one in told["verify"]] == [0]
    entries = told_by(here, "log")
    assert {entry["path"] for entry in entries if entry["run"] == told["run_id"]} == {"pkg/b.py", "pkg/c.py", "secret/keys.py"}
    assert f"run {told['run_id']}, kept: sh -c" in here("log")[1]
    guarded.write("pkg/c.py", b"edited = True\n")
    back = told_by(here, "run", "--rollback", str(told["run_id"]), check=1)
    assert [one["path"] for one in back["not_restored"]] == ["pkg/c.py"]
    guarded.write("pkg/c.py", before[0]["pkg/c.py"] + b"x = 1\n")
    assert here("run", "--rollback", str(told["run_id"]))[0] == 0
    (guarded.root / "notes.txt").write_bytes(before[0]["notes.txt"])
    assert state(guarded.root) == before
    assert here("run", "--rollback", str(told["run_id"]))[0] == 2
    assert here("run", "--rollback", "99")[0] == 3


def test_what_a_roll_back_found_is_an_incident_that_is_over(guarded: World, here: Here) -> None:
    told = told_by(here, "run", "--", "sh", "-c", "echo '(' > pkg/c.py; echo 'x = 1' >> pkg/b.py", check=1)
    incident = told_by(here, "incidents", "show", "last")
    assert (incident["id"], incident["state"], incident["damaged"], incident["files"]) == (told["incident"], "restored", 1, 2)
    assert incident["actor"]["command"].startswith("sh -c")
    assert (incident["run"]["id"], incident["run"]["state"]) == (told["run_id"], "rolled-back")
    assert {one["path"]: one["damaged"] for one in incident["members"]} == {"pkg/b.py": False, "pkg/c.py": True}
    assert incident["alerts"] == []
    assert f"run       {told['run_id']}, rolled-back" in here("incidents", "show", "last")[1]
    assert here("undo", str(told["restore_id"]), "--yes", "--no-verify")[0] == 0
    assert (guarded.root / "pkg/c.py").read_bytes() == b"(\n"


def test_many_files_of_a_command_that_failed_are_rolled_back_unread(
    guarded: World, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(guarded.root)
    script = "echo '(' > pkg/c.py; echo '(' > born.py; exit 1"
    assert {one["path"] for one in told_by(here, "run", "--", "sh", "-c", script, check=1)["findings"]} == {"born.py", "pkg/c.py"}
    monkeypatch.setattr("guardd.transactions.transaction._WORTH_A_LOOK", 1)
    told = told_by(here, "run", "--", "sh", "-c", script, check=1)
    assert (told["findings"], told["reasons"], told["outcome"]) == ([], ["the command exited 1"], "rolled-back")
    code, _, said = here("run", "--", "sh", "-c", script)
    assert code == 1
    assert "was not looked at" in said
    told = told_by(here, "run", "--ignore-exit", "--", "sh", "-c", script, check=1)
    assert {one["path"] for one in told["findings"]} == {"born.py", "pkg/c.py"}
    assert state(guarded.root) == before


def test_nothing_changed_and_nothing_run(guarded: World, here: Here) -> None:
    told = told_by(here, "run", "--", "true")
    assert (told["kept"], told["changed"], told["findings"]) == (True, 0, [])
    told = told_by(here, "run", "--", "false", check=1)
    assert (told["kept"], told["changed"], told["restore_id"]) == (False, 0, None)
    code, _, said = here("run", "--", "no-such-command")
    assert (code, len(said.splitlines())) == (2, 1)
    assert "command not found (127)" in said
    (guarded.root / "script").write_bytes(b"\x7fELF is none\n")
    (guarded.root / "script").chmod(0o755)
    code, _, said = here("run", "--", "./script")
    assert code == 2
    assert "nothing was run" in said
    assert told_by(here, "status")["repos"][0]["run"] is None
    os.chdir(guarded.root.parent)
    code, _, said = here("run", "--", "true")
    assert code == 2
    assert "guardctl init" in said
    assert here("run")[0] == 2


def test_what_others_write_meanwhile_is_theirs(guarded: World) -> None:
    fifo = guarded.root.parent / "go"
    os.mkfifo(fifo)
    before = state(guarded.root)
    script = f"echo '(' > pkg/c.py; read go < {fifo}; echo '(' >> pkg/c.py"
    late = guarded.root.parent / "late"
    os.mkfifo(late)
    verify = f"sh -c 'read go < {late}; exit 1'"
    process = start(guarded, "--ignore-exit", "--verify", verify, "--", "sh", "-c", f"{script}; cp pkg/a.py pkg/c.py; exit 1")
    with fifo.open("w") as go:
        replacement = guarded.root / "pkg/.b.py.new"
        replacement.write_bytes(b"mine = 1\n")
        replacement.rename(guarded.root / "pkg/b.py")
        guarded.write("pkg/fresh.py", b"mine = 2\n")
        go.write("go\n")
    with late.open("w") as go:
        guarded.write("use.py", b"late = 1\n")
        go.write("go\n")
    told = finish(process, 1)
    assert [one["exit"] for one in told["verify"]] == [1]
    after = snapshot(guarded.root)
    assert after["pkg/c.py"] == before[0]["pkg/c.py"]
    assert after["use.py"] == b"late = 1\n"
    if os.geteuid() == 0:  # the kernel tells who writes, to root alone
        assert told["concurrent"] == ["pkg/b.py", "pkg/fresh.py", "use.py"]
        assert (after["pkg/b.py"], after["pkg/fresh.py"]) == (b"mine = 1\n", b"mine = 2\n")
        assert told["changed"] == 1
    else:
        assert told["concurrent"] == ["use.py"]


def test_what_a_verify_command_writes_on_top_hides_nothing_from_the_roll_back(guarded: World, here: Here) -> None:
    before = state(guarded.root)
    verify = "sh -c 'echo formatted = 1 >> pkg/c.py; exit 1'"
    told = told_by(here, "run", "--verify", verify, "--", "sh", "-c", "echo 'x = 1' >> pkg/c.py", check=1)
    if os.geteuid() == 0:  # the kernel tells who writes, to root alone
        assert state(guarded.root) == before
        assert (told["outcome"], told["restored"], told["concurrent"]) == ("rolled-back", ["pkg/c.py"], [])
    else:
        assert told["outcome"] == "partly-rolled-back"
        assert [one["path"] for one in told["not_restored"]] == ["pkg/c.py"]


def test_what_is_left_in_the_background_is_ended_before_anything_is_decided(guarded: World) -> None:
    before = state(guarded.root)
    script = "(trap '' TERM; setsid sh -c 'trap \"\" TERM; while :; do echo \"(\" > pkg/c.py; sleep 0.05; done' &) ; sleep 0.2"
    told = run(guarded, "--", "sh", "-c", script, check=1)
    assert len(told["ended"]) >= 1
    assert told["left_running"] == []
    assert state(guarded.root) == before
    assert not [line for line in guarded.processes() if "while" in line]


def test_one_run_at_a_time_and_no_restore_beside_it(guarded: World) -> None:
    fifo = guarded.root.parent / "go"
    os.mkfifo(fifo)
    process = start(guarded, "--", "sh", "-c", f"read go < {fifo}")
    with fifo.open("w") as go:
        refused = guarded.ctl("run", "--", "true", check=2).stderr
        assert f"pid {process.pid}: sh -c" in refused
        assert "is under way" in guarded.ctl("restore", "--since", "1h", "--yes", check=2).stderr
        refused = guarded.ctl("purge", "pkg/a.py", "--yes", check=2).stderr
        assert f"pid {process.pid}: sh -c" in refused
        assert guarded.versions("pkg/a.py")
        assert guarded.status()["run"]["state"] == "running"
        assert "is under way since" in guarded.ctl("status").stdout
        go.write("go\n")
    assert finish(process, 0)["kept"]
    assert guarded.status()["run"] is None


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 1)])
def test_a_signal_is_handed_on_and_all_is_rolled_back(guarded: World, number: int, code: int) -> None:
    before = state(guarded.root)
    heard = guarded.root.parent / "heard"
    script = f"trap 'echo yes > {heard}; exit 0' INT TERM; echo 'x = 1' >> pkg/c.py; touch {heard}.ready; while :; do :; done"
    process = start(guarded, "--", "sh", "-c", script)
    wait_until(Path(f"{heard}.ready").exists)
    process.send_signal(number)
    told = finish(process, code)
    assert heard.read_text() == "yes\n"
    assert (told["kept"], told["changed"]) == (False, 1)
    assert state(guarded.root) == before


def test_the_daemon_opens_no_incident_for_a_run_but_judges_what_a_dead_one_left(guarded: World) -> None:
    for number in range(25):
        guarded.write(f"generated/g{number}.py", f"value_{number} = {number}\n")
    for number in range(6):
        guarded.write(f"code/m{number}.py", f"def f{number}():\n    return {number}\n" * 5)
    daemon = guarded.start_configured()
    assert run(guarded, "--", "sh", "-c", "rm generated/*.py")["kept"]
    damage = "for f in code/*.py; do sed -i 's/^/# REMOVED_SYNTAX_ERROR: /' $f; done"
    before = state(guarded.root)
    rolled_back = run(guarded, "--", "sh", "-c", damage, check=1)
    assert state(guarded.root) == before
    ready = guarded.root.parent / "ready"
    process = start(guarded, "--", "sh", "-c", f"{damage}; touch {ready}; sleep 1000")
    wait_until(ready.exists)
    for number in range(6):
        path = f"code/m{number}.py"
        guarded.wait_captured(path, (guarded.root / path).read_bytes())
    assert [one["state"] for one in guarded.incidents()] == ["restored"]
    (group,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    killed_at = datetime.now(UTC)
    process.kill()
    process.wait()
    os.killpg(int(group), signal.SIGKILL)
    wait_until(lambda: daemon.events("incident opened"))
    first, second = guarded.wait_settled(daemon)
    assert (first["id"], first["state"]) == (rolled_back["incident"], "restored")
    assert (second["state"], second["damaged"]) == ("open", 6)
    assert datetime.fromisoformat(second["opened_at"]) >= killed_at
    left = guarded.status()["run"]
    assert left["state"] == "interrupted"
    way_back = f"guardctl run --rollback {left['id']}"
    assert way_back in guarded.ctl("status").stdout
    assert way_back in guarded.ctl("log").stderr
    guarded.ctl("run", "--rollback", str(left["id"]))
    assert state(guarded.root) == before
    assert guarded.status()["run"] is None
    wait_until(lambda: guarded.incidents()[1]["state"] == "restored")
    assert len(guarded.incidents()) == 2


def test_a_run_that_could_not_be_decided_says_how_it_is_taken_back(
    guarded: World, here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("guardd.recovery.restore._LOCK_WAIT_S", 0.05)  # half a minute is no test's patience
    with Store(str(guarded.state)) as store, restore_lock(str(guarded.state), store.repos.all()[0].id) as lock:
        assert lock.try_acquire()
        code, _, said = here("run", "--", "sh", "-c", "echo '(' > pkg/c.py")
    assert code == 1
    assert "another restore" in said
    assert "guardctl run --rollback 1" in said
    assert here("run", "--rollback", "1")[0] == 0
