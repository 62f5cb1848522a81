"""A generic webhook: the message as JSON (`docs/alerts.md` has its schema), signed as Standard Webhooks are.

The signature is that of the Standard Webhooks specification, version 1.0: headers `webhook-id`, `webhook-timestamp`,
`webhook-signature`; HMAC-SHA256 over `id.timestamp.body`, in base64 after `v1,`.
"""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from guardd.alerting.endpoint import Endpoint
from guardd.alerting.http import NotDelivered, Request, post
from guardd.alerting.message import Message
from guardd.timespec import format_instant

_SCHEMA = 1


def send(message: Message, to: Endpoint) -> str:
    """Post it."""
    body = json.dumps(document(message)).encode()
    return post(Request(to.http_url(), body, signature(message.dedup_key, int(time.time()), body, to.secret)), to.timeout_s)


def signature(id_: str, now_s: int, body: bytes, secret: str | None) -> dict[str, str]:
    """The headers that sign a message; without a secret only its id and time. `whsec_` secrets are base64."""
    headers = {"webhook-id": id_, "webhook-timestamp": str(now_s)}
    if secret:
        signed = hmac.new(_key(secret), f"{id_}.{now_s}.".encode() + body, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(signed).decode()}"
    return headers


def _key(secret: str) -> bytes:
    if not secret.startswith("whsec_"):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except ValueError:
        raise NotDelivered("its secret begins with whsec_, but what follows is not base64", passing=False) from None


def document(message: Message) -> dict[str, Any]:
    """The message as a document."""
    about = message.incident
    return {
        "schema": _SCHEMA,
        "dedup_key": message.dedup_key,
        "thread": message.thread,
        "stage": message.stage,
        "severity": message.severity,
        "title": message.title,
        "host": message.host,
        "repo": message.repo or None,
        "time": format_instant(message.time_ns),
        "incident": {
            "id": about.id,
            "state": about.state,
            "opened_at": format_instant(about.opened_ns),
            "files": about.files,
            "damaged": about.damaged,
            "files_in_repo": about.files_in_repo,
            "rules": dict(about.rules),
            "actor": {"certainty": about.certainty, "pid": about.pid, "command": about.command},
            "note": about.note,
            "settled": about.settled,
        } if about else None,
        "facts": [{"label": label, "text": text} for label, text in message.facts],
        "top_files": list(message.files),
        "more_files": message.more_files,
        "hunk": "\n".join(message.hunk) or None,
        "commands": list(message.commands),
    }  # fmt: skip
