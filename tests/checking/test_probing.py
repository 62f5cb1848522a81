"""Real imports: whatever a module does, it is told in one finding, in its time, and nothing of it is left behind."""

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
from glob import glob
from pathlib import Path

import pytest
from tests.world import snapshot, wait_until

from guardd.checking import probing
from guardd.checking.check import Problem
from guardd.checking.probing import Limits, Probe, probe, probe_repo
from guardd.config.settings import RepoSettings
from guardd.errors import ConfigError, UsageError

MASK = "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\n"
MEMORY = 192 * 2**20

HANGS = {
    "founding": (
        'NAMES = ["a"]\n\n\ndef known(name):\n    return name in globals()\n\n\ndef validate():\n    for name in NAMES:\n'
        "        if not known(name):\n            NAMES.append(name)\n\n\nvalidate()\n",
        9, "it runs in this loop, in validate, last seen at line",
    ),
    "in_c": ("x = 1\ny = sum(iter(int, 1))\n", 2, "it runs here, at the module's top"),
    "sleeps": ("import time\n\ndef f():\n    time.sleep(999)\n\nf()\n", 4, "it waits here, in f, reached from m/sleeps.py:6"),
    "polls": ("import time\nx = 1\nwhile x:\n    y = 2\n    time.sleep(0.01)\n", 3, "it waits in this loop"),
    "deadlock": ("import threading\nlock = threading.Lock()\nlock.acquire()\nlock.acquire()\n", 4, "it waits here"),
    "masked": (f"import signal, time\n{MASK}time.sleep(999)\n", 3, "it waits here"),
    "no_timer": ("import faulthandler, time\nfaulthandler.cancel_dump_traceback_later()\ntime.sleep(999)\n", 3, "it waits here"),
    "stopped": ("import os, signal\nwhile True:\n    os.kill(os.getpid(), signal.SIGSTOP)\n", 2, "it waits in this loop"),
    "unseen": (
        f"import faulthandler, signal, time\nfaulthandler.cancel_dump_traceback_later()\n{MASK}time.sleep(999)\n",
        0, "no stack of it could be seen",
    ),
}  # fmt: skip
"""Source, line and words of the finding."""

FAILURES = {
    "name": ("from m import nothing\n", "m/name.py", 1, "ImportError: cannot import name 'nothing' from 'm'"),
    "submodule": ("x = 1\nimport m.broken\n", "m/broken.py", 2, "SyntaxError: invalid syntax"),
    "broken": ("x = 1\ndef (:\n", "m/broken.py", 2, "SyntaxError: invalid syntax"),
    "raises": ("import m.name2\n", "m/name2.py", 2, "fails: ValueError: a??\\x1b[31m line 2 \\xff \\ud800 \\x00"),
    "name2": ("x = 1\nraise ValueError('a\\x1e\\x1f\\x1b[31m\\nline 2 \\udcff \\ud800 \\0')\n", "m/name2.py", 2, "ValueError"),
    "no_text": ("class E(Exception):\n    def __str__(self): raise SystemExit\nraise E\n", "m/no_text.py", 3, "fails: E:"),
    "exits": ("import sys\nsys.exit(3)\n", "m/exits.py", 2, "asks to end the program: SystemExit(3)"),
    "leaves": ("import os\nos._exit(0)\n", "m/leaves.py", 0, "ends the process by itself, with exit code 0"),
    "replaced": (
        "import os\nos.execv('/bin/sh', ['sh', '-c', 'echo bye; exit 4'])\n",
        "m/replaced.py", 0, "exit code 4; its last words: bye",
    ),
    "crashes": ("import ctypes\nctypes.string_at(0)\n", "m/crashes.py", 2, "crashes: SIGSEGV"),
    "own": ("import ctypes, faulthandler as f\nf.enable()\nctypes.string_at(0)\n", "m/own.py", 3, "crashes: SIGSEGV"),
    "aborts": ("import os\nos.abort()\n", "m/aborts.py", 2, "crashes: SIGABRT"),
    "killed": ("import os\nos.kill(os.getpid(), 9)\n", "m/killed.py", 0, "is killed (SIGKILL), as the kernel does where memory"),
    "recursion": ("def f():\n    f()\nf()\n", "m/recursion.py", 2, "RecursionError: maximum recursion depth exceeded"),
    "asks": ("input()\n", "m/asks.py", 1, "EOFError"),
    "closes_all": ("import os\nos.closerange(3, 256)\nraise ValueError\n", "m/closes_all.py", 0, "import of m.closes_all fails"),
}  # fmt: skip
"""Source, then path, line and words of the finding."""

