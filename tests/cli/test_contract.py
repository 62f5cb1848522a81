"""The contract with scripts: exit codes, JSON documents, one-line errors."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
from pathlib import Path

import pytest
from tests import fork_server
from tests.world import PROGRAMS, World

from guardd.cli.main import COMMANDS


@pytest.fixture
def guarded(world: World) -> World:
    world.write("a.py", b"a = 1\n")
    world.start().stop()
    world.write("a.py", b"a = 2\n")
    return world


def test_log_has_the_promised_keys_newest_first(guarded: World) -> None:
    entries = guarded.json("log")
    assert [entry["kind"] for entry in entries] == ["modified", "created"]
    assert entries[0]["seq"] > entries[1]["seq"]
    for entry in entries:
        assert set(entry) >= {"seq", "path", "time", "origin", "kind", "size", "blob", "incident"}
        assert entry["time"].endswith("+00:00")
    (guarded.root / "a.py").unlink()
    assert guarded.json("log", "--limit", "1")[0]["kind"] == "deleted"
    assert guarded.json("log", "--since", "1h", "a.py") == guarded.json("log")
    assert guarded.json("log", "--until", "1d") == []


def test_a_repo_left_within_another_does_not_hide_the_one_that_is_guarded(guarded: World) -> None:
    guarded.write("sub/b.py", b"b = 1\n")
    guarded.ctl("init", "sub", cwd=guarded.root)
    guarded.start()
    sub = guarded.root / "sub"
    assert json.loads(guarded.ctl("log", "--json", cwd=sub).stdout)[0]["path"] == "sub/b.py"


def test_a_home_directory_is_understood_whatever_the_shell_does(guarded: World) -> None:
    found = json.loads(guarded.ctl("log", "--repo", "~/repo", "--json", env={"HOME": str(guarded.root.parent)}).stdout)
    assert found == guarded.json("log")


def test_show_gives_any_version_byte_for_byte(guarded: World) -> None:
    first = guarded.json("log")[-1]["seq"]
    assert guarded.ctl_bytes("show", "a.py") == b"a = 2\n"
    assert guarded.ctl_bytes("show", "a.py", "--version", str(first)) == b"a = 1\n"
    assert guarded.ctl_bytes("show", "a.py", "--at", "1h") == b"a = 1\n"
    assert guarded.json("show", "a.py")["path"] == "a.py"
    for words, code in ((("nothing.py",), 3), (("a.py", "--version", "999"), 3), (("a.py", "--at", "soon"), 2), ((), 2)):
        assert guarded.ctl("show", *words, check=code).stderr.count("\n") == 1


def test_diff_shows_then_to_now(guarded: World) -> None:
    text = guarded.ctl("diff", "--since", "1h").stdout
    assert "--- a/a.py" in text
    assert "-a = 1" in text
    assert "+a = 2" in text
    assert guarded.json("diff", "a.py")[0]["path"] == "a.py"
    assert text.endswith("@@\n-a = 1\n+a = 2\n")
    guarded.write("a.py", b"no newline")
    assert guarded.ctl("diff", "a.py").stdout.endswith("-a = 2\n+no newline\n\\ No newline at end of file\n")
    guarded.ctl("diff", check=2)


def test_init_registers_once_and_says_what_comes_next(world: World) -> None:
    world.write("sub/a.py")
    done = world.ctl("init")
    assert "guardd" in done.stdout
    assert "guardctl restore" in done.stdout
    world.ctl("init", str(world.root))
    assert world.config.read_text().count("[[repo]]") == 1
    assert world.json("status")["repos"][0]["state"] == "stopped"
    world.start("--log-format", "json")
    assert world.json("log", "sub")[0]["path"] == "sub/a.py"
    world.ctl("init", "/does/not/exist", check=2)


def test_the_repo_is_found_from_the_working_directory_upwards(guarded: World) -> None:
    deep = guarded.root / "x" / "y"
    deep.mkdir(parents=True)
    assert json.loads(guarded.ctl("log", "--json", cwd=deep).stdout)
    assert "no guarded repo" in guarded.ctl("log", cwd=guarded.root.parent, check=2).stderr
    assert json.loads(guarded.ctl("log", "--json", "--repo", str(guarded.root), cwd=guarded.root.parent).stdout)
    assert "not guarded" in guarded.ctl("log", "--repo", "/usr", check=2).stderr


def test_options_stand_before_or_after_the_command(guarded: World) -> None:
    assert json.loads(guarded.ctl("--json", "status").stdout) == guarded.json("status")
    assert guarded.ctl("--quiet", "status").stdout == ""


def test_doctor_names_the_cure_of_what_fails(guarded: World) -> None:
    done = guarded.ctl("doctor", check=1)
    assert "FAIL  daemon" in done.stdout
    assert "cure: start 'guardd'" in done.stdout
    daemon = guarded.start()
    checks = guarded.json("doctor")
    assert all(one["ok"] for one in checks), checks
    assert {"sqlite", "store", "disk", "clock", "git", "daemon"} <= {one["name"] for one in checks}
    daemon.stop()


def test_fsck_gc_and_purge_work_beside_a_running_daemon(guarded: World) -> None:
    guarded.start()
    assert "is sound" in guarded.ctl("fsck").stdout
    assert set(guarded.json("gc")) >= {"versions", "blobs", "bytes"}
    assert "--yes" in guarded.ctl("purge", "a.py", check=2).stderr
    purged = guarded.json("purge", "a.py", "--yes")
    assert (purged["purged"], purged["versions"], purged["on_disk"]) == (["a.py"], 2, ["a.py"])
    guarded.ctl("purge", "nothing.py", "--yes", check=3)


def test_config_commands_check_show_and_schema(world: World) -> None:
    world.ctl("init")
    assert "no errors" in world.ctl("config", "check").stdout
    assert "daemon.log_level" in world.ctl("config", "show").stdout
    assert json.loads(world.ctl("config", "schema").stdout)["type"] == "object"
    world.config.write_text("[daemon]\nlog_levle = 1\nlog_format = 2\n")
    done = world.ctl("config", "check", check=4)
    assert len(done.stderr.splitlines()) == 2
    assert "did you mean log_level" in done.stderr
    assert len(world.json("config", "check", check=4)["errors"]) == 2


@pytest.mark.parametrize(
    ("words", "code"),
    [(["frobnicate"], 2), (["stats"], 2), ([], 2), (["log", "--since"], 2), (["restore"], 2),
     (["restore", "--since", "1h", "--at", "1h"], 2),
     (["log", "--since", "tomorrow"], 2), (["undo", "7", "--yes"], 3), (["restore", "--version", "99", "--yes"], 3),
     (["--config", "/does/not/exist", "gc"], 4)],
)  # fmt: skip
def test_mistakes_have_their_exit_code_and_no_traceback(guarded: World, words: list[str], code: int) -> None:
    done = guarded.ctl(*words, check=code)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) <= 1


def test_without_a_store_every_command_says_what_to_do(world: World) -> None:
    for words in (["status"], ["log"], ["restore", "--since", "1h", "--yes"], ["doctor"], ["fsck"]):
        done = world.ctl(*words, check=4)
        assert "guardctl init" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_every_command_has_help_and_the_common_options(world: World) -> None:
    listing = world.ctl("--help").stdout
    for name in COMMANDS:
        assert f"  {name} " in listing
        text = world.ctl(name, "--help").stdout
        assert "--json" in text
        assert "--repo" in text


def test_help_and_status_import_nothing_heavy(guarded: World) -> None:
    heavy = ["pydantic", "structlog", "watchdog", "rich", "pathspec", "multiprocessing"]
    for words in (["--help"], ["status"]):
        script = (
            "import sys; from guardd.cli.main import run; "
            f"code = run({words!r}); bad = [m for m in {heavy!r} if m in sys.modules]; sys.exit(bad and str(bad) or code)"
        )
        done = subprocess.run(
            [PROGRAMS / "python", "-c", script], env=guarded.env, cwd=guarded.root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_a_reader_that_leaves_early_is_no_error(guarded: World) -> None:
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {PROGRAMS / 'guardctl'} log | head -n 0"], env=guarded.env, cwd=guarded.root,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stderr == ""


def test_terminal_output_is_asked_and_coloured_as_told(guarded: World) -> None:
    assert "\x1b[" in guarded.ctl("status", "--color").stdout
    assert "\x1b[" not in guarded.ctl("status").stdout
    guarded.env["NO_COLOR"] = "1"
    assert "\x1b[" not in guarded.ctl("status").stdout


def answer(world: World, words: list[str], typed: bytes | None) -> tuple[int, str]:
    """Run guardctl on a real terminal and answer its question (None: interrupt it); the exit code and what was shown."""
    master, slave = pty.openpty()
    env = {**world.env, "TERM": "xterm"}
    process = fork_server.begin([str(PROGRAMS / "guardctl"), *words], env, world.root, (slave, slave, slave))
    os.close(slave)
    shown = b""
    asked = False
    with contextlib.suppress(OSError):  # EIO: the other end is closed
        while True:
            if not select.select([master], [], [], 1 if asked else 60)[0]:
                assert asked, shown
                # An interrupt just before the read begins is seen only after it: press the key again, as people do.
                process.send_signal(signal.SIGINT)
                continue
            part = os.read(master, 4096)
            if not part:
                break
            shown += part
            if shown.endswith(b"[y/N]: "):
                asked = typed is None
                os.write(master, typed) if typed else process.send_signal(signal.SIGINT)
    os.close(master)
    return process.wait(30), shown.decode()


def test_on_a_terminal_a_restore_shows_its_plan_and_asks(guarded: World) -> None:
    code, shown = answer(guarded, ["restore", "--since", "1h"], b"n\n")
    assert code == 2
    assert "~ a.py" in shown
    assert "Write 1 file and remove 0 files? [y/N]" in shown
    assert (guarded.root / "a.py").read_bytes() == b"a = 2\n"
    code, shown = answer(guarded, ["restore", "--since", "1h"], b"y\n")
    assert code == 0
    assert "restored 1 file" in shown
    assert (guarded.root / "a.py").read_bytes() == b"a = 1\n"


def test_an_interrupt_at_the_question_is_exit_130_and_changes_nothing(guarded: World) -> None:
    code, _ = answer(guarded, ["restore", "--since", "1h"], None)
    assert code == 130
    assert (guarded.root / "a.py").read_bytes() == b"a = 2\n"


@pytest.mark.parametrize(
    "words",
    [
        ["show", "a.py", "--version", "9" * 20], ["restore", "--version", "9" * 20, "--yes"], ["undo", "9" * 20, "--yes"],
        ["log", "--incident", "9" * 20], ["log", "no\nsuch\x1bfile.py"], ["nonsense\nhere"],
    ],
)  # fmt: skip
def test_numbers_beyond_all_bounds_and_names_with_line_ends_are_errors_in_one_line(guarded: World, words: list[str]) -> None:
    done = guarded.ctl(*words, check=None)
    assert done.returncode in (2, 3)
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr
    assert "Traceback" not in done.stderr


def test_from_a_directory_that_is_gone_help_is_given_and_commands_say_so(guarded: World) -> None:
    gone = guarded.root.parent / "gone"
    for words, code in ((["--help"], 0), (["status"], 0), (["log"], 2)):
        script = f'mkdir -p {gone}; cd {gone}; rmdir {gone}; exec "$0" "$@"'
        done = subprocess.run(
            ["sh", "-c", script, PROGRAMS / "guardctl", *words], env=guarded.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr


def test_a_piped_diff_is_a_patch_for_contents_of_any_kind(guarded: World, tmp_path: Path) -> None:
    contents = [
        (b"one\r\ntwo\r\n", b"one\r\n2\r\n"), (b"\xef\xbb\xbfbom\nx\n", b"\xef\xbb\xbfbom\ny\n"),
        (b"caf\xe9\n\x0cfeed\n", b"th\xe9\n\x0cfeed\n"), (b"no end", b"no end either"),
        (b"back\\slash\n", b"back\\slash\nx\x1b[31m\n"),
    ]  # fmt: skip
    for number, (before, _) in enumerate(contents):
        guarded.write(f"f{number}.py", before)
        (tmp_path / f"f{number}.py").write_bytes(before)
    guarded.ctl("log")
    for number, (_, after) in enumerate(contents):
        guarded.write(f"f{number}.py", after)
    patch = guarded.ctl_bytes("diff", *(f"f{number}.py" for number in range(len(contents))))
    subprocess.run(["git", "apply", "-p1"], cwd=tmp_path, input=patch, check=True)
    for number, (_, after) in enumerate(contents):
        assert (tmp_path / f"f{number}.py").read_bytes() == after


def test_purge_names_other_repos_that_keep_the_content_and_exclude_holds_while_no_daemon_runs(
    guarded: World, tmp_path: Path
) -> None:
    other = World(tmp_path / "other")
    secret = b"password = 'hunter2'\n"
    for root in (guarded.root, other.root):
        (root / "secret.py").write_bytes(secret)
    guarded.start("--repo", str(guarded.root), "--repo", str(other.root), ready=False).wait_ready(2)
    guarded.daemons[-1].stop()
    done = guarded.json("purge", "secret.py", "--yes")
    assert done["also_in"] == {"secret.py": [str(other.root / "secret.py")]}
    guarded.configure("", 'exclude = ["secret.py"]')
    assert {entry["path"] for entry in guarded.json("log")} == {"a.py"}
    assert "no version" in guarded.ctl("show", "secret.py", check=3).stderr


def test_with_json_a_restore_must_be_told_yes_also_on_a_terminal(guarded: World) -> None:
    code, shown = answer(guarded, ["restore", "--since", "1h", "--json"], b"y\n")
    assert code == 2
    assert "add --yes" in shown
    assert (guarded.root / "a.py").read_bytes() == b"a = 2\n"


def test_history_can_be_read_while_the_tree_is_gone(guarded: World, tmp_path: Path) -> None:
    guarded.ctl("log")
    guarded.root.rename(tmp_path / "away")
    cwd = guarded.root.parent
    repo = ["--repo", str(guarded.root)]
    assert "is not there" in guarded.ctl("log", *repo, cwd=cwd).stderr
    guarded.ctl("export", str(tmp_path / "out"), "--at", "0s", *repo, cwd=cwd)
    assert (tmp_path / "out" / "a.py").read_bytes() == b"a = 2\n"
    guarded.ctl("restore", "--since", "1h", "--yes", *repo, cwd=cwd, check=2)


def test_colours_are_off_with_no_color_on_a_terminal_too(guarded: World) -> None:
    for variable, coloured in (("NO_COLOR", False), ("UNRELATED", True)):
        guarded.env[variable] = "1"
        code, shown = answer(guarded, ["restore", "--since", "1h"], b"n\n")
        assert code == 2
        assert ("\x1b[3" in shown) is coloured
        del guarded.env[variable]


def test_an_export_is_refused_where_it_cannot_go_and_knows_incidents(guarded: World, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "is no directory" in guarded.ctl("export", str(tmp_path / "file"), "--at", "1h", check=2).stderr
    assert "--incident" in guarded.ctl("export", str(tmp_path / "out"), check=2).stderr
    assert "there is no incident 7" in guarded.ctl("export", str(tmp_path / "out"), "--incident", "7", check=2).stderr


def test_a_state_dir_that_others_can_read_is_closed_by_the_daemon_and_named_by_doctor(guarded: World) -> None:
    guarded.state.chmod(0o755)
    (guarded.state / "guard.db").chmod(0o644)
    failed = {check["name"] for check in guarded.json("doctor", check=1) if not check["ok"]}
    assert "privacy" in failed
    guarded.start()
    assert guarded.state.stat().st_mode & 0o777 == 0o700
    assert (guarded.state / "guard.db").stat().st_mode & 0o777 == 0o600


def test_init_of_a_tree_around_a_guarded_one_is_refused_and_changes_nothing(guarded: World) -> None:
    guarded.configure("")
    before = guarded.config.read_text()
    refused = guarded.ctl("init", str(guarded.root.parent), check=2)
    assert "overlaps" in refused.stderr
    assert guarded.config.read_text() == before
    guarded.config.write_bytes(b"\xef\xbb\xbf[daemon]\nstate_dir = '/somewhere'\n")
    guarded.ctl("config", "check")
    guarded.ctl("status")
    del guarded.env["GUARD_STATE_DIR"]
    for wrong in ("state_dir = 3", "state_dir = 'relative'"):
        guarded.config.write_text(f"[daemon]\n{wrong}\n")
        assert "must be an absolute path" in guarded.ctl("status", check=4).stderr
