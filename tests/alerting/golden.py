"""Examples of what targets are sent, to read; `python -m tests.alerting.golden` writes them anew after a change of the look."""

import importlib
import json
from pathlib import Path

from tests.alerting.messages import DAMAGED

FOLDER = Path(__file__).parent / "golden"
KINDS = ("slack", "teams", "discord", "mattermost", "alertmanager", "json")


def example(kind: str) -> str:
    module = importlib.import_module(f"guardd.alerting.targets.{kind}")
    document = module.document(DAMAGED) if kind == "json" else module.payload(DAMAGED)
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for kind in KINDS:
        (FOLDER / f"{kind}.json").write_text(example(kind))
