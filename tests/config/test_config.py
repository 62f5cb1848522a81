"""The config: everything that is wrong is said at once, with file, line, key, value and what is allowed."""

import os
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guardd.config import add_repo, load, locate, locate_state
from guardd.config.alerts import AlertSettings
from guardd.config.describing import effective, oddities, schema
from guardd.config.settings import Settings
from guardd.errors import ConfigError, UsageError

EXAMPLE = Path(__file__).parents[2] / "config.example.toml"


def problems(tmp_path: Path, text: str | bytes) -> list[str]:
    path = tmp_path / "config.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as refusal:
        load(str(path))
    assert all(line.startswith(str(path)) and "\n" not in line for line in refusal.value.problems)
    return [line.removeprefix(str(path)) for line in refusal.value.problems]


def test_every_error_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        '[daemon]\nlog_level = "loud"\nscan_interval = "1s"\n\n[[repo]]\npath = "/a"\n\n[[repo]]\npath = "relative"\n'
        'exlude = ["x"]\nmax_file_size = 5\n\n[detection]\nmarkers = ["re:("]\n[retention]\nkeep_all = "forever"\n[wat]\n',
    )
    assert found == [
        ":2: daemon.log_level = 'loud': must be 'debug', 'info', 'warning' or 'error'",
        ":3: daemon.scan_interval = '1s': must be at least 10s",
        ":9: repo[1].path = 'relative': must be an absolute path, or one that begins with ~",
        ':11: repo[1].max_file_size = 5: must be a size in quotes, as "512KiB", "16MiB" or "1GiB"',
        ":10: repo[1].exlude: unknown key; did you mean exclude? [repo] has path, include, exclude, respect_gitignore, verify, "
        "protected, python, source_roots, critical_modules, import_timeout, import_memory, max_file_size",
        ":14: detection.markers = ['re:(']: 're:(' is no regular expression (as RE2 has them, without look-around and "
        "back-references): missing ): (",
        ":16: retention.keep_all = 'forever': must be a duration, as 90s, 10m, 2h30m, 3d, 1w",
        ":17: wat: unknown key; tables are daemon, repo, detection, response, retention, alert",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[repo]]\n", ":1: repo[0].path: missing"),
        ('[[repo]]\npath = 3\n', "repo[0].path = 3: must be a valid string"),
        ('repo = "x"\n', ":1: repo = 'x': must be"),
        ('[[repo]]\npath = "/a"\nrespect_gitignore = "yes"\n', ":3: repo[0].respect_gitignore = 'yes': must be a valid boolean"),
        ('[[repo]]\npath = "/a"\nverify = [""]\n', "a command must not be empty"),
        ('[[repo]]\npath = "/a"\ninclude = []\n', ":3: repo[0].include = []"),
        ('[[repo]]\npath = "/a"\nmax_file_size = "0B"\n', ":3: repo[0].max_file_size = '0B': must be at least 1B"),
        ('[detection]\nmarkers = [""]\n', "a marker must not be empty"),
        ('[retention]\nkeep_all = "40d"\n', "must not fall"),
        ('[detection]\nwindow = "0s"\n', ":2: detection.window = '0s': must be at least 1s"),
        ("[detection.thresholds]\ndamged = 3\n", ":2: detection.thresholds.damged: unknown key; did you mean damaged?"),
        ("[detection]\nthresholds = { damaged = 0 }\n", "detection.thresholds.damaged = 0: must be greater than"),
        ('[response]\nauto_restore = "some"\n', ":2: response.auto_restore = 'some': must be 'off', 'protected' or 'all'"),
        ('[[repo]]\npath = "/a"\nsource_roots = ["../b"]\n', "must be a folder inside of the repo"),
        ('[[repo]]\npath = "/a"\ncritical_modules = ["a.class"]\n', "'a.class' must be the name of a module, as pkg.core"),
        ('[[repo]]\npath = "/a"\ncritical_modules = ["a..b"]\n', "'a..b' must be the name of a module, as pkg.core"),
        ('[[repo]]\npath = "/a"\nimport_timeout = "0s"\n', ":3: repo[0].import_timeout = '0s': must be at least 0.1s"),
        ('[[repo]]\npath = "/a"\nimport_memory = "1MiB"\n', ":3: repo[0].import_memory = '1MiB': must be at least 64MiB"),
        ('[daemon\n', "not valid TOML"),
        ("a = 1\na = 2\n", "not valid TOML"),
        (b"\xff\xfe", ":1: not UTF-8"),
        ("[daemon]\n" + "#" * 2_000_000, "larger than 1 MiB"),
        ("[daemon]\nstate_dir = \"\"\"\nx\n\"\"\"\nlog_level = 1\n", ":5: daemon.log_level = 1"),
    ],
)  # fmt: skip
def test_each_kind_of_mistake_is_named(tmp_path: Path, text: str | bytes, said: str) -> None:
    assert any(said in line for line in problems(tmp_path, text)), problems(tmp_path, text)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_no_file_does_anything_but_load_or_be_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any.toml"
    path.write_bytes(content)
    with suppress(ConfigError):
        load(str(path))


def test_what_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Is a directory"):
        load(str(tmp_path))
    with pytest.raises(ConfigError, match="no such file"):
        load(str(tmp_path / "missing.toml"), named=True)
    assert load(str(tmp_path / "missing.toml")) == Settings()


