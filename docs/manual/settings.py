"""What the manual says of each setting: the schema has all of them, the example says more of each, and its default."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tomli
from docs.manual.roff import bold, entries, escaped, paragraphs, subheading

_HEADER = re.compile(r"(?:# )?\[\[?([a-z_.]+)\]\]?$")
_KEY = re.compile(r"(?:# )?([a-z_]+) = (.*)$")

Schema = Mapping[str, Any]


@dataclass(slots=True)
class Example:
    """What the example config says: of tables (by dotted name), and of keys, (table, key) -> comment, value as written."""

    tables: dict[str, str] = field(default_factory=dict)
    keys: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)


def described(schema: Schema, example: Example) -> str:
    """Every table of the config with its keys."""
    return "".join(_table(name, is_list, table, schema, example) for name, is_list, table in _tables(schema, schema))


def read_example(text: str, schema: Schema) -> Example:
    """The comments of the example config, each with the table or the key that it stands above."""
    known = {(name, key) for name, _, table in _tables(schema, schema) for key in table["properties"]}
    found, table, comment = Example(), "", ""
    lines = iter(text.splitlines())
    for line in lines:
        header, key = _HEADER.match(line), _KEY.match(line)
        if header:
            table = header[1]
            found.tables.setdefault(table, comment)
            comment = ""
        elif key and (table, key[1]) in known:
            found.keys.setdefault((table, key[1]), (comment, _value(key[2], lines)))
            comment = ""
        else:
            comment = f"{comment} {line[1:].strip()}".strip() if line.startswith("#") else ""
    return found


def _value(begun: str, more: Iterator[str]) -> str:
    """A value as written, to the end of a list over several lines."""
    while True:
        try:
            tomli.loads(f"key = {begun}")
        except tomli.TOMLDecodeError:
            begun += f" {next(more).strip()}"
        else:
            return begun


def _tables(schema: Schema, of: Schema, above: str = "") -> Iterator[tuple[str, bool, Schema]]:
    """(dotted name, whether it is a list, schema) of every table."""
    for key, about in of["properties"].items():
        table = _table_of(about, schema)
        if table is not None:
            name = f"{above}.{key}" if above else key
            yield name, "items" in about, table
            yield from _tables(schema, table, name)


def _table_of(about: Schema, schema: Schema) -> Schema | None:
    found = _resolved(about, schema)
    found = _resolved(found["items"], schema) if "items" in found else found
    return found if "properties" in found else None


def _resolved(about: Schema, schema: Schema) -> Schema:
    for choice in (about, *about.get("anyOf", ()), *about.get("allOf", ())):
        if "$ref" in choice:
            resolved: Schema = schema["$defs"][choice["$ref"].rpartition("/")[2]]
            return resolved
    return about


def _table(name: str, is_list: bool, table: Schema, schema: Schema, example: Example) -> str:
    words = f"[[{name}]]" if is_list else f"[{name}]"
    about = example.tables.get(name) or table.get("description", "").partition(": ")[2].capitalize()
    keys = {key: one for key, one in table["properties"].items() if _table_of(one, schema) is None}
    rows = (_key(name, key, one, schema, example) for key, one in keys.items())
    return subheading(bold(words)) + paragraphs(about) + entries(rows)


def _key(table: str, key: str, about: Schema, schema: Schema, example: Example) -> tuple[str, str]:
    comment, value = example.keys.get((table, key), ("", ""))
    said = comment or about.get("description", "")
    choices = [str(one) for one in _resolved(about, schema).get("enum", ())]
    if any(one not in said for one in choices):
        said += f" One of {', '.join(choices)}."
    return f"{bold(key)} {escaped(f'= {value}')}" if value else bold(key), said
