"""Handshakes that lie: lengths, floods, certificates of any size. Nothing may crash, loop or grow."""

from __future__ import annotations

import struct

import pytest

from analyzer.protocols.tls.hello import read_client_hello, read_old_hello, read_server_hello
from analyzer.protocols.tls.messages import MAX_MESSAGE, Messages
from analyzer.protocols.tls.state import KEPT_BYTES, MAX_READ
from tests import tlswire as w
from tests.property.harness import run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")

HELLO = w.record(22, w.client_hello(sni="a.example"))


def test_a_message_of_16_megabytes_is_stepped_over() -> None:
    claim = b"\x0b\xff\xff\xff"
    trace = Talk().handshake().orig(HELLO).resp(w.record(22, w.server_hello() + claim + b"x" * 9000))
    for _ in range(4):
        trace = trace.resp(w.record(22, b"\x0b" * 16000))
    result = run(trace)
    (row,) = result.rows("tls_sessions")
    assert (row["cipher"], row["cert_subject"]) == ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", None)
    assert result.anomalies == {"tls.handshake_cap": 1}


def test_after_a_message_that_is_too_long_reading_goes_on() -> None:
    read = Messages()
    body = b"x" * (MAX_MESSAGE + 1)
    stream = w.message(11, body) + w.message(14, b"")
    seen = [kind for k in range(0, len(stream), 16000) for kind, _ in read.feed(stream[k : k + 16000])]
    assert (seen, read.odd, read.buffer) == ([14], "tls.handshake_cap", b"")


def test_what_waits_for_its_rest_is_bounded() -> None:
    read = Messages()
    start = w.message(11, b"x" * MAX_MESSAGE)[:-1]
    assert list(read.feed(start)) == []
    assert len(read.buffer) < MAX_MESSAGE + 4
    assert [kind for kind, _ in read.feed(b"x")] == [11]


@pytest.mark.parametrize("cut", range(0, 120, 7))
def test_hellos_whose_lengths_point_outside(cut: int) -> None:
    body = w.client_hello(sni="a.example", alpn=[b"h2"], versions=[0x0304])[4:]
    for spoiled in (body[:cut], body[:cut] + b"\xff\xff" + body[cut + 2 :]):
        for read in (read_client_hello, read_server_hello, read_old_hello):
            hello = read(spoiled)
            assert len(hello.kinds) <= len(spoiled) and hello.damaged in (True, False)
    result = run(Talk().handshake().orig(w.record(22, w.message(1, body[:35] + b"\xff\xff" + body[37:]))))
    assert result.anomalies == {"tls.bad_handshake": 1}
    assert result.rows("tls_sessions")[0]["ja4"] is None


def test_a_name_that_is_no_text() -> None:
    hello = w.client_hello(more=w.extension(0, w.vector(2, b"\0" + w.vector(2, b"a\xff\x1b[31m"))))
    (row,) = run(Talk().handshake().orig(w.record(22, hello))).rows("tls_sessions")
    assert row["sni"] == "a\\xff\x1b[31m"  # escaped where it is shown


def test_a_certificate_bomb() -> None:
    chain = w.certificate(*[b"0\x82\xff\xff" + b"\x30\x80" * 5000] * 12)
    trace = Talk().handshake().orig(HELLO)
    trace = trace.resp(w.record(22, w.server_hello()))
    for k in range(0, len(chain), 16000):
        trace = trace.resp(w.record(22, chain[k : k + 16000]))
    result = run(trace)
    assert result.anomalies == {"tls.bad_certificate": 1}


def test_a_flood_of_empty_records() -> None:
    flood = struct.pack("!BHH", 20, 0x0303, 1) + b"\1"
    trace = Talk().handshake().orig(HELLO).orig(flood * 10_000, whole=True).orig(w.record(21, b"\2\x28"))
    result = run(trace)
    assert len(result.rows("tls_records")) == 10_002
    assert result.rows("tls_sessions")[0]["alert"] == "handshake_failure"


def test_alerts_beyond_the_cap_are_listed_and_not_read() -> None:
    alerts = w.record(21, b"\1\x5a") * 8000
    trace = Talk().handshake().orig(HELLO)
    for _ in range(MAX_READ // 8000 + 1):
        trace = trace.orig(alerts, whole=True)
    rows = run(trace).rows("tls_records")
    assert sum(row["alert_description"] == "user_canceled" for row in rows) == MAX_READ - 1
    assert len(rows) == 1 + 8000 * (MAX_READ // 8000 + 1)


def test_headers_that_promise_more_than_comes() -> None:
    """A beginning of a long record takes only the bytes it brought, however many connections begin one."""
    promise = w.record(22, w.client_hello())[:60]
    lie = struct.pack("!BHH", 22, 0x0301, 18_000) + b"\1\0\x40\0\3\3" + promise[11:]
    packets = []
    flows = KEPT_BYTES // 18_000 + 50
    for k in range(flows):
        packets += Talk(("10.0.0.1", 1024 + k), t0=1_700_000_000 + k).handshake().orig(lie).packets
    result = run(packets)
    assert result.anomalies.get("tls.record_cap", 0) >= 40
    assert len(result.rows("tls_sessions")) == flows


def test_garbage_after_a_handshake() -> None:
    result = run(Talk().handshake().orig(HELLO).resp(w.record(22, w.server_hello())).orig(b"\xaa" * 3000))
    assert result.anomalies == {"tls.bad_header": 1}
    assert result.rows("tls_sessions")[0]["close_notify_c"] == "unknown"