FINE = {
    "plain": "x = 1\n",
    "from_src": "import in_src, in_lib\n",
    "unchanged": "import os, sys\nassert sys.argv == [''] and '' not in sys.path\n"
    "assert not {'json', 'resource'} & set(sys.modules)\n"
    "assert not [name for name in os.environ if name.startswith('GUARD_')] and os.environ['MINE'] == '1'\n",
    "closes": "import os\nos.closerange(3, 256)\n",
    "patches": "import os\nos._exit = os.getpid = os.write = None\n",
    "at_exit": "import atexit, time\natexit.register(time.sleep, 999)\n",
    "thread": "import threading, time\nthreading.Thread(target=time.sleep, args=(999,)).start()\n",
    "child_fails": "import os\nif os.fork() == 0:\n    raise ValueError\nos.wait()\n",
    "escapes": "import os, time\nread, write = os.pipe()\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n"
    "        os.write(write, str(os.getpid()).encode())\n        while True:\n            time.sleep(0.01)\n    os._exit(0)\n"
    "print(os.read(read, 99).decode())\n",
    "cannot_leave_a_core": "import resource\nassert resource.getrlimit(resource.RLIMIT_CORE)[1] == 0\n",
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    for folder in ("m", "src", "lib\udcff"):
        (root / folder).mkdir(parents=True)
    (root / "m" / "__init__.py").touch()
    (root / "src" / "in_src.py").touch()
    (root / "lib\udcff" / "in_lib.py").touch()
    sources = {name: text for name, (text, *_) in [*HANGS.items(), *FAILURES.items()]} | FINE
    for name, text in sources.items():
        (root / "m" / f"{name}.py").write_text(text)
    return root


def probes(tree: Path, names: list[str], timeout_s: float) -> dict[str, Probe]:
    """Probe modules of the tree, and see that they left it as it was."""
    before = snapshot(tree)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GUARD_STATE_DIR", "/x")
        patch.setenv("MINE", "1")
        found = probe(str(tree), [f"m.{name}" for name in names], None, ["lib\udcff"], Limits(timeout_s, MEMORY))
    assert [one.module for one in found] == [f"m.{name}" for name in names]
    assert snapshot(tree) == before
    return dict(zip(names, found, strict=True))


def problems(found: dict[str, Probe]) -> dict[str, Problem]:
    return {name: one.problem for name, one in found.items() if one.problem is not None}


def test_a_module_that_never_comes_back_is_told_with_file_and_line(tree: Path) -> None:
    found = probes(tree, list(HANGS), 1.0)
    told = {name: (one.path, one.line, one.rule) for name, one in problems(found).items()}
    assert told == {name: (f"m/{name}.py", line, "import-hang") for name, (_, line, _) in HANGS.items()}
    for name, problem in problems(found).items():
        assert problem.message.startswith(f"import of m.{name} does not end within 1s: ")
        assert HANGS[name][2] in problem.message
    assert found["founding"].stack[0] == "m/founding.py:14 in <module>"
    assert found["founding"].stack[1].endswith(" in validate")


def test_stacks_that_come_haltingly_are_waited_for_and_taken_twice(tmp_path: Path) -> None:
    child = tmp_path / "child.py"
    child.write_text(
        "import os, signal, sys, time\n"
        "records, trace, number = int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[5])\n"
        "def write(*_):\n"
        "    for part in (b'Thread 0x01 (most recent', b' call first):\\n', b'  File \"a.py\", li', b'ne 1 in f\\n'):\n"
        "        os.write(trace, part)\n        time.sleep(0.05)\n"
        "signal.signal(number, write)\nos.write(records, b'ready')\nwhile True:\n    signal.pause()\n"
    )
    task = {"command": [sys.executable, str(child)], "module": "m", "root": str(tmp_path), "roots": []}
    limits = {"timeout_s": 0.2, "memory_bytes": MEMORY}
    keeper = [sys.executable, "-I", "-S", str(Path(probing.__file__).with_name("probe_keeper.py"))]
    with subprocess.Popen(keeper, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(task | limits).encode() + b"\n")
        process.stdin.flush()  # and left open: its end would end the keeper
        told = json.loads(process.stdout.read())
    assert told["trace"] == 2 * 'Thread 0x01 (most recent call first):\n  File "a.py", line 1 in f\n'


def test_a_module_that_fails_is_told_with_what_and_where(tree: Path) -> None:
    found = problems(probes(tree, list(FAILURES), 60.0))
    told = {name: (one.path, one.line, one.rule) for name, one in found.items()}
    assert told == {name: (path, line, "import-error") for name, (_, path, line, _) in FAILURES.items()}
    for name, problem in found.items():
        assert FAILURES[name][3] in problem.message
        assert problem.message.isprintable()


def test_a_module_that_comes_up_is_no_finding_and_leaves_nothing_behind(tree: Path) -> None:
    found = probes(tree, list(FINE), 60.0)
    assert problems(found) == {}
    if sys.platform == "linux":  # elsewhere, what left its session is not handed over
        with pytest.raises(ProcessLookupError):
            os.kill(int(found["escapes"].output), 0)


def test_memory_is_limited_and_output_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "grows.py").write_text("x = []\nwhile True:\n    x.append(bytes(1000))\n")
    (tmp_path / "asks.py").write_text("x = 1\ny = bytearray(10**10)\n")
    (tmp_path / "loud.py").write_text("for _ in range(300):\n    print('x' * 1000)\nprint('end')\n")
    grows, asks, loud = probe(str(tmp_path), ["grows", "asks", "loud"], None, [], Limits(60, MEMORY))
    assert loud.problem is None
    assert loud.output.endswith("x\nend\n")
    assert len(loud.output) < 10_000
    assert grows.problem is not None
    assert asks.problem is not None
    assert (grows.problem.path, asks.problem.line) == ("grows.py", 2)
    for problem in (grows.problem, asks.problem):
        assert "MemoryError (it may take 192 MiB: import_memory)" in problem.message


