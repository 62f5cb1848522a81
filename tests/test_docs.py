"""The documentation: its commands, options, links, config and reason codes are those of the programs."""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import click
import pytest
import tomli

from guardd.cli.context import Context
from guardd.cli.main import COMMANDS, guardctl
from guardd.config import load
from guardd.config.describing import schema
from guardd.service.main import guardd

TOP = Path(__file__).parents[1]
SOURCES = TOP / "daemon" / "guardd"
PAGES = [TOP / "README.md", TOP / "SECURITY.md", *sorted((TOP / "docs").glob("*.md"))]
"""The pages for users."""

PROGRAMS: dict[str, click.Command] = {"guardctl": guardctl, "guardd": guardd}

_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
_CALL = re.compile(r"(?<![\w./~-])(guardctl +(?=[-a-z])|guardd +(?=--))([^\n]*)")
_TABLE = re.compile(r"\[{1,2}([a-z_.]+)\]{1,2}(?: ([a-z_]+))?(?: = .*)?")
_ASSIGNMENT = re.compile(r"([a-z_]+) = \S.*")
_CODE_CELL = re.compile(r"^\| `([a-z-]+)` \|", re.MULTILINE)

_ARROWS = frozenset("▶◀▲▼")


def name(page: Path) -> str:
    return str(page.relative_to(TOP))


each_page = pytest.mark.parametrize("page", PAGES, ids=name)


@dataclass(frozen=True)
class Block:
    """A fenced code block."""

    language: str
    text: str


def blocks(page: Path, language: str | None = None) -> list[Block]:
    found = [Block(match[2], match[3]) for match in _FENCE.finditer(page.read_text())]
    return [one for one in found if language is None or one.language == language]


def prose(page: Path) -> str:
    return _FENCE.sub("", page.read_text())


def inline_code(page: Path) -> list[str]:
    return [" ".join(match[1].split()).replace("\\|", "|") for match in _INLINE.finditer(prose(page))]


