"""What must not matter: how packets are cut into batches, where numbers and clocks begin, who else is talking."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from analyzer.ahead import MOST
from analyzer.anomalies import Ledger
from analyzer.capture.batch import PacketBatch
from analyzer.capture.reader import open_captures
from analyzer.engine import Chunk, Engine, Followed
from analyzer.settings import Settings
from analyzer.tables.order import in_order
from analyzer.tables.schema import TABLES, problems
from tests.property.harness import Result, Row, batches, run, run_batches, spans_of
from tests.property.traces import captures, cuts, hostile_packets, plain, shifted, talks
from tests.talk import Packet, Talk, merge, write_pcap

pytestmark = pytest.mark.usefixtures("compiled")

FLOW_TABLES = ("flows", "closes", "keepalives", "idle_gaps")
FRAMES = ("frame", "answer_frame", "answers_frame", "start_frame", "end_frame", "evidence_frames")


def sound(result: Result, flows: int | None = None) -> None:
    """Check what holds for any input."""
    for name, rows in result.tables.items():
        found = problems(name, rows)
        assert [text for text in found if not text.startswith("segments.window")] == []  # see test_schema_of_a_copy
    ids = [row["flow_id"] for row in result.rows("flows")]
    assert ids == list(range(len(ids) if flows is None else flows))
    assert [row["flow_id"] for row in result.rows("closes")] == ids
    frames = {row["frame"] for row in result.segments}
    assert len(frames) == len(result.segments)
    assert sum(row["frames_c"] + row["frames_s"] for row in result.rows("flows")) == len(frames)
    for row in result.rows("flows"):
        assert row["payload_bytes_c"] >= 0 <= row["payload_bytes_s"]
        assert row["missing_bytes_c"] >= 0 <= row["missing_bytes_s"]
    for row in result.probes:
        assert (row["answer_frame"] is None) == (row["answered"] in ("no", "pending"))
        assert row["len"] <= 1


def test_schema_of_a_copy() -> None:
    frame = Talk().handshake().resp_rst().packets[3][1]
    assert problems("segments", run([(0, frame), (1000, frame)]).tables["segments"]) == []


# ------------------------------------------------------------------------------------------------ batches
@given(captures(), cuts())
def test_batches_are_invisible(packets: list[Packet], where: list[int]) -> None:
    whole = run(packets)
    sound(whole)
    assert run(packets, where).fingerprints() == whole.fingerprints()


@given(captures(2), cuts())
def test_streams_do_not_depend_on_batches(packets: list[Packet], where: list[int]) -> None:
    whole, pieces = spans_of(packets), spans_of(packets, where)
    assert {key: stream.shape for key, stream in pieces.items()} == {key: s.shape for key, s in whole.items()}


@given(captures(3), st.sampled_from([1, 300, 1000, 5000]), st.booleans())
def test_buffers_of_the_reader_are_invisible(
    tmp_path_factory: pytest.TempPathFactory, packets: list[Packet], buffer_bytes: int, nano: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "buffers.pcap"
    path.write_bytes(write_pcap(packets, nano=nano))
    assert from_file(path, buffer_bytes).fingerprints() == from_file(path, 1 << 20).fingerprints()


def from_file(path: Path, buffer_bytes: int) -> Result:
    """Analyse a file as `analyze` does, with another size of batches."""
    ledger = Ledger()
    reader = open_captures([path], ledger, buffer_bytes=buffer_bytes)
    engine = Engine(Settings(), ledger, reader.files, segments=True)
    return taken(engine, chain.from_iterable(engine.feed(batch) for batch in reader))


def taken(engine: Engine, read: Iterable[Chunk]) -> Result:
    """Return all that an engine says: what `read` yields, and what comes at the end."""
    chunks = [*read, *engine.finish()]
    return Result({name: in_order(name, [rows for n, rows in chunks if n == name]) for name in TABLES})


@given(captures(3), cuts())
def test_following_batches_ahead_is_invisible(packets: list[Packet], where: list[int]) -> None:
    ahead = run_batches(batches(packets, where), ahead=True)
    assert ahead.fingerprints() == run_batches(batches(packets, where)).fingerprints()


def as_far_ahead_as_may_be(engine: Engine, given: Iterable[PacketBatch]) -> Iterator[Chunk]:
    """Follow MOST more batches before each is read, as a thread that is much quicker than the other one would."""
    waiting: deque[Followed] = deque()
    for batch in given:
        waiting.append(engine.follow(batch))
        while len(waiting) > MOST or (waiting and waiting[-1].full):
            yield from engine.take(waiting.popleft())
    for followed in waiting:
        yield from engine.take(followed)


@given(captures(3), cuts())
def test_batches_stay_whole_while_others_are_followed(packets: list[Packet], where: list[int]) -> None:
    engine = Engine(Settings(), Ledger(), segments=True)
    assert taken(engine, as_far_ahead_as_may_be(engine, batches(packets, where))).fingerprints() == (
        run_batches(batches(packets, where)).fingerprints()
    )


def test_bytes_that_waited_stay_readable_while_batches_are_followed() -> None:
    """Each batch brings the end of one request before its beginning: the end is read from the store, whose pages are
    used again."""
    packets: list[Packet] = []
    for k in range(40):
        talk = Talk(("10.1.0.1", 2000 + k), t0=100 + k).handshake()
        talk.orig(b"GET /%d" % k).orig(b"/%d HTTP/1.1\r\n\r\n" % k)
        *hello, (begun, first), (ended, second) = talk.packets
        packets += [*hello, (begun, second), (ended, first)]
    engine = Engine(Settings(), Ledger(), segments=True)
    where = range(5, len(packets), 5)
    result = taken(engine, as_far_ahead_as_may_be(engine, batches(packets, where)))
    assert [row["target"] for row in result.rows("http_requests")] == [f"/{k}/{k}" for k in range(40)]


def test_flows_are_handed_over_before_the_next_batch_is_followed() -> None:
    """Closed flows leave when 8 are open: their slots are used again while protocols still read."""
    asked = [Talk(("10.1.0.1", 2000 + k), t0=100 + k / 100).handshake() for k in range(150)]
    told = [talk.orig(b"GET /%d HTTP/1.1\r\n\r\n" % k) for k, talk in enumerate(asked)]
    packets = merge(*[talk.resp(b"HTTP/1.1 204 No\r\n\r\n").orig_fin().resp_fin() for talk in told])
    settings, where = Settings(max_flows=8), range(0, len(packets), 7)
    ahead = run_batches(batches(packets, where), settings, ahead=True)
    assert ahead.fingerprints() == run_batches(batches(packets, where), settings).fingerprints()
    assert sum(row["status"] == 204 for row in ahead.rows("http_requests")) > 100


def test_reused_ports_do_not_depend_on_batches() -> None:
    """More than a thousand replaced flows are handed over early; their idle_wire_s is counted to wherever that was."""
    talks_ = [Talk(isn=(1000 * k, 7), t0=100 + k / 100).syn().syn_ack().ack() for k in range(1, 1200)]
    packets = [packet for talk in talks_ for packet in talk.packets]
    settings = Settings(max_flows=8000)
    pieces, whole = run(packets, range(0, 3600, 100), settings=settings), run(packets, settings=settings)
    assert pieces.fingerprints()["closes"] == whole.fingerprints()["closes"]


# ------------------------------------------------------------------------------------------------ cut, joined, shifted
@given(captures(3), st.integers(1, 60))
def test_a_capture_cut_anywhere(packets: list[Packet], length: int) -> None:
    sound(run(packets[:length]))


@given(captures(3), st.integers(1, 60))
def test_flows_that_ended_before_the_cut_keep_their_rows(packets: list[Packet], length: int) -> None:
    whole, cut = run(packets), run(packets[:length])
    last = {row["flow_id"]: row["frame"] for row in sorted(whole.segments, key=lambda row: row["frame"])}
    over = {row["flow_id"] for row in whole.rows("flows") if row["end_seen"] and last[row["flow_id"]] <= length}
    for name in FLOW_TABLES:
        kept = [row for row in cut.rows(name) if row["flow_id"] in over]
        assert kept == [row for row in whole.rows(name) if row["flow_id"] in over]


@given(captures(3), st.integers(1, 60))
def test_joined_midstream(packets: list[Packet], start: int) -> None:
    assume(packets[start:])
    sound(run(packets[start:]))


@given(st.data(), st.integers(1, 2**32 - 1), st.integers(1, 2**32 - 1))
def test_where_numbers_begin_does_not_matter(data: st.DataObject, client: int, server: int) -> None:
    base = data.draw(talks(isn=(1000, 2000)))
    moved = [(at, renumbered(frame, client, server)) for at, frame in base.packets]
    one, other = run(base), run(moved)
    for name in FLOW_TABLES:
        assert other.rows(name) == one.rows(name)
    assert plain(other.segments, "seq", "ack") == plain(one.segments, "seq", "ack")


def renumbered(frame: bytes, client: int, server: int) -> bytes:
    """Add to the sequence numbers of the client (port 40000) and of the server; checksums are not looked at."""
    link = 18 if frame[12:14] == b"\x81\x00" else 14
    tcp = link + (20 if frame[link] >> 4 == 4 else 40)
    mine, other = (client, server) if frame[tcp : tcp + 2] == b"\x9c\x40" else (server, client)
    if frame[tcp + 13] & 4 and frame[tcp + 4 : tcp + 8] == bytes(4):
        mine = 0  # the RST of a closed port has sequence number 0, wherever numbers begin
    seq, ack = (int.from_bytes(frame[tcp + at : tcp + at + 4], "big") for at in (4, 8))
    ack = (ack + other) % 2**32 if frame[tcp + 13] & 16 else ack
    return frame[: tcp + 4] + ((seq + mine) % 2**32).to_bytes(4, "big") + ack.to_bytes(4, "big") + frame[tcp + 12 :]


@given(captures(3), st.sampled_from([1, 10**9, -(10**18), 86_400 * 10**9 * 365]))
def test_when_it_happened_does_not_matter(packets: list[Packet], by_ns: int) -> None:
    one, other = run(packets), run(shifted(packets, by_ns))
    times = ("ts", "first_ts", "last_ts", "start_ts", "end_ts")
    for name in (*FLOW_TABLES, "segments"):
        assert plain(other.rows(name), *times) == plain(one.rows(name), *times)
        for before, after in zip(one.rows(name), other.rows(name), strict=True):
            assert all(after[column] - before[column] == by_ns for column in times if column in before)


def test_a_clock_that_begins_at_zero() -> None:
    """Simulators and `editcap -t` write such files; the first frame is at 0.000000."""
    talk = Talk(t0=0).handshake().orig(b"x", at="1s").resp_ack()
    one, other = run(talk), run(shifted(talk.packets, 10**9))
    assert one.flow["handshake_rtt_s"] == pytest.approx(other.flow["handshake_rtt_s"], abs=2e-9)
    assert one.flow["first_ts"] == 1


# ------------------------------------------------------------------------------------------------ company
@given(st.lists(talks(), min_size=2, max_size=4))
def test_other_flows_do_not_matter(alone: list[Talk]) -> None:
    """Apart from ids and frame numbers; all traces end together, so that what is still open is equally old."""
    for k, talk in enumerate(alone):
        talk.packets[:] = [(at, ported(frame, 40000 + k)) for at, frame in talk.packets]
    end = max(talk.packets[-1][0] for talk in alone) + 1
    stop: Packet = (end, Talk(("10.200.0.1", 1), ("10.200.0.2", 2)).syn().packets[0][1])
    together = run(merge(*alone, [stop]))
    for k, talk in enumerate(alone):
        single = run([*talk.packets, stop])
        ids = {row["client_port"]: row["flow_id"] for row in together.rows("flows")}
        for name in FLOW_TABLES:
            mine = [row for row in together.rows(name) if row["flow_id"] == ids[40000 + k]]
            own = [row for row in single.rows(name) if row["flow_id"] == 0]
            assert plain(mine, "flow_id", *FRAMES) == plain(own, "flow_id", *FRAMES)


def ported(frame: bytes, port: int) -> bytes:
    """Give the client another port."""
    link = 18 if frame[12:14] == b"\x81\x00" else 14
    tcp = link + (20 if frame[link] >> 4 == 4 else 40)
    at = tcp if frame[tcp : tcp + 2] == b"\x9c\x40" else tcp + 2
    return frame[:at] + port.to_bytes(2, "big") + frame[at + 2 :]


COUNTS = ("frames_c", "frames_s", "wire_bytes_c", "wire_bytes_s")
# A copy moves these too; see test_flow_duplicates.py
LAST = ("last_ts", "duration_s", "max_wire_gap_s", "idle_wire_s", "longest_wire_silence_s")


@given(talks(), st.sets(st.integers(0, 40)))
def test_copies_of_frames_do_not_matter(talk: Talk, which: set[int]) -> None:
    packets: list[Packet] = []
    for k, (at, frame) in enumerate(talk.packets):
        packets.append((at, frame))
        if k in which:
            packets.append((at, b"\x02\xff\0\0\0\1\x02\xff\0\0\0\2" + frame[12:]))
    once, twice = run(talk), run(packets)
    copies = len(packets) - len(talk.packets)
    assert twice.labels.count("duplicate_frame") >= copies
    assume(once.labels.count("duplicate_frame") == 0)
    for name in FLOW_TABLES:
        assert plain(twice.rows(name), *FRAMES, *COUNTS, *LAST) == plain(once.rows(name), *FRAMES, *COUNTS, *LAST)


# ------------------------------------------------------------------------------------------------ hostile
@given(hostile_packets(), cuts())
def test_any_numbers_survive(packets: list[Packet], where: list[int]) -> None:
    whole = run(packets)
    sound(whole)
    assert run(packets, where).fingerprints() == whole.fingerprints()


@given(hostile_packets(), st.integers(1, 5), st.integers(2, 9))
def test_any_numbers_survive_without_room(packets: list[Packet], step: int, room: int) -> None:
    result = run(packets, range(0, len(packets), step), settings=Settings(max_flows=room))
    sound(result)


@given(hostile_packets())
def test_any_numbers_give_streams_that_hold_together(packets: list[Packet]) -> None:
    spans_of(packets)


# ------------------------------------------------------------------------------------------------ reassembly
@st.composite
def segmented(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Draw a stream and segments that cover it, in any order, some of them twice or overlapping."""
    size = draw(st.integers(1, 400))
    stream = bytes(k * 7 % 256 for k in range(size)) * draw(st.sampled_from([1, 1, 13]))
    edges = sorted({0, len(stream), *draw(st.lists(st.integers(0, len(stream)), max_size=10))})
    pieces = [(a, stream[a:b]) for a, b in pairwise(edges)]
    for _ in range(draw(st.integers(0, 5))):
        a, b = sorted((draw(st.integers(0, len(stream))), draw(st.integers(0, len(stream)))))
        pieces.append((a, stream[a:b] or stream[:1]) if a < b else (0, stream[:1]))
    return stream, draw(st.permutations(pieces))


