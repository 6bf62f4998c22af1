"""Make a benchmark capture: `python -m tests.bench.generate OUT.pcap --packets 1000000`.

mixed    3,000 connections at a time, each of its own pace: HTTP, TLS and WebSocket, losses and repairs, idle gaps with
         and without keep-alive probes, every fifth over IPv6, closed by FIN or RST. As in any capture of a busy
         server, some were open before it began and 3,000 are open when it ends. About 700 bytes a packet.
http     600 connections at a time, of clients that keep them in pools: see `pools`.
synscan  `--packets` connections of one SYN each, every second answered by RST.
small    one HTTP exchange in ten packets, to time the start of a program.

The same options give the same bytes. Records are written as they are made: memory does not grow with the file.
"""

from __future__ import annotations

import argparse
import heapq
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import BinaryIO

from tests.bench import pools
from tests.bench.payloads import Payloads
from tests.bench.wire import ACK, CLIENT, MS, RST, SERVER, SYN, US, Record, S, Steps, Wire
from tests.talk import Talk

START = 1_700_000_000 * S
CONCURRENT = 3_000
LOSS = 0.004  # of the segments
_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)
_RECORDS_PER_WRITE = 2_000


class Flow:
    """One connection's life, told by the method that fits its number."""

    def __init__(self, number: int, seed: int, payloads: Payloads) -> None:
        self.rng = rng = Random(seed * 1_000_003 + number)
        self.payloads = payloads
        kind = rng.random()
        self.tell = self.http if kind < 0.42 else self.tls if kind < 0.8 else self.websocket
        port = rng.choice((443, 8443) if self.tell == self.tls else (80, 8080))
        server = rng.randrange(1, 21)
        client = rng.getrandbits(22)
        v6 = rng.random() < 0.2
        if v6:
            addresses = (bytes.fromhex("20010db800000000") + client.to_bytes(8, "big"),
                         bytes.fromhex("20010db8000100000000000000000000")[:15] + bytes((server,)))  # fmt: skip
        else:
            addresses = bytes((10,)) + client.to_bytes(3, "big"), bytes((192, 0, 2, server))
        self.host = f"svc{server}.example.com"
        # the number is part of the port, so that no two connections of a capture are the same
        self.wire = Wire(rng, addresses, (32768 + number % 28000, port), loss=LOSS)
        self.keepidle = rng.choice((0, 2 * S, 5 * S, 10 * S))
        self.prober = rng.choice((CLIENT, SERVER))

    def life(self, t: int, *, joined: bool) -> Iterator[Record]:
        """Yield the records of the whole connection."""
        t = yield from (self.wire.joined(t) if joined else self.wire.handshake(t))
        yield from self.tell(t)

    def http(self, t: int) -> Steps:
        """Requests over a persistent connection, until somebody has had enough."""
        rng, wire, payloads = self.rng, self.wire, self.payloads
        exchanges = rng.randint(1, 12)
        for n in range(exchanges):
            last = n == exchanges - 1 and rng.random() < 0.3
            body = int(rng.lognormvariate(9, 1.2)) if rng.random() < 0.12 else 0
            t = yield from wire.upload(
                t, payloads.request(rng, self.host, min(body, 200_000), close=last), answer=False
            )
            size = min(int(rng.lognormvariate(8.3, 1.3)), 1_000_000)
            t = yield from wire.download(t + self.think(), payloads.response(rng, size, close=last))
            if last:
                return (yield from wire.fins(t, SERVER))
            t = yield from self.pause(t)
        return (yield from self.close(t))

    def tls(self, t: int) -> Steps:
        """A handshake, then the same give and take, unreadable."""
        rng, wire, payloads = self.rng, self.wire, self.payloads
        t = yield from wire.upload(t, payloads.client_hello(rng, self.host))
        t = yield from wire.download(t + 1 * MS, payloads.server_flight(rng))
        t = yield from wire.upload(t, payloads.client_finished(rng), answer=False)
        for _ in range(rng.randint(1, 12)):
            t = yield from wire.upload(t, payloads.application_data(rng, rng.randrange(200, 1500)), answer=False)
            size = min(int(rng.lognormvariate(8.3, 1.3)), 1_000_000)
            t = yield from wire.download(t + self.think(), payloads.application_data(rng, size))
            t = yield from self.pause(t)
        if rng.random() < 0.7:
            t = yield from wire.upload(t, payloads.close_notify(rng), answer=False)
            return (yield from wire.fins(t, CLIENT))
        return (yield from self.close(t))

    def websocket(self, t: int) -> Steps:
        """An upgrade, then small messages both ways, pings, and a Close answered by a Close."""
        rng, wire, payloads = self.rng, self.wire, self.payloads
        request, accepted = payloads.upgrade(rng, self.host)
        t = yield from wire.upload(t, request, answer=False)
        t = yield from wire.download(t + 1 * MS, accepted)
        for n in range(rng.randint(5, 60)):
            t += int(rng.expovariate(2) * S)
            if n % 10 == 9:
                beat = n.to_bytes(4, "big")
                t = yield from wire.download(t, payloads.frame(rng, 9, beat, masked=False))
                t = yield from wire.upload(t, payloads.frame(rng, 10, beat, masked=True))
            elif rng.random() < 0.7:
                text = payloads.text(rng, min(int(rng.lognormvariate(6, 1.2)) + 2, 100_000))
                t = yield from wire.download(t, payloads.frame(rng, 1, text, masked=False))
            else:
                text = payloads.text(rng, rng.randrange(20, 400))
                t = yield from wire.upload(t, payloads.frame(rng, 1, text, masked=True))
        if rng.random() < 0.8:
            t = yield from wire.upload(t, payloads.frame(rng, 8, b"\x03\xe8", masked=True), answer=False)
            t = yield from wire.download(t + 1 * MS, payloads.frame(rng, 8, b"\x03\xe8", masked=False))
            return (yield from wire.fins(t, SERVER))
        return (yield from self.close(t))

    def think(self) -> int:
        """Return how long the server takes to answer."""
        return int(self.rng.expovariate(0.1) * MS) + 200 * US

    def pause(self, t: int) -> Steps:
        """Wait until the next request: mostly at once or seconds, now and then long enough for probes."""
        length = self.rng.expovariate(1 / 12) if self.rng.random() < 0.15 else self.rng.expovariate(1)
        return (yield from self.wire.idle(t, int(length * S), self.keepidle, self.prober))

    def close(self, t: int) -> Steps:
        """End an idle connection."""
        kind = self.rng.random()
        if kind < 0.5:
            return (yield from self.wire.fins(t, CLIENT))
        if kind < 0.8:
            return (yield from self.wire.fins(t + 5 * S, SERVER))
        if kind < 0.95:
            return (yield from self.wire.reset(t, self.rng.choice((CLIENT, SERVER))))
        return (yield from self.wire.dead_peer(t, 5 * S, 1 * S, 3))


