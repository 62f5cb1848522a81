"""Mattermost, through an incoming webhook: one attachment in Markdown (Mattermost, "Message attachments").

A post takes 16,383 characters, and old servers no more than 8,000 of attachments, as JSON; a message stays below both.
"""

from typing import Any

from guardd.alerting.endpoint import Endpoint
from guardd.alerting.fitting import encoded, fitted, json_bytes
from guardd.alerting.http import NotDelivered, Request, post
from guardd.alerting.looks import look
from guardd.alerting.markdown import fenced, markdown
from guardd.alerting.message import Message

INTERVAL_S = 0.2

_TITLE = 400
_FACTS, _FACT, _LABEL = 14, 180, 30
_LINE = 120
_COMMANDS, _FILES, _HUNK = 800, 1000, 1000


def send(message: Message, to: Endpoint) -> str:
    """Post it."""
    return post(Request(_url(to), encoded(payload(message))), to.timeout_s)


def _url(to: Endpoint) -> str:
    if not to.url.startswith("mmost"):
        return to.http_url()
    if len(to.parts) < 2:
        raise NotDelivered("its URL must be mmosts://HOST/TOKEN, with the last part of the webhook's URL", passing=False)
    *folders, token = to.parts[1:]
    return to.http_url(path="/" + "/".join([*folders, "hooks", token]))


def payload(message: Message) -> dict[str, Any]:
    """The message as Mattermost takes it."""
    seen = look(message)
    title = _fitted(f"{seen.sign} {message.title}", _TITLE)
    facts = (f"**{_fitted(label, _LABEL)}:** {_fitted(text, _FACT)}" for label, text in message.facts[:_FACTS])
    blocks = (
        fenced(message.commands, _COMMANDS, _LINE * 3, measure=json_bytes),
        fenced(message.file_lines, _FILES, _LINE, measure=json_bytes),
        fenced(message.hunk, _HUNK, _LINE, "diff", measure=json_bytes),
    )
    text = "\n\n".join(part for part in ("  \n".join(facts), *blocks) if part)
    return {"text": "", "attachments": [{"color": seen.hex, "fallback": title, "title": title, "text": text}]}


def _fitted(text: str, limit: int) -> str:
    return fitted(text, limit, markdown, json_bytes)
