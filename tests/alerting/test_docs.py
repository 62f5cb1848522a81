"""docs/alerts.md is right: its configs load, its key tables are whole, its Python verifies what is really sent."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.alerting.messages import DAMAGED, to
from tests.receiver import Receiver

from guardd.alerting.targets import send
from guardd.alerting.targets.json import document
from guardd.config import load
from guardd.config.alerts import KINDS

TEXT = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"(?s)```{language}\n(.*?)```", TEXT)


def test_every_config_in_it_loads(tmp_path: Path) -> None:
    found = blocks("toml")
    assert len(found) >= len(KINDS)
    for at, block in enumerate(found):
        path = tmp_path / f"{at}.toml"
        path.write_text(block)
        assert load(str(path)).alert


def test_it_names_every_key_of_the_document() -> None:
    made = document(DAMAGED)
    table = TEXT.partition("## Webhooks of your own: JSON")[2]
    assert not [key for key in {*made, *made["incident"], *made["incident"]["actor"]} if f"`{key}`" not in table]


def test_its_example_verifies_what_is_sent_and_nothing_else() -> None:
    scope: dict[str, Any] = {}
    exec(blocks("python")[0], scope)
    verify: Callable[[dict[str, str], bytes, str], bool] = scope["verify"]
    for secret in ("a plain secret", "whsec_c2VjcmV0IGJ5dGVz"):
        with Receiver() as receiver:
            send(DAMAGED, to("json://hook.example/x", base_url=receiver.url, secret=secret))
            (request,) = receiver.requests
        assert verify(request.headers, request.body, secret)
        assert request.headers["webhook-id"] == request.json["dedup_key"] == DAMAGED.dedup_key
        assert not verify(request.headers, request.body + b" ", secret)
        assert not verify(request.headers, request.body, "another")
        assert not verify({**request.headers, "webhook-id": "x"}, request.body, secret)
        assert not verify({**request.headers, "webhook-timestamp": "1764007200"}, request.body, secret)
