"""What only the manual says: exit codes, environment, files, signals, examples."""

from guardd.errors import Exit

EXIT_CODES = {
    Exit.DONE: "Done.",
    Exit.PARTIAL: "Done in part, or a check found something.",
    Exit.USAGE: "The command cannot be carried out as given, or was refused for safety.",
    Exit.NOTHING: "The selection names nothing that guard knows.",
    Exit.UNUSABLE: "The store or the config cannot be used.",
    Exit.INTERRUPTED: "Interrupted.",
}

GUARDD_EXIT_CODES = {
    Exit.DONE: "Told to stop, and everything has ended in order.",
    Exit.PARTIAL: "What may pass by itself: the store is full, or others used it for too long; a thread did not end in time. "
    "The units try again after this.",
    Exit.USAGE: "The command cannot be carried out as given, or there is nothing to guard. The units do not try again.",
    Exit.UNUSABLE: "The store or the config cannot be used, or another guardd has the store. The units do not try again.",
    Exit.INTERRUPTED: "Interrupted before it had begun.",
}

TIMES = {
    "90s, 10m, 2h30m, 3d, 1w": "A duration back from now, also with `ago`. It counts elapsed time, also where the clock was set.",
    "14:30": "The last time that the clock showed this today.",
    "today, yesterday": "The midnight that begins the day.",
    "2026-01-31, 2026-01-31T09:00:00+01:00": "An ISO 8601 date or time, local unless it says its offset.",
    "@1700000000": "Seconds since the epoch, with up to nine decimals.",
    "incident:ID": "The place in the log right before an incident.",
    "snapshot:ID": "The place in the log that 'guardctl snapshot' labelled.",
}

TIMES_ABOUT = """
Where a command takes a time T, it is one of these. Anything else is refused, as is a time in the future; a command always shows
the absolute time that it took.
"""

ENVIRONMENT = {
    "GUARD_CONFIG": "The config file, where `--config` names none.",
    "GUARD_STATE_DIR": "The directory of the store, whatever the config says.",
    "XDG_CONFIG_HOME, XDG_STATE_HOME": "On Linux, where the directories of the config and of the store lie.",
    "NO_COLOR": "If set, no colours.",
    "PAGER": "The pager of `log`, `diff` and `incidents show` on a terminal.",
}

FILES = {
    "~/.config/guard/config.toml": "The config, see guardd.toml(5). It is optional: `guardd --repo PATH` needs none.",
    "~/.local/state/guard/guard.db": "The store: every version of every file, incidents, restores. Closed to other users.",
}

SIGNALS = {
    "SIGHUP": "Read the config again. A bad file keeps the old settings, and 'guardctl status' says so.",
    "SIGTERM, SIGINT": "Capture what is still to be captured, and end.",
}

GUARDCTL_EXAMPLES = (
    ("Guard a repo:", "cd ~/src/project\nguardctl init\nguardd &\nguardctl status"),
    ("See what a restore would do, do it, and take it back:",
     "guardctl restore --since 10m --dry-run --diff\nguardctl restore --since 10m\nguardctl undo"),
    ("Take back what was recognised as damage, and nothing else:",
     "guardctl incidents\nguardctl restore --incident last --only-damaged"),
    ("Label this moment before a script runs, and come back to exactly here:",
     "guardctl snapshot --label 'before fix.py'\npython fix.py --all\nguardctl restore --since snapshot:1"),
    ("Have that done before every tool of an agent, and before git's commits and rebases:",
     "guardctl hook claude-code --install\nguardctl hook git --install"),
)  # fmt: skip

GUARDD_EXAMPLES = (
    ("Guard what the config names:", "guardd"),
    ("Guard two trees without any config:", "guardd --repo ~/src/one --repo ~/src/two"),
    ("Take a changed config:", "pkill -HUP guardd"),
)

CONFIG_ABOUT = """
The config of guardd(8) and guardctl(1), in TOML. Every key may be left out; shown is its default. Unknown keys, wrong types and
bad values are errors that name the file, the line, the key and what is allowed: 'guardctl config check' looks for them,
'guardctl config show' prints what is in force and where it comes from. After a change send guardd a SIGHUP.

Durations are written as "90s", "10m", "2h30m", "3d", "1w", sizes as "512KiB", "16MiB", "1GiB". Patterns are those of
gitignore(5).
"""

CONFIG_EXAMPLE = """
[[repo]]
path = "~/src/project"
exclude = ["/generated/"]
protected = ["src/core/"]
verify = ["python -m compileall -q src"]

[response]
auto_restore = "protected"
"""