def mixed(seed: int) -> Iterator[bytes]:
    """Yield records of interleaved connections without end; a finished one is followed by another."""
    rng = Random(seed)
    payloads = Payloads(rng)
    numbers = count()

    def begin(t: int) -> Iterator[Record]:
        number = next(numbers)
        return Flow(number, seed, payloads).life(t, joined=number < CONCURRENT and number % 10 == 0)

    return interleaved(begin, CONCURRENT, rng)


def interleaved(begin: Callable[[int], Iterator[Record]], concurrent: int, rng: Random) -> Iterator[bytes]:
    """Yield records of so many connections at a time, in time order; `begin` starts one at a time in nanoseconds."""
    # no two entries compare equal before the slot number, so lives are never compared
    queue: list[tuple[int, int, bytes, Iterator[Record]]] = []
    for slot in range(concurrent):
        life = begin(START + rng.randrange(2 * S))
        t, record = next(life)
        queue.append((t, slot, record, life))
    heapq.heapify(queue)
    while True:
        t, slot, record, life = queue[0]
        yield record
        step = next(life, None)
        if step is None:
            life = begin(t + int(rng.expovariate(5) * S))
            step = next(life)
        heapq.heapreplace(queue, (step[0], slot, step[1], life))


def http(seed: int) -> Iterator[bytes]:
    """Yield records of pooled HTTP connections without end."""
    rng = Random(seed)
    payloads = Payloads(rng)
    numbers = count()
    return interleaved(lambda t: pools.Pooled(next(numbers), seed, payloads).life(t), pools.CONCURRENT, rng)


