"""Traces that need all the room that is made before a kernel runs, or more than was made once.

Run as a program with NUMBA_DISABLE_JIT=1 an index past an array's end is an error; compiled it would go unnoticed.
"""

from __future__ import annotations

from tests.http2 import H2, PREFACE, data, settings
from tests.property.harness import Result, run
from tests.talk import Packet, Talk, merge

GET = b"GET / HTTP/1.1\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 n\r\n\r\n"
CONNECT = b"CONNECT a HTTP/1.1\r\n\r\n"
CONNECT2 = [(":method", "CONNECT"), (":authority", "a:1")]


def tunnels_in_tunnels() -> Result:
    """One segment grants a tunnel in a tunnel in ...; what waited for the answers is looked at again in each."""
    talk = Talk().handshake().orig(CONNECT * 150)
    for _ in range(22):
        talk.orig(CONNECT)
    granted = len(talk.packets)
    return run(talk.resp(b"HTTP/1.1 200\r\n\r\n" * 170), [granted])


def many_exchanges_end_at_once() -> Result:
    """After a hole one status line answers the last of 250 requests, on 20 connections in one batch."""
    asked: list[Packet] = []
    cuts: list[int] = []
    answered = []
    for k in range(20):
        talk = Talk(client=("10.0.0.1", 41000 + k), t0=1_700_000_000 + k).handshake()
        for _ in range(5):
            talk.orig(GET * 50)
            cuts.append(len(asked) + len(talk.packets))
        n = len(talk.packets)
        talk.wait("60s").resp_drop(100).resp(NO_CONTENT).orig_ack().wait("1s").orig_ack()
        talk.wait("1s").orig(GET).orig_ack()
        asked += talk.packets[:n]
        answered.append(talk.packets[n:])
    return run([*asked, *merge(*answered)], cuts)


def tunnels(n: int, client: tuple[str, int] = ("10.0.0.1", 40000)) -> H2:
    talk = H2(client=client).handshake().orig(PREFACE + settings()).resp(settings() + settings(ack=True))
    talk.orig(b"".join(talk.caller.headers(2 * k + 1, CONNECT2) for k in range(n)))
    return talk


def granted(talk: H2, n: int) -> H2:
    talk.resp(b"".join(talk.callee.headers(2 * k + 1, [(":status", "200")]) for k in range(n)))
    return talk


def all_tunnels_decide_at_once() -> Result:
    """Each of 60 tunnels has held what is too short to tell when one round tells of all."""
    talk = granted(tunnels(60), 60)
    talk.orig(b"".join(data(2 * k + 1, b"A") for _ in range(22) for k in range(60)))
    talk.resp(b"".join(data(2 * k + 1, b"B") for _ in range(22) for k in range(60)))
    return run(talk.orig(b"".join(data(2 * k + 1, b" /") for k in range(60))))


def many_tunnels_in_one_batch() -> Result:
    """More channels than a batch's segments could open by themselves."""
    talk = granted(tunnels(1024), 1024)
    talk.orig(b"".join(data(2 * k + 1, b"hi") for k in range(1024)))
    return run(talk)


def frames_of_tunnels_beside_spans_that_wait() -> Result:
    """Thousands of frames are handed in, then other connections wait for HPACK."""
    one = granted(tunnels(4), 4)
    begun = len(one.packets)
    for _ in range(3):
        one.orig(data(1, b"A") * 5400)
    two = tunnels(1, ("10.0.0.9", 40009))
    for _ in range(176):
        two.orig(data(1, b"z"))
    other = H2(client=("10.0.0.8", 40008)).handshake().orig(PREFACE + settings())
    for _ in range(140):
        other.orig(data(1, b"z"))
    first = [*one.packets[:begun], *two.packets[:5], *other.packets]
    return run([*first, *one.packets[begun:], *two.packets[5:]], [len(first)])


def in_pieces(talk: Talk, *said: bytes, back: bool = False) -> Talk:
    """Send bytes five at a time: so many of each segment are kept."""
    for text in said:
        for at in range(0, len(text), 5):
            (talk.resp if back else talk.orig)(text[at : at + 5])
        (talk.orig_ack if back else talk.resp_ack)()
    return talk


def cut_requests_that_wait() -> Result:
    """Each piece behind a request for an upgrade is a request line of which five bytes are kept."""
    busy = Talk().handshake()
    for _ in range(510):
        in_pieces(busy, GET)
        in_pieces(busy, NO_CONTENT, back=True)
    asks = b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"
    waiting = []
    for k in range(31):
        talk = in_pieces(Talk(("10.0.0.1", 30000 + k)).handshake(at="100s"), asks)
        for _ in range(16):
            talk.orig(b"GET /" + b"x" * 40).resp_ack()
        talk.orig(b"G", at="102.5s").resp_ack().resp_drop(30, at="104s")
        waiting.append(in_pieces(talk, NO_CONTENT, back=True).orig(b"X", at="106s").resp_ack())
    packets = [*busy.packets, *merge(*waiting)]
    first = sum(ts_ns - packets[0][0] < 1022 * 10**8 for ts_ns, _ in packets)
    return run(packets, [*range(0, first, 2), first], snaplen=71)


CROWDS = (
    tunnels_in_tunnels, many_exchanges_end_at_once, all_tunnels_decide_at_once, many_tunnels_in_one_batch,
    frames_of_tunnels_beside_spans_that_wait, cut_requests_that_wait,
)  # fmt: skip

if __name__ == "__main__":
    for crowd in CROWDS:
        print(crowd.__name__, flush=True)
        crowd()
