"""The stat pass: it gives signs of life all the way, however long the disk takes over it."""

from pathlib import Path

import pytest

from guardd.capture.scanning import scan
from guardd.errors import Interrupted
from guardd.selection import Selection, SelectionRules

FILES, FOLDERS = 1000, 30


@pytest.fixture
def tree(tmp_path: Path) -> str:
    for number in range(FOLDERS):
        (tmp_path / f"p{number}").mkdir()
    (tmp_path / "many").mkdir()
    for number in range(FILES):
        (tmp_path / "many" / f"m{number}.py").touch()
    return str(tmp_path)


@pytest.mark.parametrize(
    ("folder", "gone", "fewest"),
    [("", 0, FOLDERS + FILES // 100), ("many", 0, FILES // 100), ("p0", FILES, FILES // 100)],
    ids=["each directory", "in a large directory", "over what is gone"],
)
def test_a_scan_gives_a_sign_of_life_every_few_looks_at_the_disk(tree: str, folder: str, gone: int, fewest: int) -> None:
    signs: list[None] = []
    known: dict[str, bytes | None] = {f"p0/gone{number}.py": None for number in range(gone)}
    found = scan(tree, Selection(tree, SelectionRules()), known, folder, go_on=lambda: signs.append(None))
    assert len(found.missing) == gone
    assert len(signs) >= fewest


def test_a_scan_ends_where_the_sign_of_life_says_so(tree: str) -> None:
    def stop() -> None:
        raise Interrupted("guardd was told to stop")

    with pytest.raises(Interrupted):
        scan(tree, Selection(tree, SelectionRules()), {}, go_on=stop)
