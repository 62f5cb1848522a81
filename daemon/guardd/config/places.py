"""Where the config and the store lie, by option, environment and platform."""

import os
import sys

from guardd.errors import ConfigError


def locate(option: str | None) -> str:
    """The config file: `--config`, else $GUARD_CONFIG, else `guard/config.toml` in the user's config dir."""
    named = option or os.environ.get("GUARD_CONFIG")
    return os.path.abspath(named) if named else os.path.join(_user_dir("config"), "guard", "config.toml")


def is_named(option: str | None) -> bool:
    """Whether someone named the config file, so that it must be there."""
    return bool(option or os.environ.get("GUARD_CONFIG"))


def locate_state(config_path: str) -> str:
    """The state dir: $GUARD_STATE_DIR, else the config's `state_dir`, else `guard` in the user's state dir."""
    if named := os.environ.get("GUARD_STATE_DIR"):
        return os.path.abspath(named)
    return _configured_state_dir(config_path) or default_state_dir()


def default_state_dir() -> str:
    """The state dir where nothing names one."""
    return os.path.join(_user_dir("state"), "guard")


def expand(path: str) -> str:
    """A path of the config with `~` and `$VARIABLES` filled in."""
    return os.path.expanduser(os.path.expandvars(path))


def _configured_state_dir(config_path: str) -> str | None:
    """`state_dir` as written, without validating all of the file: `guardctl status` has no time for that."""
    try:
        with open(config_path, "rb") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError([f"{config_path}: {error.strerror}; make it readable, or name another with --config"]) from error
    if b"state_dir" not in text:
        return None
    import tomli

    try:
        value = tomli.loads(text.decode("utf-8-sig")).get("daemon", {}).get("state_dir", "")
    except (ValueError, AttributeError):  # `config check` says what is wrong with it, and so does whoever loads it
        raise ConfigError([f"{config_path} cannot be read as TOML; run 'guardctl config check'"]) from None
    if not isinstance(value, str) or (value and not os.path.isabs(expand(value))):
        raise ConfigError([f"{config_path}: daemon.state_dir = {value!r}: must be an absolute path"])
    return os.path.normpath(expand(value)) if value else None


def _user_dir(kind: str) -> str:
    if sys.platform == "linux":  # platformdirs takes 29 ms to say this
        variable, default = ("XDG_CONFIG_HOME", ".config") if kind == "config" else ("XDG_STATE_HOME", ".local/state")
        named = os.environ.get(variable, "")
        return named if os.path.isabs(named) else os.path.join(os.path.expanduser("~"), default)
    import platformdirs

    return platformdirs.user_config_dir() if kind == "config" else platformdirs.user_state_dir()
