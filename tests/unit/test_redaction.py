"""What no text that people read may show."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.errors import AccessDenied, AgentError
from s32s_agent.monitoring.last_run import RunError
from s32s_agent.output.logs import clean
from s32s_agent.redaction import REDACTED, hide, redact
from s32s_agent.stores.s3.access import secrets_in
from s32s_agent.stores.s3.profile import checked
from s32s_agent.stores.s3.signing import Credentials
from s32s_agent.text import printable

TOKEN = "IQoJb3JpZ2luX2VjE/EXAMPLE+TOKEN=="


def test_a_session_token_that_an_exception_quotes_is_in_no_log_record_or_terminal() -> None:
    """A header that cannot be written, or a URL that cannot be read, quotes what it was given."""
    checked(Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG", TOKEN), "a test")
    quoted = TOKEN.replace("/", "%2F").replace("+", "%2B").replace("=", "%3D")

    for secret in (TOKEN, "wJalrXUtnFEMI/K7MDENG", quoted):
        text = f"Invalid header value b'{secret}'"
        shown = (
            printable(text),
            clean(None, "", {"error": text})["error"],
            clean(None, "", {"hook": {"output": [text]}})["hook"]["output"][0],
            RunError("web", "key", text, text).error,
            RunError("web", "key", text, text).remedy,
        )
        assert shown == (f"Invalid header value b'{REDACTED}'",) * len(shown)


def test_a_traceback_shows_no_credential() -> None:
    """A bug that raises with the keys among its arguments is logged with its traceback."""
    checked(Credentials("AKIA", "a-secret-of-the-test", ""), "a test")
    trace = "Traceback (most recent call last):\nValueError: a-secret-of-the-test"

    document = clean(None, "", {"event": "run.failed", "exception": trace})

    assert (
        document["exception"] == f"Traceback (most recent call last):\nValueError: {REDACTED}"
    )


@pytest.mark.parametrize("value", [f"{TOKEN}\n", f" {TOKEN}", f"{TOKEN}\r\n"])
def test_a_token_that_ends_in_a_line_break_is_refused_without_being_shown(value: str) -> None:
    """`echo` adds a line break to a secret; the message names the place, and no text shows the value."""
    with pytest.raises(
        AccessDenied, match=r"^the session token in AWS_SESSION_TOKEN holds"
    ) as raised:
        checked(Credentials("AKIA", "secret", value), "AWS_SESSION_TOKEN")

    assert TOKEN not in str(raised.value) + raised.value.remedy
    assert TOKEN not in printable(f"cannot send {value!r}")


def test_keys_that_were_renewed_in_the_middle_of_a_run_are_hidden_beside_the_old_ones() -> (
    None
):
    """An answer that was under way may still be told with the old ones."""
    checked(Credentials("AKIA", "the-first-secret", "the-first-token"), "a test")
    checked(Credentials("AKIA", "the-second-secret", "the-second-token"), "a test")

    text = "the-first-secret the-first-token the-second-secret the-second-token"

    assert printable(text) == " ".join([REDACTED] * 4)


def test_passwords_of_proxies_and_tokens_of_containers_are_secrets() -> None:
    """However the variable spells the proxy; the name of a file is none."""
    found = secrets_in(
        {
            "HTTPS_PROXY": "http://user:p%40ssword@proxy:3128",
            "http_proxy": "user:another-password@proxy:3128",
            "ALL_PROXY": "http://[broken",
            "NO_PROXY": "localhost",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "Bearer abcdef",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": "/var/run/token",
            "AWS_SECRET_ACCESS_KEY": "the-secret",
            "AWS_REGION": "eu-central-1",
        }
    )

    assert found == ["Bearer abcdef", "the-secret", "p%40ssword", "another-password"]
    hide(*found)
    assert redact("no login p@ssword at proxy") == f"no login {REDACTED} at proxy"


def test_a_short_value_hides_no_part_of_ordinary_words() -> None:
    """Test servers have keys such as `any`; every message would be full of holes."""
    hide("any", "", "      a      ")

    assert redact("many an animal") == "many an animal"


@given(st.lists(st.text(min_size=8, max_size=30), max_size=4), st.text(), st.text())
def test_nothing_that_is_hidden_is_ever_shown(
    secrets: list[str], before: str, after: str
) -> None:
    """Whatever stands around it, and whatever part of one is another."""
    lines = [
        secret
        for secret in secrets
        if secret.strip() == secret and len(secret.splitlines()) == 1
    ]
    hide(*lines)

    for secret in lines:
        assert secret not in redact(f"{before}{secret}{after}").replace(REDACTED, "\0")


def test_an_error_keeps_what_it_says_besides() -> None:
    """Only the value goes."""
    hide("the-secret-value")
    error = AgentError("bucket/key: the-secret-value was refused", remedy="check it")

    assert printable(str(error)) == f"bucket/key: {REDACTED} was refused"
