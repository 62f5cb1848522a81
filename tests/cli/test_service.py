"""guardctl service: real files, real processes, and small programs that stand in for systemctl and loginctl."""

import os
import plistlib
import pwd
import subprocess
from pathlib import Path

import pytest
from tests.cli.test_contract import answer
from tests.world import PROGRAMS, World, wait_until

from guardd.service.launchd import Launchd
from guardd.service.supervision import health
from guardd.service.systemd import SystemSystemd
from guardd.service.units import Placing

_SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >> "{folder}/calls"
case "$*" in
  *--version) echo "systemd 252 (252.1)";;
  *is-system-running) cat "{folder}/manager";;
  *is-enabled*) cat "{folder}/enabled";;
  *is-active*) cat "{folder}/active";;
  *"enable --now"*) echo enabled > "{folder}/enabled"; echo active > "{folder}/active";;
  *"disable --now"*) echo disabled > "{folder}/enabled"; echo inactive > "{folder}/active";;
esac
"""
_LOGINCTL = """#!/bin/sh
echo "loginctl $*" >> "{folder}/calls"
case "$1" in
  show-user) cat "{folder}/linger";;
  enable-linger) echo yes > "{folder}/linger";;
esac
"""
_LAUNCHCTL = """#!/bin/sh
echo "$*" >> "{folder}/calls"
case "$1" in
  bootstrap) touch "{folder}/loaded";;
  bootout) rm "{folder}/loaded";;
  print) test -e "{folder}/loaded";;
