"""What each kind of target is sent: useful at night, within every limit, and inert whatever a file is called."""

import json
import re
from collections.abc import Callable
from datetime import datetime
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.alerting import golden, limits
from tests.alerting.messages import ATTACKS, DAMAGED, RESOLVED, TEST, UNPROTECTED, hostile, text, to
from tests.receiver import BUFFERED, Receiver, answer, drip_header, huge, redirect, slow_down

from guardd.alerting.fitting import fitted, json_bytes, utf16
from guardd.alerting.http import NotDelivered
from guardd.alerting.looks import look
from guardd.alerting.message import Message
from guardd.alerting.targets import alertmanager, apprise, desktop, discord, least_interval_s, mattermost, send, slack, teams
from guardd.alerting.targets.json import document
from guardd.config.alerts import KINDS
from guardd.escaping import one_line
from guardd.model import Severity, Stage

Build = Callable[[Message], Any]

TARGETS: dict[str, tuple[Build, Callable[[Any, Message], None]]] = {
    "slack": (slack.payload, limits.slack),
    "teams": (teams.payload, limits.teams),
    "discord": (discord.payload, limits.discord),
    "mattermost": (mattermost.payload, limits.mattermost),
    "alertmanager": (alertmanager.payload, limits.alertmanager),
    "notify-send": (lambda message: desktop.command(message, "linux"), limits.notify_send),
    "osascript": (lambda message: desktop.command(message, "darwin"), limits.osascript),
}
SHORT = "\N{HORIZONTAL ELLIPSIS}"
LONG = "<!channel>@all`*_{{DATE(\U0001f600" * 900


def many(message: Message) -> Message:
    """All of it too much."""
    lines = (LONG,) * 40
    return message._replace(
        title=LONG, facts=((LONG, LONG),) * 40, files=lines, hunk=lines, commands=lines, repo=LONG, thread=LONG
    )


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(message=hostile)
@example(message=DAMAGED)
@example(message=RESOLVED)
@example(message=UNPROTECTED)
@example(message=TEST)
@example(message=many(DAMAGED))
@example(message=many(RESOLVED._replace(incident=None)))
@example(message=Message("", "", Stage.OPENED, Severity.HIGH, "", "", 0))
def test_whatever_a_message_holds_it_keeps_the_limits_and_does_nothing(message: Message) -> None:
    for build, check in TARGETS.values():  # to make a message up takes longer than to hold it against all of them
        made = build(message)
        json.loads(json.dumps(made))
        check(made, message)


@pytest.mark.promise("bad input gets one clear line", "markup, mentions and links of every chat in every field of an alert")
@pytest.mark.parametrize("kind", TARGETS)
def test_no_attack_does_anything_wherever_it_stands(kind: str) -> None:
    build, check = TARGETS[kind]
    for attack in (form for one in map(one_line, ATTACKS) for form in (one, f"x{one}y", f"{one} {one}")):
        lines = (attack, f"a {attack}")
        message = DAMAGED._replace(
            title=attack,
            facts=((attack, attack), ("Who", attack)),
            files=lines,
            hunk=lines,
            commands=lines,
        )
        check(build(message), message)


@pytest.mark.parametrize("kind", golden.KINDS)
def test_the_examples_to_read_are_what_is_sent(kind: str) -> None:
    assert (golden.FOLDER / f"{kind}.json").read_text() == golden.example(kind)


def _read(made: Any) -> str:
    """All text of a payload as people see it."""
    found = [made] if isinstance(made, str) else []
    found += map(_read, made.values() if isinstance(made, dict) else made if isinstance(made, list) else ())
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", "\n".join(found).replace("\u200b", ""))


@pytest.mark.parametrize("kind", ["slack", "teams", "discord", "mattermost", "alertmanager"])
def test_at_night_it_says_what_where_who_and_what_to_type(kind: str) -> None:
    seen = _read(TARGETS[kind][0](DAMAGED))
    facts = [text for _, text in DAMAGED.facts]
    for part in (DAMAGED.title, *facts, *DAMAGED.files, "and 1,371 more", *DAMAGED.commands, "# REMOVED_SYNTAX_ERROR"):
        assert part in seen.replace("\u00a0", " "), part


