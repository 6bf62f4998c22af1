"""What a host drops because it waits for a SYN-ACK (RFC 9293 section 3.10.7.3) does not hide what comes after."""

from __future__ import annotations

import pytest

from tests.property.harness import run
from tests.talk import Packet, Talk

REQUEST = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FAR = 500_000_000  # from the server's initial number: what forges does not know it


def exchanged(talk: Talk) -> Talk:
    return talk.syn_ack().ack().orig(REQUEST).resp(ANSWER).orig_ack()


def forged(talk: Talk, flags: str, payload: bytes = b"") -> Talk:
    """Send a segment in the server's name that its host knows nothing of."""
    spoken, number = talk.server.snd_nxt, talk.server.ip_id
    talk.resp(payload, seq=FAR, ack=1, flags=flags, lost=True)
    talk.server.snd_nxt, talk.server.ip_id = spoken, number
    return talk


@pytest.mark.parametrize("flags", ["FA", "F", "RA", "PA", "FPA"])
def test_a_forgery_before_the_syn_ack_is_dropped(flags: str) -> None:
    payload = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n" if "P" in flags else b""
    result = run(exchanged(forged(Talk().syn(), flags, payload)))
    assert (result.flow["payload_bytes_s"], result.flow["missing_bytes_s"]) == (len(ANSWER), 0)
    assert [row["status"] for row in result.rows("http_requests")] == [200]
    assert result.kinds == ["open_active"]


def test_reset_and_fin_before_the_syn_ack() -> None:
    """As Suricata's capture of an evasion of Windows has it."""
    result = run(exchanged(forged(forged(Talk().syn(), "RA"), "FA")))
    assert [row["status"] for row in result.rows("http_requests")] == [200]
    assert result.kinds == ["open_active"]
    assert [row["code"] for row in result.rows("findings")] == ["reset.ignored"]


def test_a_refusal_stands() -> None:
    assert run(Talk().syn().resp_rst()).kinds == ["refused"]


def moved(talk: Talk, frame: int, to: int) -> list[Packet]:
    """Return the packets with one captured earlier or later; the times stay in order."""
    times = [ts for ts, _ in talk.packets]
    frames = [data for _, data in talk.packets]
    frames.insert(to, frames.pop(frame))
    return list(zip(times, frames, strict=True))


def test_a_syn_ack_captured_late_changes_no_bytes() -> None:
    """Two receive queues: the server's greeting, its end and its second segment before its SYN-ACK."""
    talk = Talk().syn().syn_ack().resp(b"220 a.example\r\n").resp(b"ready\r\n").resp_fin().ack().orig_ack()
    usual = run(talk).flow
    for packets in (moved(talk, 1, 3), moved(talk, 1, 4), moved(moved_talk(talk, 2, 3), 1, 3)):
        flow = run(packets).flow
        assert (flow["payload_bytes_s"], flow["missing_bytes_s"]) == (22, 0)
        assert flow["close_kind"] == usual["close_kind"] == "half_closed_open"


def moved_talk(talk: Talk, frame: int, to: int) -> Talk:
    other = Talk()
    other.packets = moved(talk, frame, to)
    return other


@pytest.mark.parametrize("size", [100, 100_000])
def test_a_syn_ack_that_was_not_captured_costs_no_bytes(size: int) -> None:
    """Nor do the client's acknowledgements: then the first window's bytes are held, no more."""
    talk = Talk().syn().syn_ack(unseen=True).ack(unseen=True).resp(b"x" * size).resp_fin()
    assert run(talk).flow["payload_bytes_s"] == size
    assert run(talk.orig_ack()).flow["payload_bytes_s"] == size


def test_a_fin_is_delivered_once_the_client_has_acknowledged_it() -> None:
    talk = Talk().syn().syn_ack(unseen=True).ack(unseen=True).resp(ANSWER).resp_fin().orig_ack().orig_fin().resp_ack()
    result = run(talk)
    assert result.kinds == ["fin_server_first"]
    assert result.flow["missing_bytes_s"] == 0
