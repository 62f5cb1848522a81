"""Where a target is: its URL and secret, read when they are needed, and never shown."""

import os
import stat
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from guardd.config.alerts import AlertSettings, check_url
from guardd.errors import ConfigError

_LARGEST = 16_384


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A target's URL, secret and time limit; its `repr` shows neither URL nor secret."""

    name: str
    kind: str
    url: str = field(repr=False)
    secret: str | None = field(default=None, repr=False)
    base_url: str | None = None
    timeout_s: float = 10.0
    redact: bool = False

    def http_url(self, default_base: str = "", path: str | None = None) -> str:
        """The URL to post to: its own (or `path`), at `base_url`, else at `default_base`, else at its own host.

        What stands before an @ in its own URL is kept, whichever host it goes to.
        """
        parts = urlsplit(self.url)
        login, at, place = parts.netloc.rpartition("@")
        is_web = parts.scheme in ("http", "https")
        own = f"{parts.scheme if is_web else 'https' if parts.scheme.endswith('s') else 'http'}://{place}"
        base = urlsplit(self.base_url or (default_base if default_base and not is_web else own))
        query = f"?{parts.query}" if parts.query and path is None else ""
        return f"{base.scheme}://{login}{at}{base.netloc}{base.path}{path if path is not None else parts.path or '/'}{query}"

    @property
    def parts(self) -> list[str]:
        """Host and path segments of its URL, as `slack://T1/B2/x3` lists them, without what stands before an @."""
        parts = urlsplit(self.url)
        return [part for part in (parts.netloc.rpartition("@")[2], *parts.path.split("/")) if part]


def endpoint(settings: AlertSettings) -> Endpoint:
    """The endpoint that a config describes. Raises ConfigError, without any secret, where it cannot be read."""
    name = settings.label
    url = _value(name, "url", settings.url.get_secret_value() if settings.url else None, settings.url_file, settings.url_env,
                 settings.credential)  # fmt: skip
    secret = _value(name, "secret", settings.secret.get_secret_value() if settings.secret else None, settings.secret_file,
                    settings.secret_env, settings.secret_credential)  # fmt: skip
    try:
        kind = check_url(url or "", settings.type)
    except ValueError as error:
        raise ConfigError([f"alert {name}: {error}"]) from None
    return Endpoint(name, kind, url or "", secret, settings.base_url, settings.timeout / 1e9, settings.redact)


def _value(
    name: str, what: str, inline: str | None, file: str | None, variable: str | None, credential: str | None
) -> str | None:
    if inline is not None:
        return inline
    if variable is not None:
        if not os.environ.get(variable):
            raise ConfigError([f"alert {name}: its {what} is to be in ${variable}, which is not set for this process"])
        return os.environ[variable].strip()
    if credential is not None:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            cure = "add LoadCredential= to the unit, or use url_file"
            raise ConfigError([f"alert {name}: no systemd credential is there for this process ($CREDENTIALS_DIRECTORY); {cure}"])
        file = os.path.join(folder, credential)
    return None if file is None else _read(name, what, file)


def _read(name: str, what: str, file: str) -> str:
    try:
        with open(file, encoding="utf-8") as opened:
            text = opened.read(_LARGEST).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise ConfigError([f"alert {name}: its {what} cannot be read from {file}: {reason}"]) from None
    if not text:
        raise ConfigError([f"alert {name}: {file} is empty; it must hold the {what}"])
    return text.splitlines()[0].strip()


def exposed(settings: AlertSettings) -> list[str]:
    """Files of its secrets that others can read."""
    files = [path for path in (settings.url_file, settings.secret_file) if path]
    found = []
    for path in files:
        try:
            if os.stat(path).st_mode & (stat.S_IRGRP | stat.S_IROTH):
                found.append(path)
        except OSError:  # whoever reads it says so
            continue
    return found
