"""What counts as damage of the store, what a repair may take out of it, and what a kill in its midst leaves."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from guardd.errors import StoreBusy, StoreDamaged, StoreError
from guardd.store.soundness import check, is_doubtful
from guardd.store.store import Store
from tests.store.test_adopted import Kept

NAMED = "the store is sound or says what is damaged"


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    (tmp_path / "state").mkdir(mode=0o700)
    made = Kept(tmp_path / "state")
    yield made
    made.store.close()


# -- what is damage --------------------------------------------------------------------------------------------------


@pytest.mark.promise(NAMED, "a table, a column or an index that is gone from the database")
@pytest.mark.parametrize(
    "loss",
    [
        "DROP TABLE versions",
        "ALTER TABLE versions RENAME COLUMN kind TO kjnd",
        "ALTER TABLE paths RENAME COLUMN head_seq TO head_seg",
    ],
)
def test_a_part_of_the_schema_that_is_gone_is_damage(kept: Kept, loss: str) -> None:
    assert list(check(kept.store)) == []
    kept.store.db.run(loss)
    with pytest.raises(StoreDamaged, match="fsck --repair"):
        _read_all(kept)
    assert any(damage.structural for damage in check(kept.store))


def _read_all(kept: Kept) -> None:
    kept.write("y.py", b"y = 1\n")
    is_doubtful(kept.store, kept.repo.id, "x.py", kept.store.log.head(kept.repo.id, "x.py").state.blob)


@pytest.mark.promise(NAMED, "an index that is gone from the database")
def test_an_index_that_is_gone_is_damage(kept: Kept) -> None:
    kept.store.db.run("DROP INDEX versions_by_path")
    assert any(damage.structural for damage in check(kept.store))


@pytest.mark.promise("errors become a state", "SQL that is wrong, a transaction in another")
@pytest.mark.parametrize("mistake", ["SELEC 1", "BEGIN", "SELECT unheard_of(1)"])
def test_a_mistake_in_sql_is_not_taken_for_damage(kept: Kept, mistake: str) -> None:
    with kept.store.db.transaction(), pytest.raises(StoreError) as raised:
        kept.store.db.run(mistake)
    assert not isinstance(raised.value, StoreDamaged)
    assert "--repair" not in str(raised.value)


@pytest.mark.promise("errors become a state", "a store that another process holds for itself")
def test_a_store_that_others_hold_is_busy_and_not_damaged(kept: Kept) -> None:
    with Store(kept.store.state_dir, patience_s=0.0) as other:
        kept.store.close()
        other.db.run("PRAGMA locking_mode = EXCLUSIVE")
        with other.db.transaction():
            other.db.run("UPDATE live SET dirty = 0")
        with pytest.raises(StoreBusy, match="in use by others"), Store(other.state_dir, patience_s=0.0) as waiting:
            list(check(waiting))
