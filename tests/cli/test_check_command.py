"""guardctl check: in any directory, of what is staged, against a revision; each problem is named, and nothing else."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from sarif_kit.validate import validation_errors
from tests.world import some_of

from guardd.cli.main import run
from guardd.errors import Exit
from guardd.selection import SelectionRules
from guardd.store.store import Store

CORE = "def good():\n    return 1\n\n\ndef other():\n    return 2\n"
TEST = "from pkg.core import good\n\n\ndef test():\n    assert good()\n"
MARKED = "# REMOVED_SYNTAX_ERROR: x = 1\n"


class Here:
    """A directory, and guardctl called in it, in this process."""

    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.root = base / "repo"
        self.root.mkdir()
        self.state = base / "state"
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        for name in [name for name in os.environ if name.startswith(("GIT_", "GUARD_"))]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("GUARD_STATE_DIR", str(self.state))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(base / "config"))
        monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
        monkeypatch.chdir(self.root)

    def write(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            self.put(path, text)

    def put(self, path: str, text: str | bytes) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text.encode() if isinstance(text, str) else text)

    def git(self, *words: str, check: bool = True) -> str:
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main")
        done = subprocess.run(["git", *who, *words], cwd=self.root, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def commit(self, files: Mapping[str, str] | None = None) -> None:
        if not (self.root / ".git").exists():
            self.git("init", "-q")
        self.write(files or {})
        self.git("add", "-A")
        self.git("commit", "-qm", "x")

    def run(self, *words: str, code: int = 0) -> tuple[str, str]:
        found = run(["check", *words])
        out, err = self._capsys.readouterr()
        assert found == code, (out, err)
        return out, err

    def found(self, *words: str) -> list[tuple[str, int, str]]:
        """(path, line, rule) of each problem."""
        code = run(["check", *words, "--json"])
        out, err = self._capsys.readouterr()
        problems: list[dict[str, Any]] = json.loads(out or "null")
        assert code == (Exit.PARTIAL if problems else Exit.DONE), err
        return [(one["path"], one["line"], one["rule"]) for one in problems]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("count", some_of([200, 1381], 200))
def test_each_import_that_a_script_broke_is_named_and_nothing_else(here: Here, count: int) -> None:
    here.write(
        {
            "pkg/__init__.py": "",
            "pkg/core.py": CORE,
            "legacy.py": "def half(:\n",
            "legacy_import.py": "from pkg.core import never_was\n",
        }
    )
    paths = [f"tests/test_{number}.py" for number in range(count)]
    for number, path in enumerate(paths):
        here.put(path, f"{TEST}# {number % 100}\n")
    here.commit()
    legacy = [("legacy.py", 1, "syntax"), ("legacy_import.py", 1, "import")]
    assert here.found() == legacy

    for path in paths:
        here.put(path, (here.root / path).read_text().replace("import good", "import better as good"))

    broken = [(path, 1, "import") for path in sorted(paths)]
    assert here.found() == legacy + broken
    assert here.found("--against", "HEAD") == broken

    for path in paths:
        here.put(path, (here.root / path).read_text().replace("import better", "import other"))
    assert here.found("--against", "HEAD") == []


def test_a_directory_needs_neither_git_nor_guard_nor_a_store(here: Here, capsys: pytest.CaptureFixture[str]) -> None:
    here.write({"pkg/__init__.py": "", "a.py": "from pkg import nothing\n", "b.py": "x = 1\n"})
    assert here.found() == [("a.py", 1, "import")]
    with Store(str(here.state)) as store:
        assert store.repos.all() == []

    here.state.chmod(0o777)  # others may write to it: no store is opened there
    out, err = here.run("-v", code=1)
    assert "a.py:1: import: pkg has no 'nothing'\n    from pkg import nothing\n                    ^^^^^^^\n" in out
    assert "checked 3 files in" in out
    assert "1 problem in 1 file (import 1)" in out
    assert "nothing is remembered" in err


STAGED: dict[str, tuple[dict[str, str | None], dict[str, str | None], list[tuple[str, int, str]]]] = {
    # what is staged, what then is on disk, what is found
    "nothing": ({}, {}, []),
    "the index counts, not the disk": ({"a.py": MARKED}, {"a.py": "x = 1\n"}, [("a.py", 1, "marker")]),
    "the disk does not count": ({"a.py": "x = 1\n"}, {"a.py": MARKED, "b.py": MARKED}, []),
    "a name that others import": (
        {"pkg/core.py": CORE.replace("good", "best")}, {}, [("tests/test_core.py", 1, "import")],
    ),
    "a module that was not added": (
        {"a.py": "from pkg import new\n"}, {"pkg/new.py": "x = 1\n"}, [("a.py", 1, "import")],
    ),
    "a module that is ignored, as generated ones are": (
        {".gitignore": "generated.py\n", "a.py": "from pkg import generated\nimport generated\n"}, {}, [],
    ),
    "a module that is gone": ({"pkg/core.py": None}, {}, [("tests/test_core.py", 1, "import")]),
    "what was wrong before": ({"old.py": MARKED + "x = 2\n"}, {}, []),
    "an undefined name": ({"a.py": "def f():\n    return nothing + 1\n"}, {}, [("a.py", 2, "undefined-name")]),
    "a class used too early": ({"a.py": "class A(B):\n    pass\n\n\nclass B:\n    pass\n"}, {}, [("a.py", 1, "undefined-name")]),
}  # fmt: skip


@pytest.mark.parametrize("name", STAGED)
def test_what_is_staged_is_held_against_head(here: Here, name: str) -> None:
    staged, on_disk, expected = STAGED[name]
    here.commit({"pkg/__init__.py": "", "pkg/core.py": CORE, "tests/test_core.py": TEST, "old.py": MARKED})
    _apply(here, staged)
    here.git("add", "-A")
    _apply(here, on_disk)

    assert here.found("--staged") == expected


def _apply(here: Here, files: dict[str, str | None]) -> None:
    for path, text in files.items():
        if text is None:
            (here.root / path).unlink()
        else:
            here.put(path, text)


def test_before_the_first_commit_all_that_is_staged_is_new(here: Here) -> None:
    here.git("init", "-q")
    here.write({"a.py": MARKED, "pkg/__init__.py": "", "pkg/b.py": "x = 1\n", "c.py": "from pkg import b\n"})
    here.git("add", "a.py", "c.py", "pkg/__init__.py")
    here.git("add", "-N", "pkg/b.py")
    assert here.found("--staged") == [("a.py", 1, "marker"), ("c.py", 1, "import")]

    here.git("add", "pkg/b.py")
    assert here.found("--staged") == [("a.py", 1, "marker")]


def test_no_program_that_the_repos_own_config_names_is_run(here: Here, tmp_path: Path) -> None:
    here.commit({"a.py": "x = 1\n", ".gitattributes": "*.py filter=evil\n"})
    here.write({"empty.py": "", "a.py": "x = 2\n"})
    here.git("add", "a.py")
    here.git("add", "-N", "empty.py")
    here.git("config", "filter.evil.clean", f"touch {tmp_path}/run; cat")
    os.utime(here.root / "a.py")

    assert here.found("--staged") == []
    assert not (tmp_path / "run").exists()


def test_odd_entries_of_an_index_are_passed_over(here: Here) -> None:
    here.commit({"pkg/__init__.py": "", "pkg/core.py": CORE})
    inside = here.root / "sub"
    subprocess.run(["git", "init", "-q", inside], check=True)
    here.put("sub/thing.py", MARKED)
    for words in (("add", "-A"), ("-c", "user.name=x", "-c", "user.email=x@example.org", "commit", "-qm", "x")):
        subprocess.run(["git", *words], cwd=inside, check=True)
    (here.root / "link.py").symlink_to("pkg/core.py")
    here.put(os.fsdecode(b"odd \xff\n.py"), MARKED)
    here.write({"user.py": "from link import good\nimport sub.thing\n"})
    here.git("add", "-A")

    assert here.found("--staged") == [(os.fsdecode(b"odd \xff\n.py"), 1, "marker")]
    assert "odd \\xff\\n.py:1: marker" in here.run("--staged", code=1)[0]
    assert "%FF%0A.py" in here.run("--staged", "--format", "sarif", code=1)[0]
    here.run("--staged", "--format", "github", code=1)


def test_a_rename_and_a_merge_are_understood(here: Here) -> None:
    here.commit({"pkg/__init__.py": "", "pkg/core.py": CORE, "a.py": "x = 1\n", "old.py": MARKED})
    here.git("mv", "old.py", "pkg/older.py")
    assert here.found("--staged") == []
    here.git("commit", "-qam", "x")
    here.git("checkout", "-qb", "branch")
    here.commit({"a.py": "x = 2\n"})
    here.git("checkout", "-q", "main")
    here.commit({"a.py": "x = 3\n"})
    here.git("merge", "branch", check=False)

    assert here.found("--staged") == [("a.py", 0, "conflict-marker")]
    assert ("a.py", 1, "conflict-marker") in here.found("--against", "HEAD")


def test_a_hook_of_git_commit_sees_the_index_that_is_committed(here: Here, tmp_path: Path) -> None:
    here.commit({"a.py": "x = 1\n", "b.py": "x = 1\n"})
    seen = tmp_path / "seen"
    hook = here.root / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\necho "$GIT_INDEX_FILE" > {seen}\ncp "$GIT_INDEX_FILE" {tmp_path}/index\nexit 1\n')
    hook.chmod(0o755)
    here.write({"a.py": MARKED, "b.py": MARKED})
    here.git("commit", "-m", "x", "a.py", check=False)  # an index of its own, with a.py alone
    here._monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "index"))

    assert seen.read_text().strip()
    assert here.found("--staged") == [("a.py", 1, "marker")]


def test_paths_choose_what_is_reported_and_refusals_say_what_to_do(here: Here) -> None:
    here.commit({"pkg/__init__.py": "", "pkg/core.py": CORE, "tests/test_core.py": TEST, "old.py": MARKED, "pkg/old.py": MARKED})
    assert here.found("pkg") == [("pkg/old.py", 1, "marker")]
    here._monkeypatch.chdir(here.root / "pkg")
    assert here.found(".") == [("pkg/old.py", 1, "marker")]
    here._monkeypatch.chdir(here.root)
    assert here.found("--ignore", "marker") == []
    for words, code in (
        (("nothing.py",), 3), (("--against", "nowhere"), 2), (("--against", "-x"), 2), (("--staged", "--against", "HEAD"), 2),
        (("--staged", "--import", "pkg"), 2), (("--ignore", "nothing"), 2), (("--repo", "nowhere"), 2), (("--format", "xml"), 2),
    ):  # fmt: skip
        out, err = here.run(*words, code=code)
        assert not out
        assert err.count("\n") == 1, err
    log = json.loads(here.run("--format", "sarif", code=1)[0])
    assert validation_errors(log) == []
    assert here.run("pkg", "--format", "github", code=1)[0].startswith(
        "::error file=pkg/old.py,line=1,title=guardctl%3A marker::"
    )
    (here.root / ".git").rename(here.root / "not-git")
    assert "git" in here.run("--staged", code=2)[1]


def test_a_module_is_really_imported_on_demand(here: Here) -> None:
    here.write({"fine.py": "x = 1\n", "fails.py": "raise ValueError('no')\n"})
    assert here.found("--import", "fine") == []
    assert here.found("--import", "fine", "--import", "fails") == [("fails.py", 1, "import-error")]


def test_what_could_not_be_read_is_told_and_is_no_success(here: Here) -> None:
    here.write({"a.py": "x = 1\n"})
    os.mkfifo(here.root / "pipe.py")
    (here.root / "loop.py").symlink_to("loop.py")
    assert here.found() == []
    (here.root / "a.py").chmod(0)
    if os.access(here.root / "a.py", os.R_OK):
        pytest.skip("root reads everything")
    assert "a.py: Permission denied; it was not checked" in here.run(code=1)[1]


def test_what_is_remembered_is_bounded_and_forgotten_on_demand(here: Here) -> None:
    here.write({"a.py": MARKED, "b.py": "x = 1\n", "c.py": "x = 2\n"})
    here.found()
    with Store(str(here.state)) as store:
        assert store.db.value("SELECT count(*) FROM checked") == 4  # and how the tree was
        store.checked.prune(most=2)
        assert store.db.value("SELECT count(*) FROM checked") == 2
        store.checked.clear()
    assert here.found() == [("a.py", 1, "marker")]


def test_a_damaged_store_is_done_without(here: Here) -> None:
    here.write({"a.py": MARKED})
    assert here.found() == [("a.py", 1, "marker")]
    with Store(str(here.state)) as store:
        pages = {row[0] for row in store.db.rows("SELECT rootpage FROM sqlite_master WHERE tbl_name IN ('checked', 'facts')")}
        size = store.db.value("PRAGMA page_size")
        store.db.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    with open(here.state / "guard.db", "r+b") as file:
        for page in pages:
            file.seek((page - 1) * size)
            file.write(b"\xff" * size)

    assert here.found() == [("a.py", 1, "marker")]


def test_a_name_that_the_tree_puts_among_the_built_in_ones_is_defined(here: Here) -> None:
    use = "def f():\n    return {}(1) + 1\n"
    here.write({f"{name}.py": use.format(name) for name in ("one", "two", "three", "four", "five")})
    here.put(
        "conftest.py",
        "import builtins\nimport builtins as b\nbuiltins.one = b.two = print\nsetattr(builtins, 'three', print)\n"
        "builtins.__dict__['four'] = print\nvars.five = print\n",
    )
    assert here.found() == [("five.py", 2, "undefined-name")]


def test_a_guarded_tree_is_checked_as_it_is_on_disk_and_as_its_config_says(here: Here, tmp_path: Path) -> None:
    here.put("a.py", "x = 1\n")
    here.write({"b.py": "from left.out import thing\n", "left/out.py": MARKED, "c.py": "FIXME = 1\n"})
    config = tmp_path / "config/guard/config.toml"
    config.parent.mkdir(parents=True)
    repo = f'[[repo]]\npath = "{here.root}"\nexclude = ["/left/"]\n'
    config.write_text(f'[detection]\nmarkers = ["FIXME", "re:^GONE"]\n{repo}')
    with Store(str(here.state), create=True) as store:
        store.repos.add(str(here.root), SelectionRules(exclude=("/left/",)))
    assert run(["log", "--json"]) == Exit.DONE  # captures
    here._capsys.readouterr()

    assert here.found() == [("c.py", 1, "marker")]
    here.put("a.py", "GONE = 1\n")
    here.put("new.py", "def half(:\n")
    (here.root / "c.py").unlink()
    assert here.found() == [("a.py", 1, "marker"), ("new.py", 1, "syntax")]
    config.write_text("[detection]\nmarkers = 1\n")
    assert "markers" in here.run(code=4)[1]


def test_what_git_does_not_have_is_named_and_the_file_checked_by_itself(here: Here) -> None:
    here.commit({"pkg/__init__.py": "", "pkg/core.py": CORE, "use.py": TEST, "old.py": "x = (\n", "fine.py": "x = 1\n"})
    here.commit({"pkg/core.py": CORE + "\n\nlast = 1\n", "old.py": "y = (\n", "fine.py": "x = 2\n"})
    lost = [here.git("rev-parse", f"HEAD~1:{path}").strip() for path in ("pkg/core.py", "fine.py")]
    for one in lost:  # as in a partial clone, which has only what was checked out
        (here.root / ".git" / "objects" / one[:2] / one[2:]).unlink()
    here.git("config", "remote.origin.promisor", "true")
    here.git("config", "remote.origin.url", "file:///nowhere")
    here.git("config", "core.repositoryFormatVersion", "1")
    here.git("config", "extensions.partialClone", "origin")
    _, said = here.run("--against", "HEAD~1")
    assert "pkg/core.py: git does not have here what it was in HEAD~1; it was checked by itself" in said
    assert "fine.py: git does not" in said
    assert "use.py" not in said
    here.put("pkg/core.py", CORE.replace("good", "better") + MARKED)
    assert here.found("--against", "HEAD~1") == [("pkg/core.py", 7, "marker"), ("use.py", 1, "import")]
    assert here.found("--against", "HEAD~1", "fine.py") == []
    here.git("reset", "-q", "--soft", "HEAD~1")
    here.git("add", "pkg/core.py")
    here.put("pkg/core.py", "gone = 1\n")
    assert here.found("--staged") == [("pkg/core.py", 7, "marker"), ("use.py", 1, "import")]


def test_what_is_staged_and_git_does_not_have_is_no_pass(here: Here) -> None:
    here.commit({"a.py": "x = 1\n", "b.py": "x = 2\n"})
    here.commit({"a.py": "x = (\n"})
    lost = here.git("rev-parse", "HEAD:a.py").strip()
    here.git("reset", "-q", "--soft", "HEAD~1")
    (here.root / ".git" / "objects" / lost[:2] / lost[2:]).unlink()
    _, said = here.run("--staged", code=1)
    assert "a.py: git does not have here what is staged of it; it was not checked" in said
    here.run("--staged", "b.py")
