"""Keys that systemd delivers are found without any setting."""

from __future__ import annotations

from pathlib import Path

import pytest

from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import AccessDenied, ConfigError
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.credentials import delivered_file, new_session

KEYS = "[{profile}]\naws_access_key_id = {name}\naws_secret_access_key = secret\n"


@pytest.fixture
def delivered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a unit's credentials, in an environment that has no other keys."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path


def write(directory: Path, name: str, profile: str = "default") -> None:
    (directory / name).write_text(KEYS.format(name=name, profile=profile), encoding="utf-8")


def key_of(environ: dict[str, str]) -> str | None:
    credentials = new_session(environ).get_credentials()
    return credentials.access_key if credentials else None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["s32s-agent.aws"], "s32s-agent.aws"),
        (["s32s-agent.web.aws"], "s32s-agent.web.aws"),
        (["s32s-agent.aws", "s32s-agent.web.aws"], "s32s-agent.web.aws"),
        (["s32s-agent.web-1.eu.aws"], "s32s-agent.web-1.eu.aws"),
        (["other.aws", "s32s-agent.awsome"], None),
        ([], None),
    ],
)
def test_the_delivered_keys_are_used(
    delivered: Path, names: list[str], expected: str | None
) -> None:
    """The unit's own file is taken, an instance's before the general one, and no other file."""
    for name in names:
        write(delivered, name)

    assert key_of({"CREDENTIALS_DIRECTORY": str(delivered)}) == expected


def test_nothing_is_looked_for_outside_a_unit(delivered: Path) -> None:
    """Without the variable the usual chain is all there is."""
    write(delivered, "s32s-agent.aws")

    assert delivered_file({}) is None


def test_what_the_operator_names_goes_first(delivered: Path) -> None:
    """A file that was named on purpose is not overruled."""
    write(delivered, "s32s-agent.aws")
    named = {"AWS_SHARED_CREDENTIALS_FILE": "/elsewhere"}

    assert delivered_file({"CREDENTIALS_DIRECTORY": str(delivered), **named}) is None


def test_keys_of_several_instances_are_not_guessed_between(delivered: Path) -> None:
    """Which of two servers' keys is meant, nobody can say; both files are named."""
    write(delivered, "s32s-agent.a.aws")
    write(delivered, "s32s-agent.b.aws")

    with pytest.raises(ConfigError, match=r"s32s-agent\.a\.aws, s32s-agent\.b\.aws"):
        delivered_file({"CREDENTIALS_DIRECTORY": str(delivered)})


def test_a_profile_of_the_delivered_file_is_found(delivered: Path) -> None:
    """`s3.profile` names a section of the delivered file."""
    write(delivered, "s32s-agent.aws", profile="mirror")
    connection = Connection(S3Settings(profile="mirror", endpoint_url="http://127.0.0.1:9"))

    found = connection.access.credentials()
    assert found is not None
    assert found.access_key == "s32s-agent.aws"


def test_a_delivered_file_without_keys_is_a_clear_error(delivered: Path) -> None:
    """An empty file means no credentials, and a torn one is a mistake of the config."""
    (delivered / "s32s-agent.aws").write_text("")
    with pytest.raises(AccessDenied):
        Connection(S3Settings(endpoint_url="http://127.0.0.1:9"))
    (delivered / "s32s-agent.aws").write_text("aws_access_key_id = x\n")

    with pytest.raises(ConfigError, match=r"s32s-agent\.aws"):
        Connection(S3Settings(endpoint_url="http://127.0.0.1:9"))
