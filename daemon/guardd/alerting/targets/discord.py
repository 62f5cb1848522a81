"""Discord, through a webhook: one embed (limits: Discord, "Message resource", "Embed limits"). No one can be mentioned."""

from typing import Any

from guardd.alerting.endpoint import Endpoint
from guardd.alerting.fitting import encoded, fitted
from guardd.alerting.http import NotDelivered, Request, post
from guardd.alerting.looks import look
from guardd.alerting.markdown import fenced, markdown
from guardd.alerting.message import Message

INTERVAL_S = 0.5
"""A webhook takes five messages in two seconds."""

_TITLE = 256
_FACTS, _FACT, _LABEL = 14, 150, 24
_FIELD = 1024
_LINE = 90
_NEVER: dict[str, list[str]] = {"parse": []}


def send(message: Message, to: Endpoint) -> str:
    """Post it, and wait until it is there: without `wait` errors are not told."""
    return post(Request(_url(to), encoded(payload(message))), to.timeout_s)


def _url(to: Endpoint) -> str:
    url = to.http_url()
    if to.url.startswith("discord:"):
        if len(to.parts) != 2:
            raise NotDelivered("its URL must be discord://ID/TOKEN, the last two parts of the webhook's URL", passing=False)
        url = to.http_url("https://discord.com", "/api/webhooks/" + "/".join(to.parts))
    return f"{url}{'&' if '?' in url else '?'}wait=true"


def payload(message: Message) -> dict[str, Any]:
    """The message as Discord takes it."""
    seen = look(message)
    facts = (f"**{fitted(label, _LABEL, markdown)}:** {fitted(text, _FACT, markdown)}" for label, text in message.facts[:_FACTS])
    blocks = (
        ("To type", fenced(message.commands, _FIELD, _LINE * 3)),
        ("Files", fenced(message.file_lines, _FIELD, _LINE)),
        ("Example", fenced(message.hunk, _FIELD, _LINE, "diff")),
    )
    embed = {
        "title": fitted(f"{seen.sign} {message.title}", _TITLE, markdown),
        "color": seen.rgb,
        "description": "\n".join(facts),
        "fields": [{"name": name, "value": block} for name, block in blocks if block],
    }
    return {"allowed_mentions": _NEVER, "embeds": [embed]}
