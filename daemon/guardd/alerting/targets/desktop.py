"""A notification on this desktop: `notify-send` (freedesktop.org, "Desktop Notifications") or macOS' `osascript`.

Others on the machine can read the arguments of a program while it runs: they hold the title, the facts and what to type, no
code and no secret. Nothing of them is a program's text or an option.
"""

import os
import signal
import subprocess
import sys
import tempfile
from html import escape

from guardd.alerting.endpoint import Endpoint
from guardd.alerting.fitting import fitted, fitted_lines
from guardd.alerting.http import NotDelivered
from guardd.alerting.looks import look
from guardd.alerting.message import Message, harmless
from guardd.model import Severity

_TITLE, _BODY, _LINE = 200, 1500, 160
_PASSED_ON = (
    "PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "DISPLAY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS",
)  # fmt: skip
"""Of the environment, which may hold the secrets of other targets."""

_SCRIPT = ("on run argv", "display notification (item 2 of argv) with title (item 1 of argv)", "end run")


def send(message: Message, to: Endpoint) -> str:
    """Show it."""
    env = environment()
    if sys.platform != "darwin" and "DBUS_SESSION_BUS_ADDRESS" not in env:
        raise NotDelivered("there is no desktop session: guardd must run as the user whose desktop it is", passing=False)
    return _run(command(message, sys.platform), env, to.timeout_s)


def environment() -> dict[str, str]:
    """The environment of the program; the session bus is where every desktop has it, if nothing says where it is."""
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    bus = os.path.join(env.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}", "bus")
    return {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}", **env} if os.path.exists(bus) else env


def command(message: Message, platform: str) -> list[str]:
    """The program and its arguments. The sign before the title keeps it from being taken for an option."""
    title = fitted(f"{look(message).sign} {harmless(message.title, _TITLE)}", _TITLE)
    lines = [*(f"{label}: {text}" for label, text in message.facts), *message.commands]
    if platform == "darwin":
        body = "\n".join(fitted_lines(map(harmless, lines), _BODY, _LINE))
        return ["osascript", *(word for line in _SCRIPT for word in ("-e", line)), title, body]
    body = "\n".join(fitted_lines(map(harmless, lines), _BODY, _LINE, escape))
    urgency = "critical" if message.severity in (Severity.HIGH, Severity.CRITICAL) and not message.is_over else "normal"
    return ["notify-send", "--app-name=guardd", f"--urgency={urgency}", "--category=device.error", "--", title, body]


def _run(arguments: list[str], env: dict[str, str], timeout_s: float) -> str:
    program = arguments[0]
    with tempfile.TemporaryFile() as said:  # a pipe could be held open by whatever the program starts
        try:
            process = subprocess.Popen(
                arguments, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
            )
        except FileNotFoundError:
            cure = " (package libnotify-bin or libnotify)" if program == "notify-send" else ""
            raise NotDelivered(f"{program} is not installed{cure}", passing=False) from None
        except OSError as error:
            raise NotDelivered(f"{program} does not start: {error.strerror}", passing=False) from None
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise NotDelivered(f"{program} did not end within the time limit") from None
        said.seek(0)
        text = harmless(said.read(4096).decode("utf-8", "replace").strip(), 200)
    if code:
        raise NotDelivered(f"{program} failed ({code})" + (f": {text}" if text else ""))
    return "shown"
