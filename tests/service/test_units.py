"""The units: filled in for any path, accepted by systemd itself, and sealed where that is promised."""

import os
import plistlib
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from tests.e2e.test_daemon import git
from tests.world import PROGRAMS, World, wait_until

from guardd.errors import UsageError
from guardd.service.launchd import agent
from guardd.service.supervision import UnitStanding, health
from guardd.service.systemd import SystemSystemd
from guardd.service.units import SYSTEM_UNIT, USER_UNIT, Placing, drop_in, quoted, system_unit, template, user_unit

GUARDD = str(PROGRAMS / "guardd")
ODD = '/home/a b/50% of "it" $HOME\\x'
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed here")


def analyze(tmp_path: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    env = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    return subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False, env=env, cwd=tmp_path)


def user_file(tmp_path: Path, placing: Placing) -> Path:
    path = tmp_path / USER_UNIT
    path.write_text(user_unit(template(USER_UNIT), placing))
    return path


def system_files(folder: Path, placing: Placing) -> Path:
    for path, text in SystemSystemd("root", str(folder)).files(placing).items():
        Path(path).parent.mkdir(exist_ok=True)
        Path(path).write_text(text)
    return folder / "guardd@root.service"


@needs_systemd
@pytest.mark.parametrize("placing", [Placing(GUARDD), Placing(GUARDD, ODD + "/config.toml", ODD, (ODD, "/srv"))])
def test_systemd_finds_nothing_wrong_with_either_unit(tmp_path: Path, placing: Placing) -> None:
    verified = analyze(tmp_path, "verify", "--user", "--man=no", str(user_file(tmp_path, placing)))
    assert (verified.returncode, verified.stderr) == (0, "")
    verified = analyze(tmp_path, "verify", "--man=no", str(system_files(tmp_path, placing)))
    assert (verified.returncode, verified.stderr) == (0, "")


@needs_systemd
def test_the_system_unit_is_sealed_and_the_restorer_can_still_write_to_the_repos(tmp_path: Path) -> None:
    unit = system_files(tmp_path, Placing(GUARDD, writable=("/home/u/state", "/home/u/repo")))
    sealed = analyze(tmp_path, "security", "--offline=true", "--threshold=20", "--no-pager", str(unit))
    assert sealed.returncode == 0, sealed.stdout
    text = "".join(SystemSystemd("u", str(tmp_path)).files(Placing(GUARDD, writable=("/home/u/repo",))).values())
    assert "ProtectHome=read-only\n" in text
    assert "ReadWritePaths=-/home/u/repo\n" in text


@needs_systemd
def test_a_sealed_guardd_may_make_every_system_call_that_a_day_with_an_incident_takes(world: World, tmp_path: Path) -> None:
    made = tmp_path / "calls"
    strace = ["strace", "-f", "-qq", "-e", "signal=none", "-o", str(made)]
    if shutil.which("strace") is None or subprocess.run([*strace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace cannot trace here")
    for number in range(6):
        world.write(f"m{number}.py", f"def f():\n    return {number}\n")
    git(world.root, "init", "-q")
    world.configure("[response]\nauto_restore = 'all'\nsettle = '0.5s'\n", "verify = ['git status']")
    daemon = world.start_command([*strace, GUARDD])
    for number in range(6):
        world.write(f"m{number}.py", f"# REMOVED_SYNTAX_ERROR: def f():\n# REMOVED_SYNTAX_ERROR:     return {number}\n")
    wait_until(lambda: daemon.events("auto-restored"), what="a restore")
    os.kill(daemon.events("starting")[0]["pid"], signal.SIGTERM)
    daemon.process.wait(15)
    assert {"inotify_init1", "openat2", "syncfs", "prlimit64"} <= called(made)
    assert called(made) - allowed(tmp_path) == set()


def called(trace: Path) -> set[str]:
    names = set()
    for line in trace.read_text(errors="replace").splitlines():
        call = line.split(None, 1)[1] if line[0].isdigit() else line
        if "(" in call and not call.startswith(("<", "+", "-")):
            names.add(call.partition("(")[0])
    return names


def allowed(tmp_path: Path) -> set[str]:
    """What SystemCallFilter= of the unit lets through: its lists, with lists in them, as systemd tells them."""
    lists: dict[str, list[str]] = {}
    for line in analyze(tmp_path, "syscall-filter", "--no-pager").stdout.splitlines():
        if line.startswith("@"):
            lists[name := line.strip()] = []
        elif line.strip() and not line.strip().startswith("#") and lists:
            lists[name].append(line.strip())

    def members(name: str) -> set[str]:
        return set().union(*(members(one) if one.startswith("@") else {one} for one in lists.get(name, [])))

    filters = [line for line in template(SYSTEM_UNIT).splitlines() if line.startswith("SystemCallFilter=")]
    assert [line.partition("=")[2] for line in filters] == ["@system-service", "~@privileged", "@chown"]
    # execve and the like are let through always: systemd.exec(5)
    return (
        (members("@system-service") - members("@privileged"))
        | members("@chown")
        | {"execve", "rt_sigreturn", "exit_group", "exit", "getrlimit"}
    )


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/usr/bin/guardd", "/usr/bin/guardd"), ("/a b/c", '"/a b/c"'), ("/50%", "/50%%"), ('/"', '"/\\""'),
        ("/b\\s", '"/b\\\\s"'), ("/it's;#", '"/it\'s;#"'), ("", '""'),
    ],
)  # fmt: skip
def test_a_path_means_itself_in_a_unit(path: str, word: str) -> None:
    assert quoted(path) == word


