"""A pause is seen by everyone, ends by itself, and holds back what guard does by itself."""

from datetime import datetime

from benchmarks.make_tree import copy_packages
from tests.e2e.test_incidents import hollow_files
from tests.world import World, snapshot, wait_until

from guardd.model import IncidentState
from guardd.response.responder import Policy, respond
from guardd.store.store import Store


def test_status_shows_a_pause_its_end_and_its_reason(world: World) -> None:
    world.write("a.py")
    world.ctl("init")
    assert world.status()["pause"] is None
    world.ctl("pause", "1h", "--reason", "short")
    told = world.json("pause", "2h", "--reason", "the great\x1b[31m rename")
    pause = world.status()["pause"]
    assert pause == {"from": told["from"], "until": told["until"], "reason": "the great\x1b[31m rename"}
    assert (datetime.fromisoformat(pause["until"]) - datetime.fromisoformat(pause["from"])).total_seconds() == 7200
    text = world.ctl("status").stdout
    assert "paused until" in text
    assert "(the great\\x1b[31m rename)" in text
    assert "guardctl resume" in text
    assert world.json("resume")["ended"] == 2
    assert world.status()["pause"] is None
    assert "paused" not in world.ctl("status").stdout


def test_a_pause_ends_by_itself(world: World) -> None:
    world.write("a.py")
    world.ctl("init")
    world.ctl("pause", "0.3s")
    wait_until(lambda: world.status()["pause"] is None)
    for wrong in ("0s", "2d", "soon"):
        world.ctl("pause", wrong, check=2)


def test_what_came_before_a_pause_is_not_excused_by_it(world: World) -> None:
    copy_packages(world.root, ("unittest", "json"))
    world.configure('[response]\nsettle = "0.5s"\n')
    world.start_configured().stop()
    damaged = hollow_files(world, 6)
    world.ctl("pause", "1h")
    daemon = world.start_configured()
    (incident,) = world.wait_settled(daemon)
    assert {member["path"] for member in incident["members"]} == damaged


def test_nothing_is_restored_by_itself_during_a_pause(world: World) -> None:
    copy_packages(world.root, ("unittest", "json"))
    before = snapshot(world.root)
    world.configure('[response]\nsettle = "0.5s"\n')
    daemon = world.start_configured()
    hollow_files(world, 6)
    world.wait_settled(daemon)
    daemon.stop()
    world.ctl("pause", "1h")
    policy = Policy("all", 3, (), (), (), 60.0)
    with Store(str(world.state)) as store:
        repo = store.repos.find(str(world.root))
        assert repo
        (incident,) = store.incidents.open(repo.id)
        ((from_ns, to_ns, _),) = store.incidents.pauses(repo.id, 0)
        assert respond(store, repo, incident, policy, from_ns) is None
        assert snapshot(world.root) != before
        assert respond(store, repo, incident, policy, to_ns) is not None
        assert store.incidents.all()[0].state is IncidentState.RESTORED
    assert snapshot(world.root) == before
