"""pcap files: every dialect, every cut, and damage in the middle."""

from __future__ import annotations

import struct
import time

import pytest
from capture_files import START, Packet, packets, pcap, read, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.capture.pcap import PcapReader
from analyzer.errors import AnalyzerError

QUICK = settings(max_examples=60, deadline=None)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("magic", "tick_ns", "after_header", "extra"),
    [
        (0xA1B2C3D4, 1000, b"", b""),
        (0xA1B23C4D, 1, b"", b""),
        (0xA1B2CD34, 1000, b"", b"\7" * 8),  # Kuznetzov, ss991029
        (0xA1B2CD34, 1000, b"", b"\xff" * 12),  # ss990915, as SuSE 6.3 had it
        (0xA1B2C3D4, 1000, b"", b"\xff" * 8),  # ss990417: the old magic all the same, as Red Hat 6.1 had it
        (0xA1B2C3D4, 1000, b"", b"\xff" * 4),  # Nokia
        (0x1C0001AC, 1000, b"\0\1\2\3", b""),  # IXIA, hardware and software
        (0x1C0001AB, 1000, b"\0\1\2\3", b""),
    ],
)
def test_dialects(order: str, magic: int, tick_ns: int, after_header: bytes, extra: bytes) -> None:
    sent = packets(5, step_ns=1_234_567_000 + (1 if tick_ns == 1 else 0))
    got = read(pcap(sent, order, magic=magic, tick_ns=tick_ns, after_header=after_header, extra=extra))
    assert got.packets == whole(sent)
    assert [row[0] for row in got.rows] == [1, 2, 3, 4, 5]
    assert (got.info.packets, got.info.link_types, got.info.error) == (5, [1], "")
    assert (got.info.first_ts_ns, got.info.last_ts_ns) == (sent[0].ts_ns, sent[-1].ts_ns)
    assert got.ledger.by_code == {}


@pytest.mark.parametrize(("version", "swap"), [((2, 2), True), ((2, 3), False), ((2, 3), True), ((543, 0), True)])
def test_old_versions_store_the_lengths_the_other_way(version: tuple[int, int], swap: bool) -> None:
    sent = [Packet(START * 10**9, b"x" * 68, 1500), Packet(START * 10**9, b"y" * 60)]
    assert read(pcap(sent, version=version, swap=swap)).packets == whole(sent)


def test_aix_has_its_own_link_types_and_nanoseconds() -> None:
    sent = packets(3, step_ns=7)
    assert read(pcap(sent, version=(2, 2), swap=True, network=6, tick_ns=1)).packets == whole(sent)


@pytest.mark.parametrize(
    ("network", "link"), [(0x5400_0001, 1), (0x4000_0071, 113), (12, 101), (14, 101), (101, 101), (50, 50)]
)
def test_link_type(network: int, link: int) -> None:
    got = read(pcap(packets(1), network=network))
    assert (got.packets[0].link, got.info.link_types) == (link, [link])


def test_odd_but_sound_records_are_kept() -> None:
    """Nanoseconds under the microsecond magic, more captured than was on the wire, more than the snap length."""
    sent = [Packet(p.ts_ns, p.data, 20) for p in packets(6)]
    got = read(pcap(sent, tick_ns=1, snaplen=40))
    assert [p.data for p in got.packets] == [p.data for p in sent]
    assert [p.length for p in got.packets] == [60] * 6
    assert got.info.error == ""


@pytest.mark.parametrize("fraction", [10**6, 2**32 - 1])
def test_seconds_with_too_large_a_fraction_are_kept(fraction: int) -> None:
    """Some writers err in the fraction; what bytes follow tells that the record is sound."""
    sent = packets(4)
    wrong = bytearray(pcap(sent))
    at = 24
    for packet in sent:
        wrong[at + 4 : at + 8] = struct.pack("<I", fraction)
        at += 16 + len(packet.data)
    got = read(bytes(wrong))
    assert [p.data for p in got.packets] == [p.data for p in sent]
    assert got.info.error == ""


def test_clipped_and_backwards_are_counted() -> None:
    t = START * 10**9
    sent = [
        Packet(t, b"x" * 60, 1500),
        Packet(t - 999_000_000, b"y"),
        Packet(t - 3_000_000_000, b"z", 2),
        Packet(t, b""),
    ]
    got = read(pcap(sent))
    assert got.packets == whole(sent)
    assert got.info.snaplen_clipped == got.count("capture.snaplen_clipped") == 2
    assert got.ledger.by_code["capture.time_backwards"].first_frame == 3
    assert got.count("capture.time_backwards") == 1
    assert (got.info.first_ts_ns, got.info.last_ts_ns) == (t - 3_000_000_000, t)


def test_a_header_alone_is_a_capture() -> None:
    got = read(pcap([]))
    assert (got.packets, got.info.packets, got.info.truncated, got.info.first_ts_ns) == ([], 0, False, None)


def test_a_cut_header_is_not() -> None:
    with pytest.raises(AnalyzerError, match="ends inside the pcap file header"):
        read(pcap([])[:23])


def test_the_longest_record_fits_any_buffer() -> None:
    sent = [*packets(2), Packet((START + 1) * 10**9, b"\x55" * 262144), *packets(2)]
    assert read(pcap(sent), buffer_bytes=1000).packets == whole(sent)


def test_a_stated_snap_length_allows_longer_records() -> None:
    sent = [*packets(1), Packet((START + 1) * 10**9, b"\x55" * 400_000), *packets(1)]
    assert read(pcap(sent, snaplen=1 << 20)).packets == whole(sent)
    assert len(read(pcap(sent, snaplen=0x7FFFFFFF)).packets) == 2  # "no limit" is not believed