def synscan(flows: int, seed: int) -> Iterator[bytes]:
    """Yield `flows` SYNs, 10 us apart, to a thousand ports of many hosts; half are refused 5 ms later."""
    rng = Random(seed)
    scanner = bytes((198, 51, 100, 7))
    answers: deque[Record] = deque()
    for n in range(flows):
        t = START + n * 10 * US
        while answers and answers[0][0] <= t:
            yield answers.popleft()[1]
        target = bytes((10,)) + (n // 1000 + 1).to_bytes(3, "big")
        wire = _BareWire(rng.getrandbits(32), scanner + target, (54321, 1 + n % 1000))
        yield wire.record(t, SYN)
        if n % 2:
            answers.append((t + 5 * MS, wire.record(t + 5 * MS, RST | ACK)))
    for _, record in answers:
        yield record


class _BareWire:
    """Just a SYN with an MSS option, or the RST,ACK that refuses it: a scanner makes no whole `Wire`."""

    _HEAD = struct.Struct("!14sHHHHHH8sHHIIHHHH")

    def __init__(self, isn: int, pair: bytes, ports: tuple[int, int]) -> None:
        self.isn, self.pair, self.ports = isn, pair, ports
        self.sum = int.from_bytes(pair, "big") % 65535

    def record(self, t: int, flags: int) -> bytes:
        syn = flags == SYN
        pair = self.pair if syn else self.pair[4:] + self.pair[:4]
        ports = self.ports if syn else self.ports[::-1]
        options = b"\x02\x04\x05\xb4" if syn else b""
        seq, ack = (self.isn, 0) if syn else (0, (self.isn + 1) & 0xFFFFFFFF)
        win, size = (1024 if syn else 0), 20 + len(options)
        offset_flags, ttl = size << 10 | flags, (52 if syn else 64) << 8 | 6
        words = seq + ack + offset_flags + win + int.from_bytes(options, "big") + size
        checksum = -(self.sum + 6 + sum(ports) + words) % 65535
        ip_checksum = -(self.sum + 0x4500 + 20 + size + 0x4000 + ttl) % 65535
        link = b"\x02\x00\x5e\x00\x00\x02\x02\x00\x5e\x00\x00\x01\x08\x00"
        head = self._HEAD.pack(
            link, 0x4500, 20 + size, 0, 0x4000, ttl, ip_checksum, pair, *ports, seq, ack, offset_flags, win, checksum, 0
        )
        length = len(head) + len(options)
        return struct.pack("<IIII", t // S, t % S // US, length, length) + head + options


def small() -> bytes:
    """Return a capture of ten packets."""
    talk = Talk().handshake().orig(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    talk.resp(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").orig_ack()
    return talk.orig_fin(at="5s").resp_ack().resp_fin().orig_ack().pcap()


def write(out: BinaryIO, records: Iterator[bytes]) -> int:
    """Write a capture file of `records`; return how many there were."""
    out.write(_HEADER)
    total = 0
    while batch := list(islice(records, _RECORDS_PER_WRITE)):
        out.write(b"".join(batch))
        total += len(batch)
    return total


def main() -> None:
    """Parse the command line and write the capture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--packets", type=int, default=1_000_000, help="packets (synscan: connections)")
    parser.add_argument("--scale", type=int, default=1, help="times as many packets, as many connections at a time")
    parser.add_argument("--kind", choices=("mixed", "http", "synscan", "small"), default="mixed")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    packets = options.packets * options.scale
    began = time.perf_counter()
    with options.out.open("wb") as out:
        if options.kind == "small":
            out.write(small())
            total = 10
        elif options.kind == "synscan":
            total = write(out, synscan(packets, options.seed))
        else:
            total = write(out, islice((http if options.kind == "http" else mixed)(options.seed), packets))
    took, size = time.perf_counter() - began, options.out.stat().st_size
    print(f"{options.out.name}: {total:,} packets, {size / 1e6:,.0f} MB in {took:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
