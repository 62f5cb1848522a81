"""Files whose names mean something to a terminal, a log, a chat, a shell or a page: all that tells of them is harmless."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from guardd.escaping import printable
from guardd.store.codec import digest
from tests.alerting import limits
from tests.alerting.messages import DAMAGED
from tests.e2e.test_metrics import free_port, get
from tests.receiver import Received, Receiver
from tests.world import Daemon, World, wait_until

NAMES = [
    b"new\nline.py", b"cr\rreturn\r\n.py", b"csi\x1b[2J\x1b[31m.py", b"osc8\x1b]8;;http:evil.example\x07link\x1b]8;;\x07.py",
    b"osc52\x1b]52;c;ZXZpbA==\x07.py", "c1\x9b31m\x9d52;c;x\x9c.py".encode(), b"back\x08\x08\x7fspace\ttab.py",
    b"<!channel> <@U1> <!here|x>.py", b"@everyone @here @channel <@&42>.py", b"*bold* _it_ ~s~ `code` ```fence``` ||x||.py",
    b"[link](http:evil.example) ![i](x) www.evil.example.py", b"<script>alert(1)<img src=x onerror=alert(1)>&lt;.py",
    b"%s%n%(x)s{0}{}{evil.__class__}$x${x}.py", b"$(touch pwned);`touch pwned`&touch pwned|'\".py",
    "bidi\u202eyp.exe\u2066.py".encode(), "line\u2028para\u2029nel\x85.py".encode(), "zero\u200bwidth\ufeff.py".encode(),
    b"latin-\xe9-\xff\xfe.py", b"surrogate-\xed\xa0\x80.py", b"C:\\Temp\\new\\x1b[31m.py", b"..\\..\\up.py", b"-rf.py",
    b"--help.py", b" begins.py", b"folder ends /x.py", b"\n::error file=a.py::evil.py", b"'; DROP TABLE versions; --.py",
    b"{{DATE(2017-02-14T06:00:00Z)}} :smile: #1 > x.py", "e\u0301.py".encode(), "\xe9.py".encode(), b"glob[a-z]*?.py",
    b"#comment.py", b"!not.py", b"~tilde.py",
]  # fmt: skip
TEXT = "evil\n\x1b]52;c;ZXZpbA==\x07 \x1b[31m <!channel> @everyone *b* `c` <script> %s{0} \u202e C:\\x"
WHOLE = "".join(f"def f{number}(x):\n    y = x + {number}\n    return y\n" for number in range(6)).encode()
DAMAGE = """
import os, sys
for name in os.listdir(b'.'):
    for path in ([name] if os.path.isfile(name) else [name + b'/x.py']):
        if path.endswith(b'.py') and os.path.isfile(path):
            text = open(path, 'rb').read()
            open(path, 'wb').write(b''.join(b'# REMOVED_SYNTAX_ERROR: ' + line for line in text.splitlines(True)))
