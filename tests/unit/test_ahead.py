"""Reading one batch ahead: order, errors, and an end that does not wait for a pipe."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.ahead import ahead
from analyzer.anomalies import Ledger
from analyzer.capture.reader import open_captures
from tests.talk import Talk, write_pcapng


def test_items_come_in_order() -> None:
    assert list(ahead(range(100))) == list(range(100))


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        for item in ahead(items()):
            seen.append(item)
    assert seen == [1]


def test_leaving_does_not_wait_for_an_item_that_never_comes() -> None:
    never = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        never.wait(30)

    began = time.monotonic()
    for _ in ahead(items()):
        break
    assert time.monotonic() - began < 5
    never.set()


def test_a_batch_stays_whole_while_the_next_is_read(tmp_path: Path) -> None:
    """Between two batches a block longer than the buffer is stepped over, which fills it several times."""
    talk = Talk().handshake()
    for k in range(200):
        talk.orig(bytes([k]) * 1000).resp_ack()
    capture = write_pcapng(talk.packets)
    block = struct.pack("<II", 0x0BAD, 12 + (8 << 20)) + b"\xee" * (8 << 20) + struct.pack("<I", 12 + (8 << 20))
    second = write_pcapng(Talk(client=("10.0.0.9", 1)).handshake().orig(b"z" * 1000).packets)
    path = tmp_path / "block.pcapng"
    path.write_bytes(capture + block + second)
    batches = 0
    for batch in ahead(iter(open_captures([path], Ledger(), buffer_bytes=1 << 20))):
        rows = [(int(p["off"]), int(p["caplen"])) for p in batch.packets]
        before = b"".join(batch.data[at : at + n].tobytes() for at, n in rows)
        time.sleep(0.1)  # the reader goes on meanwhile
        assert b"".join(batch.data[at : at + n].tobytes() for at, n in rows) == before
        batches += 1
    assert batches >= 2
