"""Reading some batches ahead: order, errors, and an end that does not wait for a pipe."""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.ahead import MOST, Ahead, Turns
from analyzer.anomalies import Ledger
from analyzer.capture.batch import PacketBatch
from analyzer.capture.reader import open_captures
from tests.talk import Talk, write_pcapng


def test_items_come_in_order() -> None:
    assert list(Ahead(range(100))) == list(range(100))


def test_the_first_is_begun_before_it_is_asked_for() -> None:
    begun = threading.Event()

    def items() -> Iterator[int]:
        begun.set()
        yield 1

    made = Ahead(items())
    assert begun.wait(5)
    assert list(made) == [1]


def test_asked_again_it_gives_nothing() -> None:
    made = Ahead(range(3))
    assert (list(made), list(made)) == ([0, 1, 2], [])


def test_who_never_asks_leaves_no_thread_behind() -> None:
    made = Ahead(range(3))
    maker = made._maker
    del made
    maker.join(5)
    assert not maker.is_alive()


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("broken")

    seen = []
    with pytest.raises(ValueError, match="broken"):
        for item in Ahead(items()):
            seen.append(item)
    assert seen == [1]


def test_an_item_that_is_alone_is_used_up_before_the_next_is_begun() -> None:
    happened: list[str] = []

    def items() -> Iterator[int]:
        for number in range(6):
            happened.append(f"begun {number}")
            yield number

    for item in Ahead(items(), alone=lambda number: number % 2 == 0):
        time.sleep(0.02)  # time enough for the other thread to go on, if it could
        happened.append(f"used {item}")
    at = {what: place for place, what in enumerate(happened)}
    assert all(at[f"used {k}"] < at[f"begun {k + 1}"] for k in (0, 2, 4))
    assert all(at[f"begun {k + 1}"] < at[f"used {k}"] for k in (1, 3))


@pytest.mark.parametrize("most", range(1, MOST + 1))
def test_so_many_are_made_ahead_and_no_more(most: int) -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(9):
            made.append(number)
            yield number

    for item in Ahead(items(), most=most):
        until = time.monotonic() + 5
        while made[-1] < min(item + most, 8) and time.monotonic() < until:
            time.sleep(0.001)
        time.sleep(0.01)  # time enough for the other thread to go on, if it could
        assert made[-1] == min(item + most, 8)


def test_a_buffer_comes_back_after_all_others() -> None:
    turns, used = Turns(object), [object()]
    for _ in range(2 * MOST + 2):
        used.append(turns.next(used[-1]))
    assert used[: MOST + 1] == used[MOST + 1 : 2 * MOST + 2]
    assert len({id(buffer) for buffer in used}) == MOST + 1


def test_leaving_does_not_wait_for_an_item_that_never_comes() -> None:
    never = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        never.wait(30)

    began = time.monotonic()
    for _ in Ahead(items()):
        break
    assert time.monotonic() - began < 5
    never.set()


def test_batches_stay_whole_while_the_next_ones_are_read(tmp_path: Path) -> None:
    """Also where a block longer than the buffer is stepped over, which fills it several times, or one of an unknown
    interface is left out."""
    talk = Talk().handshake()
    for k in range(200):
        talk.orig(bytes([k]) * 1000).resp_ack()
    long = struct.pack("<II", 0x0BAD, 12 + (1 << 18)) + b"\xee" * (1 << 18) + struct.pack("<I", 12 + (1 << 18))
    capture = write_pcapng(talk.packets)
    nobody = struct.pack("<IIIIIII", 6, 32 + 4000, 9, 0, 0, 4000, 4000) + bytes(4000) + struct.pack("<I", 32 + 4000)
    path = tmp_path / "block.pcapng"
    path.write_bytes(capture + long + capture + nobody * 60 + capture)
    waiting: deque[tuple[PacketBatch, list[bytes]]] = deque()
    batches = 0
    for batch in open_captures([path], Ledger(), buffer_bytes=1 << 14):
        waiting.append((batch, frames(batch)))
        if len(waiting) > MOST:
            oldest, before = waiting.popleft()
            assert frames(oldest) == before
        batches += 1
    assert batches > 20


def frames(batch: PacketBatch) -> list[bytes]:
    return [batch.data[p["off"] : p["off"] + p["caplen"]].tobytes() for p in batch.packets]