@pytest.mark.parametrize("path", ["/a\nExecStartPre=/bin/false", "/\udc80"])
def test_a_path_that_a_unit_cannot_name_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="systemd unit"):
        drop_in(Placing(GUARDD, writable=(path,)))


def test_both_units_try_again_for_ever_but_not_after_a_mistake_and_tell_when_they_are_ready() -> None:
    for name in (USER_UNIT, SYSTEM_UNIT):
        lines = template(name).splitlines()
        for line in (
            "Type=notify", "NotifyAccess=main", "TimeoutStartSec=infinity", "WatchdogSec=60s", "Restart=always",
            "RestartPreventExitStatus=2 4", "StartLimitIntervalSec=0", "RestartSec=5s",
            "ExecReload=/bin/kill -HUP $MAINPID", "KillMode=mixed", "TimeoutStopSec=20s",
        ):  # fmt: skip
            assert line in lines, (name, line)


def test_only_a_systemd_that_knows_growing_delays_is_given_them() -> None:
    for fill, name in ((user_unit, USER_UNIT), (system_unit, SYSTEM_UNIT)):
        assert "RestartSteps" not in fill(template(name), Placing(GUARDD, systemd=252))
        assert "RestartSteps" in fill(template(name), Placing(GUARDD, systemd=254))


def test_an_agent_for_launchd_starts_with_the_session_and_is_kept_alive() -> None:
    read = plistlib.loads(agent(Placing("/opt/a & b/guardd", ODD, ODD), "/Users/u/Library/Logs/guardd.log").encode())
    assert read["ProgramArguments"] == ["/opt/a & b/guardd", "--config", ODD]
    assert read["EnvironmentVariables"] == {"GUARD_STATE_DIR": ODD}
    assert (read["RunAtLoad"], read["KeepAlive"], read["Label"]) == (True, True, "guardd")
    plain = plistlib.loads(agent(Placing("/opt/guardd"), "/log").encode())
    assert plain["ProgramArguments"] == ["/opt/guardd"]
    assert "EnvironmentVariables" not in plain


def unit(enabled: str = "enabled", active: str = "active", *, installed: bool = True, linger: bool | None = True) -> UnitStanding:
    return UnitStanding("systemd", "user", USER_UNIT, "/f", installed, enabled, active, linger)


@pytest.mark.parametrize(
    ("now", "running", "ok", "said"),
    [
        (UnitStanding("", "user"), False, True, "no systemd here"),
        (unit(), True, True, "is enabled, active"),
        (unit(active="activating"), True, True, "activating"),
        (unit(linger=False), True, True, "enable-linger"),
        (unit(enabled="disabled"), True, False, "systemctl --user enable --now"),
        (unit(active="failed"), False, False, "systemctl --user status"),
        (unit(installed=False), True, True, "service install"),
        (unit(installed=False), False, False, "service install"),
        (UnitStanding("systemd", "system", "guardd@u.service", "/f", True, "disabled", "active"), True, False, "sudo systemctl"),
    ],
)  # fmt: skip
def test_the_health_of_a_unit_is_told_with_its_cure(now: UnitStanding, running: bool, ok: bool, said: str) -> None:
    found, seen, cure = health(now, running=running)
    assert found is ok
    assert said in seen + cure
    assert found or cure
