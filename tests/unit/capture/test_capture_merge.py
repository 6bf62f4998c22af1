"""Several files as one stream: rings, overlaps, ties, clocks that go back."""

from __future__ import annotations

import os
import tempfile
import threading
from itertools import accumulate
from pathlib import Path

import pytest
from capture_files import START, Packet, packets, pcap, pcapng, unbatched, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.anomalies import Ledger
from analyzer.capture import merge
from analyzer.capture.reader import open_captures

T = START * 10**9


def at(second: float, name: str, size: int = 60) -> Packet:
    return Packet(T + int(second * 10**6) * 1000, name.encode() * size)


def put(folder: Path, *files: list[Packet]) -> list[Path]:
    """Write files, every other one as pcapng."""
    paths = []
    for i, content in enumerate(files):
        path = folder / f"{i}.cap"
        path.write_bytes(pcapng(content) if i % 2 else pcap(content))
        paths.append(path)
    return paths


def read(paths: list[Path], buffer_bytes: int = 1 << 20) -> tuple[list[Packet], list[tuple[int, ...]]]:
    return unbatched(open_captures(paths, Ledger(), buffer_bytes=buffer_bytes))


def merged(*files: list[Packet]) -> list[Packet]:
    """The definition: by the largest time so far in the file, then file, then place."""
    rows = []
    for file, content in enumerate(files):
        keys = accumulate((p.ts_ns for p in content), max)
        rows += [(key, file, place, p) for place, (key, p) in enumerate(zip(keys, content, strict=True))]
    return whole(row[3] for row in sorted(rows, key=lambda row: row[:3]))


def test_a_ring_is_put_in_order_and_never_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "gather", None)  # would raise if called
    sent = packets(900)
    paths = put(tmp_path, sent[600:], sent[:300], [], sent[300:600])
    got, rows = read(paths, 5000)
    assert got == whole(sent)
    assert [row[0] for row in rows] == list(range(1, 901))
    assert [row[2] for row in rows] == [1] * 300 + [3] * 300 + [0] * 300


def test_overlapping_files_are_merged() -> None:
    a = [at(0, "a"), at(1, "b"), at(4, "c"), at(4, "d")]
    b = [at(2, "e"), at(3, "f"), at(4, "g"), at(9, "h")]
    c = [at(1, "i"), at(4, "j")]
    with tempfile.TemporaryDirectory() as folder:
        got, rows = read(put(Path(folder), a, b, c), 64)
    assert "".join(chr(p.data[0]) for p in got) == "abiefcdgjh"
    assert [row[0] for row in rows] == list(range(1, 11))
    assert {row[1] for row in rows} == {0, 1 << 16, 2 << 16}


def test_one_file_is_never_reordered(tmp_path: Path) -> None:
    a = [at(5, "a"), at(1, "b"), at(9, "c"), at(2, "d")]
    assert read(put(tmp_path, a))[0] == whole(a)
    b = [at(4, "e"), at(6, "f"), at(10, "g")]
    assert "".join(chr(p.data[0]) for p in read(put(tmp_path, a, b))[0]) == "eabfcdg"


times = st.lists(st.integers(-3, 40), max_size=40)


@settings(max_examples=60, deadline=None)
@given(files=st.lists(times, min_size=2, max_size=5), sort=st.booleans(), buffer_bytes=st.integers(64, 900))
def test_merge_is_a_stable_sort(files: list[list[int]], sort: bool, buffer_bytes: int) -> None:
    contents = [
        [at(t, chr(65 + i % 26), 5 + (i * 7 + k) % 60) for k, t in enumerate(sorted(ts) if sort else ts)]
        for i, ts in enumerate(files)
    ]
    with tempfile.TemporaryDirectory() as folder:
        got, rows = read(put(Path(folder), *contents), buffer_bytes)
    assert got == merged(*contents)
    assert [row[0] for row in rows] == list(range(1, len(got) + 1))


def test_a_merged_batch_is_no_larger_than_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What can come of a batch has room for as many packets, not for as many as all files together have."""
    monkeypatch.setattr(merge, "MOST_MIXED", 7)
    files = [packets(40, step_ns=1_000_000 + 1000 * k) for k in range(4)]
    sizes = [len(batch.packets) for batch in open_captures(put(tmp_path, *files), Ledger())]
    assert sum(sizes) == 160
    assert max(sizes[:-1]) <= 7
    assert read(put(tmp_path, *files))[0] == merged(*files)


def test_the_ledger_names_no_frame_that_a_merge_changed(tmp_path: Path) -> None:
    a = [at(0, "a"), at(1, "b"), Packet(T + 6 * 10**9, b"x", 99)]
    b = [at(5, "e"), at(6, "f")]
    for other, frame in ((b, None), ([at(7, "e")], 3)):
        ledger = Ledger()
        unbatched(open_captures(put(tmp_path, a, other), ledger))
        assert ledger.by_code["capture.snaplen_clipped"].first_frame == frame


def test_every_file_gets_its_facts(tmp_path: Path) -> None:
    paths = put(tmp_path, packets(10), packets(20), [])
    paths[1].write_bytes(paths[1].read_bytes()[:-1])
    ledger = Ledger()
    reader = open_captures(paths, ledger)
    assert len(unbatched(reader)[0]) == 29
    assert [info.packets for info in reader.files] == [10, 19, 0]
    assert [info.truncated for info in reader.files] == [False, True, False]
    assert ledger.by_code["capture.truncated"].count == 1


def test_many_files_do_not_need_many_descriptors(tmp_path: Path) -> None:
    sent = packets(600)
    paths = put(tmp_path, *([p] for p in sent))
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208
    reader = open_captures(paths, Ledger())
    most = 0
    for _ in reader:
        most = max(most, len(os.listdir("/proc/self/fd")) if before else 0)  # noqa: PTH208
    assert most <= before + 3


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_among_files(tmp_path: Path) -> None:
    a, b = packets(50)[::2], packets(50)[1::2]
    paths = put(tmp_path, a)
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(pcap(b),))
    writer.start()
    assert read([*paths, tmp_path / "pipe"])[0] == whole(packets(50))
    writer.join()