@pytest.mark.parametrize("kind", ["notify-send", "osascript"])
def test_a_desktop_shows_the_facts_and_what_to_type_but_no_code(kind: str) -> None:
    *_, title, body = TARGETS[kind][0](DAMAGED)
    assert title == f"🔴 {DAMAGED.title}"
    assert "1,381 damaged of 1,381 changed" in body
    assert body.endswith("guardctl incidents show 7\nguardctl restore --incident 7")
    assert "REMOVED_SYNTAX_ERROR" not in body


@pytest.mark.parametrize("kind", TARGETS)
def test_redacted_messages_have_no_example(kind: str) -> None:
    assert "Example" not in _read(TARGETS[kind][0](DAMAGED._replace(hunk=())))


def test_each_stage_has_a_look_of_its_own() -> None:
    looks = {stage: look(DAMAGED._replace(stage=stage)) for stage in Stage}
    assert len({one.sign for one in looks.values()}) == len(Stage)
    assert {looks[stage].style for stage in (Stage.OPENED, Stage.UPDATED, Stage.ESCALATED, Stage.REPEATED)} == {"attention"}
    assert (looks[Stage.RESOLVED].style, looks[Stage.TEST].style) == ("good", "accent")
    assert look(DAMAGED._replace(severity=Severity.WARNING)).style == "warning"
    (slack_one,) = slack.payload(RESOLVED)["attachments"]
    assert slack_one["color"] == looks[Stage.RESOLVED].hex == mattermost.payload(RESOLVED)["attachments"][0]["color"]
    assert discord.payload(RESOLVED)["embeds"][0]["color"] == int(slack_one["color"][1:], 16)
    assert teams.payload(RESOLVED)["attachments"][0]["content"]["body"][0]["style"] == "good"


@given(text, st.integers(1, 300), st.sampled_from([utf16, json_bytes]))
def test_what_is_cut_is_as_long_as_can_be_and_says_so(given_text: str, limit: int, measure: Callable[[str], int]) -> None:
    limit = max(limit, measure(SHORT))
    cut = fitted(given_text, limit, measure=measure)
    assert measure(cut) <= limit
    if measure(given_text) <= limit:
        assert cut == given_text
    else:
        assert cut.endswith(SHORT)
        assert given_text.startswith(cut[:-1])
        assert measure(given_text[: len(cut)]) > limit - measure(SHORT)


# -- Alertmanager -----------------------------------------------------------------------------------------------------


def test_all_alerts_of_a_thread_are_one_until_the_last_ends_it() -> None:
    worse = DAMAGED._replace(stage=Stage.UPDATED, severity=Severity.HIGH, title="other", files=(), time_ns=DAMAGED.time_ns + 1)
    opened, updated, resolved = (alertmanager.payload(one)[0] for one in (DAMAGED, worse, RESOLVED))
    assert opened["labels"] == updated["labels"] == resolved["labels"]
    assert opened["startsAt"] == updated["startsAt"] == resolved["startsAt"]
    assert datetime.fromisoformat(resolved["endsAt"]).timestamp() == RESOLVED.time_ns / 1e9
    assert resolved["endsAt"] < updated["endsAt"]
    assert (opened["annotations"]["severity"], updated["annotations"]["severity"]) == ("critical", "high")
    (protection,) = alertmanager.payload(UNPROTECTED)
    (over,) = alertmanager.payload(UNPROTECTED._replace(stage=Stage.RESOLVED, severity=Severity.INFO))
    assert protection["labels"] == over["labels"]
    assert protection["labels"]["alertname"] == "GuarddProtection"


