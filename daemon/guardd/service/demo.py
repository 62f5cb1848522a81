"""The demo: the founding incident on a throwaway tree, with a real daemon, a real script and a local chat server."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from guardd import clock
from guardd.errors import GuardError
from guardd.model import Incident, RepoState
from guardd.programs import of_module
from guardd.service.standing import standing
from guardd.store.store import Store

FILES = 1_381
_FOLDERS = 60
_PATIENCE_S = 30.0
_LOOK_S = 0.005
_ENDS = (signal.SIGTERM, signal.SIGHUP)

_SCRIPT = '''\
"""fix_syntax.py: what an agent left to run overnight."""
import pathlib, re, sys

for path in sorted(pathlib.Path(sys.argv[1]).rglob("test_*.py")):
    text = path.read_text()
    text = re.sub(r"^from shop\\.(\\w+) import (\\w+)", r"from shop.\\1 import Unified\\2", text, flags=re.M)
    lines = [line if line.startswith("from ") or not line.strip() else f"# REMOVED_SYNTAX_ERROR: {line}"
             for line in text.splitlines()]
    path.write_text("\\n".join(lines) + "\\n")
'''

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What was measured, in seconds, what was told to people, and whether the tree is what it was."""

    seconds: dict[str, float] = field(default_factory=dict)
    messages: list[dict[str, Any]] = field(default_factory=list)
    summary: str = ""
    files: int = 0
    restored: bool = False


def demonstrate(say: Say) -> Outcome:
    """Play it, and clean up; `say` gets a line for each step. Raises GuardError where a step fails."""
    for number in _ENDS:
        signal.signal(number, signal.default_int_handler)  # a demo that is ended cleans up too
    outcome, begun = Outcome(), time.monotonic()
    place = Path(tempfile.mkdtemp(prefix="guardd-demo-"))
    try:
        with _chat(outcome) as port:
            _play(_Stage(place, port), outcome, say)
    finally:
        _hear_no_more()
        shutil.rmtree(place, ignore_errors=True)
    outcome.seconds["all"] = time.monotonic() - begun
    return outcome


def _hear_no_more() -> None:
    """Cleaning up is not interrupted: it takes a second, and what it left would stay for good."""
    for number in (signal.SIGINT, *_ENDS):
        signal.signal(number, signal.SIG_IGN)


class _Stage(NamedTuple):
    """The throwaway directory: the repo, the store, the config."""

    place: Path
    port: int

    @property
    def repo(self) -> Path:
        return self.place / "shop"

    @property
    def state(self) -> str:
        return str(self.place / "state")

    @property
    def config(self) -> Path:
        return self.place / "config.toml"

    @property
    def env(self) -> dict[str, str]:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("GUARD_", "NOTIFY_", "WATCHDOG_"))}
        return {**env, "GUARD_STATE_DIR": self.state, "GUARD_CONFIG": str(self.config)}

    def run(self, *words: str) -> str:
        done = subprocess.run(words, env=self.env, cwd=self.repo, capture_output=True, text=True, check=False)
        if done.returncode:
            raise GuardError(f"the demo's '{' '.join(words[1:])}' failed: {done.stderr.strip() or done.stdout.strip()}")
        return done.stdout


def _play(stage: _Stage, outcome: Outcome, say: Say) -> None:
    took = outcome.seconds
    begun = time.monotonic()
    outcome.files = _make_repo(stage.repo)
    before = _contents(stage.repo)
    took["tree"] = time.monotonic() - begun
    say(f"a throwaway repo: {outcome.files:,} files, {FILES:,} of them tests ({took['tree']:.2f} s)")
    stage.config.write_text(
        f'[daemon]\nlog_format = "json"\n[[repo]]\npath = {json.dumps(os.path.realpath(stage.repo))}\n'
        f'[[alert]]\nname = "chat"\nurl = "json://127.0.0.1:{stage.port}/"\n'
    )
    begun = time.monotonic()
    with _daemon(stage), Store(stage.state, brief=True) as store:
        took["ready"] = time.monotonic() - begun
        say(f"guardd is started, and has the content of every file ({took['ready']:.2f} s)")
        incident = _damage(stage, store, outcome, say)
        begun = time.monotonic()
        stage.run(*of_module("guardd.cli"), "restore", "--incident", str(incident.id), "--yes")
        took["restore"] = time.monotonic() - begun
        outcome.restored = _contents(stage.repo) == before
        if not outcome.restored:
            raise GuardError("the demo's files are not what they were; please report this")
        say(f"guardctl restore --incident {incident.id}: every file is what it was, byte for byte ({took['restore']:.2f} s)")
        _wait(lambda: outcome.messages[-1]["stage"] == "resolved", "the last message in chat")
        say(f"in chat: {outcome.messages[-1]['title']}")


