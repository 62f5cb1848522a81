"""Where metrics are served: on this machine, or it is an error that says why."""

from pathlib import Path

import pytest

from guardd.config import load
from guardd.config.listening import parse_listen
from guardd.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "address"),
    [("127.0.0.1:9464", ("127.0.0.1", 9464)), ("127.1.2.3:1", ("127.1.2.3", 1)), ("[::1]:65535", ("::1", 65535))],
)
def test_loopback_addresses_are_taken(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.0.0.0:9464", "must be a loopback address"), ("192.168.1.5:9464", "without a password"),
        ("[::]:9464", "must be a loopback address"), ("[2001:db8::1]:9464", "must be a loopback address"),
        ("[::ffff:10.0.0.1]:9464", "must be a loopback address"), ("localhost:9464", "a name may lead elsewhere"),
        ("127.0.0.1:0", "a port from 1 to 65535"), ("127.0.0.1:65536", "a port from 1 to 65535"),
        ("127.0.0.1", "and a port"), (":9464", "and a port"), ("9464", "and a port"), ("127.0.0.1:\u0669464", "and a port"),
        ("300.0.0.1:9464", "must be an IP address"), ("::1:9464", "and a port"), ("", "and a port"),
    ],
)  # fmt: skip
def test_anything_else_is_an_error_with_its_reason_and_what_is_allowed(tmp_path: Path, text: str, said: str) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[daemon]\nmetrics_listen = "{text}"\n')
    with pytest.raises(ConfigError) as refusal:
        load(str(config))
    (problem,) = refusal.value.problems
    assert problem.startswith(f"{config}:2: daemon.metrics_listen = {text!r}: must ")
    assert said in problem
    assert '"127.0.0.1:9464" or "[::1]:9464"' in problem
