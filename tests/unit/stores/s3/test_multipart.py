"""How an object is cut into parts, and how they are sent."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.contents import Bytes

from s32s_agent.cancellation import CancelToken, Heartbeat
from s32s_agent.config.settings import S3Settings
from s32s_agent.errors import StoreUnavailable
from s32s_agent.stores.s3.buffers import Buffers
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.multipart import (
    MAX_PARTS,
    PART_BYTES,
    Multipart,
    SentParts,
    part_size_for,
)
from s32s_agent.stores.s3.objects import ObjectName
from s32s_agent.stores.s3.unfinished_uploads import Uploads
from s32s_agent.stores.s3.write_requests import NamedPart, SentPart
from s32s_agent.workers import in_parallel

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (PART_BYTES + 1, 8 * MIB),
        (80_000 * MIB, 8 * MIB),
        (80_000 * MIB + 1, 9 * MIB),
        (5 * 1024 * GIB, 525 * MIB),
    ],
)
def test_part_size(size: int, expected: int) -> None:
    """8 MiB as long as 10,000 of them are enough, then the next whole MiB."""

    assert part_size_for(size) == expected


@given(st.integers(PART_BYTES + 1, 5 * 1024 * GIB))
def test_parts_are_legal(size: int) -> None:
    """Never more than 10,000 parts, never one outside 5 MiB to 5 GiB."""
    part = part_size_for(size)

    assert -(-size // part) <= MAX_PARTS
    assert (part % MIB, 5 * MIB <= part <= 5 * GIB) == (0, True)


NAME = ObjectName("bucket", "large", '"large"')
LARGE = bytes(5 * PART_BYTES)


@pytest.fixture
def token() -> CancelToken:
    return CancelToken(stalled_seconds=2.5)


@pytest.fixture
def buffers() -> Buffers:
    return Buffers(2)


@pytest.fixture
def multipart(
    token: CancelToken, buffers: Buffers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Multipart:
    """What sends parts to a server that a test puts in its place."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    connection = Connection(S3Settings(endpoint_url="http://127.0.0.1:9"), token)
    return Multipart(connection, Uploads(tmp_path), buffers)


def send(multipart: Multipart, heartbeat: Heartbeat) -> SentParts:
    return multipart.send(NAME, "id", Bytes((LARGE,)), len(LARGE), heartbeat)


def test_a_part_that_hangs_is_noticed_though_the_next_one_waits_for_its_buffer(
    multipart: Multipart, token: CancelToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait for a buffer of one's own is no sign of life, so an upload that hangs ends, whatever it hangs in."""

    def hang(*_: object) -> SentPart:
        while not token.cancelled:
            time.sleep(0.05)
        raise StoreUnavailable("the test has ended")

    monkeypatch.setattr(multipart._writes, "put_part", hang)
    given_up = threading.Timer(30, token.cancel)
    given_up.start()
    try:
        with pytest.raises(StoreUnavailable, match="no data was transferred"):
            list(in_parallel(lambda _, heart: send(multipart, heart), [1], 1, token))
    finally:
        given_up.cancel()


def test_parts_are_sent_in_order_of_their_numbers_and_return_their_buffers(
    multipart: Multipart, buffers: Buffers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever is done first: S3 refuses to complete an upload whose parts are named in another order."""

    def put_part(_name: ObjectName, _id: str, number: int, *_: object) -> SentPart:
        time.sleep(0.02 * (number % 2))
        return SentPart(NamedPart(number, '"e"'), is_encrypted=False)

    monkeypatch.setattr(multipart._writes, "put_part", put_part)
    sent = send(multipart, Heartbeat())

    assert [each.number for each in sent.named] == [1, 2, 3, 4, 5]
    assert buffers.free == 2


def test_a_part_that_fails_keeps_no_buffer(
    multipart: Multipart, buffers: Buffers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a few broken uploads would stop every later one for ever."""

    def put_part(_name: ObjectName, _id: str, number: int, *_: object) -> SentPart:
        if number == 2:
            raise StoreUnavailable("503")
        return SentPart(NamedPart(number, '"e"'), is_encrypted=False)

    monkeypatch.setattr(multipart._writes, "put_part", put_part)
    with pytest.raises(StoreUnavailable):
        send(multipart, Heartbeat())

    assert buffers.free == 2
