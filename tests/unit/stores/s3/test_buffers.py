"""The cutting of a stream into parts, with a bounded number of buffers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s32s_agent.errors import SourceChanged
from s32s_agent.stores.s3.buffers import Buffers, in_parts
from s32s_agent.workers import BackgroundCall


@given(st.lists(st.binary(max_size=50), max_size=12), st.integers(1, 60))
def test_in_parts(chunks: list[bytes], size: int) -> None:
    """However the chunks fall, the parts are the bytes, all of one size but the last; each holds one buffer."""
    buffers = Buffers(2)
    parts = []
    for part in in_parts(iter(chunks), size, buffers):
        parts.append(bytes(part))
        buffers.give_back(part)

    whole = b"".join(chunks)
    assert parts == [whole[start : start + size] for start in range(0, len(whole), size)]
    assert buffers.free == 2


def test_buffers_are_used_again() -> None:
    """One buffer serves any number of parts of one size; what an earlier part left in it does not show."""
    buffers = Buffers(1)
    seen: set[int] = set()
    parts = []
    for part in in_parts([b"first", b"other", b"again"], 5, buffers):
        seen.add(id(part))
        parts.append(bytes(part))
        buffers.give_back(part)

    assert parts == [b"first", b"other", b"again"]
    assert len(seen) == 1


def test_whoever_waits_for_a_buffer_gets_the_one_that_is_given_back() -> None:
    """And no more are ever in use than there may be."""
    buffers = Buffers(1)
    first = buffers.take(5)
    waiting = BackgroundCall(lambda: buffers.take(5))

    assert not waiting.wait(0.1)

    buffers.give_back(first)

    assert waiting.result() is first
    assert buffers.free == 0


def test_a_source_that_breaks_keeps_no_buffer() -> None:
    """Otherwise six broken files would stop every later upload for ever."""
    buffers = Buffers(1)

    def chunks() -> Iterator[bytes]:
        yield b"12345"
        raise SourceChanged("changed")

    with pytest.raises(SourceChanged):
        list(in_parts(chunks(), 100, buffers))

    assert buffers.free == 1