SENT = [Packet(START * 10**9 + i * 1_000_000, bytes(range(i, i + 7 * i % 90))) for i in range(40)]
FILE = pcap(SENT)
ENDS = [24 + sum(16 + len(p.data) for p in SENT[: i + 1]) for i in range(len(SENT))]


@QUICK
@given(cut=st.integers(24, len(FILE)), buffer_bytes=st.integers(64, 2000), chunk=st.integers(1, 500))
def test_any_cut_keeps_exactly_the_whole_records(cut: int, buffer_bytes: int, chunk: int) -> None:
    got = read(FILE[:cut], buffer_bytes, chunk)
    kept = sum(end <= cut for end in ENDS)
    assert got.packets == whole(SENT[:kept])
    assert got.info.truncated == (cut not in (24, *ENDS))
    assert got.count("capture.truncated") == int(got.info.truncated)
    if got.info.truncated:
        offset = ENDS[kept - 1] if kept else 24
        assert got.info.error == f"ends inside packet {kept + 1} (offset {offset})"


@QUICK
@given(
    buffer_bytes=st.integers(1, 5000), chunk=st.integers(1, 3000), at=st.integers(24, len(FILE) - 1), junk=st.binary()
)
def test_buffer_and_read_sizes_do_not_matter(buffer_bytes: int, chunk: int, at: int, junk: bytes) -> None:
    damaged = FILE[:at] + junk + FILE[at + len(junk) // 2 :]
    plain, small = read(damaged), read(damaged, buffer_bytes, chunk)
    assert (plain.packets, plain.rows, plain.info) == (small.packets, small.rows, small.info)
    assert {c: a.count for c, a in plain.ledger.by_code.items()} == {
        c: a.count for c, a in small.ledger.by_code.items()
    }


@pytest.mark.parametrize(
    ("field", "value"), [(8, 0xFFFFFFFF), (8, 262145), (4, 0xFFFFFFFF), (12, 0xFFFFFFFF), (8, 61), (8, 59), (8, 4000)]
)
def test_one_bad_header_costs_little(field: int, value: int) -> None:
    sent = packets(100)
    file = bytearray(pcap(sent))
    struct.pack_into("<I", file, 24 + 50 * 76 + field, value)
    got = read(bytes(file))
    assert got.packets[:50] == whole(sent[:50])
    # Only the second half of a time and an absurd wire length are taken as they are: the records around agree.
    kept = 49 if field == 8 else 50
    assert got.packets[-kept + 1 :] == whole(sent[-kept + 1 :])
    if field == 8:
        assert got.count("capture.damaged") == 1
        assert "bytes skipped at offset" in got.info.error
        assert got.ledger.by_code["capture.damaged"].first_frame in (50, 51)


def test_a_hole_of_zeros_is_stepped_over() -> None:
    """What a crash leaves of a file system's blocks: headers of zero length and time."""
    sent = packets(2000, size=100)
    file = bytearray(pcap(sent))
    file[50_000:54_096] = bytes(4096)
    got = read(bytes(file))
    assert got.packets[:400] == whole(sent[:400])
    assert got.packets[-1400:] == whole(sent[-1400:])


def test_one_wrong_time_does_not_mislead_the_search() -> None:
    sent = packets(60)
    file = bytearray(pcap(sent))
    struct.pack_into("<I", file, 24 + 20 * 76, 5)  # 1970
    struct.pack_into("<I", file, 24 + 22 * 76 + 8, 0xFFFFFFFF)
    got = read(bytes(file))
    assert got.packets[-37:] == whole(sent[-37:])
    assert got.info.packets == 59


@QUICK
@given(
    spots=st.lists(st.tuples(st.integers(24, len(FILE) - 1), st.integers(0, 255)), max_size=8),
    cut=st.integers(24, len(FILE)),
)
def test_any_damage_is_survived(spots: list[tuple[int, int]], cut: int) -> None:
    file = bytearray(FILE + pcap(packets(300))[24:])
    for at, value in spots:
        file[at] = value
    got = read(bytes(file), 4096)
    assert got.info.packets == len(got.packets) <= 340
    assert got.packets[-200:] == whole(packets(300))[-200:]  # the rest is found again
    read(bytes(file[:cut]), 4096)


@pytest.mark.parametrize("filler", [b"\0", b"\1", b"\xff", struct.pack("<IIII", START, 0, 200_000, 200_000)])
def test_the_search_is_linear(filler: bytes) -> None:
    """4 MiB that look like headers everywhere, or nowhere."""
    junk = struct.pack("<IIII", START, 0, 0xFFFFFFFF, 0) + filler * ((4 << 20) // len(filler))
    file = pcap(packets(3)) + junk
    read(pcap(packets(3)) + junk[:2000])
    started = time.perf_counter()
    read(file, chunk=50_000)
    assert time.perf_counter() - started < 20  # were it quadratic, it would not end


def test_a_search_for_the_next_record_reads_in_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where every fourth byte looks like a record larger than the buffer, each look used to read four bytes more."""
    looks = []
    find = PcapReader._find
    monkeypatch.setattr(PcapReader, "_find", lambda reader: (looks.append(1), find(reader)))
    head = pcap([], snaplen=16 << 20) + b"\xff" * 16
    read(head + b"\x00\x00\x20\x00" * 65_536 * 12, buffer_bytes=1 << 20)
    assert 1 <= len(looks) < 40