def _damage(stage: _Stage, store: Store, outcome: Outcome, say: Say) -> Incident:
    """Let the script run, and see what becomes of it; times count from its start."""
    took, begun = outcome.seconds, time.monotonic()
    script = subprocess.Popen([sys.executable, str(stage.place / "fix_syntax.py"), str(stage.repo)], cwd=stage.repo)
    try:
        incident = _incident(store)
        took["recognised"] = time.monotonic() - begun
        is_running = script.poll() is None
        script.wait(_PATIENCE_S)
        took["script"] = time.monotonic() - begun
    finally:
        script.kill()
    say(f"a script comments {FILES:,} files out and points their imports at names that do not exist ({took['script']:.2f} s)")
    when = "while it still ran" if is_running else "when it had just ended"
    say(f"recognised {took['recognised']:.2f} s after its start, {when}: incident {incident.id}")
    _wait(lambda: outcome.messages, "a message in chat")
    took["alert"] = outcome.messages[0]["received"] - begun
    say(f"in chat after {took['alert']:.2f} s: {outcome.messages[0]['title']}")
    _wait(lambda: len(outcome.messages) > 1, "the message that it has settled")
    outcome.summary = outcome.messages[1]["title"]
    took["settled"] = outcome.messages[1]["received"] - begun
    say(f"in chat after {took['settled']:.2f} s: {outcome.summary}")
    return incident


def _make_repo(root: Path) -> int:
    """A package, and tests that import from it."""
    package = root / "shop"
    package.mkdir(parents=True)
    names = ["Cart", "Order", "Price", "Stock", "User"]
    (package / "__init__.py").write_text('"""A shop."""\n')
    for name in names:
        (package / f"{name.lower()}.py").write_text(
            f'"""{name}s."""\n\n\nclass {name}:\n    """One {name.lower()}."""\n\n    def __init__(self, number=0):\n'
            "        self.number = number\n\n    def more(self, count):\n        self.number += count\n        return self\n"
        )
    for number in range(FILES):
        name = names[number % len(names)]
        folder = root / "tests" / f"part_{number % _FOLDERS:02}"
        folder.mkdir(parents=True, exist_ok=True)
        checks = "\n\n".join(
            f"def test_{name.lower()}_takes_{count}():\n    one = {name}({number})\n    one.more({count})\n"
            f"    assert one.number == {number + count}"
            for count in range(1, 8)
        )
        (folder / f"test_{name.lower()}_{number}.py").write_text(
            f'"""Tests of {name}, part {number}."""\n\nimport pytest\n\nfrom shop.{name.lower()} import {name}\n\n\n{checks}\n'
        )
    (root.parent / "fix_syntax.py").write_text(_SCRIPT)
    return len(_contents(root))


def _contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.py")}


@contextmanager
def _daemon(stage: _Stage) -> Iterator[None]:
    """A real guardd, ready; its log is told where it fails."""
    with open(stage.place / "log", "w+b") as log_file:
        process = subprocess.Popen(
            of_module("guardd.service.main"), env=stage.env, stdin=subprocess.DEVNULL, stdout=log_file,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        try:
            _wait(lambda: process.poll() is not None or _is_ready(stage), "guardd to be ready")
            if process.poll() is not None:
                log_file.seek(0)
                raise GuardError(f"guardd did not start: {log_file.read()[-300:].decode(errors='replace')}")
            yield
        finally:
            _hear_no_more()
            process.terminate()
            try:
                process.wait(_PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _is_ready(stage: _Stage) -> bool:
    with contextlib.suppress(GuardError), Store(stage.state) as store:  # an error: there is no store yet
        now = standing(store, clock.now())
        return bool(now.repos) and all(repo.state is RepoState.PROTECTED for repo in now.repos)
    return False


def _incident(store: Store) -> Incident:
    _wait(store.incidents.all, "an incident")
    return store.incidents.all()[0]


def _wait(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise GuardError(f"the demo waited {_PATIENCE_S:.0f} s for {what}, in vain; run 'guardctl doctor'")
        time.sleep(_LOOK_S)


@contextmanager
def _chat(outcome: Outcome) -> Iterator[int]:
    """A chat server on this machine, which keeps what it is sent; its port."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Chat(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # a name of http.server
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            outcome.messages.append({**message, "received": time.monotonic()})
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # a name of http.server
            """Nothing: the messages are shown."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Chat)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
