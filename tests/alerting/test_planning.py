"""Who is told what, and when."""

from datetime import datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guardd.alerting.planning import Terms, after_quiet, assign, due_in_ns, next_try_s, terms_of, wants_word
from guardd.config.alerts import AlertSettings
from guardd.model import Alert, Delivery, Severity, Stage

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
TERMS = Terms("slack", Severity.WARNING, None, 5 * MINUTE, 4 * HOUR)
NOW = 1_764_000_000 * SECOND


def alert(stage: Stage, severity: Severity = Severity.HIGH, *, settled: bool = False, thread: str = "incident-7-1") -> Alert:
    return Alert(1, thread, stage, severity, NOW, 1, 7, settled)


class Chat:
    """A target, and what it is told: deliveries are sent when they are due, as soon as someone looks."""

    def __init__(self, terms: Terms = TERMS, *, alive: bool = True) -> None:
        self.terms = terms
        self.alive = alive
        self.told: list[Delivery] = []
        self.now = NOW
        self.heard = 0

    def hear(self, told: Alert, after_s: float = 0.0) -> None:
        self.now += int(after_s * SECOND)
        self.heard += 1
        told = told._replace(id=self.heard)
        found = assign(told, self.terms, self.told, self.now)
        gone = {one.id for one, _ in found.dropped}
        self.told = [one._replace(state="dropped") if one.id in gone else one for one in self.told]
        self.told += [one._replace(id=len(self.told) + 1) for one in found.deliveries]
        self.look()

    def look(self, after_s: float = 0.0) -> None:
        self.now += int(after_s * SECOND)
        if self.alive:
            self.told = [
                one._replace(state="sent", sent_ns=self.now) if one.state == "pending" and one.due_ns <= self.now else one
                for one in self.told
            ]

    @property
    def messages(self) -> list[str]:
        return [one.stage for one in self.told if one.state == "sent"]

    @property
    def keys(self) -> list[str]:
        return [one.dedup_key for one in self.told if one.state == "sent"]


def test_one_burst_is_one_message_then_one_update_then_its_end() -> None:
    chat = Chat()
    chat.hear(alert(Stage.OPENED))
    assert chat.messages == ["opened"], "at once"
    chat.hear(alert(Stage.UPDATED, Severity.CRITICAL), after_s=0.5)
    assert chat.messages == ["opened"], "it is already told that it is bad; how bad is in the update"
    chat.hear(alert(Stage.UPDATED, Severity.CRITICAL, settled=True), after_s=2)
    assert chat.messages == ["opened", "updated"], "at once, when it has settled"
    chat.hear(alert(Stage.RESOLVED, Severity.CRITICAL, settled=True), after_s=1)
    assert chat.messages == ["opened", "updated", "resolved"]


def test_what_goes_on_and_on_is_updated_every_five_minutes_at_most() -> None:
    chat = Chat()
    chat.hear(alert(Stage.OPENED))
    for _ in range(60):
        chat.hear(alert(Stage.UPDATED, settled=True), after_s=30)
        chat.look()
    sent = [one.sent_ns or 0 for one in chat.told if one.state == "sent"]
    assert len(sent) == pytest.approx(2 + 30 / 5, abs=1)
    assert all(later - earlier >= 5 * MINUTE for earlier, later in pairwise(sent[1:]))


def test_a_warning_is_told_when_it_has_settled_and_not_if_it_was_explained_before() -> None:
    chat = Chat()
    chat.hear(alert(Stage.OPENED, Severity.WARNING))
    chat.hear(alert(Stage.RESOLVED, Severity.INFO), after_s=3)
    assert chat.told == []
    chat.hear(alert(Stage.OPENED, Severity.WARNING))
    chat.hear(alert(Stage.UPDATED, Severity.WARNING, settled=True), after_s=3)
    assert chat.messages == ["opened"]


def test_a_warning_that_turns_urgent_is_told_at_once() -> None:
    chat = Chat()
    chat.hear(alert(Stage.OPENED, Severity.WARNING, settled=True))
    chat.hear(alert(Stage.UPDATED, Severity.CRITICAL), after_s=1)
    assert chat.messages == ["opened", "updated"]


@pytest.mark.parametrize(
    ("least", "heard"),
    [(Severity.INFO, ["opened"]), (Severity.WARNING, ["opened"]), (Severity.HIGH, []), (Severity.CRITICAL, [])],
)
def test_a_target_hears_only_what_is_severe_enough_for_it(least: Severity, heard: list[str]) -> None:
    chat = Chat(TERMS._replace(min_severity=least))
    chat.hear(alert(Stage.OPENED, Severity.WARNING, settled=True))
    assert chat.messages == heard
    chat.hear(alert(Stage.UPDATED, Severity.CRITICAL, settled=True))
    assert chat.messages[0] == "opened", "when it becomes so, it is this target's first message"
    chat.hear(alert(Stage.RESOLVED, Severity.CRITICAL))
    assert chat.messages[-1] == "resolved"


