"""What is captured of odd files, and that it comes back."""

import os
import socket
from pathlib import Path

import pytest
from tests.world import World, snapshot, wait_until

ODD_NAMES = [
    b"caf\xc3\xa9.py",
    b"latin-\xe9.py",
    b"new\nline.py",
    b"escape\x1b[31m.py",
    b"back\\slash.py",
    b"quote'\".py",
    b"-dash.py",
    b" space .py",
    b"*glob?[x].py",
    b"x" * 252 + b".py",
]
ODD_CONTENTS = {
    "empty.py": b"",
    "crlf.py": b"x = 1\r\ny = 2\r\n",
    "bom.py": b"\xef\xbb\xbfx = 1\n",
    "latin1.py": "# -*- coding: latin-1 -*-\nname = 'é'\n".encode("latin-1"),
    "utf16.py": "x = 1\n".encode("utf-16"),
    "nul.py": b"x = 1\0\n",
    "no_newline.py": b"x = 1",
    "long_line.py": b"x = '" + b"a" * 600_000 + b"'\n",
}


def test_the_time_that_the_log_shows_of_a_version_means_that_version(world: World) -> None:
    world.write("a.py", b"x = 0\n")
    world.ctl("init")
    world.ctl("log")
    for number in range(1, 6):
        world.write("a.py", b"x = %d\n" % number)
        world.ctl("log")
    times = [one["time"] for one in reversed(world.versions("a.py")) if one["origin"] != "baseline"]
    assert [world.ctl_bytes("show", "a.py", "--at", time) for time in times] == [b"x = %d\n" % n for n in range(1, 6)]


@pytest.mark.promise("bad input gets one clear line", "names of any bytes")
def test_names_of_any_bytes_are_captured_listed_and_restored(world: World) -> None:
    for name in ODD_NAMES:
        Path(os.fsdecode(os.fsencode(world.root) + b"/" + name)).write_bytes(b"before = 1\n")
    before = snapshot(world.root)
    daemon = world.start()
    for name in ODD_NAMES:
        Path(os.fsdecode(os.fsencode(world.root) + b"/" + name)).write_bytes(b"after = 2\n")
    world.wait_captured(os.fsdecode(ODD_NAMES[-1]), b"after = 2\n")
    daemon.kill()
    listed = {os.fsencode(entry["path"]) for entry in world.json("log")}
    assert listed == set(ODD_NAMES)
    for line in world.ctl("log").stdout.split("\n"):
        assert all(char.isprintable() for char in line), "nothing raw reaches the terminal"
    first = min(entry["seq"] for entry in world.json("log")) - 1
    assert first >= 0
    changed = {entry["path"]: entry["seq"] for entry in world.json("log") if entry["origin"] == "baseline"}
    for seq in changed.values():
        world.ctl("restore", "--version", str(seq), "--yes", "--no-verify")
    assert snapshot(world.root) == before


def test_contents_of_any_kind_come_back_byte_for_byte(world: World) -> None:
    for path, content in ODD_CONTENTS.items():
        world.write(path, content)
    world.start().stop()
    for path, content in ODD_CONTENTS.items():
        assert world.ctl_bytes("show", path) == content
        world.write(path, b"damaged\n")
    for entry in world.json("log"):
        if entry["origin"] == "baseline":
            world.ctl("restore", "--version", str(entry["seq"]), "--yes", "--no-verify")
    assert snapshot(world.root) == ODD_CONTENTS


def test_a_file_truncated_to_nothing_comes_back(world: World) -> None:
    world.write("a.py", b"precious = 1\n")
    world.start()
    os.truncate(world.root / "a.py", 0)
    world.wait_captured("a.py", b"")
    assert [entry["size"] for entry in world.versions("a.py")] == [0, 13]
    world.ctl("restore", "a.py", "--version", str(world.versions("a.py")[-1]["seq"]), "--yes")
    assert (world.root / "a.py").read_bytes() == b"precious = 1\n"


@pytest.mark.promise("only inside the repo is written", "a file that was setuid")
def test_mode_bits_are_versions_and_setuid_is_never_given_back(world: World) -> None:
    path = world.write("tool.py")
    path.chmod(0o4755)
    world.start().stop()
    path.chmod(0o600)
    world.write("tool.py", b"y = 2\n")
    first = world.versions("tool.py")[-1]["seq"]
    world.ctl("restore", "tool.py", "--version", str(first), "--yes")
    assert path.stat().st_mode & 0o7777 == 0o755
    path.chmod(0o444)
    assert world.versions("tool.py")[0]["kind"] == "modified"


def test_a_read_only_file_is_captured_and_replaced(world: World) -> None:
    path = world.write("locked.py", b"old = 1\n")
    path.chmod(0o444)
    world.start().stop()
    path.unlink()
    path.write_bytes(b"new = 1\n")
    path.chmod(0o444)
    first = world.versions("locked.py")[-1]["seq"]
    world.ctl("restore", "locked.py", "--version", str(first), "--yes")
    assert path.read_bytes() == b"old = 1\n"
    assert path.stat().st_mode & 0o777 == 0o444


def test_a_hardlinked_file_is_restored_without_touching_its_other_name(world: World) -> None:
    path = world.write("one.py", b"one = 1\n")
    outside = world.root.parent / "other_name.py"
    world.start().stop()
    os.link(path, outside)
    path.write_bytes(b"two = 2\n")
    first = world.versions("one.py")[-1]["seq"]
    world.ctl("restore", "one.py", "--version", str(first), "--yes")
    assert path.read_bytes() == b"one = 1\n"
    assert outside.read_bytes() == b"two = 2\n"


