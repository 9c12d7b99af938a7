"""Ping a URL when a run starts and when it has ended, in the style of healthchecks.io.

The path of the URL is a secret: no message repeats it.
"""

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
"""For one try."""
PING_TRIES = 2
MAX_PING_BODY = 10_000
"""Bytes that a free account of healthchecks.io keeps."""

_PINGED = (
    *("hostname", "role", "agent_version", "run_id", "started", "finished", "seconds"),
    *("exit_code", "cause", "totals", "last_success", "consecutive_failures"),
)


def ping_body(run: LastRun) -> bytes:
    """Return the body of a ping: the record of a run as JSON, with as many errors as fit."""
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
        body: is sent with it.
        seconds: the limit for one try as a whole.

    Raises:
        AgentError: neither try was answered with success. The message names the host, and never the path.
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
    host = urlsplit(url).hostname
    remedy = f"check monitoring.ping_url, the proxy settings, and {host}"
    raise AgentError(f'ping_url at "{host}": {problem}', remedy=remedy)


def _send(request: urllib.request.Request, seconds: float) -> None:
    # Only a direct answer counts: a redirect to a login page would look like success.
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(request, timeout=seconds):
        return


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as no success."""

    def redirect_request(self, *_: Any) -> None:
        """Follow no redirect."""


def _problem(error: Exception, seconds: float) -> str:
    """Describe what went wrong, without any text from the URL or the server."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return f"answered {error.code}, expected 200"
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return f"no answer within {seconds:g} seconds"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"certificate verification failed: {reason.verify_message}"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return type(reason).__name__
