"""Monitoring over HTTP: on, off or moved as the config says; /metrics, /readyz, /healthz."""

import time
from collections.abc import Callable, MutableMapping, Sequence
from email.message import Message
from http import HTTPStatus
from typing import TYPE_CHECKING

from guardd import clock, descriptors
from guardd.config.listening import parse_listen
from guardd.logs import log
from guardd.model import Reason, RepoState
from guardd.service.guard import Guard
from guardd.service.serving import Answer, LoopbackServer
from guardd.service.settings import Duties
from guardd.service.standing import states
from guardd.service.tallies import Tallies
from guardd.store.store import Store

if TYPE_CHECKING:
    from guardd.service.metrics import Scrape

_SILENT_S = 45.0
"""The main thread looks every 3 s and beats every ten or so; after so long a silence it hangs."""

_NO_SUCH = Answer(HTTPStatus.NOT_FOUND, b"here are /metrics, /readyz and /healthz\n")


class Monitoring:
    """Belongs to the main thread, which calls `follow` with each beat; answers from threads of its own.

    What keeps it from serving becomes one of the daemon's `troubles`, under "metrics".
    """

    def __init__(
        self,
        state_dir: str,
        duties: Callable[[], Duties],
        guards: Callable[[], Sequence[Guard]],
        tallies: Tallies,
        troubles: MutableMapping[str, Reason],
    ) -> None:
        self._state_dir = state_dir
        self._duties = duties
        self._guards = guards
        self._tallies = tallies
        self._troubles = troubles
        self._server: LoopbackServer | None = None
        self._listen: str | None = None
        self._scrape: Scrape | None = None
        self._followed_s = time.monotonic()

    def follow(self) -> None:
        """Serve where the config says by now. A port that is taken is asked for again with the next beat."""
        self._followed_s = time.monotonic()
        listen = self._duties().metrics_listen
        if self._server is not None and listen == self._listen and self._server.alive:
            return
        self.stop()
        self._troubles.pop("metrics", None)
        if listen is not None:
            self._begin(listen)

    def stop(self) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.end()
            self._server = None
            log.info("metrics not served any more", listen=self._listen)

    def _begin(self, listen: str) -> None:
        from guardd.service.metrics import Scrape  # prometheus_client only for those who want it

        if self._scrape is None:
            self._scrape = Scrape(self._state_dir, self._duties, self._guards, self._tallies)
        try:
            self._server = LoopbackServer(*parse_listen(listen), "guard-metrics", self._respond)
        except OSError as error:
            cure = "free the port, or set another 'metrics_listen' and send SIGHUP; it is tried again every 10 s"
            if listen != self._listen:
                log.error("metrics not served", listen=listen, error=error.strerror)
            taken = Reason("metrics-not-served", f"{listen}: {error.strerror}", cure)
            self._troubles["metrics"] = descriptors.reason_of(error, taken)
        else:
            log.info("metrics served", listen=listen)
        self._listen = listen

    # -- the server's threads -----------------------------------------------------------------------------------

    def _respond(self, path: str, headers: Message) -> Answer:
        match path:
            case "/metrics" if self._scrape is not None:
                return Answer(HTTPStatus.OK, *self._scrape(headers.get("Accept", "")))
            case "/readyz":
                return self._readiness()
            case "/healthz":
                return self._health()
        return _NO_SUCH

    def _readiness(self) -> Answer:
        """Whether every repo is protected; a line for each that is not, with codes only: messages name paths."""
        with Store(self._state_dir, durable=False) as store:
            found = states(store, [path for path, _ in self._duties().repos], clock.now())
        lines = []
        for repo, state, reasons in found:
            codes = " ".join(dict.fromkeys(reason.partition(":")[0] for reason in reasons))
            if state is not RepoState.PROTECTED:
                lines.append(f"repo {repo.id if repo else 'not taken up'}: {state} {codes}".rstrip())
        if lines:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, "".join(line + "\n" for line in lines).encode())
        return Answer(HTTPStatus.OK, b"every repo is protected\n")

    def _health(self) -> Answer:
        silent_s = time.monotonic() - self._followed_s
        if silent_s > _SILENT_S:
            return Answer(HTTPStatus.SERVICE_UNAVAILABLE, f"the main thread has been silent for {silent_s:.0f} s\n".encode())
        return Answer(HTTPStatus.OK, b"alive\n")
