"""The benchmark's captures are what they claim: whole streams under right headers, the same for the same seed."""

from __future__ import annotations

import io
import struct
from collections import Counter
from itertools import islice

import dpkt
import h11
import pytest

from tests.bench.generate import http, mixed, small, synscan, write
from tests.talk import checksum

Flow = tuple[bytes, int, bytes, int]
TLS_PORTS, HTTP_PORTS = (443, 8443), (80, 8080)


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    return [record[16:] for record in islice(mixed(seed=3), 30_000)]


def streams(frames: list[bytes]) -> dict[Flow, bytes]:
    """Return the in-order bytes of each direction whose SYN was seen, up to the first hole; first copy wins."""
    isn: dict[Flow, int] = {}
    pieces: dict[Flow, dict[int, bytes]] = {}
    for frame in frames:
        ip = dpkt.ethernet.Ethernet(frame).data
        tcp = ip.data
        flow = (ip.src, tcp.sport, ip.dst, tcp.dport)
        if tcp.flags & dpkt.tcp.TH_SYN:
            isn[flow] = tcp.seq
        elif tcp.data and flow in isn:
            at = (tcp.seq - isn[flow] - 1) % 2**32
            assert pieces.setdefault(flow, {}).setdefault(at, tcp.data) == tcp.data, "a retransmission differs"
    result = {}
    for flow, parts in pieces.items():
        data = b""
        for at in sorted(parts):
            if at != len(data):
                break
            data += parts[at]
        result[flow] = data
    return result


def test_every_checksum_is_right(frames: list[bytes]) -> None:
    for frame in frames[:3000]:
        ip = dpkt.ethernet.Ethernet(frame).data
        raw = bytes(ip)
        segment = raw[-len(ip.data) :]
        assert checksum(ip.src + ip.dst + struct.pack("!II", len(segment), 6) + segment) == 0
        assert ip.v == 6 or checksum(raw[:20]) == 0


def test_tls_records_follow_each_other(frames: list[bytes]) -> None:
    records = 0
    for flow, data in streams(frames).items():
        if not {flow[1], flow[3]} & set(TLS_PORTS):
            continue
        at = 0
        while at + 5 <= len(data):
            assert data[at] in (20, 21, 22, 23)
            assert data[at + 1] == 3
            at += 5 + int.from_bytes(data[at + 3 : at + 5], "big")
            records += 1
    assert records > 1000


def test_http_bodies_are_as_long_as_they_say(frames: list[bytes]) -> None:
    responses = 0
    for flow, data in streams(frames).items():
        rest = data if flow[1] in HTTP_PORTS else b""
        while b"\r\n\r\n" in rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 ")
            if b" 101 " in head:
                break
            if b"chunked" in head:
                _, end, rest = rest.partition(b"\r\n0\r\n\r\n")
                responses += bool(end)
            else:
                length = int(head.partition(b"Content-Length: ")[2].split(b"\r")[0])
                responses += len(rest) >= length
                rest = rest[length:]
    assert responses > 500


def test_pooled_connections_speak_http_as_h11_reads_it() -> None:
    by_flow = streams([record[16:] for record in islice(http(seed=3), 30_000)])
    methods, statuses, pipelined = Counter[bytes](), Counter[int](), 0
    for flow, data in by_flow.items():
        answers = by_flow.get((*flow[2:], *flow[:2]))
        if flow[3] not in HTTP_PORTS or not answers:
            continue
        client, server = h11.Connection(h11.SERVER), h11.Connection(h11.CLIENT)
        client.receive_data(data)
        server.receive_data(answers)
        while isinstance(request := client.next_event(), h11.Request):
            methods[request.method] += 1
            while isinstance(client.next_event(), h11.Data):
                pass
            pipelined += bool(client.trailing_data[0])
            server.send(h11.Request(method=request.method, target=b"/", headers=[(b"Host", b"x")]))
            server.send(h11.EndOfMessage())
            response = server.next_event()
            if not isinstance(response, h11.Response):
                break  # the capture ends before it came
            statuses[response.status_code] += 1
            while isinstance(event := server.next_event(), h11.Data):
                pass
            if not isinstance(event, h11.EndOfMessage):
                break
            client.send(h11.Response(status_code=204, headers=[]))
            client.send(h11.EndOfMessage())
            if {client.our_state, client.their_state, server.our_state, server.their_state} != {h11.DONE}:
                break
            client.start_next_cycle()
            server.start_next_cycle()
    assert min(methods[b"GET"], methods[b"HEAD"], methods[b"POST"], statuses[200], statuses[304], pipelined) > 50


def test_the_same_seed_gives_the_same_bytes() -> None:
    files = [io.BytesIO(), io.BytesIO(), io.BytesIO()]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        write(file, islice(mixed(seed), 2000))
    assert files[0].getvalue() == files[1].getvalue() != files[2].getvalue()


def test_a_scan_is_half_refused() -> None:
    tcp = [dpkt.ethernet.Ethernet(record[16:]).data.data for record in synscan(2000, seed=1)]
    assert sum(segment.flags == dpkt.tcp.TH_SYN for segment in tcp) == 2000
    assert sum(segment.flags == dpkt.tcp.TH_RST | dpkt.tcp.TH_ACK for segment in tcp) == 1000


def test_small_has_ten_packets() -> None:
    assert len(list(dpkt.pcap.Reader(io.BytesIO(small())))) == 10
