"""What each target takes, written down once more from its documentation: a payload that breaks a limit or mentions fails here."""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from html.parser import HTMLParser
from typing import Any

from markdown_it import MarkdownIt

from guardd.alerting.message import Message
from guardd.model import Stage

_MARKDOWN = MarkdownIt("commonmark").enable(["strikethrough", "table"])
_HARMLESS = {"paragraph_open", "paragraph_close", "inline", "text", "text_special", "softbreak", "hardbreak", "strong_open",
             "strong_close", "fence"}  # fmt: skip


def nodes(document: Any) -> Iterator[dict[str, Any]]:
    if isinstance(document, dict):
        yield document
    for child in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from nodes(child)


def units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def size(document: Any) -> int:
    return len(json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode())


def is_plain_markdown(text: str) -> None:
    """Only text, bold and code blocks comes of it, no address is made a link, no one is mentioned."""
    for token in _MARKDOWN.parse(text):
        for one in (token, *(token.children or ())):
            assert one.type in _HARMLESS, (one.type, one.content, text)
    outside = re.sub(r"(?s)```.*?\n```", "", text)
    assert not re.search(r"https?://|(?i:www)\.|@\w|(?<!\\)<|(?<!\\):\w+:", outside), outside


def slack(payload: dict[str, Any], _: Message | None = None) -> None:
    """Block Kit: reference of blocks and composition objects; "Formatting text": what must be escaped in mrkdwn."""
    assert 0 < units(payload["text"]) <= 40_000
    assert payload["mrkdwn"] is False
    shown = [payload["text"], *(one["fallback"] for one in payload["attachments"])]
    assert not [text for text in shown if re.search(r"[<>]|&(?!(amp|lt|gt);)", text)]
    assert len(payload["attachments"]) <= 20
    for blocks in (payload["blocks"], *(one["blocks"] for one in payload["attachments"])):
        assert 0 < len(blocks) <= 50
        assert {block["type"] for block in blocks} <= {"header", "rich_text"}
    allowed = {"header", "plain_text", "rich_text", "rich_text_section", "rich_text_preformatted", "text", None}
    for node in nodes(payload):
        assert node.get("type") in allowed
        if node.get("type") == "header":
            assert 0 < units(node["text"]["text"]) <= 150
        if node.get("type") == "text":
            assert 0 < units(node["text"]) <= 3000
        if str(node.get("type")).startswith("rich_text"):
            assert node["elements"]
    assert size(payload) <= 100_000


def teams(payload: dict[str, Any], _: Message) -> None:
    """28 KB a message ("Limits and specifications for Microsoft Teams"); text runs only, for these have no Markdown."""
    assert size(payload) <= 28_000
    assert payload["type"] == "message"
    (attachment,) = payload["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["contentUrl"] is None
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert "entities" not in card["msteams"]
    for node in nodes(card):
        assert node.get("type") in {"AdaptiveCard", "Container", "RichTextBlock", "TextRun", None}
        if node.get("type") == "TextRun":
            assert node["text"]
            assert not re.search(r"\{\{\s*(DATE|TIME)\(", node["text"])
        if node.get("type") == "Container":
            assert node["items"]


def discord(payload: dict[str, Any], _: Message) -> None:
    """Discord, "Message resource", "Embed limits"; "Allowed mentions object"."""
    assert payload["allowed_mentions"] == {"parse": []}
    assert "content" not in payload
    (embed,) = payload["embeds"]
    fields = embed["fields"]
    texts = [embed["title"], embed["description"], *(one["name"] for one in fields), *(one["value"] for one in fields)]
    assert sum(units(text) for text in texts) <= 6000
    assert 0 < units(embed["title"]) <= 256
    assert units(embed["description"]) <= 4096
    assert len(fields) <= 25
    assert 0 <= embed["color"] <= 0xFFFFFF
    for field in fields:
        assert 0 < units(field["name"]) <= 256
        assert 0 < units(field["value"]) <= 1024
        assert field["value"].count("```") == 2
    for text in texts:
        is_plain_markdown(text)


def mattermost(payload: dict[str, Any], _: Message) -> None:
    """Posts have 16,383 characters, and before 5.2 their attachments 8,000 as JSON; mentions are looked for outside of code."""
    assert units(payload["text"]) <= 16_383
    (attachment,) = payload["attachments"]
    assert units(attachment["text"]) <= 16_383
    assert size(payload["attachments"]) <= 8000
    assert re.fullmatch(r"#[0-9a-f]{6}", attachment["color"])
    for text in (attachment["fallback"], attachment["title"], attachment["text"]):
        is_plain_markdown(text)


def alertmanager(payload: list[dict[str, Any]], message: Message) -> None:
    """Alertmanager's api/v2/openapi.yaml and types.Alert.Validate."""
    (alert,) = payload
    assert alert["labels"]["alertname"]
    for name, value in alert["labels"].items():
        assert re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]*", name)
        assert value
        assert isinstance(value, str)
    assert all(isinstance(value, str) for value in alert["annotations"].values())
    begin, end = (datetime.fromisoformat(alert.get(key, alert["endsAt"])) for key in ("startsAt", "endsAt"))
    assert begin <= end
    said = datetime.fromtimestamp(message.time_ns / 1e9, end.tzinfo)
    if message.stage is not Stage.RESOLVED and message.stage is not Stage.TEST:
        assert (end - said).days >= 364
    assert size(payload) < 200_000


def notify_send(arguments: list[str], _: Message) -> None:
    """notify-send(1); the body has markup ("Desktop Notifications Specification", "Markup")."""
    assert arguments[arguments.index("--") + 1 :] == arguments[-2:]
    _check_arguments(arguments)
    _Text().feed(arguments[-1])


def osascript(arguments: list[str], _: Message) -> None:
    """The manual of osascript: what follows the statements is the run handler's list, unless it begins with a dash."""
    assert arguments[1:7:2] == ["-e"] * 3
    assert len(arguments) == 9
    assert not arguments[-2].startswith("-")
    _check_arguments(arguments)


def _check_arguments(arguments: list[str]) -> None:
    assert not [one for one in arguments if "\0" in one]
    assert sum(len(one.encode()) for one in arguments) < 16_384


class _Text(HTMLParser):
    def handle_starttag(self, tag: str, attrs: object) -> None:
        raise AssertionError(tag)

    def handle_endtag(self, tag: str) -> None:
        raise AssertionError(tag)