def test_the_example_loads_names_every_key_and_shows_the_defaults() -> None:
    loaded = load(str(EXAMPLE))
    assert loaded.model_copy(update={"repo": ()}) == Settings()
    repo = loaded.repo[0]
    assert repo.path == os.path.realpath(os.path.expanduser("~/src/project"))
    for key, field in type(repo).model_fields.items():
        assert key == "path" or getattr(repo, key) == field.default
    text = EXAMPLE.read_text()
    for name, table in Settings.model_fields.items():
        assert f"[{name}]" in text
        assert table
    for definition in schema()["$defs"].values():
        for key in definition.get("properties", ()):
            assert f"\n{key} = " in text or f"\n# {key} = " in text or f".{key}]\n" in text, key


def test_the_example_of_an_alert_is_valid_and_shows_the_defaults() -> None:
    section = EXAMPLE.read_text().partition("\n# [[alert]]\n")[2]
    shown = {
        key: value
        for line in section.splitlines()
        if line.startswith("# ") and " = " in line
        for key, value in tomllib.loads(line.removeprefix("# ")).items()
    }
    assert list(shown) == list(AlertSettings.model_fields)
    plain = AlertSettings.model_validate({"type": "desktop"})
    for key, value in shown.items():
        place = {} if key.startswith("url") or key == "credential" else {"url": "slack://T/B/x"}
        loaded = getattr(AlertSettings.model_validate({**place, key: value}), key)
        default = AlertSettings.model_fields[key].default
        assert loaded is not None if default is None else loaded == default == getattr(plain, key), key


def test_overlapping_repos_are_refused_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outer" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "outer" / "inner")
    for inner in ("outer/inner", "link", "outer"):
        found = problems(tmp_path, f'[[repo]]\npath = "{tmp_path}/outer"\n[[repo]]\npath = "{tmp_path}/{inner}"\n')
        assert len(found) == 1
        assert found[0].startswith(":4: repo[1].path")
        assert "(line 2)" in found[0]


def test_adding_a_repo_keeps_every_byte_and_is_done_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "config.toml"
    assert add_repo(str(path), "/one")
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text("# mine\n[daemon]\nlog_level = 'debug'   # loud\n")
    path.chmod(0o640)
    assert add_repo(str(path), '/two "quoted"')
    assert not add_repo(str(path), '/two "quoted"')
    assert path.read_text() == '# mine\n[daemon]\nlog_level = \'debug\'   # loud\n\n[[repo]]\npath = "/two \\"quoted\\""\n'
    assert path.stat().st_mode & 0o777 == 0o640
    assert load(str(path)).repo[0].path == '/two "quoted"'
    before = path.read_text()
    with pytest.raises(UsageError, match="overlaps"):
        add_repo(str(path), '/two "quoted"/inner')
    assert path.read_text() == before


def test_a_config_that_is_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "dotfiles.toml").write_text("")
    (tmp_path / "config.toml").symlink_to(tmp_path / "dotfiles.toml")
    add_repo(str(tmp_path / "config.toml"), "/one")
    assert (tmp_path / "config.toml").is_symlink()
    assert "/one" in (tmp_path / "dotfiles.toml").read_text()


def test_places_follow_option_environment_config_and_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GUARD_CONFIG", "GUARD_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", "/xdg/config")
    monkeypatch.setenv("XDG_STATE_HOME", "/xdg/state")
    assert locate(None) == "/xdg/config/guard/config.toml"
    assert locate_state(str(tmp_path / "none.toml")) == "/xdg/state/guard"
    (tmp_path / "config.toml").write_text('[daemon]\nstate_dir = "$HOME/somewhere"\n')
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setenv("GUARD_CONFIG", str(tmp_path / "config.toml"))
    assert locate(None) == str(tmp_path / "config.toml")
    assert locate("/option.toml") == "/option.toml"
    assert locate_state(locate(None)) == "/home/someone/somewhere"
    monkeypatch.setenv("GUARD_STATE_DIR", "/env/state")
    assert locate_state(locate(None)) == "/env/state"


def test_show_tells_where_each_value_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[daemon]\nlog_level = "debug"\n[[repo]]\npath = "/nowhere"\n')
    monkeypatch.setenv("GUARD_STATE_DIR", "/env/state")
    found = effective(load(str(path)), str(path))
    rows = {one.key: (one.value, one.source) for one in found}
    assert rows["daemon.log_level"] == ("debug", f"{path}:2")
    assert rows["repo[0].path"] == ("/nowhere", f"{path}:4")
    assert rows["retention.quota"] == (2**30, "default")
    assert rows["daemon.state_dir"] == ("/env/state", "environment: GUARD_STATE_DIR")
    texts = {one.key: one.text for one in found}
    assert texts["detection.window"] == '"1m"'
    assert texts["retention.quota"] == '"1GiB"'
    assert texts["daemon.metrics_listen"] == "(not set)"
    path.chmod(0o666)
    assert len(oddities(load(str(path)), str(path))) == 2


def test_what_show_prints_is_what_a_config_takes(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[[repo]]\npath = "/nowhere"\nmax_file_size = "1500KiB"\n[response]\nsettle = "1.5s"\n')
    before = load(str(path))
    tables: dict[str, list[str]] = {}
    for one in effective(before, str(path)):
        table, _, key = one.key.replace("repo[0]", "repo").rpartition(".")
        if one.text != "(not set)":
            tables.setdefault(table, []).append(f"{key} = {one.text}\n")
    path.write_text(
        "".join(f"{'[[repo]]' if table == 'repo' else f'[{table}]'}\n{''.join(lines)}" for table, lines in tables.items())
    )
    after = load(str(path))
    assert after.model_dump() | {"daemon": None} == before.model_dump() | {"daemon": None}
