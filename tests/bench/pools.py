"""HTTP/1.1 as clients with pools of connections speak it: many requests on each, in every framing there is.

Of the exchanges, one in ten is a HEAD, two a conditional GET answered by 304, one a POST; one in 200 has a body of half
a megabyte or so; one in six of the other bodies is chunked. Every eighth round is a burst of pipelined requests. One
connection in forty carries server-sent events. Nothing is lost or reordered, so that every program sees all of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from tests.bench.payloads import Payloads
from tests.bench.wire import CLIENT, MS, SERVER, US, Record, S, Steps, Wire

CONCURRENT = 600
_EVENT_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


class Pooled:
    """One connection of a pool."""

    def __init__(self, number: int, seed: int, payloads: Payloads) -> None:
        self.rng = rng = Random(seed * 1_000_003 + number)
        self.payloads = payloads
        server = rng.randrange(1, 21)
        # the number is part of the port, so that no two connections of a capture are the same
        addresses = bytes((10,)) + rng.getrandbits(22).to_bytes(3, "big"), bytes((192, 0, 2, server))
        self.wire = Wire(rng, addresses, (32768 + number % 28000, rng.choice((80, 8080))), loss=0)
        self.host = f"svc{server}.example.com"

    def life(self, t: int) -> Iterator[Record]:
        """Yield the records of the whole connection."""
        t = yield from self.wire.handshake(t)
        if self.rng.random() < 1 / 40:
            t = yield from self.events(t)
        else:
            t = yield from self.exchanges(t)

    def exchanges(self, t: int) -> Steps:
        """Rounds of requests, until the server has served enough or the client has been idle for long."""
        rng, wire = self.rng, self.wire
        rounds = rng.randint(5, 80)
        for n in range(rounds):
            last = n == rounds - 1
            burst = n % 8 == 7 and not last
            pairs = [self.pair(close=last, alone=not burst) for _ in range(rng.randint(2, 8) if burst else 1)]
            t = yield from wire.upload(t, b"".join(request for request, _ in pairs), answer=False)
            t += int(rng.expovariate(0.1) * MS) + 200 * US
            t = yield from wire.download(t, b"".join(response for _, response in pairs))
            if not last:
                t = yield from wire.idle(t, int(rng.expovariate(4) * S))
        return (yield from wire.fins(t, SERVER))

    def pair(self, *, close: bool, alone: bool) -> tuple[bytes, bytes]:
        """Return a request and its response; a HEAD only `alone`, since tshark takes a pipelined one for a GET."""
        rng, payloads = self.rng, self.payloads
        size = min(int(rng.lognormvariate(7.5, 1.2)), 200_000)
        kind = rng.random()
        if close or kind >= 0.4:
            return payloads.request(rng, self.host, close=close), payloads.response(rng, size, close=close)
        if kind < 0.1 and alone:
            return payloads.request(rng, self.host, method="HEAD"), payloads.bare_response(rng, "200 OK", size)
        if kind < 0.3:
            asked = payloads.request(rng, self.host, more=f'If-None-Match: "{rng.getrandbits(64):016x}"')
            return asked, payloads.bare_response(rng, "304 Not Modified", 0)
        if kind < 0.395:
            return payloads.request(rng, self.host, size // 4 + 1), payloads.response(rng, 60)
        return payloads.request(rng, self.host), payloads.response(rng, rng.randrange(200_000, 700_000))

    def events(self, t: int) -> Steps:
        """A stream of events, which the client leaves."""
        rng, wire, payloads = self.rng, self.wire, self.payloads
        t = yield from wire.upload(t, payloads.request(rng, self.host, more="Accept: text/event-stream"), answer=False)
        t = yield from wire.download(t + 1 * MS, _EVENT_STREAM)
        for n in range(rng.randint(20, 400)):
            t = yield from wire.download(t + int(rng.expovariate(5) * S), payloads.chunk(payloads.event(rng, n)))
        return (yield from wire.reset(t, CLIENT))