# -- where it goes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "kind", "path"),
    [
        ("slack://T0/B0/s3cr3t", None, "/services/T0/B0/s3cr3t"),
        ("slack://guardd@T0/B0/s3cr3t", None, "/services/T0/B0/s3cr3t"),
        ("https://hooks.slack.com/services/T0/B0/s3cr3t", None, "/services/T0/B0/s3cr3t"),
        ("https://prod-1.westeurope.logic.azure.com:443/workflows/x/triggers/manual/paths/invoke?sig=s3cr3t", None,
         "/workflows/x/triggers/manual/paths/invoke?sig=s3cr3t"),
        ("discord://42/s3cr3t", None, "/api/webhooks/42/s3cr3t?wait=true"),
        ("https://discord.com/api/webhooks/42/s3cr3t?thread_id=7", None, "/api/webhooks/42/s3cr3t?thread_id=7&wait=true"),
        ("mmosts://chat.example/s3cr3t", None, "/hooks/s3cr3t"),
        ("mmost://chat.example:8065/team/chat/s3cr3t", None, "/team/chat/hooks/s3cr3t"),
        ("https://chat.example/hooks/s3cr3t", "mattermost", "/hooks/s3cr3t"),
        ("alertmanager://am.example:9093", None, "/api/v2/alerts"),
        ("alertmanagers://am.example/prefix/", None, "/prefix/api/v2/alerts"),
        ("https://am.example/api/v2/alerts", "alertmanager", "/api/v2/alerts"),
        ("jsons://hook.example/in/s3cr3t?x=y", None, "/in/s3cr3t?x=y"),
        ("https://hook.example/in/s3cr3t", "json", "/in/s3cr3t"),
    ],
)  # fmt: skip
def test_it_is_posted_to_where_the_url_says(url: str, kind: str | None, path: str) -> None:
    with Receiver() as receiver:
        target = to(url, kind, base_url=receiver.url)
        assert send(DAMAGED, target) == "HTTP 200"
        (request,) = receiver.requests
    assert (request.method, request.path) == ("POST", path)
    assert request.json
    assert "s3cr3t" not in repr(target)


@pytest.mark.parametrize(
    ("url", "kind", "goes_to"),
    [
        ("mmost://127.0.0.1:{port}/x", None, "/hooks/x"),
        ("alertmanager://127.0.0.1:{port}", None, "/api/v2/alerts"),
        ("json://127.0.0.1:{port}/a", None, "/a"),
        ("http://127.0.0.1:{port}/hooks/x", "mattermost", "/hooks/x"),
        ("http://127.0.0.1:{port}/slack/x", "slack", "/slack/x"),
        ("http://127.0.0.1:{port}/flow", "teams", "/flow"),
    ],
)
def test_servers_of_ones_own_need_no_base_url(url: str, kind: str | None, goes_to: str) -> None:
    with Receiver() as receiver:
        send(DAMAGED, to(url.format(port=receiver.port), kind))
        assert [request.path for request in receiver.requests] == [goes_to]


def test_a_login_in_the_url_goes_along_also_to_another_base_url() -> None:
    with Receiver() as receiver:
        send(DAMAGED, to("alertmanagers://ada:p%40ss@am.example/?severity=page&team=core", base_url=receiver.url))
        (request,) = receiver.requests
    assert request.login == "ada:p@ss"
    assert request.path == "/api/v2/alerts"
    labels = request.json[0]["labels"]
    assert (labels["severity"], labels["team"], labels["alertname"]) == ("page", "core", "GuarddIncident")


@pytest.mark.parametrize("url", ["slack://s3cr3t", "slack://a/b/c/s3cr3t", "discord://s3cr3t", "mmost://s3cr3t"])
def test_a_url_with_a_part_missing_is_told_without_it(url: str) -> None:
    with pytest.raises(NotDelivered, match="its URL must be") as error:
        send(DAMAGED, to(url))
    assert not error.value.passing
    assert "s3cr3t" not in str(error.value)


def test_a_limited_target_says_when_to_come_back() -> None:
    with Receiver(slow_down("0.75", '{"retry_after": 0.75}')) as receiver, pytest.raises(NotDelivered) as error:
        send(DAMAGED, to("discord://42/token", base_url=receiver.url))
    assert error.value.retry_after_s == 0.75


def test_every_kind_has_its_module_and_interval() -> None:
    assert all(least_interval_s(kind) >= 0 for kind in KINDS)
    assert least_interval_s("slack") == 1.0


def test_a_secret_that_cannot_be_one_is_told_without_it() -> None:
    with pytest.raises(NotDelivered, match="not base64") as error:
        send(DAMAGED, to("json://127.0.0.1:1/", secret="whsec_s3cr3t!"))
    assert "s3cr3t" not in str(error.value)


def test_facts_of_one_label_are_all_in_the_document() -> None:
    assert [fact["text"] for fact in document(UNPROTECTED)["facts"]] == [said for _, said in UNPROTECTED.facts]


