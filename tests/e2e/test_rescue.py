"""Rescue: who installs guard after the accident gets the files back out of backups that lay around, and of git's history."""

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from tests.world import PROGRAMS, World, snapshot

from guardd.cli.main import run
from guardd.store.store import Store

Ask = Callable[..., Any]

BACKED_UP = ".backup_20250917_084026"


@pytest.fixture
def ask(world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Guardctl in this process: its JSON."""
    for key in ("GUARD_STATE_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(key, world.env[key])
    monkeypatch.delenv("GUARD_CONFIG", raising=False)
    monkeypatch.chdir(world.root)

    def ask(words: str, code: int = 0) -> Any:
        capsys.readouterr()
        found = run([*shlex.split(words), "--json"])
        said = capsys.readouterr()
        assert found == code, (words, found, said)
        return json.loads(said.out) if said.out else said.err

    assert run(["init", str(world.root)]) == 0
    return ask


def git(world: World, *words: str, day: int = 1) -> None:
    when = f"2025-09-{day:02}T00:00:00Z"
    env = {**world.env, "GIT_AUTHOR_DATE": when, "GIT_COMMITTER_DATE": when}
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main", "-c", "gc.auto=0")
    subprocess.run(["git", *who, *words], cwd=world.root, env=env, check=True, capture_output=True)


def commit(world: World, day: int) -> None:
    git(world, "add", "-A", "--", "*.py", day=day)
    git(world, "commit", "-qm", f"day {day}", day=day)


def damaged_tree(world: World, count: int) -> dict[str, bytes]:
    """A package and its tests, committed; half of the tests edited since; all damaged by a script that backed up that half."""
    world.write("real/__init__.py", "")
    for number in range(20):
        world.write(
            f"real/part{number}.py", f"def work{number}(x):\n    return x + {number}\n\n\nTOTAL{number} = work{number}(1)\n"
        )
    tests = [f"tests/test_{number}.py" for number in range(count)]
    for number, path in enumerate(tests):
        part = number % 20
        world.write(
            path,
            f"from real.part{part} import TOTAL{part}, work{part}\n\n\ndef test_{number}():\n    value = work{part}({number})\n"
            f"    assert value == {number} + {part}\n    assert TOTAL{part}\n",
        )
    git(world, "init", "-q")
    commit(world, 1)
    for number, path in enumerate(tests):
        if number % 2 == 0:
            world.write(path, (world.root / path).read_text() + f"\n\nEDITED = {number}\n")
    whole = snapshot(world.root)
    for number, path in enumerate(tests):
        text = (world.root / path).read_text()
        if number % 2 == 0:
            world.write(path + BACKED_UP, text)
        world.write(path, _damaged(text, number))
    return whole


def _damaged(text: str, number: int) -> str:
    match number % 4:
        case 0 | 1:
            return "".join(f"# REMOVED_SYNTAX_ERROR: {line}\n" for line in text.splitlines())
        case 2:
            return text.replace("def ", "def (", 1)
        case _:
            return text.replace("from real.part", "from real.lost")


def rescued(world: World, ask: Ask, count: int) -> None:
    whole = damaged_tree(world, count)
    adopted = ask("adopt")
    assert len(adopted["adopted"]) == count // 2 + count % 2
    assert {one["time"][:19] for one in adopted["adopted"]} == {"2025-09-17T08:40:26"}
    report = ask("restore --best --yes")
    found = {path: content for path, content in snapshot(world.root).items() if not path.endswith(BACKED_UP)}
    assert found == whole
    assert (len(report["restored"]), report["skipped"], report["failed"]) == (count, [], [])
    verify = report["verify"]
    assert (verify["hash_ok"], verify["markers_left"], verify["syntax_errors"]) == (True, 0, 0)
    # in the commented files nothing is imported, in the others that do not parse nothing is known
    assert (verify["imports_before"], verify["imports_after"], verify["imports_new"]) == (count // 4, 0, [])
    assert verify["imports_in"] == "tree"
    ask("undo --yes", 0)
    assert snapshot(world.root)["tests/test_0.py"].startswith(b"# REMOVED_SYNTAX_ERROR")


def test_a_damaged_tree_comes_back_byte_for_byte_out_of_backups_and_git(world: World, ask: Ask) -> None:
    rescued(world, ask, 100)


@pytest.mark.long
def test_the_founding_tree_comes_back_byte_for_byte_out_of_backups_and_git(world: World, ask: Ask) -> None:
    rescued(world, ask, 1381)


def test_each_damaged_file_gets_the_newest_healthy_version_and_the_reason(world: World, ask: Ask) -> None:
    good = "def f(x):\n    return x\n\n\ndef g(x):\n    return f(x)\n"
    for name in ("marked", "nul", "conflict", "emptied", "twice", "renamed_away", "untouched"):
        world.write(f"pkg/{name}.py", good)
    world.write("pkg/user.py", "from pkg.marked import f\n")
    world.write("pkg/removed.py", good)
    world.write("pkg/dropped.py", good)
    world.write("pkg/legacy.py", "print 'python 2'\n")
    git(world, "init", "-q")
    commit(world, 1)
    git(world, "rm", "-q", "pkg/dropped.py")
    world.write("pkg/twice.py", good + "\n\nNEWER = 1\n")
    git(world, "add", "pkg/twice.py")
    git(world, "commit", "-qm", "two", day=2)

    world.write("pkg/emptied.py.bak", good)
    world.write("pkg/removed.py.bak", good)
    (world.root / "pkg/removed.py").unlink()
    world.write("pkg/dropped.py.bak", good)  # a commit removed it: on purpose
    world.write("pkg/never.py.bak", good)
    world.write("pkg/lost.py", "def (\n")
    world.write("pkg/twice.py.backup_20250910_000000", "# REMOVED_SYNTAX_ERROR: def f(x):\n")
    world.write("pkg/marked.py", "# REMOVED_SYNTAX_ERROR: def f(x):\n")
    world.write("pkg/nul.py", good.encode() + b"\0\0")
    world.write("pkg/conflict.py", f"<<<<<<< HEAD\n{good}=======\n>>>>>>> other\n")
    world.write("pkg/emptied.py", "")
    world.write("pkg/twice.py", "def (\n")
    ask("adopt")

    plan = {one["path"]: one for one in ask("restore --best --dry-run")["plan"]}
    back = {path: one["source"].partition(":")[0] for path, one in plan.items() if one["action"] == "write"}
    assert back == {
        "pkg/marked.py": "git", "pkg/nul.py": "git", "pkg/conflict.py": "git", "pkg/twice.py": "git",
        "pkg/emptied.py": "adopted", "pkg/removed.py": "adopted", "pkg/never.py": "adopted",
    }  # fmt: skip
    assert {path for path, one in plan.items() if one["action"] == "skip"} == {"pkg/lost.py", "pkg/legacy.py"}
    assert "newer: adopted backup pkg/twice.py.backup_20250910_000000 has markers" in plan["pkg/twice.py"]["why"]
    assert "there is no other version" in plan["pkg/lost.py"]["why"]
    assert "is empty; from adopted backup pkg/emptied.py.bak" in plan["pkg/emptied.py"]["why"]
    assert set(plan["pkg/nul.py"]) == {"path", "action", "source", "why"}

    report = ask("restore --best --yes", 1)  # in part: two have nothing healthy
    assert sorted(one["path"] for one in report["skipped"]) == ["pkg/legacy.py", "pkg/lost.py"]
    assert (world.root / "pkg/twice.py").read_text() == good + "\n\nNEWER = 1\n"
    assert all((world.root / path).read_text() == good for path in back if path != "pkg/twice.py")
    assert (world.root / "pkg/lost.py").read_text() == "def (\n"
    assert not (world.root / "pkg/dropped.py").exists()
    ask("restore --best --yes pkg/dropped.py")  # but whoever names it wants it
    assert (world.root / "pkg/dropped.py").read_text() == good
    assert "no file is damaged" in ask("restore --best --yes pkg/marked.py pkg/untouched.py", 3)


def test_the_reason_for_a_file_that_stays_does_nothing_to_a_terminal(
    world: World, ask: Ask, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(("a\x1b[31m\udcff.py", "a\x1b[31m\udcff.py.bak")):
        (world.root / name).write_text(f"def ({number * '#'}\n")
    ask("adopt")
    assert run(["restore", "--best", "--yes"]) == 1
    said = capsys.readouterr()
    assert r"adopted backup a\x1b[31m\xff.py.bak does not parse" in said.err
    assert "\x1b" not in said.err + said.out


def test_imports_are_held_against_the_tree_as_it_will_be(world: World, ask: Ask) -> None:
    """The newest sound version of `user` asks for what no version of `lib` that goes back has: the one before it goes back."""
    world.write("lib.py", "def old():\n    return 1\n")
    world.write("user.py", "from lib import old\n\n\ndef use():\n    return old()\n")
    world.write("other.py", "from lib import old\nVALUE = old()\n")  # is whole again once lib is: stays
    git(world, "init", "-q")
    commit(world, 1)
    world.write("user.py", "from lib import new\n\n\ndef use():\n    return new()\n")
    commit(world, 2)
    world.write("user.py", "from lib import (\n")
    world.write("lib.py", "# REMOVED_SYNTAX_ERROR: def old():\n# REMOVED_SYNTAX_ERROR:     return 1\n")
    world.write("astray.py", "from lib import missing\n")  # sound itself, and never was better
    plan = {one["path"]: one for one in ask("restore --best --dry-run")["plan"]}
    assert plan.keys() == {"lib.py", "user.py", "astray.py"}
    assert "its imports do not resolve (lib has no 'new')" in plan["user.py"]["why"]
    assert plan["astray.py"]["action"] == "skip"
    report = ask("restore --best --yes user.py lib.py")
    assert (world.root / "user.py").read_text().startswith("from lib import old\n")
    verify = report["verify"]
    assert (verify["imports_before"], verify["imports_after"]) == (2, 1)


def test_the_verify_block_names_imports_that_a_restore_broke(world: World, ask: Ask) -> None:
    world.write("lib.py", "def old():\n    return 1\n")
    world.write("user.py", "VALUE = 1\n")
    git(world, "init", "-q")
    commit(world, 1)
    world.write("lib.py", "def old():\n    return 1\n\n\ndef new():\n    return 2\n")
    world.write("user.py", "from lib import new\n")
    verify = ask("restore --from git:HEAD --yes lib.py")["verify"]
    assert (verify["imports_before"], verify["imports_after"]) == (0, 1)
    assert verify["imports_new"] == [{"path": "user.py", "message": "lib has no 'new'"}]


def test_backups_of_any_naming_become_versions_and_the_rest_is_told(world: World, ask: Ask) -> None:
    now = "x = 'now'\n"
    for name in ("a", "b", "c", "mine"):
        world.write(f"pkg/{name}.py", now)
    old = {"pkg/a.py.bak": "1", "pkg/a.py~": "2", "pkg/b.py.orig": "3", "pkg/#b.py#": "4", "pkg/c.bak.py": "5"}
    for number, (path, value) in enumerate(old.items()):
        os.utime(world.write(path, f"x = {value}\n"), ns=(0, (1_700_000_000 + number) * 10**9))
    world.write("pkg/c.py.bak", now)  # the very content that is there
    world.write("pkg/mine_backup.py", "x = 1\n")
    world.write("pkg/c.py.backup_20251345", "x = 1\n")
    world.write("backups/2025-09-17/pkg/a.py", "x = 'tree'\n")
    world.write("pkg/a.py.rej", "no\n")
    (world.root / "pkg/b.py.bak").symlink_to("b.py")
    os.mkfifo(world.root / "pkg/c.py.old")
    world.write("pkg/c.py.save", b"#" * (17 << 20))
    outside = world.root.parent / "outside" / "pkg"
    outside.mkdir(parents=True)
    (outside / "b.py.20250918_010203").write_text("x = 'outside'\n")

    words = f"adopt --map backups=. --map {outside.parent}=. --zone Europe/Rome"
    planned, found, again = ask(f"{words} --dry-run", 1), ask(words, 1), ask(words, 1)  # 1: one is too large
    assert [{**one, "seq": None} for one in found["adopted"]] == planned["adopted"]
    pairs = {one["backup"]: (one["path"], one["time"][:19], one["time_from"]) for one in found["adopted"]}
    assert pairs.pop("pkg/c.py.bak")[2] == "mtime"  # the present content, but c.bak.py says that it was another before
    assert pairs == {
        "pkg/a.py.bak": ("pkg/a.py", "2023-11-14T22:13:20", "mtime"),
        "pkg/a.py~": ("pkg/a.py", "2023-11-14T22:13:21", "mtime"),
        "pkg/b.py.orig": ("pkg/b.py", "2023-11-14T22:13:22", "mtime"),
        "pkg/#b.py#": ("pkg/b.py", "2023-11-14T22:13:23", "mtime"),
        "pkg/c.bak.py": ("pkg/c.py", "2023-11-14T22:13:24", "mtime"),
        "backups/2025-09-17/pkg/a.py": ("pkg/a.py", "2025-09-16T22:00:00", "folder"),
        str(outside / "b.py.20250918_010203"): ("pkg/b.py", "2025-09-17T23:02:03", "name"),
    }
    assert again["adopted"] == []
    assert {one["backup"]: one["seq"] for one in again["unchanged"]} == {one["backup"]: one["seq"] for one in found["adopted"]}
    assert {one["backup"] for one in found["unclear"]} == {"pkg/mine_backup.py", "pkg/c.py.backup_20251345"}
    left = {one["backup"]: one["reason"] for one in found["skipped"]}
    assert left.keys() == {"pkg/b.py.bak", "pkg/c.py.old", "pkg/c.py.save"}
    assert "symlink" in left["pkg/b.py.bak"]
    assert "FIFO" in left["pkg/c.py.old"]

    listed = [one for one in ask("log pkg/a.py") if one["origin"] == "adopt"]
    assert [one["time"][:10] for one in listed] == ["2025-09-16", "2023-11-14", "2023-11-14"]
    assert ask("log pkg/a.py --since 2026-01-01")[0]["origin"] == "baseline"
    shown = ask(f"show pkg/a.py --version {listed[0]['seq']}")
    assert shown["size"] == len("x = 'tree'\n")
    assert ask("show pkg/a.py --at 2025-09-20")["seq"] == listed[0]["seq"]
    assert ask("show pkg/a.py --at 2024-09-20")["seq"] == listed[1]["seq"]
    ask(f"restore --version {listed[2]['seq']} --yes")
    assert (world.root / "pkg/a.py").read_text() == "x = 1\n"
    ask("restore --at 2025-09-20 --yes pkg/b.py")
    assert (world.root / "pkg/b.py").read_text() == "x = 'outside'\n"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("--map nowhere=pkg", "there is no folder nowhere"),
        ("--map pkg", "say FROM=TO"),
        ("--map pkg=../elsewhere", "outside of the repo"),
        ("--map .=pkg", "the repo itself"),
        ("--map /=.", "the repo itself lies in /"),
        ("--map ..=.", "the repo itself lies in .."),
        ("--zone Nowhere/At_All", "no such time zone"),
    ],
)
def test_adopt_refuses_what_it_cannot_mean(world: World, ask: Ask, words: str, reason: str) -> None:
    world.write("pkg/a.py")
    assert reason in ask(f"adopt {words}", 2)


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root reads everything")
def test_folders_of_backups_that_cannot_be_read_are_told(world: World, ask: Ask) -> None:
    world.write("pkg/a.py")
    world.write("backups/pkg/a.py", "x = 'old'\n")
    world.write("backups/closed/b.py").parent.chmod(0o000)
    world.write("shut/a.py").parent.chmod(0o000)
    words = [str(PROGRAMS / "guardctl"), "adopt", "--map", "backups=.", "--map", "shut=pkg", "--json"]
    if os.geteuid() == 0:
        ordinary = "-dac_override,-dac_read_search"
        words = ["setpriv", "--bounding-set", ordinary, "--inh-caps", ordinary, *words]
    done = subprocess.run(words, env=world.env, cwd=world.root, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    found = json.loads(done.stdout)
    assert [one["backup"] for one in found["adopted"]] == ["backups/pkg/a.py"]
    assert {one["backup"]: one["reason"] for one in found["skipped"]} == dict.fromkeys(
        ["backups/closed", "shut"], "Permission denied, nor what lies in it"
    )


def test_a_tree_without_backups_has_nothing_to_adopt(world: World, ask: Ask) -> None:
    world.write("a.py")
    assert ask("adopt", 3)["adopted"] == []


@pytest.mark.promise(
    "the store is sound or says what is damaged", "a content is damaged beyond repair: a backup, or git, has it still"
)
@pytest.mark.parametrize("source", ["a backup", "a backup that is adopted", "git"])
def test_what_the_store_lost_comes_back_out_of_a_backup_and_out_of_git(world: World, ask: Ask, source: str) -> None:
    good, damaged = b"def work():\n    return 1\n", b"# REMOVED_SYNTAX_ERROR: def work():\n"
    world.write("a.py", good)
    if source == "git":
        git(world, "init", "-q")
        commit(world, 1)
    else:
        world.write("a.py.backup_20250917_084026", good)
    if source == "a backup that is adopted":  # guard came after the damage
        world.write("a.py", damaged)
        (adopted,) = ask("adopt --yes")["adopted"]
        number = str(adopted["seq"])
    else:
        (captured,) = ask("log")
        number = str(captured["seq"])
        world.write("a.py", damaged)
        ask("log")
    with Store(str(world.state)) as store, store.db.transaction():
        for table in ("blobs", "frames"):
            store.db.run(f"UPDATE {table} SET data = zeroblob(length(data)) WHERE data IS NOT NULL")
    ask("fsck", 1)
    ask("fsck --repair")
    assert world.ctl("show", "a.py", "--version", number, check=None).returncode
    if source != "git":
        ask("adopt --yes")
    ask("restore --best --yes --no-verify")
    assert snapshot(world.root)["a.py"] == good
    assert world.ctl_bytes("show", "a.py", "--version", number) == good
    ask("fsck")
