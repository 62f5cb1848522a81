"""Which paths are kept."""

import os
from pathlib import Path

import pytest

from guardd.selection import Selection, SelectionRules, marks_environment, matcher


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("a.py", True), ("a.pyi", True), ("deep/er/a.py", True), ("a.txt", False), ("py", False), ("a.py.bak", False),
        ("a.py\n", False), (".git/a.py", False), ("sub/.git/hooks/a.py", False), (".venv/lib/a.py", False),
        ("sub/__pycache__/a.py", False), ("x.egg-info/a.py", False), ("build/a.py", False), ("sub/build/a.py", True),
        ("dist/a.py", False), ("venv/a.py", True), ("site-packages/a.py", False), (".hidden/a.py", True),
    ],
)  # fmt: skip
@pytest.mark.parametrize("exclude", [(), ("nothing-of-this-name",)])
def test_the_built_in_selection_is_the_same_with_and_without_excludes(path: str, wanted: bool, exclude: tuple[str, ...]) -> None:
    assert Selection("/nowhere", SelectionRules(exclude=exclude)).wants(path) is wanted


def test_excludes_are_gitignore_patterns_over_the_built_in_ones() -> None:
    selection = Selection("/nowhere", SelectionRules(exclude=("generated/", "*_pb2.py", "!/build/", "/top.py")))
    assert not selection.wants("sub/generated/a.py")
    assert not selection.wants("x_pb2.py")
    assert selection.wants("build/a.py")
    assert not selection.wants("top.py")
    assert selection.wants("sub/top.py")
    assert not Selection("/nowhere", SelectionRules(exclude=("!.git/",))).wants(".git/a.py")


def test_include_takes_any_gitignore_pattern() -> None:
    selection = Selection("/nowhere", SelectionRules(include=("*.py", "Makefile", "conf/*.toml")))
    assert [selection.wants(path) for path in ("a.py", "sub/Makefile", "conf/a.toml", "a.toml")] == [True, True, True, False]


def test_gitignore_files_count_only_when_respected_and_the_deepest_decides(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git" / "info").mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("local.py\nignored/\n")
    (tmp_path / "sub" / ".gitignore").write_text("!local.py\n")
    (tmp_path / ".git" / "info" / "exclude").write_text("private.py\n")
    paths = ("local.py", "sub/local.py", "sub/ignored/a.py", "private.py", "a.py")
    assert [Selection(str(tmp_path), SelectionRules()).wants(path) for path in paths] == [True] * 5
    respecting = Selection(str(tmp_path), SelectionRules(respect_gitignore=True))
    assert [respecting.wants(path) for path in paths] == [False, True, False, False, True]
    (tmp_path / ".gitignore").write_text("")
    respecting.forget()
    assert respecting.wants("local.py")


@pytest.mark.parametrize(
    "rules",
    [
        SelectionRules(exclude=("gen*/", "*_pb2.py")),
        SelectionRules(include=("*.py", "tools/*")),
        SelectionRules(respect_gitignore=True),
    ],
)
def test_names_in_no_encoding_are_selected_like_others(tmp_path: Path, rules: SelectionRules) -> None:
    (tmp_path / ".gitignore").write_bytes(b"gen*\n*_pb2.py\n\xff*.txt\n")
    selection = Selection(str(tmp_path), rules)
    name = os.fsdecode(b"a\xff.py")
    assert selection.wants(name)
    assert selection.wants(f"d\udce9r/{name}")
    assert matcher(("d?r/",))(f"d\udce9r/{name}")
    if rules.exclude or rules.respect_gitignore:
        assert not selection.wants(os.fsdecode(b"gen\xff/a.py"))
        assert not selection.wants(os.fsdecode(b"\xff_pb2.py"))


def test_equal_rules_have_equal_fingerprints() -> None:
    assert SelectionRules().fingerprint == SelectionRules().fingerprint
    assert SelectionRules().fingerprint != SelectionRules(exclude=("x",)).fingerprint


def test_environments_are_known_by_their_marks() -> None:
    assert marks_environment(["bin", "pyvenv.cfg"])
    assert marks_environment(["conda-meta"])
    assert not marks_environment(["bin", "lib"])
