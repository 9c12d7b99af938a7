"""The AWS chain as people have it: whatever is wrong with it is 77 or 78, and never means absence."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.s3_messages import Reply
from support.scripted import ScriptedS3

from s32s_agent.cancellation import CancelToken
from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import AccessDenied, AgentError, ConfigError
from s32s_agent.model import Location
from s32s_agent.stores.s3.access import Resolved
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.source import S3Source
from s32s_agent.stores.s3.timeouts import Timeouts

ENDPOINT = "http://127.0.0.1:9"
SOON = {"Version": 1, "AccessKeyId": "A", "SecretAccessKey": "S", "SessionToken": "T"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without keys, and an environment without any."""
    for name in (
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "AWS_PROFILE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    (tmp_path / ".aws").mkdir()
    return tmp_path


def printing(home: Path, text: str) -> str:
    """Return a `credential_process` that prints a text."""
    program = home / "lender.py"
    program.write_text(f"print({text!r})")
    return f"credential_process = {sys.executable} {program}"


def expiring(when: object) -> str:
    return json.dumps({**SOON, "Expiration": when})


CASES: dict[str, Callable[[Path], str]] = {
    "a program that prints text": lambda home: printing(home, "hello"),
    "a program that prints nothing": lambda home: printing(home, ""),
    "a program that prints a list": lambda home: printing(home, "[1]"),
    "a program without keys": lambda home: printing(home, '{"Version": 1}'),
    "a bad expiration": lambda home: printing(home, expiring("tomorrow")),
    "an expiration that is no text": lambda home: printing(home, expiring([])),
    "an expiration in the past": lambda home: printing(home, expiring("2020-01-01T00:00:00Z")),
    "a program that is missing": lambda home: f"credential_process = {home}/missing",
    "a program that fails": lambda _: "credential_process = /bin/false",
    "a source profile that is missing": lambda _: "role_arn = arn:aws:iam::123456789012:role/r\nsource_profile = none",
    "a circle of profiles": lambda _: "role_arn = arn:aws:iam::123456789012:role/r\nsource_profile = other\n"
    "[profile other]\nrole_arn = arn:aws:iam::123456789012:role/r\nsource_profile = default",
    "a token file that is missing": lambda home: f"role_arn = arn:aws:iam::123456789012:role/r\n"
    f"web_identity_token_file = {home}/missing",
    "a single sign-on session that is missing": lambda _: "sso_session = none\nsso_account_id = 1\nsso_role_name = r",
    "a single sign-on without a login": lambda _: "sso_start_url = https://x.example\nsso_region = eu-west-1\n"
    "sso_account_id = 123456789012\nsso_role_name = r",
    "a second factor": lambda _: "role_arn = arn:aws:iam::123456789012:role/r\nsource_profile = keys\n"
    "mfa_serial = arn:aws:iam::123456789012:mfa/m\n"
    "[profile keys]\naws_access_key_id = A\naws_secret_access_key = S",
    "a login session": lambda _: "login_session = arn:aws:sts::123456789012:assumed-role/r/s",
    "a one-line s3": lambda _: "s3 = virtual\naws_access_key_id = A\naws_secret_access_key = S",
    "a key with a blank": lambda _: "aws_access_key_id = A B\naws_secret_access_key = S",
    "nothing": lambda _: "region = eu-west-1",
}  # fmt: skip


def broken(home: Path, name: str) -> AgentError:
    (home / ".aws" / "config").write_text(f"[default]\n{CASES[name](home)}\n")
    with pytest.raises((AccessDenied, ConfigError)) as caught:
        Resolved(S3Settings(endpoint_url=ENDPOINT), dict_of(home), CancelToken(), 20)
    return caught.value


def dict_of(home: Path) -> dict[str, str]:
    return {"HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_with_credentials_is_77_or_78(
    home: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a bug, never the network, and never a prompt that waits for an answer."""
    monkeypatch.setattr("getpass.getpass", lambda *_: pytest.fail("a prompt"))

    problem = broken(home, name)

    assert problem.exit_status in (77, 78)
    assert problem.remedy or "set s3.profile" in str(problem)
    assert "\n" not in str(problem)


class _Expired:
    """Credentials that a session has given, and cannot renew."""

    method = "custom-process"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def get_frozen_credentials(self) -> None:
        raise self.error


ERRORS = [
    FileNotFoundError(2, "No such file or directory", "/var/run/secrets/token"),
    PermissionError(13, "Permission denied"),
    ConnectionRefusedError(111, "Connection refused"),
    TimeoutError("timed out"),
    KeyError("AccessKeyId"),
    ValueError("not JSON"),
    RuntimeError("boom"),
    RecursionError("too deep"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_delete_is_not_confirmed_by_a_token_file_that_is_gone(
    home: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """The file of a token disappears while keys are renewed: that no object is there was never said by S3."""
    (home / ".aws" / "config").write_text(
        f"[default]\n{printing(home, expiring('2099-01-01T00:00:00Z'))}\n"
    )
    connection = Connection(S3Settings(endpoint_url=ENDPOINT), timeouts=Timeouts(attempts=1))
    session = connection.access._session
    assert session is not None
    monkeypatch.setattr(session, "get_credentials", lambda: _Expired(error))
    source = S3Source(connection, Location("bucket", "data"))

    with pytest.raises(AccessDenied):
        source.confirm_absent("key")


def test_no_server_means_no_absence(home: Path) -> None:
    (home / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = S\n"
    )
    connection = Connection(S3Settings(endpoint_url=ENDPOINT), timeouts=Timeouts(attempts=1))

    with pytest.raises(AgentError) as caught:
        S3Source(connection, Location("bucket")).confirm_absent("key")
    assert caught.value.exit_status == 69


def test_a_public_bucket_needs_no_account(home: Path) -> None:
    """No key is looked for, none is sent although there are some, and boto3 is not asked."""
    (home / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = A\naws_secret_access_key = S\n"
    )
    with ScriptedS3() as server:
        server.put("data/a", b"alpha")
        settings = S3Settings(endpoint_url=server.endpoint_url, anonymous=True)
        connection = Connection(settings)
        source = S3Source(connection, Location(server.bucket, "data"))
        keys = [each.key for each in source.scan()]
        url = connection.access.boto3("").meta.endpoint_url
        authorized = [each for each in server.requests if "authorization" in each.headers]

    assert (keys, authorized, url) == (["a"], [], server.endpoint_url)
    assert connection.access._session is None


def test_an_anonymous_agent_asks_no_profile(home: Path) -> None:
    """A profile that needs boto3 is read for its region, and its program is not run."""
    program = (
        printing(home, "") + "\nregion = eu-west-1\ns3 =\n  use_dualstack_endpoint = true"
    )
    (home / ".aws" / "config").write_text(f"[default]\n{program}\n")
    (home / "lender.py").write_text(f"open({str(home / 'ran')!r}, 'w')")
    found = Resolved(S3Settings(anonymous=True), dict_of(home), CancelToken(), 20)

    address = found.address("bucket")
    assert (found.credentials(), found.region) == (None, "eu-west-1")
    assert "dualstack.eu-west-1" in address.url
    assert not (home / "ran").exists()


def test_an_identity_that_the_issuer_refuses_is_77(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A role whose trust does not fit the token of a Kubernetes service account is no fault of the network."""
    (home / "token").write_text("token")
    (home / ".aws" / "config").write_text(
        f"[default]\nregion = eu-west-1\nrole_arn = arn:aws:iam::123456789012:role/r\n"
        f"web_identity_token_file = {home}/token\n"
    )
    error = (
        b"<Error><Code>InvalidIdentityToken</Code><Message>No provider found</Message></Error>"
    )
    body = b"<ErrorResponse>" + error + b"</ErrorResponse>"
    with ScriptedS3() as server:
        refusal = Reply(400, body, {"content-type": "text/xml"})
        server.on(lambda _: True, refusal)
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.endpoint_url)
        with pytest.raises(AccessDenied) as caught:
            Resolved(S3Settings(endpoint_url=ENDPOINT), dict_of(home), CancelToken(), 20)

    assert caught.value.exit_status == 77
    assert "InvalidIdentityToken" in str(caught.value)


@pytest.mark.parametrize(
    ("style", "config", "expected"),
    [
        (None, "", "http://127.0.0.1:9/bucket"),
        (None, "s3 =\n  addressing_style = virtual\n", "http://bucket.s3.example:9"),
        ("auto", "s3 =\n  addressing_style = virtual\n", "http://s3.example:9/bucket"),
        ("path", "s3 =\n  addressing_style = virtual\n", "http://s3.example:9/bucket"),
        ("virtual", "", "http://bucket.s3.example:9"),
    ],
)
def test_the_addressing_style_is_that_of_the_aws_config_unless_the_agent_s_says_one(
    home: Path, style: str | None, config: str, expected: str
) -> None:
    """`auto` of the agent's config is a choice as well."""
    keys = "aws_access_key_id = A\naws_secret_access_key = S\n"
    (home / ".aws" / "config").write_text(f"[default]\n{keys}{config}")
    endpoint = "http://127.0.0.1:9" if "127" in expected else "http://s3.example:9"
    settings = S3Settings(endpoint_url=endpoint, allow_http=True, addressing_style=style)

    assert (
        Resolved(settings, dict_of(home), CancelToken(), 20).address("bucket").url == expected
    )
