"""Where a target is and what its secret is: read from where the config says, and told to no one."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from guardd.alerting.endpoint import Endpoint, endpoint, exposed
from guardd.config.alerts import AlertSettings
from guardd.errors import ConfigError

URL = "slack://T0/B0/s3cr3t"


def settings(**values: object) -> AlertSettings:
    return AlertSettings.model_validate(values)


def test_the_url_comes_from_each_of_its_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "slack-url").write_text(f"{URL}\n")
    monkeypatch.setenv("SLACK_URL", URL)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    places = ({"url": URL}, {"url_file": str(tmp_path / "slack-url")}, {"url_env": "SLACK_URL"}, {"credential": "slack-url"})
    found = [endpoint(settings(name="mine", **place)) for place in places]
    assert found == [Endpoint("mine", "slack", URL)] * 4
    assert "s3cr3t" not in "".join(map(repr, found))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"url_file": "/nowhere/url"}, "alert mine: its url cannot be read from /nowhere/url: No such file or directory"),
        ({"url_env": "NO_SUCH_VARIABLE"}, "alert mine: its url is to be in $NO_SUCH_VARIABLE, which is not set"),
        ({"credential": "slack-url"}, "add LoadCredential= to the unit, or use url_file"),
        ({"url": "json://h/s3cr3t", "secret_env": "NO_SUCH_VARIABLE"}, "its secret is to be in $NO_SUCH_VARIABLE"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_place(values: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError) as error:
        endpoint(settings(name="mine", **values))
    assert said in str(error.value)
    assert "s3cr3t" not in str(error.value)


@pytest.mark.parametrize("content", ["", "no url s3cr3t", "https://hook.example/s3cr3t", "http://[s3cr3t"])
def test_a_file_without_a_url_that_will_do_is_refused_without_quoting_it(tmp_path: Path, content: str) -> None:
    (tmp_path / "url").write_text(content)
    with pytest.raises(ConfigError) as error:
        endpoint(settings(name="mine", url_file=str(tmp_path / "url")))
    assert "alert mine" in str(error.value)
    assert "s3cr3t" not in str(error.value)


def test_a_base_url_holds_no_secret() -> None:
    for base in ("https://ada:s3cr3t@chat.example", "https://chat.example?s3cr3t=1", "chat.example"):
        with pytest.raises(ValidationError, match="must be scheme and host"):
            settings(url=URL, base_url=base)
    assert endpoint(settings(url=URL, base_url="http://127.0.0.1:1/relay/")).http_url(path="/x") == "http://127.0.0.1:1/relay/x"


@pytest.mark.promise("nobody else reads the store", "files of secrets that others can read")
def test_secrets_that_others_can_read_are_named(tmp_path: Path) -> None:
    url, secret = tmp_path / "url", tmp_path / "secret"
    url.write_text("json://h/")
    secret.write_text("x")
    url.chmod(0o600)
    secret.chmod(0o640)
    assert exposed(settings(url_file=str(url), secret_file=str(secret))) == [str(secret)]


@pytest.mark.parametrize("url", ["tgram://123456789:SECRET/-100", "ntfys://user:pass@host/topic", "mailto://u:p@example.org"])
def test_what_an_apprise_url_has_for_a_port_is_no_matter_of_ours(url: str) -> None:
    assert endpoint(AlertSettings.model_validate({"url": url})).kind == "apprise"


@pytest.mark.parametrize(
    "url", ["json://u:SECRET#SECRET@h/", "json://u:SECRET/x@h:SECRET/", "https://[SECRET", "slack://h:SECRET/"]
)
def test_a_url_that_cannot_be_read_is_not_quoted(url: str) -> None:
    try:
        endpoint(AlertSettings.model_validate({"url": url}))
    except (ConfigError, ValidationError) as error:
        texts = [str(error), repr(error), str(error.__cause__), str(error.__context__)]
        assert not [text for text in texts if "SECRET" in text]