esac
"""


class Systemd:
    """Stand-ins for systemctl and loginctl, first in PATH; what was asked of them."""

    def __init__(self, world: World, folder: Path) -> None:
        self.folder = folder
        for name, text in (("systemctl", _SYSTEMCTL), ("loginctl", _LOGINCTL)):
            (folder / name).write_text(text.format(folder=folder))
            (folder / name).chmod(0o755)
        self.be(manager="running", enabled="disabled", active="inactive", linger="no")
        world.env["PATH"] = f"{folder}:{os.environ['PATH']}"

    def be(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / name).write_text(text + "\n")

    def orders(self) -> list[str]:
        """What was asked for that changes something, since the last look."""
        calls = self.folder / "calls"
        asked = calls.read_text().splitlines() if calls.exists() else []
        calls.write_text("")
        return [line for line in asked if not any(word in line for word in (" is-", "--version", "show-user"))]


@pytest.fixture
def systemd(world: World, tmp_path: Path) -> Systemd:
    (tmp_path / "bin").mkdir()
    return Systemd(world, tmp_path / "bin")


def unit_file(world: World) -> Path:
    return world.config.parent.parent / "systemd" / "user" / "guardd.service"


def test_install_writes_the_unit_starts_it_and_says_so_and_uninstall_takes_it_back(world: World, systemd: Systemd) -> None:
    world.ctl("init")
    done = world.ctl("service", "install")
    text = unit_file(world).read_text()
    assert f"ExecStart={PROGRAMS / 'guardd'} --config {world.config}\n" in text, "no manager has this shell's XDG_CONFIG_HOME"
    assert f"Environment=GUARD_STATE_DIR={world.state}\n" in text
    assert systemd.orders() == ["systemctl --user daemon-reload", "systemctl --user enable --now --no-block guardd.service"]
    for said in (f"wrote {unit_file(world)}", "enabled and started guardd.service", "loginctl enable-linger"):
        assert said in done.stdout
    now = world.json("service", "status")
    assert (now["installed"], now["enabled"], now["active"], now["linger"], now["ok"]) == (True, "enabled", "active", False, True)
    assert now["daemon"]["running"] is False
    world.ctl("service", "install", "--linger")
    assert systemd.orders()[-2:] == ["systemctl --user restart --no-block guardd.service", "loginctl enable-linger"]
    assert world.json("service", "status")["linger"] is True
    removed = world.json("service", "uninstall")
    assert [step["ok"] for step in removed["steps"]] == [True, True, True]
    assert systemd.orders() == ["systemctl --user disable --now guardd.service", "systemctl --user daemon-reload"]
    assert not unit_file(world).exists()
    assert "no unit" in world.ctl("service", "uninstall", check=3).stderr


def test_the_unit_that_is_installed_starts_a_daemon_that_guards_what_is_configured(world: World, systemd: Systemd) -> None:
    world.write("a.py")
    world.ctl("init")
    world.ctl("service", "install")
    lines = unit_file(world).read_text().splitlines()
    command = next(line.removeprefix("ExecStart=") for line in lines if line.startswith("ExecStart=")).split()
    del world.env["XDG_CONFIG_HOME"]
    del world.env["GUARD_STATE_DIR"]
    world.env |= dict(line.removeprefix("Environment=").split("=") for line in lines if line.startswith("Environment="))
    daemon = world.start_command(command)
    assert daemon.events("ready")[0]["repo"] == str(world.root)


def test_dry_run_prints_the_unit_and_changes_nothing(world: World, systemd: Systemd) -> None:
    printed = world.ctl("service", "install", "--dry-run").stdout
    assert printed.startswith(f"# {unit_file(world)}\n")
    assert "Type=notify" in printed
    world.configure("")
    printed = world.ctl("service", "install", "--system", "--dry-run").stdout
    assert f"ReadWritePaths=-{world.root}\n" in printed
    assert f"ReadWritePaths=-{world.state}\n" in printed
    assert "User=%i" in printed
    assert world.json("service", "install", "--dry-run")["files"][0]["file"] == str(unit_file(world))
    assert systemd.orders() == []
    assert not unit_file(world).exists()


def test_install_offers_on_a_terminal_to_go_on_after_logout(world: World, systemd: Systemd) -> None:
    world.ctl("init")
    code, shown = answer(world, ["service", "install"], b"y\n")
    assert code == 0
    assert "logged out" in shown
    assert systemd.orders()[-1] == "loginctl enable-linger"


def test_without_a_repo_in_the_config_nothing_is_installed(world: World, systemd: Systemd) -> None:
    assert "guardctl init" in world.ctl("service", "install", check=2).stderr
    assert not unit_file(world).exists()


def test_beside_a_guardd_that_runs_by_hand_the_unit_is_enabled_but_not_started(world: World, systemd: Systemd) -> None:
    world.ctl("init")
    daemon = world.start_configured()
    done = world.ctl("service", "install", check=1)
    assert f"kill {daemon.process.pid}" in done.stderr
    assert systemd.orders() == ["systemctl --user daemon-reload", "systemctl --user enable guardd.service"]


def test_where_no_systemd_runs_install_says_what_to_run_instead(world: World, systemd: Systemd) -> None:
    world.ctl("init")
    systemd.be(manager="offline")
    refused = world.ctl("service", "install", check=2).stderr
    assert refused.count("\n") == 1
    assert f"{PROGRAMS / 'guardd'} --config {world.config}" in refused
    assert not unit_file(world).exists()
    assert "no systemd here" in world.ctl("service", "status").stdout
    check = next(one for one in world.json("doctor", check=1) if one["name"] == "unit")
    assert check["ok"]
    assert "no systemd here" in check["message"]


def test_where_only_the_manager_of_the_user_does_not_answer_the_unit_is_written_and_the_rest_is_told(
    world: World, systemd: Systemd
) -> None:
    world.ctl("init")
    script = (systemd.folder / "systemctl").read_text()
    (systemd.folder / "systemctl").write_text(
        script.replace("*--version)", "--user*is-system-running) echo offline;;\n  *--version)")
    )
    done = world.ctl("service", "install", check=1)
    assert unit_file(world).exists()
    assert "systemctl --user enable --now guardd.service" in done.stderr
    assert systemd.orders() == []


def test_an_order_that_fails_is_told_with_what_systemd_said(world: World, systemd: Systemd) -> None:
    world.ctl("init")
    script = (systemd.folder / "systemctl").read_text()
    (systemd.folder / "systemctl").write_text(
        script.replace("*--version)", "*daemon-reload) echo 'no luck' >&2; exit 1;;\n  *--version)")
    )
    done = world.ctl("service", "install", check=1)
    assert "no luck" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_and_status_tell_of_a_unit_that_failed(world: World, systemd: Systemd) -> None:
    world.ctl("init")
    world.ctl("service", "install")
    systemd.be(active="failed")
    check = next(one for one in world.json("doctor", check=1) if one["name"] == "unit")
    assert (check["ok"], "guardd.service is enabled, failed" in check["message"]) == (False, True)
    assert "systemctl --user restart guardd.service" in check["cure"]
    assert "cure: run 'systemctl --user status" in world.ctl("service", "status").stdout


def test_the_system_unit_needs_root_and_names_the_line(world: World, systemd: Systemd) -> None:
    world.ctl("init")
    command = [PROGRAMS / "guardctl", "service", "install", "--system", "--user", "root"]
    if os.geteuid() == 0:
        command = ["unshare", "-U", *command]  # without a mapping, no one is root
        if subprocess.run(["unshare", "-U", "true"], check=False).returncode:
            pytest.skip("user namespaces are not to be had here")
    refused = subprocess.run(command, env=world.env, cwd=world.root, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    line = f"sudo env GUARD_STATE_DIR={world.state} {PROGRAMS / 'guardctl'} service install --system --user root"
    assert f"{line} --config {world.config}\n" in refused.stderr
    assert systemd.orders() == []


def test_system_units_of_two_users_share_the_unit_and_the_last_one_takes_it_away(
    world: World, systemd: Systemd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", world.env["PATH"])
    folder = str(tmp_path / "system")
    first, second = SystemSystemd("alice", folder), SystemSystemd("bob", folder)
    placing = Placing("/usr/bin/guardd", "/etc/g.toml", "/s", ("/s", "/r"))
    assert all(step.ok for step in first.install(placing, start=True))
    assert systemd.orders() == ["systemctl daemon-reload", "systemctl enable --now --no-block guardd@alice.service"]
    assert second.install(Placing("/home/bob/.venv/bin/guardd", state_dir="/b"), start=True)
    assert (Path(folder) / "guardd@.service").read_text().count("ExecStart=/usr/bin/guardd\n") == 1, "what all share is nobody's"
    of_bob = Path(folder, "guardd@bob.service.d", "guardd.conf").read_text()
    assert of_bob == "[Service]\nExecStart=\nExecStart=/home/bob/.venv/bin/guardd\nEnvironment=GUARD_STATE_DIR=/b\n"
    own = Path(folder, "guardd@alice.service.d", "guardd.conf").read_text()
    assert own == (
        "[Service]\nExecStart=\nExecStart=/usr/bin/guardd --config /etc/g.toml\n"
        "Environment=GUARD_STATE_DIR=/s\nReadWritePaths=-/s\nReadWritePaths=-/r\n"
    )
    assert (Path(folder) / "guardd@.service").stat().st_mode & 0o777 == 0o644
    first.uninstall()
    assert (Path(folder) / "guardd@.service").exists()
    assert not first.standing().installed
    second.uninstall()
    assert list(Path(folder).iterdir()) == []
    assert second.uninstall() == []


def test_an_agent_is_loaded_into_launchd_and_taken_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "launchctl").write_text(_LAUNCHCTL.format(folder=tmp_path))
    (tmp_path / "launchctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    launchd = Launchd(str(tmp_path / "home"), 501)
    assert all(step.ok for step in launchd.install(Placing("/opt/guardd"), start=True))
    assert plistlib.loads(Path(launchd.file).read_bytes())["ProgramArguments"] == ["/opt/guardd"]
    assert launchd.file == str(tmp_path / "home/Library/LaunchAgents/guardd.plist")
    assert health(launchd.standing(), running=True)[0]
    assert all(step.ok for step in launchd.uninstall())
    assert not health(launchd.standing(), running=False)[0]
    assert launchd.uninstall() == []
    orders = [line for line in (tmp_path / "calls").read_text().splitlines() if not line.startswith("print")]
    assert orders == ["bootout gui/501/guardd", f"bootstrap gui/501 {launchd.file}", "bootout gui/501/guardd"]


def test_for_another_user_a_config_is_read_as_theirs(world: World, systemd: Systemd) -> None:
    other = next((one for one in pwd.getpwall() if one.pw_uid != os.geteuid() and os.path.isabs(one.pw_dir)), None)
    if other is None:
        pytest.skip("there is no other user here")
    world.config.parent.mkdir(parents=True)
    world.config.write_text('[[repo]]\npath = "~/src"\n')
    del world.env["GUARD_STATE_DIR"]
    named = ["--config", str(world.config), "service", "install", "--system", "--user", other.pw_name, "--dry-run"]
    printed = world.ctl(*named).stdout
    home = os.path.realpath(other.pw_dir)
    assert f"ReadWritePaths=-{os.path.join(home, 'src')}\n" in printed
    assert f"ReadWritePaths=-{os.path.join(other.pw_dir, '.local/state/guard')}\n" in printed
    assert "no user 'nobody-of-that-name'" in world.ctl("service", "install", "--system", "--user", "nobody-of-that-name",
                                                        "--dry-run", check=2).stderr  # fmt: skip


def test_status_names_each_repo_of_the_running_guardd(world: World, systemd: Systemd) -> None:
    world.write("a.py")
    world.start()
    wait_until(lambda: world.json("service", "status")["daemon"]["repos"] == {str(world.root): "protected"})