def test_the_network_is_off_where_the_kernel_allows_it_and_that_is_told(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import socket\nsocket.create_connection(('127.0.0.1', 9), 5)\n")
    (one,) = probe(str(tmp_path), ["net"], None, [])
    assert one.problem is not None
    assert one.problem.line == 2
    assert ("(guard imports without network)" in one.problem.message) == one.offline
    if sys.platform == "linux" and os.geteuid() == 0:
        unshared = subprocess.run(["unshare", "-n", "true"], check=False).returncode == 0
        assert one.offline == unshared


def test_modules_are_found_where_the_build_files_say(tmp_path: Path) -> None:
    (tmp_path / "lib/shop").mkdir(parents=True)
    (tmp_path / "lib/shop/__init__.py").write_text("x = 1\n")
    (tmp_path / "pyproject.toml").write_text('[tool.setuptools.packages.find]\nwhere = ["lib"]\n')
    assert [one.problem for one in probe(str(tmp_path), ["shop"], None, ())] == [None]


def test_a_module_that_is_not_there_is_told(tmp_path: Path) -> None:
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg" / "__init__.py").touch()
    inner, nothing = (one.problem for one in probe(str(tmp_path), ["pkg.nope.x", "nope"], None, []))
    assert inner is not None
    assert nothing is not None
    assert (inner.path, inner.line, nothing.path) == ("pkg/__init__.py", 0, ".")
    assert "No module named 'pkg.nope'" in inner.message
    assert "name the repo's as python" not in inner.message
    assert f"imported by guard's own {sys.executable}: name the repo's as python" in nothing.message


def test_a_repo_cannot_fool_the_probe_with_files_named_as_the_standard_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (
        "json",
        "faulthandler",
        "errno",
        "resource",
        "re",
        "selectors",
        "subprocess",
        "_thread",
        "traceback",
        "importlib",
    ):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('this is {name}')\n")
    (tmp_path / "good.py").touch()
    (tmp_path / "bad.py").write_text("x = 1\nimport json\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    good, bad = probe(str(tmp_path), ["good", "bad"], None, [])
    assert good.problem is None
    assert bad.problem is not None
    assert (bad.problem.path, bad.problem.line) == ("json.py", 1)
    assert bad.stack == ("bad.py:2 in <module>", "json.py:1 in <module>")


def test_the_environment_of_the_repo_is_used_with_all_that_its_site_does(tmp_path: Path) -> None:
    base = os.path.realpath(sys.executable)
    site = tmp_path / ".venv" / os.path.relpath(sysconfig.get_path("purelib"), sys.prefix)
    site.mkdir(parents=True)
    (tmp_path / ".venv" / "bin").mkdir()
    (tmp_path / ".venv" / "bin" / "python").symlink_to(base)
    (tmp_path / ".venv" / "pyvenv.cfg").write_text(f"home = {os.path.dirname(base)}\ninclude-system-site-packages = false\n")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "by_pth.py").touch()
    (site / "a.pth").write_text(f"{tmp_path}/elsewhere\n")
    (site / "sitecustomize.py").write_text("import builtins\nbuiltins.customized = True\n")
    (site / "third.py").write_text("def fail():\n    raise ValueError\n")
    (tmp_path / "app.py").write_text("import by_pth, third\ncustomized\n")
    (tmp_path / "fails.py").write_text("import third\nthird.fail()\n")
    app, fails = probe(str(tmp_path), ["app", "fails"], None, [])
    assert app.problem is None
    assert fails.problem is not None
    assert (fails.problem.path, fails.problem.line) == ("fails.py", 2)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "cannot be started (No such file or directory); set python of its [[repo]]"),
        ("#!/bin/sh\necho no snake here; exit 2\n", "does not come up as Python 3.6 or newer (no snake here); set python"),
        ("#!/bin/sh\nexit 0\n", "does not come up as Python 3.6 or newer (exit code 0)"),
        ("x", "cannot be started ("),
    ],
)
def test_an_interpreter_that_is_none_is_one_clear_error(tmp_path: Path, script: str | None, said: str) -> None:
    if script is not None:
        (tmp_path / "python").write_text(script)
        (tmp_path / "python").chmod(0o755)
    with pytest.raises(ConfigError) as refusal:
        probe(str(tmp_path), ["a", "b", "c"], "python", [])
    assert str(refusal.value).startswith(f"{tmp_path}/python ")
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_what_is_no_module_name_is_refused(tmp_path: Path) -> None:
    for name in ("a.py/b", "", ".a", "a;b", "import"):
        with pytest.raises(UsageError, match="is no name of a module"):
            probe(str(tmp_path), [name], None, [])


