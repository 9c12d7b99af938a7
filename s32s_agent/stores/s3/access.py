"""Where S3 is, who asks, and how it is reached: resolved once for a run, from the agent's config and the AWS chain.

The config of the agent wins where it says something. What is left out comes from the environment and the shared files,
read here where all of it is plain, and resolved by boto3 where it is not. What goes wrong while credentials are found
or renewed is `AccessDenied` or `ConfigError`, whatever exception it was: never an answer about an object.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from s32s_agent.cancellation import CancelToken
from s32s_agent.config.locations import normal_endpoint
from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import AccessDenied, AgentError, ConfigError, StoreUnavailable
from s32s_agent.redaction import hide
from s32s_agent.stores.s3.addresses import (
    AWS_HOSTS,
    GLOBAL_REGION,
    Address,
    aws_endpoint,
    boto3_address,
    plain_address,
)
from s32s_agent.stores.s3.credentials import delivered_file, new_session
from s32s_agent.stores.s3.profile import (
    ChainSettings,
    addresses_are_plain,
    checked,
    plain_profile,
)
from s32s_agent.stores.s3.signing import Credentials
from s32s_agent.stores.s3.transport import Transport
from s32s_agent.text import printable
from s32s_agent.workers import call_with_timeout

if TYPE_CHECKING:
    from botocore.session import Session
    from mypy_boto3_s3 import S3Client as Boto3Client

NO_CREDENTIALS = (
    "no credentials were found: set s3.profile, the AWS_* variables, or an instance role"
)
_CHECK_FILES = (
    "correct ~/.aws/config and ~/.aws/credentials, or the files that AWS_* variables name"
)
_CHECK_PROFILE = "check the profile in ~/.aws/config, and the program or service that it asks"
_SECRET_VARIABLE = re.compile(r"AWS_\w*(?:SECRET|TOKEN)\w*")
_CONFIG_ERRORS = frozenset(
    {"ConfigParseError", "ConfigNotFound", "ProfileNotFound", "InvalidRegionError"}
)
_SLOW = "check what the profile asks for credentials: its credential_process, or the service that issues them"


class Resolved:
    """Where S3 is and who asks, for one run; thread-safe.

    Args:
        settings: the `s3` section of the config.
        environment: of the process.
        cancel_token: ends the wait for credentials.
        seconds: how long credentials are waited for.

    Raises:
        AccessDenied: there are no credentials, or they cannot be used.
        ConfigError: the profile or the endpoint cannot be used.
        Cancelled: the run is to end.
    """

    def __init__(
        self,
        settings: S3Settings,
        environment: Mapping[str, str],
        cancel_token: CancelToken,
        seconds: float = 600.0,
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._cancel_token = cancel_token
        self._seconds = seconds
        self._making = threading.Lock()
        self._session: Session | None = None
        self._clients: dict[str, Boto3Client] = {}
        self._addresses: dict[tuple[str, str], Address] = {}
        hide(*secrets_in(environment))
        delivered = delivered_file(environment)
        self._profile = plain_profile(
            settings.profile, environment, delivered, anonymous=settings.anonymous
        )
        self._has_plain_addresses = True
        self._chain = self._profile.settings if self._profile else self._ask_session()
        self._region = settings.region or self._chain.region
        self.region = self._region or GLOBAL_REGION
        self.endpoint_url = settings.endpoint_url or self._endpoint_of_chain()
        """Of a compatible store, wherever it was set; None is AWS."""
        self.source = self._find_credentials()
        """Where the credentials come from, for people."""
        self.endpoint = self.endpoint_url or aws_endpoint(self.region)
        self.custom_endpoint = self._check_endpoint()
        """Whether it is none of AWS."""

    @property
    def follows_regions(self) -> bool:
        """Whether a bucket may be in another region, as at AWS."""
        return not self.custom_endpoint

    # --- who ---

    def credentials(self) -> Credentials | None:
        """Return the credentials of this moment; None asks anonymously.

        Raises:
            AccessDenied: there are none, or they could not be renewed, for whatever reason.
        """
        if self._settings.anonymous:
            return None
        if self._profile is not None:
            return self._profile.credentials
        return self._renewed()

    def _renewed(self) -> Credentials:
        assert self._session is not None  # noqa: S101 (for the type checker)
        try:
            found = self._session.get_credentials()
            frozen = found.get_frozen_credentials() if found is not None else None
        except Exception as error:
            raise self._unusable(error) from error
        if frozen is None or not frozen.access_key or not frozen.secret_key:
            raise AccessDenied(NO_CREDENTIALS)
        keys = Credentials(frozen.access_key, frozen.secret_key, frozen.token or "")
        return checked(keys, f"what {self._method()} returned")

    def _find_credentials(self) -> str:
        if self._settings.anonymous:
            return "none, as s3.anonymous says"
        if self._profile is not None:
            return self._profile.source
        try:
            call_with_timeout(self._renewed, self._seconds, self._cancel_token)
        except TimeoutError as error:
            message = f"no credentials within {self._seconds:g} s"
            raise StoreUnavailable(message, remedy=_SLOW) from error
        return self._method()

    def _method(self) -> str:
        """Return the name of the provider that gave the credentials."""
        assert self._session is not None  # noqa: S101 (for the type checker)
        found = self._session.get_credentials()
        method = getattr(found, "method", "") or "the AWS chain"
        profile = self._session.get_config_variable("profile")
        return f'{method} (profile "{printable(str(profile))}")' if profile else str(method)

    def _unusable(self, error: Exception) -> AgentError:
        """Return the error that says what is wrong with the credentials, never with a value of theirs."""
        if isinstance(error, AgentError):
            return error
        profile = self._settings.profile or self._environment.get("AWS_PROFILE") or "default"
        text = str(error).splitlines()
        detail = printable(text[0])[:300] if text else type(error).__name__
        if type(error).__name__ in _CONFIG_ERRORS:
            return ConfigError("the AWS settings", [detail], remedy=_CHECK_FILES)
        message = f'the credentials of profile "{printable(profile)}": {detail}'
        return AccessDenied(message, remedy=_CHECK_PROFILE)

    # --- where ---

    def address(self, bucket: str, region: str = "") -> Address:
        """Return where a bucket is; `region` is what the store has said about it."""
        known = self._addresses.get((bucket, region))
        if known is None:
            known = self._address(bucket, region)
            self._addresses[bucket, region] = known
        return known

    def _address(self, bucket: str, region: str) -> Address:
        plain = None
        if self._has_plain_addresses:
            style = self._settings.addressing_style or self._chain.addressing_style or "auto"
            plain = plain_address(bucket, self.endpoint_url, region or self.region, style)
        if plain is not None:
            return plain
        try:
            return boto3_address(self.boto3(region), bucket)
        except Exception as error:
            problem = printable(str(error).splitlines()[0])[:300]
            raise ConfigError("s3", [f'"{bucket}": {problem}']) from error

    def _ask_session(self) -> ChainSettings:
        """Return what boto3 read of the environment and the shared files."""
        try:
            self._session = session = self._new_session()
            scoped = session.get_scoped_config()
            region, bundle = map(session.get_config_variable, ("region", "ca_bundle"))
        except Exception as error:
            raise self._unusable(error) from error
        self._has_plain_addresses, style = addresses_are_plain(self._environment, scoped)
        return ChainSettings.of(self._environment, {**scoped, "region": region}, bundle, style)

    def _endpoint_of_chain(self) -> str | None:
        if self._has_plain_addresses:
            return self._chain.endpoint_url
        try:
            url = str(self.boto3("").meta.endpoint_url)
        except Exception as error:
            raise self._unusable(error) from error
        host = urlsplit(url).hostname or ""
        return None if host.endswith(AWS_HOSTS) else url

    def _check_endpoint(self) -> bool:
        """Return whether the endpoint is not one of AWS, wherever it was set.

        Raises:
            ConfigError: it is plain http to another machine, and that was not allowed.
        """
        if (urlsplit(self.endpoint).hostname or "").endswith(AWS_HOSTS):
            return False
        try:
            normal_endpoint(self.endpoint, allow_http=self._settings.allow_http)
        except ValueError as error:
            raise ConfigError("s3.endpoint_url", [str(error)]) from error
        return True

    # --- boto3 ---

    def boto3(self, region: str) -> Boto3Client:
        """Return a client of boto3, for rare control calls and for addresses that only it knows."""
        with self._making:
            if region not in self._clients:
                self._clients[region] = self._new_client(region)
            return self._clients[region]

    def _new_session(self) -> Session:
        session = new_session(self._environment)
        for name in ("profile", "region"):
            if value := getattr(self._settings, name):
                session.set_config_variable(name, value)
        _never_prompt(session)
        return session

    def _new_client(self, region: str) -> Boto3Client:
        import boto3  # noqa: PLC0415 (slow, and seldom needed)
        from botocore import UNSIGNED  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        session = self._session or self._new_session()
        style, anonymous = self._settings.addressing_style, self._settings.anonymous
        s3 = {} if style is None else {"addressing_style": style}
        name = region or self._region
        return boto3.Session(botocore_session=session).client(
            "s3",
            region_name=name or GLOBAL_REGION,
            endpoint_url=self._settings.endpoint_url,
            verify=self._settings.ca_bundle,
            config=Config(
                s3=s3,  # type: ignore[arg-type]
                user_agent_extra="s32s-agent",
                signature_version=UNSIGNED if anonymous else None,
            ),
        )

    # --- how ---

    def transport(self, connect_seconds: float, read_seconds: float) -> Transport:
        """Return what all requests have in common: the proxy, the certificates, the timeouts."""
        bundle, directory = self._bundle(), None
        proxy, direct = proxy_for(self.endpoint)
        if bundle is None and not self._is_plain_http(proxy):
            directory = system_certificates()
            bundle = None if directory else boto3_certificates()
        return Transport(
            ca_file=bundle,
            ca_directory=directory,
            proxy=proxy,
            no_proxy=direct,
            connect_seconds=connect_seconds,
            read_seconds=read_seconds,
        )

    def _is_plain_http(self, proxy: str) -> bool:
        """Return whether no certificate has to be checked: store and proxy are reached by plain http."""
        return self.endpoint.startswith("http://") and not proxy.startswith("https:")

    def _bundle(self) -> str | None:
        """Return the file of the authorities that the operator trusts; None where nothing names one."""
        name, path = "s3.ca_bundle", self._settings.ca_bundle
        if not path:
            variables = (
                "AWS_CA_BUNDLE",
                "REQUESTS_CA_BUNDLE",
                "CURL_CA_BUNDLE",
                "SSL_CERT_FILE",
            )
            name = next(
                (each for each in variables if self._environment.get(each)), "ca_bundle"
            )
            path = self._environment.get(name) or self._chain.ca_bundle
        if path and not os.access(path, os.R_OK):
            raise ConfigError(name, [f'"{printable(path)}" cannot be read'])
        return path or None


def secrets_in(environment: Mapping[str, str]) -> list[str]:
    """Return the values of an environment that no text may show: of the AWS chain, and the logins of proxies."""
    named = (
        value
        for name, value in environment.items()
        if _SECRET_VARIABLE.fullmatch(name) and not name.endswith(("_FILE", "_URI"))
    )
    proxies = (value for name, value in environment.items() if name.lower().endswith("_proxy"))
    # `user:password@host`, with a scheme or without; only what stands before the last @ can hold the password.
    logins = (value.rpartition("@")[0].rpartition("/")[2] for value in proxies if "@" in value)
    return [*named, *(login.partition(":")[2] for login in logins)]


def _never_prompt(session: Session) -> None:
    """Have a profile that wants a code of a second factor fail, instead of waiting at a prompt."""
    resolver = session.get_component("credential_provider")
    for provider in resolver.providers:
        if hasattr(provider, "_prompter"):
            provider._prompter = _refuse_prompt  # noqa: SLF001 (botocore has no other way)


def _refuse_prompt(_: str) -> str:
    remedy = "use a profile without mfa_serial: an unattended agent cannot type a code"
    raise AccessDenied(
        "the profile wants a code of a second factor (mfa_serial)", remedy=remedy
    )


def proxy_for(url: str) -> tuple[str, str]:
    """Return the proxy for a URL, "" without one, and what is reached directly; from the environment or the system."""
    variables = {name.lower() for name in os.environ if name.lower().endswith("_proxy")}
    if sys.platform == "linux" and variables <= {"no_proxy"}:
        return "", ""
    from urllib.request import getproxies  # noqa: PLC0415 (slow, and only here)

    found = getproxies()
    proxy = found.get(urlsplit(url).scheme) or found.get("all") or ""
    return proxy, found.get("no", "")


def system_certificates() -> str | None:
    """Return the directory of the system's certificates, named by their hashes; None without one."""
    from ssl import get_default_verify_paths  # noqa: PLC0415 (slow, and seldom needed)

    paths = get_default_verify_paths()
    for each in (paths.capath, "/etc/ssl/certs"):
        if each and any(Path(each).glob("*.[0-9]")):
            return each
    return None


def boto3_certificates() -> str | None:
    """Return the file of certificates that comes with boto3; it is found without importing anything."""
    spec = find_spec("botocore")
    path = Path(spec.origin).with_name("cacert.pem") if spec and spec.origin else None
    return str(path) if path and path.is_file() else None
