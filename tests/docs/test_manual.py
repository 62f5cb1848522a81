"""The man pages say what the programs and the config say, and are formatted without a warning."""

import shutil
import subprocess
from pathlib import Path

import click
import pytest
from docs.manual import prose
from docs.manual.pages import EXAMPLE, pages
from docs.manual.roff import paragraphs
from docs.manual.settings import described, read_example

from guardd.cli.main import COMMANDS, guardctl
from guardd.config.describing import schema
from guardd.errors import Exit

MAN = Path(__file__).parents[2] / "docs" / "man"


def formatted(path: Path) -> str:
    """A page as a person reads it, in lines of no bound."""
    done = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-P-cbou", "-rLL=2000n", path], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout


def test_the_pages_in_the_tree_are_those_that_make_man_writes() -> None:
    written = {path.name: path.read_text() for path in MAN.iterdir()}
    assert written == pages(), "run 'make man'"


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff to format the pages")
def test_every_command_every_option_and_every_key_is_told_of_without_a_warning() -> None:
    commands = formatted(MAN / "guardctl.1")
    for name in COMMANDS:
        command = guardctl.get_command(click.Context(guardctl), name)
        assert command
        assert f"guardctl {name} " in commands
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert all(words in commands for words in option.opts)
                assert (option.help or "").replace("'guardctl log'", "guardctl log") in commands
    assert all(f"\n       {code.value} " in commands for code in Exit)
    config = formatted(MAN / "guardd.toml.5")
    for table in schema()["$defs"].values():
        for key in table.get("properties", ()):
            assert f"{key} = " in config or f".{key}]" in config, key
    assert "--repo" in formatted(MAN / "guardd.8")


def test_every_exit_code_is_told_of() -> None:
    assert set(prose.EXIT_CODES) == set(Exit)


@pytest.mark.skipif(shutil.which("man") is None, reason="there is no man to show the pages")
def test_man_shows_them(tmp_path: Path) -> None:
    for page, words in (("guardctl.1", "--only-damaged"), ("guardd.8", "SIGHUP"), ("guardd.toml.5", "auto_restore")):
        env = {"PATH": "/usr/bin:/bin", "MANWIDTH": "200", "LC_ALL": "C.UTF-8", "HOME": str(tmp_path)}
        done = subprocess.run(["man", "-l", MAN / page], env=env, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert words in done.stdout


@pytest.mark.skipif(shutil.which("groff") is None, reason="there is no groff to format the pages")
@pytest.mark.parametrize(
    "text", [".TH x", "'br", "a\\fBb", "--x 'y' \"z\" ^~ `~`", "…ü→", "word\n.PP word", "end.\n'guardctl x'"]
)
def test_no_text_is_taken_for_a_request(tmp_path: Path, text: str) -> None:
    page = tmp_path / "x.1"
    page.write_text(f'.TH X 1 "" "" ""\n.SH NAME\n{paragraphs(text)}', encoding="ascii")
    plain = " ".join(text.split()).replace("`~`", "~").replace("'guardctl x'", "guardctl x")
    assert plain in " ".join(formatted(page).split())


def test_a_key_without_a_comment_of_its_own_has_its_description_and_its_choices() -> None:
    found = {
        "$defs": {"T": {"properties": {
            "one": {"enum": ["a", "b"], "type": "string", "description": "Said here."}, "two": {"type": "string"},
            "three": {"type": "array"},
        }}},
        "properties": {"table": {"items": {"$ref": "#/$defs/T"}, "type": "array"}},
    }  # fmt: skip
    text = (
        '# About it.\n[[table]]\none = "a"\n# two = "is no key here, nor is"\n\n# In the example.\n# Over lines.\n'
        "three = [\n  1,\n]\n"
    )
    page = described(found, read_example(text, found))
    assert "[[table]]" in page
    assert "About it." in page
    assert "Said here. One of a, b." in page
    assert "In the example. Over lines." in page
    assert "= [ 1, ]" in page
    assert read_example(EXAMPLE.read_text(), schema()).keys[("retention", "quota")][1] == '"1GiB"'