def test_the_settings_of_a_repo_say_which_modules_and_which_limits(tmp_path: Path) -> None:
    (tmp_path / "fine.py").touch()
    (tmp_path / "waits.py").write_text("import signal\nsignal.pause()\n")
    about = RepoSettings.model_validate(
        {"path": str(tmp_path), "critical_modules": ["waits", "fine"], "import_timeout": "0.3s", "import_memory": "64MiB"}
    )
    waits, fine, nope = probe_repo(about, ["fine", "nope"])
    assert waits.problem is not None
    assert "within 0.3s" in waits.problem.message
    assert fine.problem is None
    assert nope.module == "nope"
    assert nope.problem is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_who_ends_the_check_ends_the_imports(tmp_path: Path, number: signal.Signals) -> None:
    note = tmp_path / "pid"
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "waits.py").write_text(
        f"import os, signal\nwith open({str(note)!r} + 'x', 'w') as file: file.write(str(os.getpid()))\n"
        f"os.rename({str(note)!r} + 'x', {str(note)!r})\nsignal.pause()\n"
    )
    program = f"from guardd.checking.probing import *\nprobe({str(tmp_path / 'repo')!r}, ['waits'], None, [], Limits(600))\n"
    checker = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.DEVNULL)
    wait_until(note.exists)
    checker.send_signal(number)
    assert checker.wait() != 0
    wait_until(lambda: not Path(f"/proc/{note.read_text()}").exists(), what="the import has ended")


def test_the_child_program_is_in_the_syntax_of_old_interpreters() -> None:
    path = Path(probing.__file__).with_name("probe_child.py")
    ast.parse(path.read_bytes(), feature_version=(3, 6))


def interpreter(version: str) -> str | None:
    """One on the PATH that runs (a shim may not), or one that pyenv has."""
    for python in (shutil.which(f"python{version}"), *glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python"))):
        if python and not subprocess.run([python, "-c", "pass"], capture_output=True, check=False).returncode:
            return python
    return None


@pytest.mark.long
@pytest.mark.parametrize("version", [f"3.{minor}" for minor in range(6, 16)])
def test_each_interpreter_of_this_machine_tells_the_same(tree: Path, version: str) -> None:
    python = interpreter(version)
    if python is None:
        pytest.skip(f"no Python {version} here")
    names = ["founding", "sleeps", "crashes", "name", "plain", "exits"]
    found = probe(str(tree), [f"m.{name}" for name in names], python, [], Limits(2.0))
    told = [one.problem and (one.problem.path, one.problem.line, one.problem.rule) for one in found]
    assert told == [
        ("m/founding.py", 9, "import-hang"),
        ("m/sleeps.py", 4, "import-hang"),
        ("m/crashes.py", 2, "import-error"),
        ("m/name.py", 1, "import-error"),
        None,
        ("m/exits.py", 2, "import-error"),
    ]
