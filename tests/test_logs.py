"""The log: one line for each event, as scripts or people read it, with nothing raw in it."""

import json
import os

import pytest

from guardd import logs
from guardd.logs import log


@pytest.fixture(autouse=True)
def json_lines() -> None:
    logs.set_up("info", "json")


def test_a_line_is_json_with_its_keys_first(capsys: pytest.CaptureFixture[str]) -> None:
    log.info("ready", repo="/r", files=3, reasons=["a"])
    line = json.loads(capsys.readouterr().out)
    assert list(line) == ["repo", "files", "reasons", "event", "level", "timestamp"]
    assert (line["repo"], line["files"], line["reasons"], line["event"], line["level"]) == ("/r", 3, ["a"], "ready", "info")
    assert line["timestamp"].endswith("Z")


@pytest.mark.parametrize("format_", ["json", "console"])
def test_paths_of_any_bytes_reach_no_terminal_raw(capsys: pytest.CaptureFixture[str], format_: str) -> None:
    logs.set_up("info", format_)
    log.warning("passed over", path="a\n\x1b[31m\udcff.py", many=["\x1b"])
    written = capsys.readouterr().out
    assert written.count("\n") == 1
    assert written.rstrip("\n").isprintable()


@pytest.mark.promise("bad input gets one clear line", "a hostile name in the message of an exception that is logged")
@pytest.mark.parametrize("format_", ["json", "console"])
def test_an_exception_with_a_hostile_name_reaches_no_terminal_raw(capsys: pytest.CaptureFixture[str], format_: str) -> None:
    logs.set_up("error", format_)
    try:
        raise ValueError("a\x1b]0;owned\x07\r\u202e\udcff\x85\n2026-11-29T00:00:00Z [info] all is well")
    except ValueError:
        log.error("failed", exc_info=True)
    lines = capsys.readouterr().out.rstrip("\n").split("\n")
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith("2026-11-29T00")]
    assert "owned" in "".join(lines)


def test_what_is_under_the_level_is_left_out_but_for_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    logs.set_up("warning", "console")
    log.info("ready")
    log.debug("scanned")
    logs.tell("state dump", repos=[])
    log.error("failed", error="no room")
    first, second = capsys.readouterr().out.splitlines()
    assert "state dump" in first
    assert second.endswith("error='no room'")


def test_an_exception_is_told_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
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
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stdout = os.fstat(1)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stdout.st_dev}:{stdout.st_ino}")
    logs.set_up("info", "console")
    try:
        raise ValueError("odd")
    except ValueError:
        log.error("failed", exc_info=True)
    assert all(line.startswith("<3>") for line in capsys.readouterr().out.splitlines())


def test_a_reader_that_left_stops_no_one(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    log.info("ready")
