"""Read the AWS settings that are plain, without boto3: static keys, a region, an endpoint, certificates.

boto3 is the authority on the AWS chain, and its session costs a third of a run in which nothing changed. So a profile
is read here only where every setting in it is one that this module knows, and the keys stand in the environment or in a
shared file; anything else is boto3's to resolve (`None`). What is read here means the same as there: the tests hold
both side by side.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from s32s_agent.errors import AccessDenied, ConfigError
from s32s_agent.redaction import hide
from s32s_agent.stores.s3.signing import Credentials
from s32s_agent.text import printable

_ENVIRONMENT = re.compile(
    r"AWS_(?:ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN|SECURITY_TOKEN|(?:DEFAULT_)?(?:PROFILE|REGION)|CONFIG_FILE"
    r"|SHARED_CREDENTIALS_FILE|CA_BUNDLE|EXECUTION_ENV|PAGER|RETRY_MODE|MAX_ATTEMPTS|ENDPOINT_URL(?:_S3)?"
    r"|EC2_METADATA_\w+|CONTAINER_\w+|ROLE_SESSION_NAME|METADATA_SERVICE_\w+)"
)
"""Variables that mean nothing beside static keys, or are read here."""
_SETTING = re.compile(
    r"aws_(?:access_key_id|secret_access_key|session_token)|region|output|cli_\w+|ca_bundle|retry_mode|max_attempts"
    r"|endpoint_url|s3"
)
_ADDRESS_ENVIRONMENT = re.compile(
    rf"{_ENVIRONMENT.pattern}|AWS_(?:ROLE_\w+|WEB_\w+|CONTAINER_\w+|EC2_\w+)"
)
_ADDRESS_SETTING = re.compile(
    rf"{_SETTING.pattern}|credential_\w+|sso_\w+|role_\w+|source_profile|external_id|mfa_serial|duration_seconds"
    r"|web_identity_token_file|login_session"
)
"""The same, and what concerns credentials only."""
_STYLES = ("auto", "path", "virtual")
_PROFILE = re.compile(r"profile\s+(?P<quote>[\"']?)(?P<name>.+)(?P=quote)")
_KEY = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class ChainSettings:
    """What the environment and the shared files say beside the keys, whoever read them."""

    region: str | None = None
    endpoint_url: str | None = None
    ca_bundle: str | None = None
    addressing_style: str | None = None

    @classmethod
    def of(
        cls,
        environment: Mapping[str, str],
        scoped: Mapping[str, object],
        ca_bundle: str | None,
        style: str,
    ) -> ChainSettings:
        """Return the settings; a variable of the environment goes before the profile.

        Args:
            environment: of the process.
            scoped: the settings of the profile.
            ca_bundle: of the profile, or of the environment.
            style: of addressing, "" without one.
        """

        def first(*names: str, setting: str) -> str | None:
            given = next(filter(None, map(environment.get, names)), scoped.get(setting))
            return str(given) if given else None

        return cls(
            first("AWS_REGION", "AWS_DEFAULT_REGION", setting="region"),
            first("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", setting="endpoint_url"),
            ca_bundle,
            style or None,
        )


@dataclass(frozen=True, slots=True)
class Profile:
    """What the environment and the shared files say, where all of it is plain."""

    credentials: Credentials | None
    """None where none are wanted."""
    source: str
    """Where the keys are: for people, without a value."""
    settings: ChainSettings


def checked(credentials: Credentials, source: str) -> Credentials:
    """Return credentials that can be a part of a header; from now on they are hidden from every text.

    Raises:
        AccessDenied: one of them holds a space, a line end or another character that no key has; the message names
            where it stands, never the value.
    """
    hide(credentials.secret_key, credentials.token)
    for name in ("access_key", "secret_key", "token"):
        value = getattr(credentials, name)
        if value and not _KEY.fullmatch(value):
            what = name.replace("_", " ").replace("token", "session token")
            message = f"the {what} in {source} holds a space, a line end or another character that no key has"
            raise AccessDenied(
                message,
                remedy="write it again, without a line end (`echo` adds one, `printf %s` does not)",
            )
    return credentials


def plain_profile(
    name: str | None,
    environment: Mapping[str, str],
    credentials_file: Path | None = None,
    *,
    anonymous: bool = False,
) -> Profile | None:
    """Read the settings of a profile; None where they are not plain, or hold no keys.

    Args:
        name: of the profile, from the config of the agent; the environment's where it is None.
        environment: of the process.
        credentials_file: delivered by systemd, for one; else what the environment names, or the usual place.
        anonymous: no keys are wanted.

    Raises:
        AccessDenied: keys that cannot be used.
    """
    variables = (each for each in environment if each.startswith("AWS_"))
    if any(not _ENVIRONMENT.fullmatch(each) for each in variables):
        return None
    chosen = name or environment.get("AWS_DEFAULT_PROFILE") or environment.get("AWS_PROFILE")
    shared_file, config_file = _files(environment, credentials_file)
    shared = _section(shared_file, chosen or "default", is_config=False)
    config = _section(config_file, chosen or "default", is_config=True)
    if shared is None or config is None or (chosen and not shared and not config):
        return None  # also where there is no such profile: boto3 says so
    scoped = {**config, **shared}
    if any(not _SETTING.fullmatch(each) for each in scoped):
        return None
    style = _style(scoped.pop("s3", ""))
    if style is None:
        return None
    # A profile that the agent's own config names goes before the variables, as in boto3.
    found = None if name or anonymous else _keys_in_environment(environment)
    for path, section in () if anonymous else ((shared_file, shared), (config_file, config)):
        found = found or _keys_in(section, f'profile "{chosen or "default"}" of {path}')
    if found is None and not anonymous:
        return None
    credentials, source = found or (None, "")
    bundle = environment.get("AWS_CA_BUNDLE") or scoped.get("ca_bundle")
    return Profile(
        checked(credentials, source) if credentials else None,
        source,
        ChainSettings.of(environment, scoped, bundle, style),
    )


def addresses_are_plain(
    environment: Mapping[str, str], scoped: Mapping[str, object]
) -> tuple[bool, str]:
    """Return whether addresses can be resolved here, though credentials are boto3's; and the addressing style.

    Args:
        environment: of the process.
        scoped: the settings of the profile, as boto3 read them.

    Raises:
        ConfigError: the `s3` section of the profile is not a section.
    """
    nested = scoped.get("s3", {})
    if not isinstance(nested, Mapping):
        problem = f'"s3 = {printable(str(nested))[:80]}" is not a section'
        remedy = "write `s3 =` on a line of its own, and each setting below it, indented"
        raise ConfigError("the AWS settings", [problem], remedy=remedy)
    variables = (each for each in environment if each.startswith("AWS_"))
    plain = (
        all(_ADDRESS_ENVIRONMENT.fullmatch(each) for each in variables)
        and all(_ADDRESS_SETTING.fullmatch(each) for each in scoped)
        and set(nested) <= {"addressing_style"}
    )
    return plain, str(nested.get("addressing_style", ""))


def _files(environment: Mapping[str, str], delivered: Path | None) -> tuple[Path, Path]:
    """Return the credentials file and the config file."""
    home = Path(environment.get("HOME") or Path.home())  # as `~` is resolved
    shared = environment.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws" / "credentials"
    config = environment.get("AWS_CONFIG_FILE") or home / ".aws" / "config"
    return delivered or Path(shared).expanduser(), Path(config).expanduser()


def _section(path: Path, profile: str, *, is_config: bool) -> dict[str, str] | None:
    """Read what a file says of a profile, {} where it says nothing; None where boto3 must read it."""
    parser = configparser.RawConfigParser(default_section="")
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, configparser.Error):
        return None
    found: dict[str, str] = {}
    for section in parser.sections():
        name = section
        if is_config and section != "default":
            match = _PROFILE.fullmatch(section)
            if match is None:
                continue
            name = match["name"].strip()
        if name == profile:
            found |= dict(parser.items(section))
    return found


def _style(nested: str) -> str | None:
    """Return the addressing style of an `s3 =` section, "" without one; None where the section says more."""
    lines = [line.partition("=") for line in nested.splitlines() if line.strip()]
    values = {name.strip(): value.strip() for name, _, value in lines}
    style = values.pop("addressing_style", "")
    return None if values or style not in ("", *_STYLES) else style


def _keys_in_environment(environment: Mapping[str, str]) -> tuple[Credentials, str] | None:
    access, secret = (
        environment.get("AWS_ACCESS_KEY_ID"),
        environment.get("AWS_SECRET_ACCESS_KEY"),
    )
    if not access or not secret:
        return None
    token = environment.get("AWS_SESSION_TOKEN") or environment.get("AWS_SECURITY_TOKEN") or ""
    return Credentials(access, secret, token), "the AWS_* variables"


def _keys_in(section: Mapping[str, str], source: str) -> tuple[Credentials, str] | None:
    access, secret = section.get("aws_access_key_id"), section.get("aws_secret_access_key")
    if not access or not secret:
        return None
    return Credentials(access, secret, section.get("aws_session_token", "")), source