def calls(text: str) -> Iterator[list[str]]:
    """The calls of our programs in code, comments and messages: up to the quote around them, a pipe, the line's end.

    Diagrams name programs, and call none.
    """
    lines = (line for line in text.replace("\\\n", " ").splitlines() if _ARROWS.isdisjoint(line))
    for match in _CALL.finditer("\n".join(lines)):
        before = match.string[match.start() - 1 : match.start()]
        rest = match[2].partition(before)[0] if before in ("'", '"') else match[2]
        rest = re.sub(r"\)+\"?$", "", rest) if before == "(" else rest
        lexer = shlex.shlex(rest, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        words = [match[1].strip()]
        for word in lexer:
            if set(word) <= set("|&;<>"):
                break
            words.append(word)
        yield words


def python_calls(text: str) -> Iterator[list[str]]:
    """The calls in a Python example: `["guardctl", "status"]` and `guardctl("status")`, other arguments as dots."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.List):
            words = [
                one.value if isinstance(one, ast.Constant) else "..." for one in node.elts if not isinstance(one, ast.Starred)
            ]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            words = [node.func.id, *(one.value if isinstance(one, ast.Constant) else "..." for one in node.args)]
        else:
            continue
        if words[:1] == ["guardctl"] and len(words) > 1 and not str(words[1]).startswith("-"):
            yield [str(word) for word in words]


def calls_of(page: Path) -> Iterator[list[str]]:
    for block in blocks(page):
        yield from python_calls(block.text) if block.language == "python" else calls(block.text)
    for code in inline_code(page):
        yield from calls(code)


def wrong_with(words: list[str]) -> str:
    """Why this is no command line of our programs; empty if it is one. Values are not looked at, they are often placeholders."""
    command, rest = PROGRAMS[words[0]], words[1:]
    context: click.Context | None = None
    while True:
        context = click.Context(command, parent=context, info_name=command.name, obj=Context())
        try:
            _, rest, _ = command.make_parser(context).parse_args(list(rest))
        except click.UsageError as error:
            return error.format_message()
        if not isinstance(command, click.Group):
            return f"it takes no {rest[0]!r}" if rest else ""
        if not rest:
            return ""
        found = command.get_command(context, rest[0])
        if found is None:
            return f"there is no command {rest[0]!r}"
        command, rest = found, rest[1:]


@each_page
def test_every_command_line_is_one(page: Path) -> None:
    wrong = {shlex.join(words): why for words in calls_of(page) if (why := wrong_with(words))}
    assert wrong == {}


def test_the_pages_name_every_command() -> None:
    named = {words[1] for page in PAGES for words in calls_of(page) if words[0] == "guardctl" and len(words) > 1}
    assert set(COMMANDS) - named == set()


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("guardctl restor --since 10m", "no command 'restor'"),
        ("guardctl restore --snice 10m", "--snice"),
        ("guardctl incidents aprove 7", "no command 'aprove'"),
        ("guardctl status now", "it takes no 'now'"),
        ("guardctl log -n", "-n"),
        ("guardd --rpo x", "--rpo"),
        ("guardctl --json restore 'a b.py' --since 10m | less", ""),
        ("it was wanted:  guardctl incidents approve 1", ""),
    ],
)
def test_a_wrong_command_line_would_be_found(line: str, why: str) -> None:
    (words,) = calls(line)
    assert why in wrong_with(words)
    assert bool(why) == bool(wrong_with(words))


@pytest.mark.parametrize("page", [*PAGES, TOP / "CONTRIBUTING.md", TOP / "CHANGELOG.md"], ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for target in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(target)
    assert broken == []


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        number = 0
        while (unique := f"{slug}-{number}" if number else slug) in found:
            number += 1
        found.add(unique)
    return found


def test_every_page_is_in_the_index() -> None:
    index = TOP / "docs" / "README.md"
    linked = {target.partition("#")[0] for target in _LINK.findall(prose(index))}
    assert {page.name for page in (TOP / "docs").glob("*.md")} - {"README.md"} - linked == set()


@each_page
def test_every_config_snippet_loads(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(blocks(page, "toml")):
        path = tmp_path / f"{number}.toml"
        path.write_text(block.text)
        assert load(str(path)) is not None  # a ConfigError names the line


@cache
def known_keys() -> dict[str, set[str]]:
    """Table -> its keys, from the JSON schema of the config."""
    whole = schema()

    def table(about: dict[str, object]) -> dict[str, dict[str, object]]:
        items = about.get("items", about)
        assert isinstance(items, dict)
        name = str(items.get("$ref", "")).rpartition("/")[2]
        found = (whole["$defs"][name] if name else items).get("properties", {})
        assert isinstance(found, dict)
        return found

    found: dict[str, set[str]] = {}
    for name, about in whole["properties"].items():
        keys = table(about)
        found[name] = set(keys)
        found |= {f"{name}.{key}": set(inner) for key, one in keys.items() if "$ref" in one and (inner := table(one))}
    return found


def unknown_keys(code: str) -> str:
    """Why inline code, or `--set` in an example, names no key of the config; empty if it does, or is something else."""
    known = known_keys()
    if match := _TABLE.fullmatch(code):
        keys = known.get(match[1])
        return f"no table {match[1]}" if keys is None else "" if match[2] is None or match[2] in keys else f"no key {match[2]}"
    if match := _ASSIGNMENT.fullmatch(code):
        return "" if any(match[1] in keys for keys in known.values()) else f"no key {match[1]}"
    for table, key in re.findall(r"--set ([a-z_.]+)\.([a-z_]+)=", code):
        if key not in known.get(table, ()):
            return f"no key {table}.{key}"
    return ""


@each_page
def test_every_config_key_is_known(page: Path) -> None:
    texts = [*inline_code(page), *(block.text for block in blocks(page))]
    assert {text: why for text in texts if (why := unknown_keys(text))} == {}


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("[detction]", "no table detction"),
        ("[[repo]] exlude", "no key exlude"),
        ('auto_retsore = "all"', "no key auto_retsore"),
        ("guardctl replay --set detection.thresholds.damged=3", "no key detection.thresholds.damged"),
        ("[detection.thresholds]", ""),
        ('[retention] quota = "2GiB"', ""),
        ("guardctl replay --set detection.window=5s", ""),
    ],
)
def test_a_wrong_config_key_would_be_found(code: str, why: str) -> None:
    assert unknown_keys(code) == why


def reason_codes() -> set[str]:
    """Every code of a reason, from the source.

    That is `Reason("code", ...)`, also through functions that take the code as an argument, and the texts that `standing` gives.
    """
    found: set[str] = set()
    for path in SOURCES.rglob("*.py"):
        module = ast.parse(path.read_text())
        for function in ast.walk(module):
            if isinstance(function, ast.FunctionDef):
                found |= _codes_made_in(function, module)
        found |= _codes_of_states(module)
    return found


def _codes_made_in(function: ast.FunctionDef, module: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(function):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Reason" and node.args):
            continue
        code = node.args[0]
        if isinstance(code, ast.Constant):
            found.add(code.value)
            continue
        assert isinstance(code, ast.Name), f"a code that cannot be told: {ast.unparse(node)}"
        names = [one.arg for one in function.args.args]
        at = names.index(code.id) - (names[0] == "self")
        given = {one.args[at].value for one in ast.walk(module)
                 if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr == function.name
                 and len(one.args) > at and isinstance(one.args[at], ast.Constant)}  # fmt: skip
        assert given, f"no one gives a code to {function.name}"
        found |= given
    return found


def _codes_of_states(module: ast.Module) -> set[str]:
    """The codes in `RepoState.X, ("code: ...",)`."""
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Tuple) and len(node.elts) == 2 and ast.unparse(node.elts[0]).startswith("RepoState."):
            reasons = node.elts[1]
            for one in reasons.elts if isinstance(reasons, ast.Tuple) else ():
                text = one.values[0] if isinstance(one, ast.JoinedStr) else one
                if isinstance(text, ast.Constant):
                    found.add(str(text.value).partition(":")[0])
    return found


def test_every_reason_is_explained_and_no_other() -> None:
    page = (TOP / "docs" / "troubleshooting.md").read_text()
    reasons = page.partition("\n## Reasons\n")[2].partition("\n## ")[0]
    explained = _CODE_CELL.findall(reasons)
    assert sorted(explained) == sorted(reason_codes())


def test_every_state_is_explained() -> None:
    from guardd.model import RepoState

    page = (TOP / "docs" / "troubleshooting.md").read_text()
    assert set(_CODE_CELL.findall(page.partition("\n## States\n")[2].partition("\n## ")[0])) == set(RepoState)


def test_the_example_config_is_valid_toml_of_known_tables() -> None:
    example = tomli.loads((TOP / "config.example.toml").read_text())
    assert set(example) <= set(known_keys())
