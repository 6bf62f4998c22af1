"""Where the bytes come from: mistakes, packed files, pipes."""

from __future__ import annotations

import gzip
import io
import os
import random
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import lz4.frame
import pytest
import zstandard
from capture_files import packets, pcap, pcapng, read, unbatched, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.anomalies import Ledger
from analyzer.capture import linktypes
from analyzer.capture.reader import CaptureReader, open_captures
from analyzer.capture.source import Source
from analyzer.errors import AnalyzerError

SENT = packets(300, size=200)
PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "zst": zstandard.ZstdCompressor(write_checksum=True).compress,
    "lz4": lz4.frame.compress,
}


def opened(*paths: Path | str, **options: int) -> CaptureReader:
    return open_captures(paths, Ledger(), **options)  # type: ignore[arg-type]


def test_a_file_from_disk_and_its_progress(tmp_path: Path) -> None:
    path = tmp_path / "night.pcap"
    path.write_bytes(pcap(SENT))
    seen: list[tuple[int, int]] = []
    reader = open_captures([path], Ledger(), buffer_bytes=10_000, progress=lambda *step: seen.append(step))
    size = path.stat().st_size
    assert (reader.total_bytes, reader.files[0].format) == (size, "pcap")
    assert unbatched(reader)[0] == whole(SENT)
    assert seen == sorted(seen)
    assert seen[-1] == (size, size)
    assert len(seen) > 3


@pytest.mark.parametrize(
    ("name", "content", "words", "hint"),
    [
        ("notes.txt", b"Monday: it hung again\n" * 9, "is not a capture file: it is text", "pcap and pcapng"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(99), "PNG image", "pcapng"),
        ("a.snoop", b"snoop\0\0\0\0\0\0\2\0\0\0\4", "Sun snoop", "editcap -F pcapng"),
        ("a.cap", b"GMBU\0\2", "Network Monitor", "editcap"),
        ("a.log", b"btsnoop\0\0\0\0\1", "btsnoop", ""),
        ("a.zip", b"PK\3\4" + bytes(20), "zip archive", "unpack"),
        ("a.7z", b"7z\xbc\xaf\x27\x1c" + bytes(20), "7z archive", "unpack"),
        ("a.pcap.xz", b"\xfd7zXZ\0" + bytes(20), "xz", "xz -dc"),
        ("a.pcap.bz2", b"BZh91AY", "bzip2", "bunzip2"),
        ("a.etl", bytes(99), "Windows event trace", "etl2pcapng"),
        ("a.pcap", b"\n<!DOCTYPE html><p>sign in", "HTML page", "login"),
        ("a.gz", gzip.compress(b"hello there", mtime=0), "unpacks to something that is not", "pcap"),
        ("empty.pcap", b"", "is empty", "tcpdump -U"),
        ("short.pcap", pcap([])[:20], "ends inside the pcap file header", ""),
        ("short.pcapng", pcapng([])[:10], "ends inside its pcapng section header", ""),
        ("odd.pcapng", b"\x0a\x0d\x0d\x0a" + bytes(20), "no byte order", ""),
        ("junk", bytes(range(128, 255)), "is not a capture file", "pcap"),
    ],
)
def test_what_is_no_capture(tmp_path: Path, name: str, content: bytes, words: str, hint: str) -> None:
    good, path = tmp_path / "good.pcap", tmp_path / name
    good.write_bytes(pcap(SENT))
    path.write_bytes(content)
    with pytest.raises(AnalyzerError) as error:
        opened(good, path)
    assert words in error.value.message
    assert str(path) in error.value.message
    assert hint in error.value.hint
    assert "\n" not in error.value.message


def test_paths_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AnalyzerError, match="does not exist"):
        opened(tmp_path / "none.pcap")
    with pytest.raises(AnalyzerError, match="is a directory"):
        opened(tmp_path)
    with pytest.raises(AnalyzerError, match="cannot be opened"):
        opened("a\0b")
    with pytest.raises(AnalyzerError, match="no capture"):
        opened()
    with pytest.raises(AnalyzerError, match="only once"):
        opened("-", "-")

    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "root.pcap"
    path.write_bytes(pcap(SENT))
    monkeypatch.setattr(io, "FileIO", denied)
    with pytest.raises(AnalyzerError, match="may not be read"):
        opened(path)


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("write", [pcap, pcapng])
def test_packed_is_the_same_as_plain(packing: str, write: Callable[..., bytes], tmp_path: Path) -> None:
    path = tmp_path / "misnamed.txt"
    path.write_bytes(PACKERS[packing](write(SENT)))
    reader = opened(path, buffer_bytes=5000)
    assert unbatched(reader)[0] == whole(SENT)
    assert reader.files[0].format == f"{write.__name__}.{packing}"
    assert (reader.files[0].error, reader.files[0].truncated) == ("", False)


@pytest.mark.parametrize("packing", PACKERS)
def test_members_one_after_the_other(packing: str) -> None:
    plain = pcap(SENT)
    packed = b"".join(PACKERS[packing](plain[i : i + 9000]) for i in range(0, len(plain), 9000))
    for chunk in (7, 1 << 20):
        got = read(packed, chunk=chunk)
        assert got.packets == whole(SENT)
        assert got.info.error == ""


@pytest.mark.parametrize("padding", [0, 1, 1000, 100_000])
def test_zeros_between_gzip_members_are_padding(padding: int) -> None:
    """Tapes pad with zeros, and gzip -d steps over them, however many there are."""
    whole_file = pcap(SENT)
    packed = gzip.compress(whole_file[:200]) + bytes(padding) + gzip.compress(whole_file[200:]) + bytes(padding)
    got = read(packed)
    assert (got.packets, got.info.error) == (whole(SENT), "")


