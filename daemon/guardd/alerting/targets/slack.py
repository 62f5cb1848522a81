"""Slack, through an incoming webhook: a header, and the rest beside a coloured bar.

All text from outside is in plain or rich text elements, in which Slack looks for no markup (Block Kit: "rich text block",
"header block"; limits from there and from "section block"). Only the fallback is mrkdwn; there &, < and > are escaped.
"""

from typing import Any

from guardd.alerting.endpoint import Endpoint
from guardd.alerting.fitting import encoded, fitted, fitted_lines
from guardd.alerting.http import NotDelivered, Request, post
from guardd.alerting.looks import look
from guardd.alerting.message import Message

INTERVAL_S = 1.0
"""Slack, "Rate limits": incoming webhooks take one message a second."""

_HEADER = 150
_TEXT = 3000
_FACTS, _FACT, _LABEL = 14, 500, 40
_LINE = 200
_CODE = 2500


def send(message: Message, to: Endpoint) -> str:
    """Post it."""
    return post(Request(_url(to), encoded(payload(message))), to.timeout_s)


def _url(to: Endpoint) -> str:
    if not to.url.startswith("slack:"):
        return to.http_url()
    if len(to.parts) != 3:
        raise NotDelivered("its URL must be slack://T.../B.../..., the three parts of the webhook's URL", passing=False)
    return to.http_url("https://hooks.slack.com", "/services/" + "/".join(to.parts))


def payload(message: Message) -> dict[str, Any]:
    """The message as Slack takes it."""
    seen = look(message)
    title = f"{seen.sign} {message.title}"
    return {
        "text": fitted(title, _TEXT, _escaped),
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "blocks": [{"type": "header", "text": {"type": "plain_text", "text": fitted(title, _HEADER), "emoji": False}}],
        "attachments": [{"color": seen.hex, "fallback": fitted(message.title, _TEXT, _escaped), "blocks": _blocks(message)}],
    }


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _blocks(message: Message) -> list[dict[str, Any]]:
    facts = _facts(message)
    sections = [
        [{"type": "rich_text_section", "elements": facts}] if facts else [],
        _code("", message.commands),
        _code("Files", message.file_lines),
        _code("Example", message.hunk),
    ]
    blocks = [{"type": "rich_text", "elements": section} for section in sections if section]
    return blocks or [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": [_text("guardd")]}]}]


def _facts(message: Message) -> list[dict[str, Any]]:
    elements: list[dict[str, Any]] = []
    for label, text in message.facts[:_FACTS]:
        end = "\n" if elements else ""
        elements += [_text(f"{end}{fitted(label, _LABEL)}: ", bold=True), _text(fitted(text, _FACT) or "-")]
    return elements


def _code(title: str, lines: tuple[str, ...]) -> list[dict[str, Any]]:
    shown = "\n".join(fitted_lines(lines, _CODE, _LINE))
    if not shown.strip():
        return []
    heading = [{"type": "rich_text_section", "elements": [_text(title, bold=True)]}] if title else []
    return [*heading, {"type": "rich_text_preformatted", "elements": [_text(shown)]}]


def _text(text: str, *, bold: bool = False) -> dict[str, Any]:
    return {"type": "text", "text": text, **({"style": {"bold": True}} if bold else {})}
