"""What lies in the ring when a capture is stopped still counts; what comes later does not."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from analyzer import live
from analyzer.capture.batch import FileInfo, PacketBatch
from analyzer.capture.live import LiveOptions, now_ns
from analyzer.settings import Settings
from tests.property.harness import batches
from tests.talk import Talk


class Slow:
    """A source of waiting batches, each of which takes a while; then, with `more`, of new ones without end."""

    gone = False

    def __init__(self, waiting: int, *, more: bool) -> None:
        self.info = FileInfo("live:slow", format="live")
        self.interfaces: list[object] = []
        self._left, self._more = waiting, more

    def next(self) -> PacketBatch | None:
        time.sleep(0.02)
        self._left -= 1
        if self._left < 0 and not self._more:
            return None
        talk = Talk(("10.0.0.1", 20_000 + self._left), ("10.0.0.2", 80)).handshake()
        (batch,) = batches(talk.packets)
        batch.packets["ts_ns"] = now_ns() - (5 * 10**9 if self._left >= 0 else 0)
        self.info.packets += batch.packets.shape[0]
        return batch

    def release(self) -> None: ...

    def dropped(self) -> int:
        return 0

    def problem(self) -> str:
        return ""

    def close(self) -> None: ...


@pytest.mark.parametrize("more", [False, True])
def test_what_waits_in_the_ring_counts_and_no_more(more: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "open_live", lambda options, ledger: Slow(40, more=more))
    watch = live.Watch(LiveOptions(("slow",)), Settings())
    watch.stop()
    begun = time.monotonic()
    flows = sum(rows.num_rows for name, rows in watch if name == "flows")
    assert flows >= 40 if more else flows == 40
    assert time.monotonic() - begun < 30


def test_a_key_log_that_cannot_be_read_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at every batch; again only when what is wrong with it changes."""
    monkeypatch.setattr(live, "open_live", lambda options, ledger: Slow(12, more=False))
    log = tmp_path / "keys"
    log.mkdir()
    watch = live.Watch(LiveOptions(("slow",)), Settings(), keys=[log])
    watch.stop()
    assert list(watch)
    assert [problem.split(": ")[-1] for problem in watch.problems] == ["Is a directory"]