print('done', flush=True)
sys.stdin.read()
"""
TARGETS = {
    "slack": "http://127.0.0.1:{port}/slack", "discord": "http://127.0.0.1:{port}/discord",
    "teams": "http://127.0.0.1:{port}/teams", "mattermost": "http://127.0.0.1:{port}/mattermost",
    "json": "http://127.0.0.1:{port}/json", "alertmanager": "alertmanager://127.0.0.1:{port}",
    "apprise": "json://127.0.0.1:{port}/apprise", "desktop": "desktop://",
}  # fmt: skip

NAMING = (
    ("log",), ("incidents", "show", "1", "-v"), ("diff", "--incident", "1"), ("restore", "--incident", "1", "--dry-run", "-v"),
    ("restore", "--incident", "1", "--dry-run", "--diff", "-v"), ("restore", "--best", "--dry-run", "-v"), ("check",),
    ("adopt", "--dry-run", "-v"),
)  # fmt: skip
"""Each of these tells of every file."""

TELLING = (
    ("status", "-v"), ("incidents",), ("incidents", "show", "1"), ("replay",), ("doctor",), ("snapshot", "--list"),
    ("alerts", "list"), ("config", "show"), ("config", "check"), ("fsck",), ("gc",), ("pause", "1m"), ("resume",),
    ("check", "--format", "github"), ("check", "--format", "sarif"),
)  # fmt: skip


def paths() -> list[str]:
    return [os.fsdecode(name) for name in NAMES]


@pytest.fixture
def chat() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver


class Hostile:
    """A repo, a state dir and a config dir with names that mean harm, full of files with such names."""

    def __init__(self, world: World, chat: Receiver) -> None:
        self.world = world
        base = world.root.parent
        self.shown = base / "shown"
        world.root.rmdir()
        world.root = base / "repo\n\x1b[31m<!channel> *`\u202e%s{0}\\"
        world.state = base / "state\x1b]52;c;x\x07\n"
        world.env["GUARD_STATE_DIR"] = str(world.state)
        world.root.mkdir()
        for name in NAMES:
            self.write(name, WHOLE)
            self.write(name + b".bak", WHOLE + b"# kept by hand\n")
        os.mkfifo(self.place(b"pipe\x1b[31m\n.py"))
        self.port = free_port()
        self._configure(chat.port)
        self._fake_notify_send()

    def place(self, name: bytes) -> bytes:
        return os.path.join(os.fsencode(self.world.root), name)

    def write(self, name: bytes, content: bytes) -> None:
        os.makedirs(os.path.dirname(self.place(name)), exist_ok=True)
        with open(self.place(name), "wb") as file:
            file.write(content)

    def _configure(self, port: int) -> None:
        alerts = "".join(
            f'[[alert]]\nname = "{kind}"\ntype = "{kind}"\nurl = "{url.format(port=port)}"\n' for kind, url in TARGETS.items()
        )
        self.world.config.parent.mkdir(parents=True)
        self.world.config.write_text(
            f'[daemon]\nmetrics_listen = "127.0.0.1:{self.port}"\n[response]\nsettle = "0.3s"\n'
            f"[[repo]]\npath = {json.dumps(str(self.world.root))}\n{alerts}"
        )

    def _fake_notify_send(self) -> None:
        tools = self.world.root.parent / "tools"
        tools.mkdir()
        script = tools / "notify-send"
        script.write_text(f'#!/bin/sh\nfor one in "$@"; do printf "%s\\0" "$one"; done >> "{self.shown}"\n')
        script.chmod(0o755)
        self.world.env |= {"PATH": f"{tools}:{os.environ['PATH']}", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere"}

    @contextmanager
    def damaged(self) -> Iterator[None]:
        """Damage all files, by a process that goes on, and whose arguments mean harm, too."""
        command = [sys.executable, "-c", DAMAGE, TEXT]
        with subprocess.Popen(command, cwd=self.world.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stdout.readline() == b"done\n"
            yield

    def said(self, *words: str, codes: tuple[int, ...] = (0,)) -> tuple[str, str]:
        """What guardctl says on stdout and stderr, nothing of it a newline's or anything else's but as text."""
        done = self.world.begin_ctl(*words).finish(100)
        out, err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode in codes, (words, done.returncode, out, err)
        is_harmless(out, words)
        is_harmless(err, words)
        assert "Traceback" not in err
        return out, err

    def told(self, *words: str, codes: tuple[int, ...] = (0,)) -> Any:
        """The JSON document of a command: one line of plain ASCII."""
        out, _ = self.said("--json", *words, codes=codes)
        assert out.isascii()
        assert out.count("\n") == 1
        return json.loads(out)


def is_harmless(text: str, about: object = "") -> None:
    bad = [line for line in text.split("\n") if not line.isprintable()]
    assert not bad, (about, bad)


def strings(document: Any) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    parts = (*document, *document.values()) if isinstance(document, dict) else document if isinstance(document, list) else ()
    for part in parts:
        yield from strings(part)


@pytest.fixture
def hostile(world: World, chat: Receiver) -> Hostile:
    return Hostile(world, chat)


@pytest.mark.promise("bad input gets one clear line", "files, folders, arguments and labels with hostile names, in every output")
def test_hostile_names_do_nothing_wherever_they_are_told(hostile: Hostile, chat: Receiver) -> None:
    daemon = hostile.world.start_configured()
    hostile.said("snapshot", "--label", TEXT)
    with hostile.damaged():
        hostile.world.wait_settled(daemon)
    wait_until(lambda: told_of(chat, hostile) >= set(TARGETS), what="every target was told")
    check_commands(hostile)
    check_completion(hostile)
    check_run(hostile)
    check_fsck(hostile)
    daemon.process.send_signal(signal.SIGUSR1)
    wait_until(lambda: daemon.events("state dump"), what="the state was dumped")
    _, metrics, _ = get(hostile.port, "/metrics")
    is_harmless(metrics)
    assert "channel" not in metrics
    daemon.stop()
    check_chat(chat.requests, hostile)
    check_log(daemon)
    console = hostile.world.start_command([*guardd_command(), "--log-format", "console"], ready=False)
    wait_until(lambda: any("ready" in line for line in console.lines), what="ready")
    console.stop()
    is_harmless("".join(console.lines))


def guardd_command() -> list[str]:
    from tests.fork_server import PROGRAMS

    return [str(PROGRAMS / "guardd")]


def told_of(chat: Receiver, hostile: Hostile) -> set[str]:
    found = {one.path.strip("/").partition("?")[0] for one in list(chat.requests)}
    return {"alertmanager" if one.startswith("api/") else one for one in found} | (
        {"desktop"} if hostile.shown.exists() else set()
    )


def check_commands(hostile: Hostile) -> None:
    known = set(paths())
    for words in NAMING:
        out, _ = hostile.said(*words, codes=(0, 1))
        missing = [path for path in known if printable(path) not in out]
        assert not missing, (words, missing, out)
        found = set(strings(hostile.told(*words, codes=(0, 1))))
        assert known <= found, (words, known - found)
    for words in TELLING:
        hostile.said(*words, codes=(0, 1))
        hostile.told(*words, codes=(0, 1))


def check_completion(hostile: Hostile) -> None:
    """What completes a line in a shell: a value or a description that broke its line would be another value."""
    for shell in ("bash", "zsh", "fish"):
        for words in ("guardctl log --since ", "guardctl --repo "):
            env = {"_GUARDCTL_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
            done = hostile.world.begin_ctl(env=env).finish()
            assert done.returncode == 0
            is_harmless(done.stdout.decode().replace("\t", " "), (shell, words))  # fish: value, tab, description


def check_run(hostile: Hostile) -> None:
    """A command with hostile arguments damages all, and is taken back."""
    hostile.said("restore", "--incident", "1", "--only-damaged", "--yes", "--no-verify", codes=(0, 1))
    whole = {path: Path(os.fsdecode(hostile.place(os.fsencode(path)))).read_bytes() for path in paths()}
    assert set(whole.values()) == {WHOLE}
    for told in (hostile.said, hostile.told):
        told("run", "--", sys.executable, "-c", DAMAGE.replace("sys.stdin.read()", ""), TEXT, codes=(1,))
        assert {path: Path(os.fsdecode(hostile.place(os.fsencode(path)))).read_bytes() for path in paths()} == whole
    hostile.said("undo", "--list", codes=(0, 2))
    for words in (("show", TEXT), ("log", TEXT), ("restore", TEXT, "--since", "1h", "--yes"), (TEXT,), ("log", "--since", TEXT)):
        out, err = hostile.said(*words, codes=(1, 2, 3, 4, 5))
        assert len(err.splitlines()) == 1, (words, err)
        assert out == ""


def check_fsck(hostile: Hostile) -> None:
    """A content that is damaged in the store is told by the names of its files."""
    content = b"soon = 'damaged'\n" * 100
    for name in NAMES:
        hostile.write(name, content)
    hostile.told("log")
    with closing(apsw.Connection(str(hostile.world.state / "guard.db"))) as db:
        db.set_busy_timeout(20_000)
        db.execute("UPDATE blobs SET codec = 0, data = zeroblob(size), frame_id = NULL WHERE hash = ?", (digest(content),))
    known = set(paths())
    out, _ = hostile.said("fsck", "-v", codes=(1,))
    assert known <= set(strings(hostile.told("fsck", codes=(1,))))
    assert not [path for path in known if printable(path) not in out]
    hostile.said("export", str(hostile.world.root.parent / "exported\x1b[31m\n"), "--at", "1s", codes=(0, 1))


OURS = dict.fromkeys(map(ord, "\u200b\u2060\u00a0"))
"""What targets put between characters, so that they mean nothing."""


def check_chat(requests: list[Received], hostile: Hostile) -> None:
    """In no chat anything is markup, a mention or a link, and nothing does anything to a terminal that shows it."""
    for one in requests:
        kind = one.path.strip("/").partition("?")[0]
        for text in strings(one.json):
            is_harmless(text.translate(OURS), one.path)
        if kind in ("slack", "discord", "teams", "mattermost"):
            getattr(limits, kind)(one.json, DAMAGED)
    *_, title, body = hostile.shown.read_bytes().decode().rstrip("\0").split("\0")
    limits.notify_send(["notify-send", "--", title, body], DAMAGED)
    is_harmless(title)
    is_harmless(body)


def check_log(daemon: Daemon) -> None:
    is_harmless("".join(daemon.lines))
    assert all(isinstance(json.loads(line), dict) for line in daemon.lines), "each record is one line"
    assert [event["path"] for event in daemon.events("passed over")] == ["pipe\\x1b[31m\\n.py"]
