"""Microsoft Teams, through a webhook of a workflow: an Adaptive Card 1.4.

All text from outside is in text runs, in which Teams looks for no Markdown (Adaptive Cards, "TextRun"), unlike text blocks and
facts. Without `msteams.entities` nothing in a card mentions anyone.
"""

from collections.abc import Iterable
from typing import Any

from guardd.alerting.endpoint import Endpoint
from guardd.alerting.fitting import encoded, fitted, fitted_lines, json_bytes
from guardd.alerting.http import Request, post
from guardd.alerting.looks import look
from guardd.alerting.message import Message

INTERVAL_S = 1.0
"""Teams takes four requests a second of a webhook, and flows fewer."""

_TITLE = 600
_FACTS, _FACT, _LABEL = 14, 450, 60
_LINES, _LINE = 16, 220
_COMMANDS, _FILES, _HUNK = 1500, 2600, 3200
"""In bytes of JSON, as Teams counts: 28 KB is the most that a message may have, envelope and all."""

_UNSEEN = "\u2060"


def send(message: Message, to: Endpoint) -> str:
    """Post it."""
    return post(Request(to.http_url(), encoded(payload(message))), to.timeout_s)


def payload(message: Message) -> dict[str, Any]:
    """The message as a workflow takes it ("When a Teams webhook request is received")."""
    card = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "msteams": {"width": "Full"},
        "fallbackText": "guardd: this client shows no Adaptive Cards of version 1.4",
        "body": _body(message),
    }
    content = {"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": None, "content": card}
    return {"type": "message", "summary": _fitted(message.title, _TITLE), "attachments": [content]}


def _body(message: Message) -> list[dict[str, Any]]:
    seen = look(message)
    title = _run(_fitted(f"{seen.sign} {message.title}", _TITLE), size="Large", weight="Bolder")
    facts = [
        _line([_run(f"{_fitted(label, _LABEL)}: ", weight="Bolder"), _run(_fitted(text, _FACT))])
        for label, text in message.facts[:_FACTS]
    ]
    return [
        {"type": "Container", "style": seen.style, "bleed": True, "items": [_line([title])]},
        *([{"type": "Container", "items": facts}] if facts else []),
        *_code("To type", message.commands, _COMMANDS),
        *_code("Files", message.file_lines, _FILES),
        *_code("Example", [_kept_apart(line) for line in message.hunk[:_LINES]], _HUNK),
    ]


def _code(title: str, lines: Iterable[str], limit: int) -> list[dict[str, Any]]:
    shown = fitted_lines(list(lines)[:_LINES], limit, _LINE, _still, json_bytes)
    if not shown:
        return []
    items = [_line([_run(line, fontType="Monospace")]) for line in shown]
    return [_line([_run(title, weight="Bolder")], spacing="Medium"), {"type": "Container", "style": "emphasis", "items": items}]


def _line(runs: list[dict[str, Any]], spacing: str = "None") -> dict[str, Any]:
    return {"type": "RichTextBlock", "spacing": spacing, "inlines": runs}


def _run(text: str, **style: str) -> dict[str, Any]:
    return {"type": "TextRun", "text": text or " ", **style}


def _fitted(text: str, limit: int) -> str:
    return fitted(text, limit, _still, json_bytes)


def _still(text: str) -> str:
    """Text in which no date function of the cards is left (Adaptive Cards, "Date/time formatting")."""
    return text.replace("{{", f"{{{_UNSEEN}{{")


def _kept_apart(line: str) -> str:
    """A line of code whose indentation is not folded."""
    code = line.lstrip(" ")
    return "\u00a0" * (len(line) - len(code)) + code
