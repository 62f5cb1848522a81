"""What makes code stumble that takes the store's word: values that no guardd wrote. Asked by whoever has stumbled."""

from guardd.store import schema
from guardd.store.database import Database
from guardd.store.soundness import check_rows
from guardd.store.store import Store

_TABLES = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
_STORED_AS = {"INTEGER": "integer", "TEXT": "text", "BLOB": "blob"}


def oddity(store: Store) -> str | None:
    """The first value of another type than its table declares, or the first row of the log that is not what was written."""
    whole = Database(":memory:")
    try:
        schema.prepare(whole)
        declared = {
            table: [(column, _STORED_AS[type_]) for _, column, type_, *_ in whole.rows(f"PRAGMA table_info({table})")]
            for (table,) in whole.rows(_TABLES)
        }
    finally:
        whole.close()
    for table, columns in declared.items():
        for column, stored_as in columns:
            odd = f"SELECT 1 FROM {table} WHERE typeof({column}) NOT IN (?, 'null') LIMIT 1"  # noqa: S608 - names of our own schema
            if store.db.value(odd, (stored_as,)):
                return f"{table}.{column} holds what is none"
    damage = next(check_rows(store), None)
    return damage.what if damage is not None else None
