"""Time what WebSocket costs: `python -m tests.bench.websocket --frames 1000000`.

The capture is made on first use: 500 connections that all talk at once, one to four frames a segment, text and binary
of up to a few hundred bytes, every twentieth frame a ping or the pong that answers it, a tenth of the connections with
permessage-deflate. Printed are the seconds inside the protocol (kernel, zlib, tables) and of the whole engine.
"""

from __future__ import annotations

import argparse
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

from analyzer.anomalies import Ledger
from analyzer.capture.reader import open_captures
from analyzer.engine import Engine
from analyzer.settings import Settings
from tests.bench.payloads import Payloads
from tests.bench.wire import ACK, CLIENT, MS, PSH, SERVER, US, Record, S, Steps, Wire

DATA = Path(__file__).parent / "data"
START = 1_700_000_000 * S
CONNECTIONS = 500
COMPRESSED = 10  # one connection in as many
_EXTENSION = b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"


class _Chat:
    """One connection; `say` is one segment of it."""

    def __init__(self, number: int, rng: Random, payloads: Payloads) -> None:
        self.rng, self.payloads = rng, payloads
        self.wire = Wire(rng, (bytes((10, 1, number >> 8, number & 255)), bytes((192, 0, 2, 1))), (20_000 + number, 80),
                         loss=0)  # fmt: skip
        self.deflate: list[Any] = []
        if number % COMPRESSED == 0:
            self.deflate = [zlib.compressobj(wbits=-15) for _ in (CLIENT, SERVER)]
        self.ping = b""

    def open(self, t: int) -> Steps:
        """Handshakes of TCP and WebSocket."""
        t = yield from self.wire.handshake(t)
        request, accepted = self.payloads.upgrade(self.rng, "chat.example.com")
        if self.deflate:
            request, accepted = request[:-2] + _EXTENSION, accepted[:-2] + _EXTENSION
        yield self.send(t, CLIENT, request)
        yield self.send(t + 1 * MS, SERVER, accepted)
        return t

    def send(self, t: int, side: int, data: bytes) -> Record:
        record = self.wire.segment(t, side, PSH | ACK, data)
        self.wire.nxt[side] += len(data)
        self.wire.got[1 - side] += len(data)
        return record

    def say(self, t: int, frames: int) -> Record:
        """Send a segment of so many frames."""
        rng, masked = self.rng, True
        side = rng.choice((CLIENT, SERVER))
        if self.ping:
            side = CLIENT
        masked = side == CLIENT
        out = b""
        for _ in range(frames):
            if self.ping:
                out += self.payloads.frame(rng, 10, self.ping, masked=True)
                self.ping = b""
            elif side == SERVER and rng.random() < 0.05:
                self.ping = rng.randbytes(4)
                out += self.payloads.frame(rng, 9, self.ping, masked=False)
                break
            else:
                out += self.message(side, masked)
        return self.send(t, side, out)

    def message(self, side: int, masked: bool) -> bytes:
        size = min(int(self.rng.lognormvariate(4, 0.8)) + 2, 300)
        if self.deflate:
            engine = self.deflate[side]
            text = self.payloads.text(self.rng, size)
            packed = (engine.compress(text) + engine.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\0\0\xff\xff")
            whole = self.payloads.frame(self.rng, 1, packed, masked=masked)
            return bytes((whole[0] | 0x40,)) + whole[1:]
        binary = self.rng.random() < 0.2
        payload = self.payloads.noise(self.rng, size) if binary else self.payloads.text(self.rng, size)
        return self.payloads.frame(self.rng, 2 if binary else 1, payload, masked=masked)


def chatter(frames: int, seed: int) -> Iterator[bytes]:
    """Yield the records of all connections, with at least `frames` WebSocket frames in them."""
    rng = Random(seed)
    payloads = Payloads(rng)
    chats = [_Chat(number, rng, payloads) for number in range(CONNECTIONS)]
    for number, chat in enumerate(chats):  # each opens after the one before it has
        for _, record in chat.open(START + number * S):
            yield record
    t = START + CONNECTIONS * S
    while frames > 0:
        n = min(rng.randint(1, 4), frames)
        t += rng.randrange(1, 40) * US
        yield rng.choice(chats).say(t, n)[1]
        frames -= n


class _Clock:
    """Adds up the time that calls of a function take."""

    def __init__(self) -> None:
        self.s = 0.0

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **named: Any) -> Any:
            began = time.perf_counter()
            result = function(*args, **named)
            if isinstance(result, Iterator):
                result = list(result)
            self.s += time.perf_counter() - began
            return result

        return timed


def measure(path: Path) -> dict[str, float]:
    """Analyse once; return seconds inside WebSocket and of all, and how many frames and messages there were."""
    ledger = Ledger()
    reader = open_captures([path], ledger)
    engine = Engine(Settings(), ledger, reader.files)
    clock, websocket = _Clock(), engine.protocols.websocket
    for name in ("feed", "close", "rows"):
        setattr(websocket, name, clock.around(getattr(websocket, name)))
    found = {"websocket_frames": 0, "websocket_messages": 0}
    began = time.perf_counter()
    for batch in reader:
        for name, rows in engine.feed(batch):
            found[name] = found.get(name, 0) + rows.num_rows
    for name, rows in engine.finish():
        found[name] = found.get(name, 0) + rows.num_rows
    whole = time.perf_counter() - began
    return {
        "websocket_s": clock.s, "engine_s": whole, "frames": found["websocket_frames"],
        "messages": found["websocket_messages"],
    }  # fmt: skip


def capture(frames: int) -> Path:
    """Return the capture with so many frames, made now if it was not."""
    path = DATA / f"websocket-{frames}.pcap"
    if not path.exists():
        from tests.bench.generate import write

        DATA.mkdir(exist_ok=True)
        with path.open("wb") as out:
            write(out, chatter(frames, 1))
    return path


def main() -> None:
    """Print the best of some rounds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    path = capture(options.frames)
    rounds = [measure(path) for _ in range(options.rounds + 1)][1:]  # the first may compile
    best = min(rounds, key=lambda row: row["websocket_s"])
    print(
        f"{best['frames']:,.0f} frames, {best['messages']:,.0f} messages, {path.stat().st_size / 1e6:.0f} MB: "
        f"{best['websocket_s']:.2f} s in WebSocket, {best['engine_s']:.2f} s in all"
    )


if __name__ == "__main__":
    main()
