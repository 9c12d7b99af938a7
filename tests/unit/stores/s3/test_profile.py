"""AWS settings that are read without boto3 mean what they mean to boto3."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import botocore.session
import pytest

from s32s_agent.errors import AccessDenied
from s32s_agent.stores.s3.profile import Profile, plain_profile

KEYS = "aws_access_key_id = AKID\naws_secret_access_key = secret\n"


class Case(NamedTuple):
    name: str
    config: str = ""
    shared: str = ""
    variables: Mapping[str, str] = {}
    profile: str | None = None


VARIABLES = {"AWS_ACCESS_KEY_ID": "FROM_ENV", "AWS_SECRET_ACCESS_KEY": "env-secret"}
PLAIN = [
    Case("variables", variables=VARIABLES),
    Case("variables with a token", variables={**VARIABLES, "AWS_SESSION_TOKEN": "token"}),
    Case("shared file", shared=f"[default]\n{KEYS}"),
    Case("config file", config=f"[default]\n{KEYS}region = eu-west-1\n"),
    Case("variables go before files", shared=f"[default]\n{KEYS}", variables=VARIABLES),
    Case(
        "a profile of the environment, after its keys",
        shared=f"[other]\n{KEYS}",
        variables={**VARIABLES, "AWS_PROFILE": "other"},
    ),
    Case("a named profile goes before variables", f"[profile p]\n{KEYS}", "", VARIABLES, "p"),
    Case("a quoted profile", config=f'[profile "p q"]\n{KEYS}region = x\n', profile="p q"),
    Case("the shared file goes before the config file", f"[default]\nregion = a\n{KEYS}",
         "[default]\nregion = b\naws_access_key_id = B\naws_secret_access_key = C\n"),
    Case("two profile variables", shared=f"[a]\n{KEYS}[b]\naws_access_key_id = B\naws_secret_access_key = C\n",
         variables={"AWS_PROFILE": "a", "AWS_DEFAULT_PROFILE": "b"}),
    Case("a bundle", config=f"[default]\n{KEYS}ca_bundle = /etc/ca.pem\n"),
    Case("a style", config=f"[default]\n{KEYS}s3 =\n  addressing_style = virtual\n"),
]  # fmt: skip
LEFT_TO_BOTO3 = [
    Case("nothing"),
    Case("a role", f"[default]\n{KEYS}role_arn = arn:aws:iam::1:role/x\nsource_profile = a\n"),
    Case("a program", "[default]\ncredential_process = /bin/false\n"),
    Case("single sign-on", f"[default]\nsso_session = x\n{KEYS}"),
    Case("a services section", f"[default]\n{KEYS}services = x\n[services x]\ns3 =\n  endpoint_url = http://h\n"),
    Case("another variable", variables={**VARIABLES, "AWS_USE_FIPS_ENDPOINT": "true"}),
    Case("acceleration", f"[default]\n{KEYS}s3 =\n  use_accelerate_endpoint = true\n"),
    Case("a one-line s3", f"[default]\n{KEYS}s3 = virtual\n"),
    Case("no such profile", f"[default]\n{KEYS}", profile="missing"),
    Case("a file that is not of its format", "no section\n", f"[default]\n{KEYS}"),
    Case("half of the keys", shared="[default]\naws_access_key_id = A\n"),
]  # fmt: skip


def read(case: Case, home: Path) -> Profile | None:
    (home / ".aws").mkdir()
    (home / ".aws" / "config").write_text(case.config, encoding="utf-8")
    (home / ".aws" / "credentials").write_text(case.shared, encoding="utf-8")
    return plain_profile(case.profile, {"HOME": str(home), **case.variables})


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_plain_settings_mean_what_they_mean_to_boto3(case: Case, tmp_path: Path) -> None:
    ours = read(case, tmp_path)

    with patch.dict("os.environ", {"HOME": str(tmp_path), **case.variables}, clear=True):
        theirs = botocore.session.Session(profile=case.profile)
        keys = theirs.get_credentials()
        style = (theirs.get_config_variable("s3") or {}).get("addressing_style")
        region = theirs.get_config_variable("region")
        bundle = theirs.get_config_variable("ca_bundle")
    assert ours is not None
    assert keys is not None
    ours_keys = ours.credentials
    assert ours_keys is not None
    assert (ours_keys.access_key, ours_keys.secret_key, ours_keys.token or None) == (
        keys.access_key,
        keys.secret_key,
        keys.token,
    )
    assert (ours.settings.region, ours.settings.ca_bundle, ours.settings.addressing_style) == (
        region,
        bundle,
        style,
    )


@pytest.mark.parametrize("case", LEFT_TO_BOTO3, ids=lambda case: case.name)
def test_whatever_is_not_plain_is_left_to_boto3(case: Case, tmp_path: Path) -> None:
    assert read(case, tmp_path) is None


def test_aws_region_is_honoured(tmp_path: Path) -> None:
    found = read(Case("", variables={**VARIABLES, "AWS_REGION": "eu-north-1"}), tmp_path)

    assert found is not None
    assert found.settings.region == "eu-north-1"


@pytest.mark.parametrize("variable", ["AWS_SESSION_TOKEN", "AWS_SECRET_ACCESS_KEY"])
@pytest.mark.parametrize("value", ["s3cr3t\n", "s3 cr3t", "s3cr3t\x00", "s3cr3té"])
def test_a_token_with_a_line_end_never_reaches_a_log(
    variable: str, value: str, tmp_path: Path
) -> None:
    case = Case("", variables={**VARIABLES, variable: value})

    with pytest.raises(AccessDenied) as caught:
        read(case, tmp_path)

    assert "s3" not in str(caught.value)
    assert "AWS_* variables" in str(caught.value)