def test_what_follows_a_gzip_stream_and_is_none_is_told() -> None:
    got = read(gzip.compress(pcap(SENT)) + b"XX" + gzip.compress(pcap(SENT)))
    assert (got.packets, got.info.error) == (whole(SENT), "what follows the gzip stream is not gzip")


def test_a_pipe_that_does_not_block_is_not_ended_where_it_is_empty() -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    content = pcap(SENT)

    def write() -> None:
        for at in range(0, len(content), 100):
            os.write(writing, content[at : at + 100])
            time.sleep(0.005)
        os.close(writing)

    thread = threading.Thread(target=write)
    thread.start()
    source = Source("pipe", io.FileIO(reading), None)
    got = bytearray()
    while n := source.readinto(memoryview(room := bytearray(4096))):
        got += room[:n]
    thread.join()
    source.close()
    assert bytes(got) == content


RANDOM = [p.__class__(p.ts_ns, random.Random(i).randbytes(200)) for i, p in enumerate(packets(2000))]
PACKED = {packing: pack(pcap(RANDOM)) for packing, pack in PACKERS.items()}


@settings(max_examples=40, deadline=None)
@given(packing=st.sampled_from(sorted(PACKERS)), part=st.floats(0.4, 0.999), flip=st.booleans())
def test_a_cut_or_corrupt_stream_keeps_what_came_before(packing: str, part: float, flip: bool) -> None:
    packed = bytearray(PACKED[packing])
    at = int(part * len(packed))
    if flip:
        packed[at] ^= 0xFF
    got = read(bytes(packed) if flip else bytes(packed[:at]))
    if flip:  # stored bytes carry no check before the end: the damage may only show there, or as odd packets
        assert got.info.error or got.packets != whole(RANDOM) or packing == "lz4"
    else:
        assert got.packets == whole(RANDOM)[: len(got.packets)]
        assert got.info.truncated
        assert f"the {packing.replace('gz', 'gzip').replace('zst', 'zstd')} stream is cut short" in got.info.error
        assert got.count("capture.truncated") == 1


def test_a_cut_gzip_stream_keeps_every_whole_packet() -> None:
    packed = PACKED["gz"]
    got = read(packed[: len(packed) * 2 // 3])
    assert 1300 <= len(got.packets) <= 1340


def test_a_bomb_takes_no_memory() -> None:
    plain = pcap(SENT) + bytes(60 << 20)
    for pack in PACKERS.values():
        packed = pack(plain)
        tracemalloc.start()
        got = read(packed)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert got.packets[: len(SENT)] == whole(SENT)
        assert peak < 20 << 20


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(gzip.compress(pcapng(SENT)))

        def isatty(self) -> bool:
            return False

    monkeypatch.setattr(sys, "stdin", Stdin())
    reader = opened("-")
    assert reader.total_bytes is None
    assert unbatched(reader)[0] == whole(SENT)
    assert (reader.files[0].file, reader.files[0].format) == ("standard input", "pcapng.gz")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_shows_packets_as_they_come(tmp_path: Path) -> None:
    path = tmp_path / "live"
    os.mkfifo(path)
    go_on = threading.Event()

    def write() -> None:
        with path.open("wb", buffering=0) as pipe:
            pipe.write(pcap(SENT[:10]))
            go_on.wait(10)
            pipe.write(pcap(SENT[10:])[24:])

    writer = threading.Thread(target=write)
    writer.start()
    batches = iter(opened(path))
    first = next(batches)
    assert len(first.packets) == 10  # although the writer has not closed the pipe
    go_on.set()
    assert unbatched(batches)[0] == whole(SENT[10:])
    writer.join()


def test_names_of_link_types() -> None:
    assert [linktypes.name(n) for n in (1, 113, 276, 101, 4242)] == [
        "ethernet",
        "linux_sll",
        "linux_sll2",
        "raw",
        "linktype_4242",
    ]


def test_kernels_read_the_same_in_plain_python(tmp_path: Path) -> None:
    """The same files under NUMBA_DISABLE_JIT=1, with every warning an error."""
    damaged = bytearray(pcap(SENT[:40]))
    damaged[3000:3020] = b"\xff" * 20
    (tmp_path / "a.pcap").write_bytes(damaged)
    (tmp_path / "b.pcapng").write_bytes(pcapng(SENT[20:60], ">") + b"\6\0\0\0\xff\xff\xff\xff" + pcapng(SENT[60:80]))
    script = tmp_path / "show.py"
    script.write_text(
        "import sys\n"
        "from analyzer.anomalies import Ledger\n"
        "from analyzer.capture.reader import open_captures\n"
        "ledger = Ledger()\n"
        "for batch in (reader := open_captures(sys.argv[1:], ledger, buffer_bytes=3000)):\n"
        "    for p in batch.packets:\n"
        "        print(p.tolist()[:2], bytes(batch.data[p['off'] : p['off'] + p['caplen']]), p.tolist()[3:])\n"
        "print(reader.files, ledger)\n"
    )
    command = [sys.executable, "-W", "error", str(script), str(tmp_path / "a.pcap"), str(tmp_path / "b.pcapng")]
    root = str(Path(__file__).parents[3])

    def run(**env: str) -> str:
        return subprocess.run(
            command, env={**os.environ, "PYTHONPATH": root, **env}, capture_output=True, text=True, check=True
        ).stdout

    assert run() == run(NUMBA_DISABLE_JIT="1") == run(NUMBA_BOUNDSCHECK="1", LONGWIRE_CACHE_DIR=str(tmp_path))