# -- Apprise ----------------------------------------------------------------------------------------------------------


def test_apprise_sends_title_text_and_kind(capfd: pytest.CaptureFixture[str]) -> None:
    with Receiver() as receiver:
        target = to(f"json://127.0.0.1:{receiver.port}/s3cr3t", "apprise")
        assert send(DAMAGED, target) == "Apprise sent it"
        (request,) = receiver.requests
    assert request.path == "/s3cr3t"
    assert request.json["title"] == f"🔴 {DAMAGED.title}"
    assert request.json["type"] == "failure"
    assert "guardctl restore --incident 7" in request.json["message"]
    assert "".join(capfd.readouterr()) == ""


class _Html(HTMLParser):
    """What people see of a text in HTML, and its tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen = ""
        self.tags: set[str] = set()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)
        self.seen += "\n"

    def handle_data(self, data: str) -> None:
        self.seen += data.replace("\u00a0", " ")


@pytest.mark.promise("bad input gets one clear line", "Apprise: markup, mentions and links to a service that speaks HTML")
def test_no_attack_does_anything_in_html() -> None:
    attacks = [
        *map(one_line, ATTACKS),
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "&lt;b&gt;",
        "<!-- x",
        "<![CDATA[",
    ]
    with Receiver() as receiver:
        message = DAMAGED._replace(title="a title", facts=tuple((f"<i>{one}", one) for one in attacks), files=tuple(attacks))
        send(message, to(f"json://127.0.0.1:{receiver.port}/?format=html", "apprise"))
    read = _Html(receiver.requests[0].json["message"])
    assert read.tags == {"br"}
    for attack in attacks:
        assert f"<i>{attack}: {attack}".strip() in read.seen, attack


@pytest.mark.parametrize("stage", Stage)
def test_apprise_is_told_how_bad_it_is(stage: Stage) -> None:
    kinds = {Stage.RESOLVED: "success", Stage.TEST: "info"}
    assert apprise.notify_type(DAMAGED._replace(stage=stage)) == kinds.get(stage, "failure")
    assert apprise.notify_type(DAMAGED._replace(severity=Severity.WARNING)) == "warning"


@pytest.mark.promise("errors become a state", "Apprise: an alert server that redirects elsewhere")
def test_apprise_follows_no_redirect_and_tells_the_status_only(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with Receiver() as elsewhere, Receiver(redirect(elsewhere.url), answer(403, "s3cr3t"), redirect(elsewhere.url)) as receiver:
        for said, extra in (("HTTP 307", ""), ("HTTP 403", ""), ("HTTP 307", "?redirect=yes")):
            with pytest.raises(NotDelivered, match=f"Apprise did not get it through: {said}$"):
                send(DAMAGED, to(f"json://ada:s3cr3t@127.0.0.1:{receiver.port}/{extra}", "apprise"))
        assert (len(receiver.requests), elsewhere.requests) == (3, [])
    assert "s3cr3t" not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.promise("errors become a state", "Apprise: an alert server that answers with a gigabyte")
def test_of_a_gigabyte_apprise_reads_only_the_beginning() -> None:
    with Receiver(huge()) as receiver:
        assert send(DAMAGED, to(f"json://127.0.0.1:{receiver.port}/", "apprise")) == "Apprise sent it"
    assert receiver.wires[0].sent < BUFFERED


@pytest.mark.promise("errors become a state", "Apprise: an alert server that sends its headers byte by byte")
def test_apprise_is_left_at_the_time_limit() -> None:
    with Receiver(drip_header()) as receiver, pytest.raises(NotDelivered, match="no answer within the time limit"):
        send(DAMAGED, to(f"json://127.0.0.1:{receiver.port}/", "apprise", timeout_s=0.2))


def test_without_apprise_the_cure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "apprise", None)
    with pytest.raises(NotDelivered, match=r"pip install --upgrade 'guardd\[apprise\]'") as error:
        send(DAMAGED, to("ntfys://s3cr3t"))
    assert not error.value.passing


def test_a_url_that_apprise_does_not_know_is_not_quoted(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NotDelivered, match="does not know its URL") as error:
        send(DAMAGED, to("nosuchchat://s3cr3t"))
    assert "s3cr3t" not in str(error.value) + "".join(capfd.readouterr())
