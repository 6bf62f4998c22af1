"""The engine: what it yields and when, and what it counts."""

from __future__ import annotations

import numpy as np

from analyzer.anomalies import Ledger
from analyzer.capture.batch import PACKET, FileInfo, PacketBatch
from analyzer.engine import Engine
from analyzer.kernel import records
from analyzer.settings import Settings
from analyzer.tables.schema import TABLES, problems
from tests.property.harness import batches, run
from tests.talk import Talk


def used() -> Talk:
    return Talk().handshake().orig(b"request", at="1s").resp(b"response").orig_ack()


def test_nothing_in_nothing_out() -> None:
    engine = Engine(Settings(), Ledger())
    assert list(engine.feed(PacketBatch(records(0, PACKET), np.empty(0, np.uint8)))) == []
    assert [(name, rows.num_rows) for name, rows in engine.finish()] == [
        ("timeouts", 0), ("findings", 0), ("endpoints", 0), ("captures", 0), ("anomalies", 0),
    ]  # fmt: skip


def test_every_chunk_keeps_the_schema() -> None:
    engine = Engine(Settings(), Ledger(), segments=True)
    chunks = [chunk for batch in batches(used(), [2, 4]) for chunk in engine.feed(batch)]
    chunks += list(engine.finish())
    for name, rows in chunks:
        assert name in TABLES
        assert rows.schema.names == list(TABLES[name].names)
    assert [name for name, _ in chunks[:3]] == ["segments"] * 3


def test_segments_are_an_option() -> None:
    engine = Engine(Settings(), Ledger())
    assert [name for batch in batches(used()) for name, _ in engine.feed(batch)] == []


def test_rows_of_finished_flows_come_before_the_end() -> None:
    """Memory does not grow with the capture."""
    engine = Engine(Settings(max_flows=4), Ledger())
    early = []
    for k in range(40):
        talk = Talk(("10.0.0.1", 1000 + k), t0=100 + k).handshake().orig_fin().resp_fin().orig_ack()
        for batch in batches(talk):
            early += [rows.num_rows for name, rows in engine.feed(batch) if name == "flows"]
        assert engine.tracker.live <= 5
    late = [rows.num_rows for name, rows in engine.finish() if name == "flows"]
    assert sum(early) + sum(late) == 40
    assert sum(early) >= 35


def test_files_count_their_segments_and_copies() -> None:
    packets = used().packets
    packets.insert(4, packets[3])
    files = [FileInfo("one.pcap"), FileInfo("two.pcap")]
    engine = Engine(Settings(), Ledger(), files)
    for batch in batches(packets):
        batch.packets["file"][5:] = 1
        list(engine.feed(batch))
    list(engine.finish())
    assert [(info.tcp_segments, info.duplicates) for info in files] == [(5, 1), (2, 0)]


def test_one_file_counts_too() -> None:
    files = [FileInfo("one.pcap")]
    engine = Engine(Settings(), Ledger(), files)
    for batch in batches(used()):
        list(engine.feed(batch))
    list(engine.finish())
    assert (files[0].tcp_segments, files[0].duplicates) == (6, 0)


def test_anomalies_name_their_first_place() -> None:
    talk = used().resp_drop(100, at="2s").orig_ack().orig_ack(flags="SF", seq=1_000_000, at="3s")
    rows = {row["code"]: row for row in run(talk).rows("anomalies")}
    assert (rows["flow.ack_unseen"]["first_frame"], rows["flow.ack_unseen"]["first_flow_id"]) == (7, 0)
    assert rows["tcp.bad_flags"]["first_frame"] == 8


def test_endpoints() -> None:
    talks = [Talk((f"10.0.0.{k}", 1000 + k), t0=100 + k).handshake().orig(b"x" * 10).resp_ack() for k in (1, 2, 3)]
    other = Talk(("10.0.0.1", 9), ("10.0.0.9", 443), t0=110, ipv6=True).syn().resp_rst()
    rows = run([packet for talk in (*talks, other) for packet in talk.packets]).rows("endpoints")
    by_name = {row["endpoint"]: row for row in rows}
    assert by_name["10.0.0.2:80"]["flows"] == by_name["10.0.0.2:80"]["clients"] == 3
    assert by_name["10.0.0.2:80"]["rst_share"] == 0
    assert by_name["[fd00::a00:9]:443"]["rst_share"] == 1


def test_endpoints_count_requests_and_races() -> None:
    """Median over connections on which HTTP was read; a race is a connection whose last request met its close."""

    def asks(port: int, times: int) -> Talk:
        talk = Talk(("10.0.0.1", port), t0=port).handshake()
        for _ in range(times):
            talk.orig(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").resp(
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
            ).orig_ack()
        return talk

    fin = asks(1003, 5).wait(5).resp_fin()
    late = fin.orig(b"GET /late HTTP/1.1\r\nHost: h\r\n\r\n").resp_rst()
    other = Talk(("10.0.0.1", 9), ("10.0.0.9", 443), t0=110).handshake().orig(b"x" * 10)
    talks = [asks(1001, 1), asks(1002, 2), late, other]
    rows = {row["endpoint"]: row for row in run([p for talk in talks for p in talk.packets]).rows("endpoints")}
    assert (rows["10.0.0.2:80"]["requests_per_flow_p50"], rows["10.0.0.2:80"]["races"]) == (2, 1)
    assert (rows["10.0.0.9:443"]["requests_per_flow_p50"], rows["10.0.0.9:443"]["races"]) == (None, None)


def test_endpoints_count_bytes_on_the_wire() -> None:
    """conclusions.py: "bytes on the wire, both directions"."""
    talk = used()
    assert run(talk).rows("endpoints")[0]["bytes"] == sum(len(frame) for _, frame in talk.packets)


def test_all_tables_keep_the_schema() -> None:
    result = run(used().orig_probe(at="61s").resp_ack().resp_rst(at="300s"))
    assert set(result.tables) == set(TABLES)
    for name, rows in result.tables.items():
        assert problems(name, rows) == []
