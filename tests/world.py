"""Builders for tests: a guarded tree with its own store, the real programs on it, and waiting for conditions."""

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from tests import fork_server
from tests.fork_server import PROGRAMS


def wait_until(condition: Callable[[], object], timeout_s: float = 30.0, what: str = "") -> None:
    """Wait for a condition, and fail with `what` when it does not come. One that takes long is asked more seldom."""
    deadline = time.monotonic() + timeout_s
    while True:
        begun = time.monotonic()
        if condition():
            return
        assert time.monotonic() < deadline, f"did not happen within {timeout_s} s: {what or condition}"
        time.sleep(max(0.02, 2 * (time.monotonic() - begun)))


def some_of(values: Iterable[Any], *kept: Any) -> list[Any]:
    """Parameters of which only the `kept` ones are in the everyday suite, and all of them in the long one."""
    return [value if value in kept else pytest.param(value, marks=pytest.mark.long) for value in values]


def snapshot(root: Path) -> dict[str, bytes]:
    """Path -> content of every regular file below root, dotfiles of git aside."""
    found = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        folders[:] = [name for name in folders if name != b".git"]
        for name in files:
            path = os.path.join(folder, name)
            relative = os.fsdecode(os.path.relpath(path, os.fsencode(root)))
            found[relative] = os.readlink(path) if os.path.islink(path) else Path(os.fsdecode(path)).read_bytes()
    return found


def as_text(done: "subprocess.CompletedProcess[bytes]") -> "subprocess.CompletedProcess[str]":
    """What a program said, as `text=True` gives it."""
    out, err = (output.decode().replace("\r\n", "\n") for output in (done.stdout, done.stderr))
    return subprocess.CompletedProcess(done.args, done.returncode, out, err)


class Daemon:
    """A running guardd; its log lines as they come."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self.process: subprocess.Popen[str] | fork_server.Forked
        if fork_server.is_forked(command):
            self.process = fork_server.start(command, env)
        else:
            self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.process.stdout as output:
            self.lines.extend(iter(output.readline, ""))

    def events(self, name: str) -> list[dict[str, Any]]:
        found = []
        for line in list(self.lines):
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if event.get("event") == name:
                    found.append(event)
        return found

    def wait_ready(self, repos: int = 1, timeout_s: float = 60.0) -> None:
        wait_until(lambda: len(self.events("ready")) >= repos or self.process.poll() is not None, timeout_s, "".join(self.lines))
        assert self.process.poll() is None, "".join(self.lines)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)


class World:
    """A tree, a store, a config dir of its own, and the programs working on them. `root`, `state`: where these lie elsewhere."""

    def __init__(self, base: Path, *, root: Path | None = None, state: Path | None = None) -> None:
        self.root = root or base / "repo"
        self.state = state or base / "state"
        self.root.mkdir(parents=True)
        self.env = {
            **{key: value for key, value in os.environ.items() if not key.startswith("GUARD_")},
            "GUARD_STATE_DIR": str(self.state),
            "XDG_CONFIG_HOME": str(base / "config"),
            "TZ": "UTC",
        }
        self.config = base / "config" / "guard" / "config.toml"
        self.daemons: list[Daemon] = []

    def write(self, path: str, content: bytes | str = b"x = 1\n") -> Path:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def start(self, *arguments: str, ready: bool = True) -> Daemon:
        return self.start_command([str(PROGRAMS / "guardd"), *(arguments or ("--repo", str(self.root)))], ready=ready)

    def start_command(self, command: list[str], *, ready: bool = True) -> Daemon:
        daemon = Daemon(command, self.env)
        self.daemons.append(daemon)
        if ready:
            daemon.wait_ready()
        return daemon

    def ctl(
        self,
        *arguments: str,
        check: int | None = 0,
        cwd: Path | None = None,
        given: bytes = b"",
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> "subprocess.CompletedProcess[str]":
        """Run guardctl to its end, with this on stdin and these variables on top of the world's."""
        done = as_text(self.begin_ctl(*arguments, cwd=cwd, given=given, env=env).finish(100))
        if check is not None:
            assert done.returncode == check, (arguments, done.returncode, done.stdout, done.stderr)
        return done

    def ctl_bytes(self, *arguments: str) -> bytes:
        done = self.begin_ctl(*arguments).finish(100)
        done.check_returncode()
        return done.stdout

    def begin_ctl(
        self, *arguments: str, cwd: Path | None = None, given: bytes = b"", env: Mapping[str, str] = MappingProxyType({})
    ) -> fork_server.Begun:
        """A guardctl that goes on beside the test."""
        return fork_server.Begun([str(PROGRAMS / "guardctl"), *arguments], {**self.env, **env}, cwd or self.root, given)

    def json(self, *arguments: str, check: int | None = 0) -> Any:
        return json.loads(self.ctl(*arguments, "--json", check=check).stdout)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json("status")["repos"][0]
        return found

    def versions(self, path: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json("log", path)
        return found

    def configure(self, text: str, about_repo: str = "") -> None:
        """Write the config, for its owner alone: this repo, and what else is given."""
        self.config.parent.mkdir(parents=True, exist_ok=True)
        self.config.write_text(f'[[repo]]\npath = "{self.root}"\n{about_repo}\n{text}')
        self.config.chmod(0o600)

    def start_configured(self) -> Daemon:
        return self.start_command([str(PROGRAMS / "guardd")])

    def incidents(self) -> list[dict[str, Any]]:
        """Every incident with its members, oldest first."""
        listed = self.json("incidents", "list")
        return [self.json("incidents", "show", str(one["id"])) for one in reversed(listed)]

    def wait_settled(self, daemon: Daemon, count: int = 1) -> list[dict[str, Any]]:
        """Until so many incidents have settled; all incidents."""
        wait_until(
            lambda: len({event["id"] for event in daemon.events("incident settled")}) >= count, 40,
            f"{count} incidents settled in {''.join(daemon.lines[-20:])}",
        )  # fmt: skip
        return self.incidents()

    def wait_captured(self, path: str, content: bytes) -> None:
        """Until the daemon itself has stored this content as the newest version of a path."""
        from guardd.store.codec import digest
        from guardd.store.store import Store

        with Store(str(self.state)) as store:
            repo = store.repos.find(str(self.root))
            assert repo
            wait_until(lambda: store.log.head(repo.id, path).state.blob == digest(content), what=f"{path} captured")

    def wait_gone(self, path: str) -> None:
        from guardd.store.store import Store

        with Store(str(self.state)) as store:
            repo = store.repos.find(str(self.root))
            assert repo
            wait_until(lambda: not store.log.head(repo.id, path).state.present, what=f"{path} seen as gone")

    def heads(self) -> dict[str, bytes]:
        """Path -> content of every present head, straight from the store."""
        from guardd.store.store import Store

        with Store(str(self.state)) as store:
            repo = store.repos.find(str(self.root))
            assert repo
            with store.db.snapshot():
                paths = store.log.keys(repo.id)
                return {path: store.blobs.read(store.log.head(repo.id, path).state.blob) for path in paths}

    def processes(self) -> list[str]:
        """The command lines of all processes that were started in this world."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if str(self.root.parent) in (folder / "environ").read_text(errors="replace"):
                    found.append((folder / "cmdline").read_text(errors="replace").replace("\0", " "))
        return found

    def close(self) -> None:
        for daemon in self.daemons:
            if daemon.process.poll() is None:
                daemon.process.send_signal(signal.SIGCONT)
                daemon.kill()