@given(segmented(), cuts(), st.integers(0, 2**32 - 1), st.booleans())
def test_any_order_of_any_segments_is_the_same_stream(
    drawn: tuple[bytes, list[tuple[int, bytes]]], where: list[int], isn: int, fin: bool
) -> None:
    stream, pieces = drawn
    talk = Talk(isn=(1, isn)).handshake()
    for k, (at, piece) in enumerate(pieces):
        talk.resp(piece, seq=1 + at, whole=True, ack=1, at=1 + k / 10_000)
    if fin:
        talk.resp_fin(seq=1 + len(stream))
    spans = spans_of(talk, where)[0, "s2c"]
    assert spans.shape == [("data", stream)] + [("fin",)] * fin
    flow = run(talk, where).flow
    assert (flow["payload_bytes_s"], flow["missing_bytes_s"]) == (len(stream), 0)


@given(captures(2))
def test_counted_bytes_are_the_bytes_that_come_out(packets: list[Packet]) -> None:
    """payload_bytes and missing_bytes are those of the span table."""
    streams = spans_of(packets)
    for row in run(packets).rows("flows"):
        for suffix, direction in (("_c", "c2s"), ("_s", "s2c")):
            stream = streams.get((row["flow_id"], direction))
            holes = sum(piece[1] for piece in stream.pieces if piece[0] == "hole") if stream else 0
            assert row["missing_bytes" + suffix] == holes


def test_rows_are_rows() -> None:
    """The helpers of this file compare what they should: a changed cell is seen."""
    one: list[Row] = [{"a": 1, "frame": 2}]
    assert plain(one, *FRAMES) == [{"a": 1}]
