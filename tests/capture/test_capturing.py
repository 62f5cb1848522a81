"""Two that capture one tree: what one of them has seen too early does not stay the last word."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from guardd.beneath import Root
from guardd.capture import capturer as capturing
from guardd.capture.capturer import Capturer
from guardd.capture.reading import Seen, Trouble
from guardd.model import Origin
from guardd.selection import SelectionRules
from guardd.store.store import Store

EMPTY, NOW = b"", b"x = 2\n"


@pytest.mark.parametrize("times", [1, 2, 3])
def test_what_another_process_records_while_a_file_is_read_is_looked_at_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    root, state = tmp_path / "repo", str(tmp_path / "state")
    root.mkdir()
    (root / "m.py").write_bytes(b"x = 1\n")
    read_all, left = capturing._read_all, times

    def read_after_the_other(opened: Root, keep_up_to: int, paths: Sequence[str]) -> list[Seen | Trouble]:
        nonlocal left
        if left:
            left, number = 0, left
            (root / "m.py").write_bytes(EMPTY + b"\n" * number)  # as it is between a truncation and the write
            other.look(["m.py"], Origin.WATCH)
            (root / "m.py").write_bytes(NOW)
            left = number - 1
        return read_all(opened, keep_up_to, paths)

    with Store(state, create=True) as store, Store(state) as other_store:
        repo = store.repos.add(str(root), SelectionRules())
        ours, other = Capturer(store, repo), Capturer(other_store, repo)
        ours.scan(Origin.SCAN)
        monkeypatch.setattr(capturing, "_read_all", read_after_the_other)
        (root / "m.py").write_bytes(NOW)
        looked = ours.look(["m.py"], Origin.SCAN)
        assert looked.again == []
        assert store.blobs.read(store.log.head(repo.id, "m.py").state.blob) == NOW