def test_a_dead_target_gets_every_stage_in_order_when_it_is_back() -> None:
    chat = Chat(alive=False)
    for stage, settled in ((Stage.OPENED, False), (Stage.UPDATED, True), (Stage.RESOLVED, True)):
        chat.hear(alert(stage, settled=settled), after_s=2)
    chat.alive = True
    chat.look(after_s=HOUR // SECOND)
    assert chat.messages == ["opened", "resolved"], "an update of what is over says nothing any more"


def test_damage_that_comes_back_opens_anew_under_a_key_of_its_own() -> None:
    chat = Chat()
    for stage in (Stage.OPENED, Stage.RESOLVED, Stage.OPENED, Stage.ESCALATED, Stage.RESOLVED):
        chat.hear(alert(stage), after_s=1)
    assert chat.messages == ["opened", "resolved", "opened", "escalated", "resolved"]


def test_what_stays_open_is_repeated_after_four_hours_and_only_then() -> None:
    chat = Chat()
    chat.hear(alert(Stage.OPENED, settled=True))
    said = []
    for _ in range(10 * 6):
        chat.now += 10 * MINUTE
        stage = wants_word(alert(Stage.OPENED, settled=True), NOW, chat.terms, chat.told, chat.now)
        if stage is not None:
            said.append((chat.now - NOW) // HOUR)
            chat.hear(alert(stage, settled=True))
    assert said == [4, 8]
    assert chat.messages == ["opened", "repeated", "repeated"]


def test_what_grows_without_any_news_is_updated_after_five_minutes() -> None:
    chat = Chat()
    chat.hear(alert(Stage.OPENED))
    assert wants_word(alert(Stage.OPENED), NOW + 4 * MINUTE, TERMS, chat.told, NOW + 4 * MINUTE) is None
    assert wants_word(alert(Stage.OPENED), NOW + 4 * MINUTE, TERMS, chat.told, NOW + 6 * MINUTE) is Stage.UPDATED


def test_a_target_that_is_new_in_the_config_hears_of_what_is_open() -> None:
    for severity, settled, stage in (
        (Severity.HIGH, False, Stage.OPENED), (Severity.WARNING, True, Stage.OPENED), (Severity.WARNING, False, None),
        (Severity.INFO, True, None),
    ):  # fmt: skip
        assert wants_word(alert(Stage.OPENED, severity, settled=settled), NOW, TERMS, [], NOW + HOUR) == stage
    chat = Chat()
    chat.hear(alert(Stage.OPENED))
    chat.hear(alert(Stage.OPENED), after_s=60)
    assert chat.messages == ["opened"], "and who knows is not told again"


@pytest.mark.parametrize("stage", [Stage.UPDATED, Stage.ESCALATED])
def test_a_warning_that_turns_urgent_in_quiet_hours_wakes_people(stage: Stage) -> None:
    chat = Chat(TERMS._replace(quiet=(22 * 60, 7 * 60)))
    chat.now = int(datetime.fromisoformat("2026-11-24 23:30").timestamp()) * SECOND
    chat.hear(alert(Stage.OPENED, Severity.WARNING, settled=True))
    assert chat.messages == []
    chat.hear(alert(stage, Severity.CRITICAL), after_s=60)
    assert chat.messages == ["opened"]
    assert [one.state for one in chat.told] == ["dropped", "sent"]


def test_every_new_reason_of_a_loss_is_told_at_once() -> None:
    chat = Chat()
    for number in range(4):
        told = alert(Stage.UPDATED if number else Stage.OPENED, settled=True)._replace(incident_id=None, detail=str(number))
        chat.hear(told, after_s=10)
    assert [one.alert.detail for one in chat.told if one.state == "sent"] == ["0", "1", "2", "3"]


def test_a_crash_in_quiet_hours_is_told_in_the_morning() -> None:
    chat = Chat(TERMS._replace(quiet=(22 * 60, 7 * 60)))
    chat.now = int(datetime.fromisoformat("2026-11-24 23:30").timestamp()) * SECOND
    for stage in (Stage.OPENED, Stage.RESOLVED):
        chat.hear(alert(stage, Severity.WARNING, settled=True)._replace(incident_id=None), after_s=5)
    chat.look(after_s=12 * 3600)
    assert chat.messages == ["opened", "resolved"]


@pytest.mark.parametrize(("due_s", "in_s"), [(-5, 0), (0, 0), (90, 90), (24 * 3600, 24 * 3600), (10 * 365 * 86_400, 0)])
def test_what_was_queued_under_a_wrong_clock_is_due(due_s: int, in_s: int) -> None:
    assert due_in_ns(NOW + due_s * SECOND, NOW) == in_s * SECOND


def test_a_dead_target_is_told_of_by_the_others_only() -> None:
    dead = Alert(1, "target-slack-1764000000", Stage.OPENED, Severity.WARNING, NOW, settled=True)
    assert assign(dead, TERMS, [], NOW).deliveries == ()
    assert assign(dead, TERMS._replace(target="slack-2"), [], NOW).deliveries


def test_a_test_goes_to_the_target_that_is_meant() -> None:
    test = Alert(1, "test-1", Stage.TEST, Severity.INFO, NOW, settled=True, detail="slack")
    assert assign(test, TERMS, [], NOW).deliveries
    assert assign(test, TERMS._replace(target="teams"), [], NOW).deliveries == ()


@pytest.mark.parametrize(
    ("hours", "at", "until"),
    [
        ("22:00-07:00", "2026-11-24 23:30", "2026-11-25 07:00"),
        ("22:00-07:00", "2026-11-24 06:59", "2026-11-24 07:00"),
        ("22:00-07:00", "2026-11-24 07:00", "2026-11-24 07:00"),
        ("22:00-07:00", "2026-11-24 12:00", "2026-11-24 12:00"),
        ("12:00-13:30", "2026-11-24 12:00", "2026-11-24 13:30"),
        ("12:00-13:30", "2026-11-24 11:59", "2026-11-24 11:59"),
        ("", "2026-11-24 03:00", "2026-11-24 03:00"),
        ("08:00-08:00", "2026-11-24 08:00", "2026-11-24 08:00"),
    ],
)
def test_quiet_hours_hold_warnings_back_until_they_are_over(hours: str, at: str, until: str) -> None:
    quiet = terms_of(AlertSettings.model_validate({"url": "json://h/x", "quiet_hours": hours})).quiet
    instant, end = (int(datetime.fromisoformat(text).timestamp()) * SECOND for text in (at, until))
    assert after_quiet(instant, quiet) == end
    terms = TERMS._replace(quiet=quiet)
    warning = assign(alert(Stage.OPENED, Severity.WARNING, settled=True), terms, [], instant)
    assert warning.deliveries[0].due_ns == end
    for severity in (Severity.HIGH, Severity.CRITICAL):
        assert assign(alert(Stage.OPENED, severity), terms, [], instant).deliveries[0].due_ns == instant


def test_a_warning_that_is_over_before_the_morning_wakes_no_one() -> None:
    night = int(datetime.fromisoformat("2026-11-24 23:30").timestamp()) * SECOND
    chat = Chat(TERMS._replace(quiet=(22 * 60, 7 * 60)))
    chat.now = night
    chat.hear(alert(Stage.OPENED, Severity.WARNING, settled=True))
    chat.hear(alert(Stage.RESOLVED, Severity.WARNING, settled=True), after_s=60)
    chat.look(after_s=24 * 3600)
    assert chat.messages == []


@given(st.integers(0, 10_000), st.none() | st.floats(0, 3600), st.booleans(), st.floats(0, 1))
def test_a_delivery_is_tried_again_within_minutes_but_never_sooner_than_the_target_asks(
    attempts: int, asked: float | None, passing: bool, spread: float
) -> None:
    wait = next_try_s(attempts, asked, passing=passing, spread=spread)
    assert 5 <= wait <= max(375, asked or 0)
    assert wait >= (asked or 0)


STAGES = st.sampled_from([Stage.OPENED, Stage.UPDATED, Stage.ESCALATED, Stage.REPEATED, Stage.RESOLVED])
HEARD = st.lists(st.tuples(STAGES, st.sampled_from(Severity), st.booleans(), st.integers(0, 20_000), st.booleans()), max_size=30)


@given(HEARD, st.sampled_from([None, (22 * 60, 7 * 60)]))
def test_whatever_comes_keys_are_unique_and_nothing_ends_that_did_not_begin(
    heard: list[tuple[Stage, Severity, bool, int, bool]], quiet: tuple[int, int] | None
) -> None:
    chat = Chat(TERMS._replace(quiet=quiet))
    for stage, severity, settled, after_s, alive in heard:
        chat.alive = alive
        chat.hear(alert(stage, severity, settled=settled), after_s)
    chat.alive = True
    chat.look(after_s=24 * 3600)
    assert len(set(chat.keys)) == len(chat.keys)
    is_open = False
    for one in chat.told:
        if one.state == "sent":
            assert one.stage is Stage.OPENED if not is_open else one.stage is not Stage.OPENED
            is_open = one.stage is not Stage.RESOLVED
