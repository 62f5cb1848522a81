"""What comes from outside, at random and mutated: an answer or a GuardError, soon, and never another exception."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tracemalloc
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from guardd.analysis.layout import read_layout
from guardd.config import load
from guardd.errors import ConfigError, GuardError, UsageError
from guardd.hooks.claude_code import parse_call, read_settings
from guardd.selection import Selection, SelectionRules
from guardd.store.codec import Codec, Frame, FrameReader, decode, digest, encode, pack
from guardd.timespec import AtSnapshot, BeforeIncident, Elapsed, Instant, parse, parse_duration
from tests.faults import asking, seeds
from tests.world import World

NOW = 1_700_000_000_000_000_000
EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


class Hang(BaseException):
    """It took too long."""


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail what takes longer, by the CPU time of this process: others may be busy."""

    def give_up(number: int, frame: types.FrameType | None) -> None:
        raise Hang(f"more than {seconds} s of CPU")

    before = signal.signal(signal.SIGPROF, give_up)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def mutated(data: bytes, rng: random.Random, others: tuple[bytes, ...] = (b"",)) -> bytes:
    """The data with one to eight things done to it: bits, bytes, runs, cuts, parts of itself and of others."""
    made = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(made) + 1)
        upto = min(len(made), at + rng.choice((1, 2, 4, 20, 200)))
        match rng.randrange(7):
            case 0 if at < len(made):
                made[at] ^= 1 << rng.randrange(8)
            case 1:
                made[at:upto] = rng.randbytes(upto - at)
            case 2:
                del made[at:upto]
            case 3:
                made[at:at] = rng.choice((b"\0", b"\xff", b"\x80", b"[", b'"', b"\n", b"9")) * rng.choice((1, 4, 3000))
            case 4:
                made[at:at] = made[at:upto] * rng.choice((1, 3))
            case 5:
                made[at:upto] = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF)).to_bytes(4)
            case 6:
                made[at:at] = rng.choice(others)
    return bytes(made)


def words(rng: random.Random, alphabet: str, most: int) -> str:
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(0, most)))


# -- config, time, hooks, patterns ------------------------------------------------------------------------------------


@pytest.mark.promise("bad input gets one clear line", "the example config mutated, and random TOML")
@pytest.mark.parametrize("seed", seeds(everyday=1, full=20))
def test_a_config_is_read_or_refused_line_by_line(tmp_path: Path, seed: int, record_property: Callable[..., None]) -> None:
    rng = random.Random(seed)
    example = EXAMPLE.read_bytes()
    lines = tuple(line + b"\n" for line in example.splitlines())
    values = (b'"10m"', b"1", b"-1", b"1e999", b"nan", b"true", b"[]", b"[[]]", b"{}", b'""', b'"re:("', b"2026-01-01", b"'\xff'")
    path = tmp_path / "config.toml"
    for number in range(300):
        if number % 3:
            uncommented = b"\n".join(line.removeprefix(b"# ") if b" = " in line else line for line in example.splitlines())
            made = mutated(rng.choice((example, uncommented)), rng, lines)
        else:
            keys = [line.partition(b" = ")[0].strip(b"# ") for line in lines if b" = " in line]
            tables = [line for line in lines if line.startswith(b"[")]
            made = b"".join(
                rng.choice(tables) if rng.random() < 0.2 else b"%s = %s\n" % (rng.choice(keys), rng.choice(values))
                for _ in range(rng.randint(1, 6))
            )
        path.write_bytes(made)
        with within(10):
            try:
                load(str(path), named=True)
            except ConfigError as error:
                assert all("\n" not in line and line.startswith(str(path)) for line in error.problems), made  # noqa: PT017
    record_property("faults", 300)


@pytest.mark.promise("bad input gets one clear line", "time expressions, random and mutated")
@pytest.mark.parametrize("seed", seeds(everyday=1, full=20))
def test_a_time_is_understood_or_refused(seed: int, record_property: Callable[..., None]) -> None:
    rng = random.Random(seed)
    good = ("10m", "2h30m ago", "14:30", "2026-01-31T09:00:00.5+01:00", "@1700000000.25", "incident:7", "snapshot:3", "yesterday")
    for number in range(2000):
        alphabet = "0123456789wdhms.:@-+TZ agoincdet\0\n\udcff٣²"
        text = words(rng, alphabet, 30) if number % 2 else os.fsdecode(mutated(rng.choice(good).encode(), rng))
        with within(5):
            with contextlib.suppress(UsageError):
                found = parse(text, NOW)
                assert isinstance(found, Elapsed | Instant | BeforeIncident | AtSnapshot)
                assert not isinstance(found, Instant) or found.ns <= NOW
            with contextlib.suppress(UsageError):
                assert parse_duration(text) >= 0
    record_property("faults", 2000)


