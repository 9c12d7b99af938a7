"""Signatures, held against botocore's own signer."""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from botocore import auth, credentials
from botocore.awsrequest import AWSRequest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.stores.s3.signing import (
    EMPTY_SHA256,
    UNSIGNED_PAYLOAD,
    Credentials,
    Scope,
    Unsigned,
    quoted_path,
    quoted_query,
    sign,
)

NOW = datetime(2026, 12, 1, 10, 15, 0, tzinfo=UTC)
HOST = "bucket.s3.eu-central-1.amazonaws.com"


def by_botocore(request: Unsigned, keys: Credentials, scope: Scope) -> str:
    """Return the `Authorization` of botocore for the same request."""
    query = f"?{request.query}" if request.query else ""
    theirs = AWSRequest(
        request.method, f"https://{request.host}{request.path}{query}", dict(request.headers)
    )
    theirs.headers["X-Amz-Content-SHA256"] = request.payload
    given_keys = credentials.Credentials(keys.access_key, keys.secret_key, keys.token or None)
    signer = auth.S3SigV4Auth(given_keys, scope.service, scope.region)
    payload = patch.object(signer, "payload", return_value=request.payload)
    with (
        patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)),
        payload,
    ):
        signer.add_auth(theirs)
    return str(theirs.headers["Authorization"])


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
tokens = st.text("abcXYZ019+/=", max_size=20)
header_values = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=20
).filter(lambda text: text.strip())


@given(
    method=st.sampled_from(["GET", "HEAD", "PUT", "POST", "DELETE"]),
    key=texts,
    query=st.dictionaries(texts.filter(bool), texts, max_size=4),
    meta=header_values,
    token=tokens,
    payload=st.sampled_from([EMPTY_SHA256, UNSIGNED_PAYLOAD]),
)
def test_every_key_and_query_is_signed_as_botocore_signs_it(
    method: str, key: str, query: dict[str, str], meta: str, token: str, payload: str
) -> None:
    request = Unsigned(
        method,
        HOST,
        f"/{quoted_path(key)}",
        quoted_query(query.items()),
        {
            "x-amz-meta-note": meta,
            "If-Match": '"abc"',
            "Range": "bytes=0-1",
            "User-Agent": "x",
        },
        payload,
    )
    keys, scope = Credentials("AKIDEXAMPLE", "secret/+", token), Scope("eu-central-1")

    ours = sign(request, keys, scope, NOW)

    assert ours["Authorization"] == by_botocore(request, keys, scope)


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a b+c", "a%20b%2Bc"),
        ("a/../b//c/.", "a/../b//c/."),
        ("ä€", "%C3%A4%E2%82%AC"),
        ("~-._%", "~-._%25"),
        ("line\nend", "line%0Aend"),
        ("\x00?&#=", "%00%3F%26%23%3D"),
    ],
)
def test_a_path_names_the_key_exactly(key: str, path: str) -> None:
    assert quoted_path(key) == path


def test_a_query_is_sent_in_the_order_in_which_it_is_signed() -> None:
    query = [("uploadId", "b"), ("partNumber", "1"), ("a b", "+/")]

    assert quoted_query(query) == "a%20b=%2B%2F&partNumber=1&uploadId=b"


def test_a_session_token_is_signed_and_a_user_agent_is_not() -> None:
    keys = Credentials("A", "s", "token")

    signed = sign(
        Unsigned("GET", HOST, "/k", headers={"User-Agent": "x"}), keys, Scope("r"), NOW
    )

    assert "x-amz-security-token" in signed["Authorization"]
    assert "user-agent" not in signed["Authorization"]


def test_no_key_shows_when_credentials_are_printed() -> None:
    assert "secret" not in repr(Credentials("AKID", "secret", "secret"))
