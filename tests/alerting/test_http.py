"""Posting to a target: whatever answers, it ends in time, follows no redirect, and tells no secret."""

import logging
import socket
import traceback
from pathlib import Path

import pytest
from tests.receiver import (
    BUFFERED,
    Answer,
    Receiver,
    answer,
    drip_body,
    drip_header,
    drop,
    garbage,
    hang,
    huge,
    redirect,
    slow_down,
)

from guardd.alerting.http import NotDelivered, Request, post

LIMIT_S = 20.0
SHORT_S = 0.3
"""The time limit of tests that must run into it."""


def refusal(url: str, timeout_s: float = LIMIT_S) -> NotDelivered:
    with pytest.raises(NotDelivered) as caught:
        post(Request(url, b"{}"), timeout_s)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def test_what_is_sent_arrives_and_the_answer_is_told_on_one_line() -> None:
    with Receiver(answer(200, "ok\n\x1b[31mred")) as receiver:
        said = post(Request(f"{receiver.url}/hooks/a%20b/ü?x=1", b'{"a": 1}', {"X-Mine": "yes"}), LIMIT_S)
    assert said == "HTTP 200: ok\\n\\x1b[31mred"
    (request,) = receiver.requests
    assert (request.method, request.path, request.json) == ("POST", "/hooks/a%20b/%C3%BC?x=1", {"a": 1})
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("guardd/")
    assert request.headers["x-mine"] == "yes"
    assert "authorization" not in request.headers


@pytest.mark.parametrize(
    ("given", "said", "wait_s", "passing", "refused"),
    [
        (answer(400, "invalid_payload"), "HTTP 400: invalid_payload", None, False, False),
        (answer(413, "too large"), "HTTP 413: too large", None, False, True),
        (answer(404, "no such hook"), "HTTP 404: no such hook", None, False, False),
        (slow_down("1.5"), "HTTP 429", 1.5, True, False),
        (slow_down("Wed, 21 Oct 2015 07:28:00 GMT"), "HTTP 429", 0.0, True, False),
        (slow_down("999999999"), "HTTP 429", 3600.0, True, False),
        (slow_down("soon"), "HTTP 429", None, True, False),
        (slow_down("nan"), "HTTP 429", None, True, False),
        (answer(500, "oops"), "HTTP 500: oops", None, True, False),
        (answer(503, headers={"Retry-After": "7"}), "HTTP 503", 7.0, True, False),
        (garbage, "what answers there is no web server", None, True, False),
        (drop, "the connection broke before it answered", None, True, False),
    ],
)  # fmt: skip
def test_a_refusal_says_what_and_when_to_try_again(
    given: Answer, said: str, wait_s: float | None, passing: bool, refused: bool
) -> None:
    with Receiver(given) as receiver:
        error = refusal(receiver.url)
    assert (str(error), error.retry_after_s, error.passing, error.refused) == (said, wait_s, passing, refused)


@pytest.mark.promise("errors become a state", "an alert server that redirects elsewhere")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(status: int) -> None:
    with Receiver() as elsewhere, Receiver(redirect(f"{elsewhere.url}/stolen", status)) as receiver:
        error = refusal(receiver.url)
        assert len(receiver.requests) == 1
        assert elsewhere.requests == []
    assert "redirect, which is not followed" in str(error)
    assert error.passing, "a hotel's network redirects everything until someone has logged in"
    assert "stolen" not in str(error)


@pytest.mark.promise("errors become a state", "an alert server that hangs, or sends its headers byte by byte")
@pytest.mark.parametrize("given", [hang, drip_header()])
def test_whoever_answers_without_an_end_is_left_at_the_time_limit(given: Answer) -> None:
    with Receiver(given) as receiver:
        error = refusal(receiver.url, SHORT_S)
    assert str(error) == "no answer within the time limit"
    assert error.passing


def test_whoever_never_shakes_hands_is_left_at_the_time_limit() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = refusal(f"https://127.0.0.1:{silent.getsockname()[1]}", SHORT_S)
    assert str(error) == "no answer within the time limit"


def test_a_status_counts_even_if_the_body_never_ends() -> None:
    with Receiver(drip_body(200), drip_body(503)) as receiver:
        assert post(Request(receiver.url, b"{}"), SHORT_S) == "HTTP 200"
        assert refusal(receiver.url, SHORT_S).passing


@pytest.mark.promise("errors become a state", "an alert server that answers with a gigabyte")
def test_of_a_gigabyte_only_the_beginning_is_read() -> None:
    with Receiver(huge()) as receiver:
        said = post(Request(receiver.url, b"{}"), LIMIT_S)
    assert said.startswith("HTTP 200: xxx")
    assert len(said) <= 220
    assert receiver.wires[0].sent < BUFFERED


def test_a_login_in_the_url_is_sent_and_never_told() -> None:
    with Receiver(answer(200, "hello us%er, pa:ss, dXMlZXI6cGE6c3M="), answer(403, "dXMlZXI6cGE6c3M= pa:ss")) as receiver:
        url = receiver.url.replace("//", "//us%25er:pa%3Ass@")
        assert post(Request(url, b"{}"), LIMIT_S) == "HTTP 200: hello …, …, …"
        assert str(refusal(url)) == "HTTP 403: … …"
    assert [request.login for request in receiver.requests] == ["us%er:pa:ss"] * 2
    assert all("@" not in request.headers["host"] for request in receiver.requests)


@pytest.mark.parametrize("given", [answer(404, "Cannot POST /hooks/s3cr3t/t0ken?key=v4lue"), garbage, drop, redirect("/s3cr3t")])
def test_no_secret_gets_into_errors_logs_or_reprs(given: Answer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with Receiver(given) as receiver:
        url = f"{receiver.url}/hooks/s3cr3t/t0ken?key=v4lue"
        error = refusal(url)
    texts = [str(error), repr(error), "".join(traceback.format_exception(error)), caplog.text, repr(Request(url, b"b0dy"))]
    assert not [text for text in texts for secret in ("s3cr3t", "t0ken", "v4lue", "b0dy") if secret in text]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1/s3cr3t", "no connection: nothing answers at its address"),
        ("http://name.invalid/s3cr3t", "its host name cannot be resolved"),
        ("ftp://127.0.0.1/s3cr3t", "its URL is none of a web server"),
        ("http:///s3cr3t", "its URL is none of a web server"),
        ("http://127.0.0.1:99999/s3cr3t", "its URL cannot be read"),
        ("http://[::1/s3cr3t", "its URL cannot be read"),
        (f"http://{'a' * 70}.example/s3cr3t", "its URL cannot be read"),
    ],
)
def test_a_url_that_leads_nowhere_is_told_without_it(url: str, said: str) -> None:
    assert str(refusal(url)) == said


def test_a_certificate_that_no_one_vouches_for_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver(tls=tmp_path) as receiver:
        error = refusal(receiver.url)
        assert "TLS certificate" in str(error)
        assert not error.passing
        assert receiver.requests == []
        monkeypatch.setenv("SSL_CERT_FILE", str(receiver.certificate))
        assert post(Request(receiver.url, b"{}"), LIMIT_S) == "HTTP 200"
        assert "TLS certificate" in str(refusal(receiver.url.replace("127.0.0.1", "localhost")))
    assert len(receiver.requests) == 1


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver() as proxy, Receiver() as receiver:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        post(Request(receiver.url, b"{}"), LIMIT_S)
        assert (len(receiver.requests), proxy.requests) == (1, [])
