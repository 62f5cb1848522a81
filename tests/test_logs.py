"""The log: one line for each event, as scripts or people read it, with nothing raw in it."""

import json
import os

import pytest

from guardd.logs import Log


@pytest.fixture
def log() -> Log:
    made = Log()
    made.set_up("info", "json")
    return made


def test_a_line_is_json_with_its_keys_first(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.info("ready", repo="/r", files=3, reasons=["a"])
    line = json.loads(capsys.readouterr().out)
    assert list(line) == ["repo", "files", "reasons", "event", "level", "timestamp"]
    assert (line["repo"], line["files"], line["reasons"], line["event"], line["level"]) == ("/r", 3, ["a"], "ready", "info")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("format_", ["json", "console"])
def test_paths_of_any_bytes_reach_no_terminal_raw(log: Log, capsys: pytest.CaptureFixture[str], format_: str) -> None:
    log.set_up("info", format_)
    log.warning("passed over", path="a\n\x1b[31m\udcff.py", many=["\x1b"])
    written = capsys.readouterr().out
    assert written.count("\n") == 1
    assert written.rstrip("\n").isprintable()


def test_what_is_under_the_level_is_left_out_but_for_what_was_asked_for(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    log.set_up("warning", "console")
    log.info("ready")
    log.debug("scanned")
    log.tell("state dump", repos=[])
    log.error("failed", error="no room")
    first, second = capsys.readouterr().out.splitlines()
    assert "state dump" in first
    assert second.endswith("error='no room'")


def test_an_exception_is_told_where_it_is_asked_for(log: Log, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError("odd")
    except ValueError:
        log.error("failed", exc_info=True)
        log.error("failed", exc_info=False)
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["exception"].startswith("Traceback")
    assert first["exception"].endswith("ValueError: odd")
    assert "exception" not in second


def test_lines_under_the_journal_carry_their_priority(
    log: Log, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdout = os.fstat(1)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stdout.st_dev}:{stdout.st_ino}")
    log.set_up("info", "console")
    try:
        raise ValueError("odd")
    except ValueError:
        log.error("failed", exc_info=True)
    assert all(line.startswith("<3>") for line in capsys.readouterr().out.splitlines())


def test_a_reader_that_left_stops_no_one(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    log.info("ready")
