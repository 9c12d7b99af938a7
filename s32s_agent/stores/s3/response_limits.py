"""Bound what is read of an answer that botocore reads whole: a server, or what poses as one, may send without end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from s32s_agent.errors import StoreUnavailable

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest, AWSResponse
    from mypy_boto3_s3 import S3Client

MAX_ANSWER = 32 * 1024 * 1024
"""Bytes. A page of 1000 keys of 1024 bytes, every byte written as %XX, is 4 MB."""
_CHUNK = 64 * 1024
_REDIRECT = 300
"""From this status on the body is a message, also where an object was asked for."""


def limit_responses(client: S3Client) -> None:
    """Let a client give up an answer that is longer than any of S3's; an object's bytes are read by who wants them."""
    session: Any = client._endpoint.http_session  # type: ignore[attr-defined] # noqa: SLF001 (no public way)

    def send(request: AWSPreparedRequest, **_: object) -> Any:
        streamed, request.stream_output = request.stream_output, True
        answer: Any = session.send(request)
        if not streamed or answer.status_code >= _REDIRECT:
            answer._content = _read(answer, request)  # noqa: SLF001 (what `content` would fill)
        return answer

    client.meta.events.register("before-send.s3", send)


def _read(answer: AWSResponse, request: AWSPreparedRequest) -> bytes:
    """Read a body whole, with the errors that botocore knows how to repeat a request after."""
    from botocore import exceptions  # noqa: PLC0415 (botocore is slow to import)
    from urllib3.exceptions import HTTPError, ReadTimeoutError  # noqa: PLC0415

    chunks, size, url = [], 0, request.url
    try:
        for chunk in answer.raw.stream(_CHUNK):
            size += len(chunk)
            if size > MAX_ANSWER:
                answer.raw.close()
                raise StoreUnavailable(
                    f"an answer of over {MAX_ANSWER} bytes, which S3 never sends"
                )
            chunks.append(chunk)
    except ReadTimeoutError as error:
        raise exceptions.ReadTimeoutError(endpoint_url=url, error=error) from error
    except HTTPError as error:
        raise exceptions.ConnectionClosedError(
            error=error, request=request, endpoint_url=url
        ) from error
    return b"".join(chunks)