def _any_json(rng: random.Random, depth: int = 0) -> Any:
    keys = ("hook_event_name", "tool_name", "tool_input", "file_path", "cwd", "command", "hooks", "PreToolUse", "matcher", "type")
    match rng.randrange(9 if depth < 4 else 7):
        case 7:
            return [_any_json(rng, depth + 1) for _ in range(rng.randrange(4))]
        case 8:
            return {rng.choice(keys): _any_json(rng, depth + 1) for _ in range(rng.randrange(5))}
        case n:
            return (None, True, -1, 1e308, "", "a\0b\ud800", rng.choice(keys))[n]


@pytest.mark.promise(
    "bad input gets one clear line", "what an agent tells its hook, and the agent's settings, random and mutated"
)
@pytest.mark.parametrize("seed", seeds(everyday=1, full=20))
def test_hook_input_is_read_or_refused(seed: int, record_property: Callable[..., None]) -> None:
    rng = random.Random(seed)
    call = json.dumps(
        {"hook_event_name": "PreToolUse", "tool_name": "Bash", "tool_input": {"command": "sed -i s/a/b/ *.py"}, "cwd": "/"}
    )
    for number in range(600):
        text = json.dumps(_any_json(rng)) if number % 2 else os.fsdecode(mutated(call.encode(), rng))
        if number % 50 == 0:
            text = rng.choice(("[", '{"a":')) * 200_000
        with within(10):
            for read in (lambda text: parse_call(text, "/somewhere").label("/somewhere"), read_settings):
                with contextlib.suppress(GuardError, ValueError):  # the command says either in one line
                    read(text)
    record_property("faults", 1200)


@pytest.mark.promise("bad input gets one clear line", "include, exclude and .gitignore patterns, random ones")
@pytest.mark.parametrize("seed", seeds(everyday=1, full=20))
def test_no_pattern_ends_or_stops_a_selection(tmp_path: Path, seed: int, record_property: Callable[..., None]) -> None:
    rng = random.Random(seed)
    for number in range(150):
        ignored = "\n".join(words(rng, "ab*?[]!/\\ #-^\udcff.py\x00", 20) for _ in range(5))
        if number % 30 == 0:
            ignored = "**/" * 40 + "x\n" + "*a" * 60 + "\n"
        (tmp_path / ".gitignore").write_bytes(os.fsencode(ignored))
        patterns = tuple(pattern for pattern in ignored.split("\n") if pattern and "\0" not in pattern)
        config = tmp_path / "config.toml"
        config.write_text(
            f'[[repo]]\npath = "/r"\nexclude = {json.dumps([os.fsencode(p).decode("latin-1") for p in patterns])}\n'
        )
        with within(10):
            for rules in (SelectionRules(respect_gitignore=True),):
                selection = Selection(str(tmp_path), rules)
                for path in ("a.py", "a/b/c.py", "a" * 200 + ".py", "a/" * 60 + "b.py", "\udcff/[a].py"):
                    assert selection.wants(path) in (True, False)
            try:
                admitted = load(str(config), named=True).repo[0].selection_rules()
            except ConfigError:
                continue
            Selection(str(tmp_path), admitted).wants("a/b/c.py")
    record_property("faults", 300)


# -- git's files ------------------------------------------------------------------------------------------------------


