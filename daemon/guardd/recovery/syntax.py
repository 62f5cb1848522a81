"""Which contents are no valid Python: from what is known by hash, else by a look at them, which is then kept."""

import time
from collections.abc import Mapping

from guardd.analysis.sources import UNKNOWN, VERSION, Parsers, are_plainly_valid
from guardd.checking.content import version_of
from guardd.errors import StoreError
from guardd.store.store import Store

_PARSING_S = 10.0

_MANY = 60
"""More than these are shown to ruff first: it starts in 0.04 s, and takes a sixth of the time of compiling (1.5 for 9.6 s)."""

_VALID = '{"parses": true}'


def invalid_among(store: Store, contents: Mapping[bytes, bytes]) -> frozenset[bytes] | None:
    """Which of these contents (by hash) do not parse; None where that could not be told of each in time."""
    known = _recalled(store, contents)
    unknown = {hash_: content for hash_, content in contents.items() if hash_ not in known}
    if unknown:
        answers = _looked_at(unknown, time.monotonic() + _PARSING_S)
        _keep(store, answers)
        known |= answers
    if UNKNOWN in known.values():
        return None
    return frozenset(hash_ for hash_, answer in known.items() if answer.startswith('{"parses": false'))


def _recalled(store: Store, contents: Mapping[bytes, bytes]) -> dict[bytes, str]:
    """What facts say, which detection and checks keep, and what was kept of an earlier look."""
    try:
        known = store.facts.get_many(contents, VERSION)
        known |= store.checked.get([hash_ for hash_ in contents if hash_ not in known], _version())
    except StoreError:  # it is only a cache
        return {}
    return {hash_: text.decode() for hash_, text in known.items()}


def _looked_at(contents: Mapping[bytes, bytes], deadline: float) -> dict[bytes, str]:
    found: dict[bytes, str] = {}
    if len(contents) > _MANY:
        valid = are_plainly_valid(list(contents.values()), deadline - time.monotonic())
        found = {hash_: _VALID for hash_, is_valid in zip(contents, valid, strict=True) if is_valid}
    doubtful = {hash_: content for hash_, content in contents.items() if hash_ not in found}
    if doubtful:
        with Parsers("syntax") as parsers:
            found |= dict(zip(doubtful, parsers.ask(list(doubtful.values()), deadline), strict=True))
    return found


def _keep(store: Store, answers: Mapping[bytes, str]) -> None:
    try:
        store.checked.add({hash_: text for hash_, text in answers.items() if text != UNKNOWN}, _version())
    except StoreError:
        return


def _version() -> int:
    """Of answers that tell of the syntax alone, among those that checks keep; no marker has a line end."""
    return version_of(("syntax alone\n",))
