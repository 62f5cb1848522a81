"""Undefined names: what two who look at it differently, our own facts and ruff, both say can only fail."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping

from guardd.analysis.sources import Facts, newest_target, ruff_program

_TIMEOUT_S = 30.0
_GIVEN_BY_OTHERS = {
    "_", "_n", "N_", "ngettext", "get_ipython", "get_config", "display", "snakemake", "profile", "reveal_type", "reveal_locals",
    "unicode", "basestring", "long", "xrange", "raw_input", "unichr", "reduce", "file", "cmp", "execfile", "reload", "intern",
    "apply", "buffer", "coerce",
}  # fmt: skip
"""Names that gettext, IPython, profilers or type checkers put into the built-in ones, and those that Python 2 had."""


def suspicious(facts: Facts) -> frozenset[tuple[str, int]]:
    """(name, line) of the uses that may be undefined, by our own facts."""
    return frozenset(
        (name, line)
        for name, line in facts.undefined | facts.early
        if name not in _GIVEN_BY_OTHERS and not (name.startswith("__") and name.endswith("__"))
    )


def undefined_names(sources: Mapping[bytes, tuple[bytes, Facts]]) -> dict[bytes, list[tuple[int, str]]] | None:
    """By key, (line, message) of the names in each of these sources that can only fail; `noqa` comments are honoured.

    Nothing where there is no ruff: one opinion alone is not sure. None where it failed, or took too long: ask again another time.
    """
    doubtful = {key: (source, uses) for key, (source, facts) in sources.items() if (uses := suspicious(facts))}
    answers = _ask_ruff({key: source for key, (source, _) in doubtful.items()}) if doubtful else {}
    if answers is None:
        return None
    found = {}
    for key, (_, uses) in doubtful.items():
        facts = sources[key][1]
        agreed = sorted((line, name) for name, line in uses & answers.get(key, frozenset()))
        if agreed:
            found[key] = [(line, _message(name, line, facts)) for line, name in agreed]
    return found


def _message(name: str, line: int, facts: Facts) -> str:
    if (name, line) in facts.early:
        return f"{name!r} is used while the module is imported, and defined only further down"
    return not_defined(name)


def not_defined(name: str) -> str:
    """What is said of a name that nothing binds."""
    return f"{name!r} is not defined"


def _ask_ruff(sources: Mapping[bytes, bytes]) -> dict[bytes, frozenset[tuple[str, int]]] | None:
    """By key, what ruff's F821 names, as of the newest Python it knows; None if it fails. `--isolated`: no config is read."""
    program = ruff_program()
    if program is None:
        return {}
    keys = list(sources)
    with tempfile.TemporaryDirectory(prefix="guard-names-") as folder:
        for number, key in enumerate(keys):
            with open(os.path.join(folder, f"{number}.py"), "wb") as file:
                file.write(sources[key])
        command = [
            program,
            "check",
            "--isolated",
            "--no-respect-gitignore",
            "--no-cache",
            "--quiet",
            "--select",
            "F821",
            "--output-format",
            "json",
        ]
        try:
            done = subprocess.run(
                [*command, "--target-version", newest_target(program), folder],
                capture_output=True, timeout=_TIMEOUT_S, check=False, cwd=folder,
            )  # fmt: skip
            answers: dict[bytes, set[tuple[str, int]]] = {}
            for number, use in _uses_in(done.stdout):
                answers.setdefault(keys[number], set()).add(use)
        except (subprocess.TimeoutExpired, OSError, ValueError, KeyError, IndexError, TypeError):
            return None
    return {key: frozenset(uses) for key, uses in answers.items()}


def _uses_in(report: bytes) -> Iterator[tuple[int, tuple[str, int]]]:
    """(number of the file, (name, line)) of each finding in ruff's JSON: the name stands in its message in backquotes."""
    for problem in json.loads(report):
        if problem["code"] == "F821":
            number = int(os.path.basename(problem["filename"]).removesuffix(".py"))
            yield number, (problem["message"].split("`")[1], problem["location"]["row"])