def _git(cwd: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-c", "gc.auto=0", *arguments]
    subprocess.run(command, cwd=cwd, capture_output=True, check=True)


@pytest.mark.promise("bad input gets one clear line", "mutated files of git's: index 2, 3 and 4, pack index, config, alternates")
@pytest.mark.parametrize("version", ["2", "3", "4"])
@pytest.mark.parametrize("seed", seeds(everyday=1, full=15))
def test_git_is_read_whatever_its_files_hold(
    tmp_path: Path, seed: int, version: str, record_property: Callable[..., None]
) -> None:
    rng = random.Random(f"{seed} {version}")
    root = tmp_path / "repo"
    (root / "a").mkdir(parents=True)
    for number in range(20):
        (root / f"a/module_{number}.py").write_bytes(b"x = %d\n" % number)
    _git(root, "init", "-q")
    _git(root, "add", "-A")
    _git(root, "update-index", "--index-version", version)
    _git(root, "commit", "-qm", "one")
    _git(root, "repack", "-adq")
    (root / ".git/objects/info").mkdir(exist_ok=True)
    pack = next((root / ".git/objects/pack").glob("*.idx"))
    texts = {
        "commondir": b".\n",
        "objects/info/alternates": b"../objects\n/elsewhere\n",
        "config": b"[core]\n\tautocrlf = true\n",
    }
    files = {root / ".git/index": (root / ".git/index").read_bytes(), pack: pack.read_bytes()}
    files |= {root / ".git" / name: text for name, text in texts.items()}
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(120):
        path, whole = rng.choice([*files.items(), (root / ".git/index", files[root / ".git/index"])])
        path.unlink(missing_ok=True)  # git never writes into one that is read
        path.write_bytes(mutated(whole, rng))
        with within(10):
            asking.ask_git(str(root))
        path.unlink()
        if path.name not in ("commondir", "alternates"):
            path.write_bytes(whole)
    assert len(os.listdir("/proc/self/fd")) < before + 10, "what is no longer asked keeps nothing open"
    record_property("faults", 120)


def _index_4(*entries: bytes) -> bytes:
    return b"DIRC" + (4).to_bytes(4) + len(entries).to_bytes(4) + b"".join(b"\1" * 62 + entry for entry in entries)


HOSTILE: dict[str, tuple[str, bytes | None]] = {
    "a strip of a million bytes": ("index", _index_4(b"\xff" * 1_000_000 + b"\0")),
    "names that all repeat the one before": ("index", _index_4(b"\0" + b"n" * 200_000 + b"\0", *[b"\0n\0"] * 20_000)),
    "more entries than there are": ("index", b"DIRC" + (2).to_bytes(4) + b"\xff" * 4 + b"\0" * 4000),
    "a FIFO for the index": ("index", None),
    "a FIFO for the config": ("config", None),
    "a FIFO for the alternates": ("objects/info/alternates", None),
    "a NUL in commondir": ("commondir", b"a\0b\n"),
    "a NUL in the alternates": ("objects/info/alternates", b"/a\0b\n"),
    "alternates in a circle": ("objects/info/alternates", b"../../other\n"),
}


@pytest.mark.promise("bad input gets one clear line", "files of git's that were made to hang, to recurse or to take all memory")
@pytest.mark.parametrize("case", HOSTILE)
def test_files_of_git_made_to_hang_do_not(tmp_path: Path, case: str) -> None:
    _git(tmp_path, "init", "-q")
    name, content = HOSTILE[case]
    path = tmp_path / ".git" / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if content is None:
        os.mkfifo(path)
    else:
        path.write_bytes(content)
    (tmp_path / ".git/other/info").mkdir(parents=True)
    (tmp_path / ".git/other/info/alternates").write_bytes(b"../objects\n" + b"".join(b"../%d\n" % n for n in range(50)))
    done = subprocess.run([sys.executable, asking.__file__, tmp_path], check=False, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr[-1500:]


# -- contents and layouts ---------------------------------------------------------------------------------------------


@pytest.mark.promise("the store is sound or says what is damaged", "mutated frames, deltas and sizes of stored contents")
@pytest.mark.parametrize("seed", seeds(everyday=1, full=20))
def test_a_mutated_blob_gives_its_bytes_or_an_error_in_bounded_memory(seed: int, record_property: Callable[..., None]) -> None:
    rng = random.Random(seed)
    base = b"".join(b"def f%d(x): return x * %d\n" % (n, n) for n in range(200))
    content = base.replace(b"x * 7", b"x * 8")
    whole, delta = encode(digest(content), content), encode(digest(content), content, (digest(base), base))
    assert (whole.codec, delta.codec) == (Codec.ZSTD, Codec.DELTA)
    frame = pack([(digest(base), base), (digest(content), content)])[1].frame
    bomb = encode(b"", bytes(200_000_000)).data if seed == 1 else b""
    assert frame
    assert bomb is not None
    tracemalloc.start()
    try:
        for _ in range(300):
            size = rng.choice((len(content), len(content), len(content) - 1, 0, 2 * len(content)))
            codec, data = rng.choice(((Codec.ZSTD, whole.data), (Codec.DELTA, delta.data), (Codec.RAW, content)))
            made = mutated(data or b"", rng) if rng.random() < 0.95 else bomb or b""
            with within(10), contextlib.suppress(GuardError):
                assert len(decode(codec, made, size, base if rng.random() < 0.8 else base[: rng.randrange(len(base))])) == size
            part = FrameReader(Frame(frame.size, frame.level, mutated(frame.data, rng))).part(len(base), len(content))
            assert len(part) <= len(content)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    record_property("faults", 600)


@pytest.mark.promise("bad input gets one clear line", "build files of the repo, random and mutated")
@pytest.mark.parametrize("seed", seeds(everyday=1, full=20))
def test_a_layout_is_read_from_whatever_build_files_say(seed: int, record_property: Callable[..., None]) -> None:
    rng = random.Random(seed)
    files = {
        "pyproject.toml": '[project]\nname = "x"\ndependencies = ["a>=1"]\n[tool.setuptools]\npackage-dir = {"" = "lib"}\n'
        '[tool.setuptools.packages.find]\nwhere = ["src"]\n[tool.poetry]\npackages = [{include = "x", from = "lib"}]\n'
        '[tool.hatch.build.targets.wheel]\npackages = ["src/x"]\nsources = ["src"]\n',
        "setup.cfg": "[options]\npackage_dir =\n    = src\n[options.packages.find]\nwhere = src\n",
        "setup.py": "from setuptools import setup, Extension as E\nsetup(package_dir={'': 'src'}, ext_modules=[E('a.b', [])])\n",
        "requirements.txt": "a==1 --hash=sha256:00\n-r other.txt\ngit+file:///x#egg=y\n",
        "pytest.ini": "[pytest]\npythonpath = src ../..\n",
    }
    scalars = ("1", '"x"', "[1]", "{}", "[[1]]", "true", "{a = 1}", '["\\u0000"]')
    for number in range(300):
        if number % 4:
            made = {name: os.fsdecode(mutated(text.encode(), rng)) for name, text in files.items()}
        else:  # right TOML with wrong types
            lines = files["pyproject.toml"].splitlines()
            at = rng.choice([at for at, line in enumerate(lines) if " = " in line])
            lines[at] = f"{lines[at].partition(' = ')[0]} = {rng.choice(scalars)}"
            made = {"deep/" * rng.randrange(3) + "pyproject.toml": "\n".join(lines)}
        if number % 60 == 0:
            made["setup.py"] = rng.choice(("(" * 100_000, "a" + ".a" * 50_000, "x = " + "-" * 100_000 + "1"))
            made["pyproject.toml"] = "a = " + "[" * 100_000
        with within(10):
            read_layout(made)
    record_property("faults", 300)


_LONG = 1 << 18
_BUSY = {
    "a dotted key": ("pyproject.toml", "a" + ".a" * (_LONG // 2 - 10) + " = 1\n"),
    "a dotted key of 600 KB": ("pyproject.toml", "a" + ".a" * 300_000 + " = 1\n"),
    "a dotted header": ("pyproject.toml", "[a" + ".a" * (_LONG // 2 - 10) + "]\n"),
    "a dotted key in an inline table": ("pyproject.toml", "x = {a" + ".a" * (_LONG // 2 - 10) + " = 1}\n"),
    "a dotted key in quotes": ("pyproject.toml", '"a b"' + " . '\\'" * (_LONG // 7) + " = 1\n"),
    "many deep headers": ("pyproject.toml", "".join(f"[{'.'.join('a' * 49)}.b{n}]\n" for n in range(_LONG // 105))),
    "many headers": ("pyproject.toml", "".join(f"[a{n}]\n" for n in range(_LONG // 9))),
    "a number of too many digits": ("pyproject.toml", "x = " + "1" * 5000),
    "a long word": ("setup.py", "a" * (1 << 20)),
    "a long word of names of extensions": ("CMakeLists.txt", "python" * (_LONG // 2)),
    "the same in another way": ("meson.build", "Extension" * (_LONG // 3)),
    "a long ignored word": (".gitignore", "a" * (1 << 20)),
    "lines without a value": ("setup.cfg", "[a]\n" + "x\n" * (1 << 18)),
}


@pytest.mark.promise("bad input gets one clear line", "build files made to keep their parser busy for hours")
@pytest.mark.parametrize(
    "what", [what if what in ("a dotted key", "a long word") else pytest.param(what, marks=pytest.mark.faults) for what in _BUSY]
)
def test_a_build_file_made_to_keep_its_reader_busy_does_not(what: str) -> None:
    name, text = _BUSY[what]
    with within(20):
        read_layout({name: text, "setup.cfg" if name != "setup.cfg" else "tox.ini": "[pytest]\npythonpath = lib\n"})


def test_a_build_file_as_large_as_they_come_is_read() -> None:
    lines = "".join(f"    \"package-{n}==1.2.{n}; python_version >= '3.8'\",\n" for n in range(3000))
    text = f'[project]\ndependencies = [\n{lines}]\n[tool.setuptools.packages.find]\nwhere = ["lib"]\n'
    assert len(text) > 100_000
    assert "lib" in read_layout({"pyproject.toml": text}).roots


# -- the store --------------------------------------------------------------------------------------------------------

READING = (
    ("log",), ("log", "a.py"), ("status",), ("show", "a.py", "--at", "1s"), ("diff", "--since", "1h"), ("fsck",),
    ("undo", "--dry-run"),
    ("restore", "--since", "1h", "--dry-run"), ("incidents", "list"), ("snapshot", "--list"), ("replay", "--since", "1h"),
    ("alerts",),
    ("restore", "--version", "1", "--dry-run"), ("check",), ("restore", "--best", "--dry-run"),
)  # fmt: skip


@pytest.mark.promise("bad input gets one clear line", "random values in any column of the store, read by every reading command")
@pytest.mark.parametrize("seed", seeds(everyday=1, full=40))
def test_any_value_in_any_column_gives_an_answer_or_one_line(
    world: World, seed: int, record_property: Callable[..., None]
) -> None:
    rng = random.Random(seed)
    world.write("a.py", "x = 1\n")
    world.write("b.py", "import a\n")
    world.ctl("init", "--no-service", check=None)
    world.start().stop()
    world.write("a.py", "x = 2\n")
    world.ctl("snapshot", "--label", "one")
    world.ctl("restore", "a.py", "--since", "1h", "--yes", check=None)
    path = world.state / "guard.db"
    whole = path.read_bytes()
    faults = 6 if seed == 1 else 25
    for _ in range(faults):
        for left in ("-wal", "-shm"):
            Path(f"{path}{left}").unlink(missing_ok=True)
        path.write_bytes(whole)
        changed = _change_a_value(path, rng)
        for command in rng.sample(READING, 3):
            done = world.ctl(*command, check=None)
            about = (changed, command, done.returncode, done.stdout[-300:], done.stderr[-1500:])
            assert done.returncode in (0, 1, 2, 3, 4), about
            assert "Traceback" not in done.stderr, about
            assert "internal error" not in done.stderr, about
    record_property("faults", faults)


def _change_a_value(path: Path, rng: random.Random) -> str:
    db = apsw.Connection(str(path))
    try:
        db.execute("PRAGMA foreign_keys = OFF")
        db.execute("PRAGMA ignore_check_constraints = ON")
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        filled = [name for name in tables if db.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchall()]
        while True:
            table = rng.choice(filled)
            column = rng.choice([row[1] for row in db.execute(f'PRAGMA table_info("{table}")')])
            value = rng.choice(
                (None, -1, 0, 2**62, -(2**63), 1.5, "", "x", "{}", '{"a": [1]}', b"", b"\xff\0", b"/" * 5000, "\0")
            )
            with contextlib.suppress(apsw.Error):
                db.execute(f'UPDATE "{table}" SET "{column}" = ? WHERE rowid = (SELECT max(rowid) FROM "{table}")', (value,))
                return f"{table}.{column} = {value!r}"[:200]
    finally:
        db.close()
