"""The config: TOML -> validated settings. Where it lies is told without reading it; pydantic is imported only to load it."""

from typing import TYPE_CHECKING, Any

from guardd.config.places import locate, locate_state

if TYPE_CHECKING:
    from guardd.config.settings import RepoSettings, Settings

__all__ = ["RepoSettings", "Settings", "add_repo", "load", "locate", "locate_state"]


def __getattr__(name: str) -> Any:  # PEP 562: 83 ms of pydantic only for those who load
    if name in ("Settings", "RepoSettings"):
        from guardd.config import settings

        return getattr(settings, name)
    raise AttributeError(name)


def load(path: str, *, named: bool = False) -> "Settings":
    """The validated settings of a config file; the defaults where there is none, unless it was `named`. Raises ConfigError."""
    from guardd.config.loading import load as load_now

    return load_now(path, named=named)


def add_repo(path: str, repo_path: str) -> bool:
    """Add a repo to a config file, made if missing; False if it is there already. Raises ConfigError."""
    from guardd.config.editing import add_repo as add_now

    return add_now(path, repo_path)
