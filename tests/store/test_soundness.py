"""What fsck says of versions where the database itself is damaged."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from guardd.capture.capturer import Capturer
from guardd.errors import GuardError
from guardd.model import Origin
from guardd.selection import SelectionRules
from guardd.store import soundness
from guardd.store.blobs import Blobs
from guardd.store.soundness import Damage, check
from guardd.store.store import Store


def test_each_content_is_decoded_once_however_many_versions_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "repo"
    root.mkdir()
    asked: Counter[bytes] = Counter()
    read_many = Blobs.read_many

    def counted(blobs: Blobs, hashes: Iterable[bytes]) -> Iterator[tuple[bytes, bytes | GuardError]]:
        hashes = list(hashes)
        asked.update(hashes)
        return read_many(blobs, hashes)

    broken = Damage("database: an index is not what it says", structural=True)
    with Store(str(tmp_path / "state"), create=True) as store:
        repo = store.repos.add(str(root), SelectionRules())
        for number in range(40):
            (root / f"m{number}.py").write_bytes(b"x = %d\n" % (number % 2))
        capturer = Capturer(store, repo)
        capturer.scan(Origin.SCAN)
        capturer.close()
        monkeypatch.setattr(Blobs, "read_many", counted)
        monkeypatch.setattr(soundness, "_check_database", lambda store: [broken])
        assert list(check(store)) == [broken]
        assert list(asked.values()) == [1, 1]
