"""pcapng files: sections, interfaces, clocks, every kind of packet block, and blocks that lie."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path

import pytest
from capture_files import START, Outcome, Packet, Pcapng, Trickle, packets, pcapng, read, read_from, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.anomalies import Ledger
from analyzer.capture import pcapng as module
from analyzer.capture.batch import FileInfo
from analyzer.capture.pcapng_walk import DAY_NS
from analyzer.capture.reader import reader_for
from analyzer.capture.source import Source
from analyzer.capture.walk import TS_LIMIT, Numbering

QUICK = settings(max_examples=60, deadline=None)
ONE = packets(1)[0]


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_plain_file(order: str) -> None:
    sent = packets(5, size=61)
    got = read(pcapng(sent, order))
    assert got.packets == whole(sent)
    assert got.rows == [(i + 1, 0, 0) for i in range(5)]
    assert (got.info.packets, got.info.link_types, got.info.error, got.info.dropped_reported) == (5, [1], "", None)
    assert got.ledger.by_code == {}


def test_sections_have_their_own_byte_order_and_interfaces() -> None:
    file = Pcapng().section("<").interface(link=1).interface(link=113).packet(ONE, 1)
    file.section(">").interface(link=14).interface(link=1).packet(ONE, 0).packet(ONE, 1)
    got = read(file.bytes())
    assert [(p.link, p.data) for p in got.packets] == [(113, ONE.data), (101, ONE.data), (1, ONE.data)]
    assert [row[1] for row in got.rows] == [1, 2, 3]
    assert got.info.link_types == [113, 101, 1]


def reference_ns(ticks: int, tsresol: int, tsoffset: int) -> int:
    """Section 4.2 in exact arithmetic."""
    n = tsresol & 0x7F
    if not tsresol & 0x80 and n <= 9 and ticks >= 1 << 63:
        ticks -= 1 << 64
    ns = ticks * 10**9 // (2**n if tsresol & 0x80 else 10**n)
    ns = max(-TS_LIMIT, min(TS_LIMIT, ns))
    return max(-TS_LIMIT, min(TS_LIMIT, ns + max(-TS_LIMIT, min(TS_LIMIT, tsoffset * 10**9))))


@settings(max_examples=150, deadline=None)
@given(
    ticks=st.one_of(
        st.integers(0, 2**64 - 1), st.integers(0, 64).map(lambda n: 2**n - 1), st.integers(START, START * 10**9)
    ),
    tsresol=st.integers(0, 255),
    tsoffset=st.one_of(st.just(0), st.integers(-(2**63), 2**63 - 1), st.integers(-(10**9), 10**9)),
)
def test_clocks(ticks: int, tsresol: int, tsoffset: int) -> None:
    file = Pcapng().section()
    options = file.option(9, bytes([tsresol])) + file.option(14, struct.pack("<q", tsoffset)) + bytes(4)
    got = read(file.interface(options=options).packet(ONE, ticks=ticks).bytes())
    expected = reference_ns(ticks, tsresol, tsoffset)
    if expected < 0:  # moved by whole days
        expected = expected % DAY_NS + DAY_NS
    # Finer than 10**-27 s, 64 bits of ticks are 18 ns at most: read as 0 (or the 20th digit's 1).
    assert abs(got.packets[0].ts_ns - expected) <= (20 if 27 < tsresol < 128 else 0)


def test_times_before_1970_are_moved_and_keep_their_distances() -> None:
    """0 means "never" in many places; a clock that was set between two packets is no reason to lose them."""
    file = Pcapng().section()
    options = file.option(14, struct.pack("<q", -(10**9))) + bytes(4)
    file.interface(options=options)
    for second in (5, 6, 90_000, 3):
        file.packet(ONE, ticks=second * 10**6)
    got = read(file.bytes())
    first = got.packets[0].ts_ns
    assert 0 < first < 2 * DAY_NS
    assert [p.ts_ns - first for p in got.packets] == [0, 10**9, 89_995 * 10**9, -2 * 10**9]
    assert got.info.error == "times before 1970 were moved by 11576 days"


def test_simple_packets_borrow_their_time() -> None:
    file = Pcapng().section().interface(snaplen=40)
    file.simple(b"a" * 33).packet(ONE).simple(b"b" * 40, 90).simple(b"c" * 10, 10)
    got = read(file.bytes())
    assert [(p.ts_ns, len(p.data), p.length) for p in got.packets] == [
        (0, 33, 33),
        (ONE.ts_ns, 60, 60),
        (ONE.ts_ns, 40, 90),
        (ONE.ts_ns, 10, 10),
    ]
    assert (got.info.first_ts_ns, got.info.snaplen_clipped) == (ONE.ts_ns, 1)
    assert got.count("capture.time_backwards") == 0


def test_obsolete_packets_and_their_drops() -> None:
    file = Pcapng().section(">").interface().obsolete(ONE, drops=3).obsolete(ONE).obsolete(ONE, drops=4)
    got = read(file.bytes())
    assert got.packets == whole([ONE] * 3)
    assert got.info.dropped_reported == got.count("capture.dropped") == 7


def test_drop_counts_in_packet_options() -> None:
    file = Pcapng().section().interface()
    options = file.option(1, b"hello") + file.option(4, struct.pack("<Q", 9)) + bytes(4)
    assert read(file.packet(ONE, options=options).packet(ONE).bytes()).info.dropped_reported == 9
    lying = Pcapng().section().interface().packet(ONE, options=struct.pack("<HHI", 1, 60000, 0) * 3)
    assert read(lying.bytes()).packets == whole([ONE])


def test_the_last_statistics_of_each_interface_count() -> None:
    file = Pcapng().section().interface().interface().packet(ONE)
    file.statistics(0, ifdrop=1).statistics(1, ifrecv=5).statistics(0, ifdrop=2, osdrop=3).statistics(9, ifdrop=7)
    file.section(">").interface().statistics(0, ifdrop=10)
    got = read(file.bytes())
    assert got.info.dropped_reported == got.count("capture.dropped") == 15
    assert got.count("capture.unknown_interface") == 1
    assert read(Pcapng().section().interface().statistics(0, ifdrop=0).bytes()).info.dropped_reported == 0


def test_secrets_are_kept_up_to_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SECRETS_BYTES", 1000)
    file = Pcapng().section().interface()
    for kind, text in ((0x544C534B, b"CLIENT_RANDOM a b\n"), (0x57474B4C, b"wireguard"), (0x544C534B, b"x" * 999)):
        file.block(10, struct.pack("<II", kind, len(text)) + text)
    file.block(10, struct.pack("<II", 0x544C534B, 500)).packet(ONE)
    got = read(file.bytes())
    assert got.info.secrets == [b"CLIENT_RANDOM a b\n"]
    assert "secrets beyond" in got.info.error
    assert got.count("capture.bad_block") == 1
    assert got.packets == whole([ONE])


def test_other_blocks_are_stepped_over_whatever_their_size() -> None:
    sent = packets(3)
    file = Pcapng().section().interface().block(4, bytes(40)).packet(sent[0]).block(0xBAD, b"\6\0\0\0" * 9)
    file.block(0x80000001, bytes(3 << 20)).packet(sent[1]).block(10, bytes(17 << 20)).packet(sent[2])
    got = read(file.bytes(), buffer_bytes=70_000)
    assert got.packets == whole(sent)
    assert got.info.error == "secrets beyond 16 MiB ignored"


def test_a_packet_of_an_unknown_interface_is_skipped() -> None:
    file = Pcapng().section().packet(ONE).interface().packet(ONE).packet(ONE, 1)
    got = read(file.bytes())
    assert got.packets == whole([ONE])
    assert got.count("capture.unknown_interface") == 2


def test_a_section_of_another_version_is_skipped() -> None:
    file = Pcapng().section().interface().packet(ONE).section(version=(2, 0)).interface().packet(ONE)
    got = read(file.section().interface().packet(ONE).bytes())
    assert got.packets == whole([ONE] * 2)
    assert got.count("capture.bad_block") == 1
    assert "version 2.0" in got.info.error


@pytest.mark.parametrize(
    "body",
    [
        struct.pack("<IIIII", 0, 0, 0, 5000, 60) + bytes(60),  # more captured than the block holds
        bytes(8),  # too short for a packet
    ],
)
def test_a_packet_block_that_lies_is_skipped(body: bytes) -> None:
    got = read(Pcapng().section().interface().packet(ONE).block(6, body).packet(ONE).bytes())
    assert got.packets == whole([ONE] * 2)
    assert got.count("capture.bad_block") == 1


def test_options_that_lie_or_never_end() -> None:
    file = Pcapng().section().interface(options=struct.pack("<HHI", 9, 400, 0)).packet(ONE)
    file.interface(options=struct.pack("<HH", 7, 0) * 10_000).packet(ONE, 1)
    got = read(file.bytes())
    assert got.packets == whole([ONE] * 2)
    assert got.count("capture.bad_block") == 2


SENT = [Packet(START * 10**9 + i * 1_000_000, bytes(range(i, i + 7 * i % 90))) for i in range(40)]
FILE = pcapng(SENT)
HEAD = len(pcapng([]))
ENDS = [len(pcapng(SENT[: i + 1])) for i in range(len(SENT))]


@pytest.mark.parametrize("at", [0, 4, 5, 7, ENDS[11] - ENDS[10] - 4, ENDS[11] - ENDS[10] - 1])
def test_one_damaged_block_costs_itself(at: int) -> None:
    file = bytearray(FILE)
    file[ENDS[10] + at] ^= 0xA5
    got = read(bytes(file))
    assert got.packets == whole(SENT[:11] + SENT[12:])
    if at > 0:  # with another type it is a sound block of an unknown kind
        assert got.count("capture.bad_block") == 1
        assert "bytes skipped at offset" in got.info.error


def on_disk(content: bytes, buffer_bytes: int = 1 << 20) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "damaged.pcapng"
        path.write_bytes(content)
        return read_from(path, buffer_bytes)


@QUICK
@given(junk=st.binary(min_size=1, max_size=80), buffer_bytes=st.integers(64, 5000))
def test_what_lies_between_two_blocks_costs_nothing_else(junk: bytes, buffer_bytes: int) -> None:
    got = on_disk(FILE[: ENDS[10]] + junk + FILE[ENDS[10] :], buffer_bytes)
    assert got.packets == whole(SENT)


@pytest.mark.parametrize("length", [1000, 1_000_000, 2_000_000, 0x7FFFFFFC])
@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6, 10, 0x12345678, 0x0A0D0D0A])
def test_a_length_that_lies_costs_nothing_else(kind: int, length: int) -> None:
    many = [Packet(START * 10**9 + i * 1_000_000, bytes(700)) for i in range(2000)]
    sound = pcapng(many)
    at = len(pcapng(many[:10]))
    got = on_disk(sound[:at] + struct.pack("<II", kind, length) + sound[at:])
    assert got.packets == whole(many)
    assert got.count("capture.bad_block") == 1
    assert not got.info.truncated


def test_many_odd_sections_and_link_types_are_told_in_few_words() -> None:
    file = Pcapng()
    for version in range(2, 400):
        file.section(version=(version, 0))
    file.section()
    for link in range(1000, 3000):
        file.interface(link)
    for k in range(2000):
        file.packet(ONE, 1999 - k)
    got = read(file.bytes(), buffer_bytes=4000)
    assert got.count("capture.bad_block") == 398
    assert len(got.info.error) < 100
    assert got.info.link_types == list(range(2999, 999, -1))


def test_a_batch_goes_on_behind_damage() -> None:
    sound = [FILE[begin:end] for begin, end in zip([HEAD, *ENDS[:-1]], ENDS, strict=True)]
    source = Source("capture", Trickle(FILE[:HEAD] + bytes(12).join(sound), 1 << 30), None)
    batches = list(reader_for(source, FileInfo("capture"), 0, Ledger(), Numbering(), 1 << 20).batches())
    assert [len(batch.packets) for batch in batches] == [len(SENT)]


@QUICK
@given(cut=st.integers(12, len(FILE)), buffer_bytes=st.integers(64, 2000), chunk=st.integers(1, 500))
def test_any_cut_keeps_exactly_the_whole_records(cut: int, buffer_bytes: int, chunk: int) -> None:
    got = read(FILE[:cut], buffer_bytes, chunk)
    kept = sum(end <= cut for end in ENDS)
    assert got.packets == whole(SENT[:kept])
    assert got.info.truncated == (cut not in (28, HEAD, *ENDS))
    assert got.count("capture.truncated") == int(got.info.truncated)


@QUICK
@given(
    buffer_bytes=st.integers(1, 5000), chunk=st.integers(1, 3000), at=st.integers(28, len(FILE) - 1), junk=st.binary()
)
def test_buffer_and_read_sizes_do_not_matter(buffer_bytes: int, chunk: int, at: int, junk: bytes) -> None:
    damaged = FILE[:at] + junk + FILE[at + len(junk) // 2 :]
    plain, small = read(damaged), read(damaged, buffer_bytes, chunk)
    assert (plain.packets, plain.rows, plain.info) == (small.packets, small.rows, small.info)
    assert {c: a.count for c, a in plain.ledger.by_code.items()} == {
        c: a.count for c, a in small.ledger.by_code.items()
    }


@QUICK
@given(spots=st.lists(st.tuples(st.integers(28, len(FILE) - 1), st.integers(0, 255)), max_size=8))
def test_any_damage_is_survived(spots: list[tuple[int, int]]) -> None:
    """A second section follows, so that even a lost interface description has an end."""
    file = bytearray(FILE + pcapng(packets(100)))
    for at, value in spots:
        file[at] = value
    got = read(bytes(file), 4096)
    assert got.info.packets == len(got.packets) <= 140
    huge = any(ENDS[0] <= at < len(FILE) for at, _ in spots) and got.info.truncated
    assert huge or got.packets[-100:] == whole(packets(100))
