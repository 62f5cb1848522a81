"""[[alert]]: where alerts go to, which of them, and where their secrets lie."""

import os
import re
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from guardd.config.places import expand
from guardd.errors import UsageError
from guardd.model import Severity
from guardd.timespec import parse_duration

_SECOND_NS = 1_000_000_000

KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "slack": (("slack",), ("hooks.slack.com", "hooks.slack-gov.com")),
    "teams": ((), (".logic.azure.com", ".api.powerplatform.com")),
    "discord": (("discord",), ("discord.com", "discordapp.com")),
    "mattermost": (("mmost", "mmosts"), ()),
    "json": (("json", "jsons"), ()),
    "alertmanager": (("alertmanager", "alertmanagers"), ()),
    "desktop": (("desktop",), ()),
    "apprise": ((), ()),
}
"""The kinds of targets: the schemes of their URLs, and the hosts whose https URLs they are. Each is a module of this name in
`alerting.targets`; a scheme that no kind has is Apprise's."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
_CREDENTIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")
_HOURS = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)", re.ASCII)
_URL_KEYS = ("url", "url_file", "url_env", "credential")
_SECRET_KEYS = ("secret", "secret_file", "secret_env", "secret_credential")
SECRETS = ("url", "secret")
"""The keys whose values are never shown."""


def kind_of(url: str) -> str | None:
    """The kind of target that a URL is of; None for an http(s) URL of a host that says nothing."""
    parts = urlsplit(url)
    for kind, (schemes, hosts) in KINDS.items():
        host = parts.hostname or ""
        if parts.scheme in schemes:
            return kind
        if parts.scheme == "https" and any(host == one or (one.startswith(".") and host.endswith(one)) for one in hosts):
            return kind
    return None if parts.scheme in ("http", "https") else "apprise"


def _duration(value: object) -> int:
    if not isinstance(value, str):
        raise ValueError('must be a duration in quotes, as "10m" or "3d"')
    try:
        return parse_duration(value)
    except UsageError as error:
        raise ValueError("must be a duration, as 90s, 10m, 2h30m, 3d, 1w") from error


def _name(value: str | None) -> str | None:
    if value is not None and not _NAME.fullmatch(value):
        raise ValueError("must be up to 40 letters, digits, dots, dashes and underscores")
    return value


def _credential(value: str | None) -> str | None:
    if value is not None and not _CREDENTIAL.fullmatch(value):
        raise ValueError("must be the name of a credential, as LoadCredential= gives it: letters, digits, dots, dashes")
    return value


def _file(value: str | None) -> str | None:
    if value is not None and ("\0" in value or not os.path.isabs(expand(value))):
        raise ValueError("must be an absolute path, or one that begins with ~")
    return value if value is None else expand(value)


def _hours(value: str) -> str:
    if value and not _HOURS.fullmatch(value):
        raise ValueError('must be hours of the day, as "22:00-07:00"')
    return value


def _severity(value: object) -> Severity:
    if value not in list(Severity):
        raise ValueError(f"must be one of {', '.join(Severity)}")
    return Severity(str(value))


def _base(value: str | None) -> str | None:
    parts = urlsplit(value or "")
    if value is not None and (parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc or parts.query):
        raise ValueError('must be scheme and host, as "https://chat.example.org" or "http://127.0.0.1:8065"')
    return value if value is None else value.rstrip("/")


AS_DURATION = BeforeValidator(_duration, json_schema_input_type=str)
Duration = Annotated[int, AS_DURATION]
OptionalFile = Annotated[str | None, AfterValidator(_file)]
OptionalCredential = Annotated[str | None, AfterValidator(_credential)]


class AlertSettings(BaseModel):
    """[[alert]]: one target."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, hide_input_in_errors=True)

    name: Annotated[str | None, AfterValidator(_name)] = Field(None, description="What it is called; default: its type.")
    type: Literal["slack", "teams", "discord", "mattermost", "json", "alertmanager", "desktop", "apprise"] | None = Field(
        None, description="What kind of target it is; default: as the URL tells."
    )
    url: SecretStr | None = Field(None, description="Where alerts go to: a secret, better kept in one of the next three.")
    url_file: OptionalFile = Field(None, description="A file that holds the URL.")
    url_env: str | None = Field(None, description="An environment variable of guardd that holds the URL.")
    credential: OptionalCredential = Field(None, description="A systemd credential that holds the URL.")
    base_url: Annotated[str | None, AfterValidator(_base)] = Field(
        None, description="Scheme, host and port in place of those of the URL: a chat server of your own."
    )
    secret: SecretStr | None = Field(None, description="json: signs what is sent; better kept in one of the next three.")
    secret_file: OptionalFile = Field(None, description="A file that holds the secret.")
    secret_env: str | None = Field(None, description="An environment variable of guardd that holds the secret.")
    secret_credential: OptionalCredential = Field(None, description="A systemd credential that holds the secret.")
    min_severity: Annotated[Severity, BeforeValidator(_severity, json_schema_input_type=Severity)] = Field(
        Severity.WARNING, description="The least severity that is sent."
    )
    quiet_hours: Annotated[str, AfterValidator(_hours)] = Field(
        "", description="Hours (local time) in which warnings wait; what is high or critical never does."
    )
    redact: bool = Field(False, description="Leave code out of messages.")
    update_every: Duration = Field(300 * _SECOND_NS, ge=_SECOND_NS, description="The least time between two updates.")
    repeat_after: Duration = Field(
        4 * 3600 * _SECOND_NS, ge=_SECOND_NS, description="When an incident that is still open is told again."
    )
    dead_after: Duration = Field(
        600 * _SECOND_NS, ge=_SECOND_NS, description="How long a target may fail before the others are told."
    )
    timeout: Duration = Field(10 * _SECOND_NS, ge=_SECOND_NS // 10, description="How long one attempt may take.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.type == "desktop" and not self.has_url:
            object.__setattr__(self, "url", SecretStr("desktop://"))
        given = [key for key in _URL_KEYS if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(f"must have one of {', '.join(_URL_KEYS)}" + (f"; it has {' and '.join(given)}" if given else ""))
        secrets = [key for key in _SECRET_KEYS if getattr(self, key) is not None]
        if len(secrets) > 1:
            raise ValueError(f"must have one secret; it has {' and '.join(secrets)}")
        if self.url is not None:
            check_url(self.url.get_secret_value(), self.type)
        return self

    @property
    def has_url(self) -> bool:
        """Whether it says where alerts go to."""
        return any(getattr(self, key) is not None for key in _URL_KEYS)

    @property
    def needs_service(self) -> bool:
        """Whether its secrets are only there for the process that systemd starts."""
        return self.credential is not None or self.secret_credential is not None

    @property
    def label(self) -> str:
        """Its name, or else its kind."""
        if self.name:
            return self.name
        known = self.type or (check_url(self.url.get_secret_value(), None) if self.url else None)
        return known or self.credential or "alert"


def check_url(url: str, type_: str | None) -> str:
    """The kind of target of a URL; raises ValueError, without the URL, where it is none or does not tell."""
    try:
        parts = urlsplit(url)
        kind = type_ or kind_of(url)
        _ = None if kind == "apprise" else parts.port  # what Apprise's URLs have there is nobody's port (tgram://ID:TOKEN)
    except ValueError:  # its own words hold the URL, which is a secret
        raise ValueError(
            'must have a URL that can be read: write "#", "/", "?", "[" in a password as %23, %2F, %3F, %5B'
        ) from None
    if not parts.scheme or any(not char.isprintable() or char == " " for char in url):
        raise ValueError('must have a URL that begins with a scheme, as "https://" or "json://"')
    if kind is None:
        raise ValueError(f"must say its type, which its URL does not tell: one of {', '.join(KINDS)}")
    if kind not in ("apprise", "desktop") and not parts.netloc:
        raise ValueError("must have a URL that names a host")
    return kind


def pack(settings: AlertSettings) -> dict[str, Any]:
    """The settings as JSON, secrets and all: only for a pipe between two of our processes."""
    return {
        key: value.get_secret_value() if isinstance(value, SecretStr) else value for key, value in settings if value is not None
    }


def unpack(packed: dict[str, Any]) -> AlertSettings:
    """The settings that `pack` made this of."""
    hidden = {key: SecretStr(packed[key]) for key in SECRETS if key in packed}
    return AlertSettings.model_construct(**{**packed, **hidden, "min_severity": Severity(packed["min_severity"])})
