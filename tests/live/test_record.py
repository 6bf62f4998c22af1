"""Recording: what was recorded reads back packet for packet, files rotate, and a full disk is survived."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from analyzer import api
from analyzer.anomalies import Ledger
from analyzer.capture.live_links import Interface
from analyzer.capture.reader import open_captures
from analyzer.capture.record import RETRY_NS, Recorder, Rotation
from analyzer.errors import AnalyzerError
from tests.property.harness import batches
from tests.talk import Packet, Talk

ETH0 = Interface("eth0", 3, 1)
TUN0 = Interface("tun0", 4, 0xFFFE)


def trace(n: int = 30) -> list[Packet]:
    talk = Talk().handshake()
    for k in range(n):
        talk = talk.orig(bytes([k]) * 100, at=f"{k + 1}s").resp_ack()
    return list(talk.packets)


def read(paths: list[Path]) -> list[tuple[int, bytes]]:
    reader = open_captures(paths, Ledger())
    return [
        (int(p["ts_ns"]), batch.data[p["off"] : p["off"] + p["caplen"]].tobytes())
        for batch in reader
        for p in batch.packets
    ]


def test_what_was_recorded_reads_back(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.pcapng", Rotation(), 262144)
    for batch in batches(trace(), [3, 4, 20]):
        recorder.write(batch, [ETH0], 5)
    recorder.close(7)
    assert recorder.files == [tmp_path / "a.pcapng"]
    assert read(recorder.files) == trace()
    (row,) = api.analyze(recorder.files[0]).arrow("captures").select(["dropped_reported", "truncated"]).to_pylist()
    assert row == {"dropped_reported": 7, "truncated": False}


def test_a_file_that_was_not_finished_reads_back_too(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.pcapng", Rotation(), 262144)
    for batch in batches(trace()):
        recorder.write(batch, [ETH0], 0)
    assert read(recorder.files) == trace()


def test_files_rotate_by_size_and_the_last_are_kept(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "ring.pcapng", Rotation(max_bytes=3000, keep=3), 262144)
    for batch in batches(trace(), range(1, 200)):
        recorder.write(batch, [ETH0], 0)
    recorder.close(0)
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 3 and kept == recorder.files
    assert kept[-1].name == f"ring-{int(kept[0].name[5:10]) + 2:05d}.pcapng"
    assert all(path.stat().st_size < 3400 for path in kept)
    packets = read(kept)
    assert packets == trace()[-len(packets) :]


def test_files_rotate_by_packet_time_and_drops_add_up(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "ring.pcapng", Rotation(max_ns=10 * 10**9), 262144)
    for number, batch in enumerate(batches(trace(), range(1, 200))):
        recorder.write(batch, [ETH0], number)
    recorder.close(100)
    assert len(recorder.files) == 4
    assert read(recorder.files) == trace()
    rows = api.analyze(recorder.files).arrow("captures")
    assert sum(rows["dropped_reported"].to_pylist()) == 100


def test_a_later_interface_is_described_before_its_packets(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "a.pcapng", Rotation(), 262144)
    first, second = list(batches(trace(), [10]))
    recorder.write(first, [ETH0], 0)
    second.packets["iface"] = 1
    second.packets["link"] = 101
    recorder.write(second, [ETH0, TUN0], 0)
    recorder.close(0)
    assert api.analyze(recorder.files[0]).captures["link_types"].tolist() == ["ethernet,raw"]


def test_a_full_disk_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written stays whole, the loss is counted, and recording goes on when there is room again."""
    recorder = Recorder(tmp_path / "a.pcapng", Rotation(max_bytes=1 << 30), 262144)
    first, second, third, fourth = list(batches(trace(), [5, 10, 50]))
    recorder.write(first, [ETH0], 0)
    real = os.write

    def half(handle: int, data: Any) -> int:
        if len(data) > 20:
            return real(handle, data[:20])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", half)
    recorder.write(second, [ETH0], 0)
    assert "No space left on device" in recorder.trouble
    assert recorder.missed == 5
    monkeypatch.setattr(os, "write", real)
    third.packets["ts_ns"][:] = second.packets["ts_ns"][-1] + RETRY_NS // 2  # too early to try again
    recorder.write(third, [ETH0], 0)
    assert recorder.missed == 45
    fourth.packets["ts_ns"][:] = second.packets["ts_ns"][-1] + 2 * RETRY_NS
    recorder.write(fourth, [ETH0], 0)
    recorder.close(0)
    assert read(recorder.files[:1]) == trace()[:5]
    assert len(read(recorder.files[1:])) == fourth.packets.shape[0]
    assert not any(api.analyze(recorder.files).captures["truncated"])


def test_one_file_goes_on_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(tmp_path / "a.pcapng", Rotation(), 262144)
    first, second, third = list(batches(trace(), [5, 10]))
    recorder.write(first, [ETH0], 0)
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda handle, data: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        recorder.write(second, [ETH0], 0)
    third.packets["ts_ns"][:] = second.packets["ts_ns"][-1] + 2 * RETRY_NS
    recorder.write(third, [ETH0], 0)
    recorder.close(0)
    assert recorder.files == [tmp_path / "a.pcapng"]
    packets = read(recorder.files)
    assert packets[:5] == trace()[:5]
    assert len(packets) == 5 + third.packets.shape[0]


def test_wrong_requests_are_explained(tmp_path: Path) -> None:
    with pytest.raises(AnalyzerError, match="cannot be written"):
        Recorder(tmp_path / "no" / "a.pcapng", Rotation(), 100)
    with pytest.raises(AnalyzerError, match="--keep"):
        Recorder(tmp_path / "a.pcapng", Rotation(keep=3), 100)


def test_one_batch_may_need_several_files(tmp_path: Path) -> None:
    """A batch holds up to 4 MiB: a file is looked at more often than that, whatever it is limited by."""
    talk = Talk().handshake()
    for k in range(300):
        talk = talk.orig(bytes([k % 256]) * 1400, at=f"{k + 1}s")
    recorder = Recorder(tmp_path / "ring.pcapng", Rotation(max_bytes=100_000), 262144)
    (whole,) = batches(talk.packets)
    recorder.write(whole, [ETH0], 5)
    recorder.close(5)
    assert len(recorder.files) >= 3
    assert all(path.stat().st_size < 100_000 + 2000 for path in recorder.files)
    assert read(recorder.files) == talk.packets
    assert sum(api.analyze(recorder.files).arrow("captures")["dropped_reported"].to_pylist()) == 5
