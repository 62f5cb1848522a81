"""Bit flips, cuts and swapped pages in the store: what is damaged is named, what is whole is saved, nothing wrong is written."""

import json
import random
import shlex
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from guardd.capture.capturer import Capturer
from guardd.cli.main import run
from guardd.errors import GuardError
from guardd.model import Origin
from guardd.recovery.past import passages_since
from guardd.recovery.plan import plan_return
from guardd.recovery.restore import carry_out
from guardd.selection import SelectionRules
from guardd.store.store import Store
from tests.faults import seeds
from tests.faults.damaging import Template, damage, make_template, readable, rows_left
from tests.world import snapshot

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("template"))


@pytest.fixture
def state(template: Template, tmp_path: Path) -> Path:
    template.copy(tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def ask(
    state: Path, template: Template, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Ask]:
    """Guardctl in this process: its exit code, its JSON or None, and what it said on stderr."""
    monkeypatch.setenv("GUARD_STATE_DIR", str(state))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("GUARD_CONFIG", raising=False)
    monkeypatch.chdir(template.root)

    def ask(words: str) -> tuple[int, Any, str]:
        capsys.readouterr()
        code = run([*shlex.split(words), "--json"])
        said = capsys.readouterr()
        assert "Traceback" not in said.err, said.err
        assert len(said.err.splitlines()) <= 1 or code == 0, said.err
        return code, json.loads(said.out) if said.out else None, said.err

    yield ask
    capsys.readouterr()


@pytest.mark.promise("the store is sound or says what is damaged", "bit flips, cuts, lost and swapped pages in database and WAL")
@pytest.mark.parametrize("seed", seeds(8, 400))
def test_fsck_names_what_is_damaged_and_repair_saves_all_that_is_whole(
    template: Template, state: Path, ask: Ask, seed: int, record_property: Callable[[str, object], None]
) -> None:
    record_property("faults", damage(state, random.Random(seed)))
    hashes, places = readable(state, template)
    left = rows_left(state)
    code, found, _ = ask("fsck")
    lost = {seq for seq, (_, hash_) in template.versions.items() if seq not in places or (hash_ and hash_ not in hashes)}
    if code == 0:
        assert_a_prefix(template, lost)
    else:
        named = {version["seq"] for one in found["damaged"] for version in one["versions"]}
        assert lost & left <= named, "each version that is not what it was is named, where its row says anything"
        assert found["damaged"]
    code, found, said = ask("fsck --repair")
    assert code == 0, (found, said, ask("fsck"))
    after_hashes, after_places = readable(state, template)
    assert hashes <= after_hashes, "what could be read before the repair can be read after it"
    assert places <= after_places
    code, found, said = ask("fsck")
    assert (code, found["damaged"]) == (0, []), said
    captured_again(template, state)


def captured_again(template: Template, state: Path) -> None:
    """The next scan brings back what was lost and is still on disk."""
    with Store(str(state)) as store:
        repo = store.repos.find(str(template.root)) or store.repos.add(str(template.root), SelectionRules())
        capturer = Capturer(store, repo)
        capturer.scan(Origin.SCAN)
        capturer.close()
        paths = store.log.keys(repo.id)
        assert {path: store.blobs.read(store.log.head(repo.id, path).state.blob) for path in paths} == template.disk


def assert_a_prefix(template: Template, lost: set[int]) -> None:
    """A store that is sound may only have lost its last commits, together with the damaged end of the WAL."""
    assert not lost or lost == {seq for seq in template.versions if seq >= min(lost)}


@pytest.mark.promise(
    "a restore leaves each file old or new", "a restore out of a damaged store: no content but those that the file had"
)
@pytest.mark.parametrize("seed", seeds(6, 400))
def test_a_restore_out_of_a_damaged_store_writes_nothing_that_the_file_never_was(
    template: Template, state: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    chance = random.Random(seed)
    record_property("faults", damage(state, chance))
    wreck = {path: f"wreck = {chance.random()}\n".encode() for path in template.disk}
    for path, content in wreck.items():
        (template.root / path).write_bytes(content)
    with suppress(GuardError):
        put_back(state, template, chance.randrange(len(template.versions) + 1))
    for path, content in snapshot(template.root).items():
        assert content == wreck.get(path) or content in template.contents_of(path), f"{path} is what it never was"


def put_back(state: Path, template: Template, seq: int) -> None:
    """All files as they were at a place in the log, as far as a damaged store has them."""
    with Store(str(state)) as store:
        repo = store.repos.find(str(template.root))
        if repo is None:  # its row is damaged: to a store that does not know the repo there is nothing to put back
            return
        capturer = Capturer(store, repo)
        capturer.scan(Origin.SCAN)
        capturer.close()
        carry_out(store, repo, plan_return(passages_since(store, repo, seq, 0), keep_new=True), "put back")
