"""TODO."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from s32s_agent.errors import AgentError
from s32s_agent.monitoring.last_run import LastRun
from s32s_agent.workers import call_with_timeout

PING_SECONDS = 5.0


PING_TRIES = 2


MAX_PING_BODY = 10_000
"""Bytes; what a free account of healthchecks.io keeps."""


_PINGED = (
    *("hostname", "role", "agent_version", "run_id", "started", "finished", "seconds"),
    *("exit_code", "cause", "totals", "last_success", "consecutive_failures"),
)


def ping_body(run: LastRun) -> bytes:
    """Write what a ping says of a run, as JSON; of the errors only as many as have room."""
    document = run.to_json()
    summary: dict[str, Any] = {name: document.get(name) for name in _PINGED}
    errors = [asdict(error) for error in run.errors]
    while True:
        body = json.dumps({**summary, "errors": errors}).encode()
        if len(body) <= MAX_PING_BODY or not errors:
            return body
        errors = errors[: len(errors) // 2]


def ping(url: str, event: str, body: bytes, seconds: float = PING_SECONDS) -> None:
    """Send a ping, once more when the first one fails.

    Args:
        url: as in the config.
        event: `start`, or the exit status; goes to the end of the URL's path.
        body: goes with it.
        seconds: how long one try may take, all in all.

    Raises:
        AgentError: neither was answered with success. The message names the host, and never the path.
    """
    path, question, query = url.partition("?")
    request = urllib.request.Request(  # noqa: S310 (the config permits http and https only)
        f"{path}/{event}{question}{query}",
        data=body,
        method="POST",
        headers={"Content-Type": "application/json", "User-Agent": "s32s-agent"},
    )
    problem = ""
    for _ in range(PING_TRIES):
        try:
            call_with_timeout(lambda: _send(request, seconds), seconds)
        except (OSError, http.client.HTTPException, ValueError) as error:
            problem = _problem(error, seconds)
        else:
            return
    place = urlsplit(url).hostname
    remedy = f"check monitoring.ping_url, the proxy settings, and {place}"
    raise AgentError(f'ping_url at "{place}": {problem}', remedy=remedy)


def _send(request: urllib.request.Request, seconds: float) -> None:
    # Only a direct answer counts: a page to log in, to which one is sent on, would look like success.
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(request, timeout=seconds):
        return


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Take a redirect for what it is: no success."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nothing."""


def _problem(error: Exception, seconds: float) -> str:
    """Say what went wrong without any text that the other side, or the URL, has chosen."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"answered {error.code}, expected 200"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {seconds:g} seconds"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not to be trusted: {reason.verify_message}"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return type(reason).__name__
