"""Notifications on the desktop, with a notify-send of the test's own."""

import json
import sys
from pathlib import Path

import pytest
from tests.alerting.messages import DAMAGED, to

from guardd.alerting.http import NotDelivered
from guardd.alerting.targets import send

TELLING = """\
import json, os, sys
with open({path!r}, "w") as file:
    json.dump([sys.argv[1:], dict(os.environ)], file)
"""


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that comes first, in a desktop session."""
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nowhere")
    return tmp_path


def program(folder: Path, text: str) -> None:
    made = folder / "notify-send"
    made.write_text(f"#!{sys.executable} -I\n{text}")
    made.chmod(0o755)


def refused(timeout_s: float = 20.0) -> NotDelivered:
    with pytest.raises(NotDelivered) as error:
        send(DAMAGED, to("desktop://", timeout_s=timeout_s))
    return error.value


def test_it_is_shown_and_no_secret_of_others_goes_along(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_URL", "s3cr3t")
    program(session, TELLING.format(path=str(session / "told")))
    assert send(DAMAGED, to("desktop://")) == "shown"
    arguments, environment = json.loads((session / "told").read_text())
    assert arguments[:4] == ["--app-name=guardd", "--urgency=critical", "--category=device.error", "--"]
    assert arguments[4] == f"🔴 {DAMAGED.title}"
    assert environment["DBUS_SESSION_BUS_ADDRESS"] == "unix:path=/nowhere"
    assert "SLACK_URL" not in environment


def test_without_a_session_it_says_so(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    error = refused()
    assert "no desktop session" in str(error)
    assert not error.passing


def test_without_the_program_the_package_is_named(session: Path) -> None:
    assert "notify-send is not installed (package libnotify" in str(refused())


def test_what_the_program_says_is_told(session: Path) -> None:
    program(session, "import sys; sys.exit('no bus\\n\\x1b[31m')")
    assert str(refused()) == "notify-send failed (1): no bus\\n\\x1b[31m"


def test_a_program_that_hangs_is_ended_with_all_that_it_began(session: Path) -> None:
    program(session, "import os, time; os.fork(); time.sleep(600)")
    assert str(refused(0.3)) == "notify-send did not end within the time limit"
