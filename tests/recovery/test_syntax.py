"""Which restored contents do not parse: the same whether few or many are asked of, and asked of once only."""

from pathlib import Path

import pytest

from guardd.analysis.sources import VERSION, Parsers
from guardd.recovery import syntax
from guardd.recovery.syntax import invalid_among
from guardd.store.codec import digest
from guardd.store.store import Store

ODD = {
    b"x = (\n": False,
    b"def f():\n  x = 1\n y = 2\n": False,
    b"return 1\n": False,
    b"x = 1\0\n": False,
    b"# coding: no-such-encoding\nx = 1\n": False,
    "# coding: latin-1\nx = 'é'\n".encode("latin-1"): True,
    "x = 'é'\n".encode("latin-1"): False,
    b"\xef\xbb\xbfx = 1\n": True,
    b"": True,
    b"match x:\n    case 1:\n        pass\n": True,
    b"x = '" + b"a" * 300_000 + b"'\n": True,
}


@pytest.mark.parametrize("others", [0, 100])
def test_what_does_not_parse_is_found_among_few_and_among_many(tmp_path: Path, others: int) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    contents = {digest(source): source for source in [*ODD, *(b"x = %d\n" % number for number in range(others))]}
    with Store(str(tmp_path / "state"), create=True) as store:
        assert invalid_among(store, contents) == {digest(source) for source, is_valid in ODD.items() if not is_valid}


def test_what_is_known_of_a_content_is_not_found_out_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    looked_at, told = {digest(b"x = (\n"): b"x = (\n"}, {digest(b"y = (\n"): b"y = (\n"}
    with Store(str(tmp_path / "state"), create=True) as store:
        invalid = invalid_among(store, looked_at)
        with Parsers() as parsers, store.db.transaction():
            store.facts.put(dict(zip(told, parsers.ask(list(told.values())), strict=True)), VERSION)
        monkeypatch.setattr(syntax, "Parsers", None)
        assert invalid_among(store, looked_at) == invalid == looked_at.keys()
        assert invalid_among(store, looked_at | told) == looked_at.keys() | told.keys()
