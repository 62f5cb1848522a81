"""Messages for tests of targets: an everyday one, each stage, and hostile ones of any size."""

from dataclasses import replace

from hypothesis import strategies as st

from guardd.alerting.endpoint import Endpoint
from guardd.alerting.message import Message, Subject
from guardd.config.alerts import check_url
from guardd.escaping import one_line
from guardd.model import Severity, Stage

OPENED_NS = 1_764_007_200_000_000_000

SUBJECT = Subject(
    id=7, state="open", files=1381, damaged=1381, files_in_repo=1790, rules=(("marker", 1381), ("code-loss", 1379)),
    certainty="probable", pid=7684, command="python fix_syntax.py --all", note="", opened_ns=OPENED_NS, settled=True,
)  # fmt: skip

DAMAGED = Message(
    dedup_key="build-1-incident-7-1764007200-opened-0",
    thread="build-1-incident-7-1764007200",
    stage=Stage.OPENED,
    severity=Severity.CRITICAL,
    title="CRITICAL: 1,381 of 1,790 files damaged in project on build-1",
    host="build-1",
    time_ns=OPENED_NS + 2_000_000_000,
    repo="/home/ada/src/project",
    incident=SUBJECT,
    facts=(
        ("Repo", "/home/ada/src/project"),
        ("Host", "build-1"),
        ("Files", "1,381 damaged of 1,381 changed, 1,790 in the repo"),
        ("Rules", "marker (1,381), code-loss (1,379)"),
        ("Who", "probable: pid 7684, python fix_syntax.py --all"),
        ("State", "incident 7 is open"),
        ("Guard", "every file's content from before is stored; nothing was put back so far"),
    ),
    files=tuple(f"src/app/module_{n}.py" for n in range(10)),
    hunk=(
        "@@ -1,3 +1,3 @@",
        " import os",
        "-def run(argv):",
        "-    return os.fspath(argv[0])",
        "+# REMOVED_SYNTAX_ERROR: def run(argv):",
    ),
    commands=("guardctl incidents show 7", "guardctl restore --incident 7"),
)
RESOLVED = DAMAGED._replace(
    stage=Stage.RESOLVED, dedup_key="build-1-incident-7-1764007200-resolved-0", time_ns=OPENED_NS + 90_000_000_000,
    title="Resolved: incident 7 in project on build-1: put right", hunk=(), commands=("guardctl incidents show 7",),
)  # fmt: skip
UNPROTECTED = Message(
    "build-1-protection-1-1764007200-opened-0", "build-1-protection-1-1764007200", Stage.OPENED, Severity.HIGH,
    "HIGH: project on build-1 is not fully protected", "build-1", OPENED_NS, "/home/ada/src/project",
    facts=(("Repo", "/home/ada/src/project"), ("Reason", "watch-limit: 3 directories are not watched"), ("Reason", "x: y")),
    commands=("guardctl status", "guardctl doctor"),
)  # fmt: skip
TEST = Message(
    "build-1-test-1-test", "build-1-test-1", Stage.TEST, Severity.INFO, "guardd test message from build-1: alerts arrive here",
    "build-1", OPENED_NS, facts=(("Host", "build-1"),), commands=("guardctl status",),
)  # fmt: skip

ATTACKS = (
    "<!channel>", "<!here|here>", "<@U123>", "<#C1|x>", "@channel", "@all", "@here", "@everyone", "<@&42>", "</cmd:1>", "<t:1:R>",
    "*x*", "_x_", "~x~", "~~x~~", "||x||", "`x`", "```", "````", "~~~", "\\*", "\\", "[a](http://evil.example)", "![i](http://a.b)",
    "<http://evil.example|ok>", "http://evil.example/", "www.evil.example", "# x", "> x", "- x", "1. x", ":smile:", "<b>x</b>",
    "&lt;", "&amp;", "<a href='x'>", "{{DATE(2017-02-14T06:00:00Z)}}", "${x}", "@{x}", "$(id)", "`id`", "--help", "-h", "%s",
    "{0}", '"', "'", "\u202e", "\u200b", "\0", "\x1b[31m", "\n", "\r", "é", "漢", "😀", "\U0001f468\u200d\U0001f469",
    "\udcff", "\ud800", " ", "a" * 50,
)  # fmt: skip
"""Text that means something to some target."""

_pieces = st.one_of(st.sampled_from(ATTACKS), st.text(max_size=4))
_repeated = st.builds(lambda piece, times: piece * times, st.sampled_from(ATTACKS), st.integers(0, 9000))
text = st.one_of(st.lists(_pieces, max_size=30).map("".join), _repeated).map(one_line)
_lines = st.one_of(
    st.lists(text, max_size=6), st.builds(lambda one, times: [one] * times, text, st.integers(0, 60))
).map(tuple)  # fmt: skip
_facts = st.one_of(
    st.lists(st.tuples(text, text), max_size=6),
    st.builds(lambda label, one, times: [(label, one)] * times, text, text, st.integers(0, 40)),
).map(tuple)
_subjects = st.builds(
    lambda files, note, opened_ns: SUBJECT._replace(files=files, note=note, opened_ns=opened_ns), st.integers(0, 10**9), text,
    st.integers(0, 2**62),
)  # fmt: skip
hostile = st.builds(
    Message, dedup_key=text, thread=text, stage=st.sampled_from(Stage), severity=st.sampled_from(Severity), title=text, host=text,
    time_ns=st.integers(0, 2**62), repo=text, incident=st.one_of(st.none(), _subjects), facts=_facts, files=_lines, hunk=_lines,
    commands=_lines,
)  # fmt: skip
"""Messages of any text, as far as `composing` lets it be: on one line, nothing in it for a terminal."""


def to(url: str, kind: str | None = None, **settings: object) -> Endpoint:
    """An endpoint of a URL."""
    return replace(Endpoint("mine", check_url(url, kind), url, timeout_s=20.0), **settings)
