"""The pulse: green only on proof, and red until proof comes back."""

from hypothesis import given
from hypothesis import strategies as st

from guardd.watching.pulse import SILENT_NS, Pulse

S = 1_000_000_000


def test_a_watch_that_never_beats_is_unproven_then_silent_and_stays_so_when_it_begins_anew() -> None:
    pulse = Pulse()
    pulse.begin(100 * S)
    assert (pulse.heard_ns, pulse.silent(101 * S)) == (None, False)
    assert pulse.overdue(100 * S + SILENT_NS + 1)
    assert pulse.silent(100 * S + SILENT_NS + 1)
    pulse.lose()
    pulse.begin(140 * S)
    assert not pulse.overdue(141 * S)
    assert pulse.silent(141 * S)
    pulse.hear(142 * S)
    assert not pulse.silent(143 * S)
    assert pulse.silent(142 * S + SILENT_NS + 1)


@given(st.lists(st.tuples(st.sampled_from(["begin", "lose", "hear"]), st.integers(0, 60)), max_size=40))
def test_after_a_loss_only_a_beat_makes_it_sound_again(events: list[tuple[str, int]]) -> None:
    pulse, now, lost = Pulse(), 0, False
    pulse.begin(now)
    for what, seconds in events:
        now += seconds * S
        match what:
            case "begin":
                pulse.begin(now)
            case "lose":
                pulse.lose()
                lost = True
            case _:
                pulse.hear(now)
                lost = False
        assert pulse.silent(now) >= lost
