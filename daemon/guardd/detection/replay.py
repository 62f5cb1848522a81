"""Replay: what the rules would have said of the recorded past, with any thresholds. Writes nothing."""

from typing import TYPE_CHECKING

from guardd.analysis.sources import Parsers
from guardd.detection.bursts import Limits
from guardd.detection.detector import Detector
from guardd.model import Incident, Suspect
from guardd.store.repos import Repo
from guardd.store.store import Store

if TYPE_CHECKING:
    from guardd.config.settings import DetectionSettings, RepoSettings


def replay(
    store: Store, repo: Repo, settings: "DetectionSettings", limits: Limits, about: "RepoSettings | None", after: int
) -> list[tuple[Incident, list[Suspect]]]:
    """The incidents that the versions after this place in the log would have made, oldest first, numbered from 1.

    Whether git had a content is asked of git as it is now, and imports are resolved against the tree as it is now.
    """
    with Parsers() as parsers:
        detector = Detector(store, repo, settings, limits, about, parsers, remember=False)
        detector.cursor = after
        while (last_ns := detector.replay_round()) is not None:
            detector.let_pass(last_ns)
        return [(one._replace(id=number), members) for number, (one, members) in enumerate(detector.incidents, 1)]
