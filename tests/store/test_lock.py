"""The locks between processes, on a disk that refuses them."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from guardd.errors import StoreError, StoreFull
from guardd.store.lock import Lock


@pytest.mark.promise("errors become a state", "the file of a lock cannot be made, written or read")
@pytest.mark.parametrize("call", ["open", "pwrite", "ftruncate"])
@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EROFS, StoreError), (errno.EIO, StoreError)],
)
def test_a_lock_that_the_disk_refuses_is_one_line_and_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, expected: type[StoreError]
) -> None:
    lock = Lock(str(tmp_path / "daemon.lock"))

    def refuse(*_: Any) -> Any:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patched:
        patched.setattr(os, call, refuse)
        with pytest.raises(StoreError) as raised:
            lock.try_acquire()
    assert type(raised.value) is expected
    assert str(tmp_path) in str(raised.value)
    assert lock.holder() is None
    assert Lock(lock.path).try_acquire()


@pytest.mark.promise("errors become a state", "the file of a lock cannot be made, written or read")
def test_a_lock_whose_holder_cannot_be_asked_for_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "daemon.lock").symlink_to("elsewhere")
    with pytest.raises(StoreError, match="cannot be used"):
        Lock(str(tmp_path / "daemon.lock")).holder()