@pytest.mark.promise("only inside the repo is written", "symbolic links to files and folders outside")
def test_a_symlink_is_kept_as_a_link_and_never_followed(world: World) -> None:
    secret = world.root.parent / "secret.py"
    secret.write_bytes(b"secret = 1\n")
    link = world.root / "link.py"
    link.symlink_to(secret)
    (world.root / "folder").symlink_to("/usr/lib")
    world.start().stop()
    entry = world.versions("link.py")[0]
    assert entry["size"] == len(os.fsencode(secret))
    link.unlink()
    link.write_bytes(b"now a file\n")
    world.ctl("restore", "link.py", "--version", str(entry["seq"]), "--yes")
    assert link.is_symlink()
    assert os.readlink(link) == str(secret)
    assert secret.read_bytes() == b"secret = 1\n"
    assert {entry["path"] for entry in world.json("log")} == {"link.py"}


@pytest.mark.promise("errors become a state", "a FIFO and a socket beside sources")
def test_what_is_no_file_is_passed_over_with_one_log_line(world: World) -> None:
    os.mkfifo(world.root / "pipe.py")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(world.root / "sock.py"))
        daemon = world.start()
        world.write("real.py")
        world.wait_captured("real.py", b"x = 1\n")
        os.utime(world.root / "pipe.py")
        world.write("real.py", b"x = 2\n")
        world.wait_captured("real.py", b"x = 2\n")
    assert sorted(event["path"] for event in daemon.events("passed over")) == ["pipe.py", "sock.py"]
    assert world.status()["files"] == 1


def test_a_file_over_the_limit_is_recorded_by_hash_reported_and_never_overwritten(world: World) -> None:
    world.config.parent.mkdir(parents=True)
    world.config.write_text(f'[[repo]]\npath = "{world.root}"\nmax_file_size = "1KiB"\n')
    world.write("big.py", b"small = 1\n")
    daemon = world.start("--log-format", "json")
    world.write("big.py", b"#" * 5000)
    world.wait_captured("big.py", b"#" * 5000)
    wait_until(lambda: daemon.events("content not kept"))  # it is said after the version is durable
    assert [event["path"] for event in daemon.events("content not kept")] == ["big.py"]
    entries = world.versions("big.py")
    assert [entry["size"] for entry in entries] == [5000, 10]
    assert entries[0]["blob"]
    assert "max_file_size" in world.ctl("show", "big.py", check=1).stderr
    assert "(binary, or too large to show)" in world.ctl("diff", "big.py").stdout
    report = world.json("restore", "big.py", "--version", str(entries[1]["seq"]), "--yes", check=1)
    assert "max_file_size" in report["skipped"][0]["reason"]
    assert (world.root / "big.py").read_bytes() == b"#" * 5000


def test_what_changed_while_the_daemon_was_off_is_recorded_as_offline(world: World) -> None:
    world.write("kept.py")
    world.write("changed.py")
    world.write("deleted.py")
    world.start().stop()
    world.write("changed.py", b"y = 2\n")
    (world.root / "deleted.py").unlink()
    world.write("born.py", b"z = 3\n")
    daemon = world.start()
    assert daemon.events("ready")[0]["captured"] == 3
    found = {entry["path"]: (entry["origin"], entry["kind"]) for entry in world.json("log") if entry["origin"] != "baseline"}
    assert found == {
        "changed.py": ("offline", "modified"), "deleted.py": ("offline", "deleted"), "born.py": ("offline", "created"),
    }  # fmt: skip


def test_a_restart_with_nothing_changed_records_nothing(world: World) -> None:
    for number in range(50):
        world.write(f"package/module_{number}.py")
    world.start().stop()
    daemon = world.start()
    assert daemon.events("ready")[0]["captured"] == 0


def test_every_quick_save_before_a_change_is_stored(world: World) -> None:
    world.write("a.py", b"v = 0\n")
    world.start()
    for number in range(1, 6):
        world.write("a.py", b"v = %d\n" % number)
        world.wait_captured("a.py", b"v = %d\n" % number)
    assert len(world.versions("a.py")) == 6


@pytest.mark.parametrize("name", [".venv", "env-of-any-name", "__pycache__", "node_modules", ".git", "build"])
def test_environments_caches_and_build_folders_are_left_out(world: World, name: str) -> None:
    world.write("kept.py")
    if name == "env-of-any-name":
        world.write(f"{name}/pyvenv.cfg", "home = /usr\n")
    world.write(f"{name}/lib/module.py")
    world.start()
    world.write(f"{name}/lib/module.py", b"changed = 1\n")
    world.write("kept.py", b"changed = 1\n")
    world.wait_captured("kept.py", b"changed = 1\n")
    assert {entry["path"] for entry in world.json("log")} == {"kept.py"}


def test_files_that_git_ignores_are_kept_unless_told_otherwise(world: World) -> None:
    world.write(".gitignore", "local.py\nignored/\n!ignored/kept.py\n")
    world.write("local.py")
    world.write("ignored/deep/x.py")
    world.write("kept.py")
    world.start().stop()
    assert {entry["path"] for entry in world.json("log")} == {"local.py", "ignored/deep/x.py", "kept.py"}
    world.config.parent.mkdir(parents=True)
    world.config.write_text(f'[[repo]]\npath = "{world.root}"\nrespect_gitignore = true\n')
    world.start()
    world.write("local.py", b"changed = 1\n")
    world.write("kept.py", b"changed = 1\n")
    world.wait_captured("kept.py", b"changed = 1\n")
    assert len(world.versions("local.py")) == 1
    world.write(".gitignore", "nothing\n")
    world.wait_captured("local.py", b"changed = 1\n")
