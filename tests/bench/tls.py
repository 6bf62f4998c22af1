"""Time decryption: `python -m tests.bench.tls DIR --flows 60` makes HTTPS traffic with its key log, and reads it.

Real handshakes and records of Python's ssl (TLS 1.3 and 1.2, AES-GCM and ChaCha20-Poly1305), HTTP/1.1 inside, in
segments of 1448 bytes. longwire and tshark read the capture with the same key log; whole processes, best of the rounds.
"""

from __future__ import annotations

import argparse
import random
import shutil
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path

from tests.unit.protocols.tls.wire import CLIENT, SERVER, Talk, contexts

MSS = 1448
_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)
SUITES = (
    (ssl.TLSVersion.TLSv1_3, None),
    (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256"),
    (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-CHACHA20-POLY1305"),
)


class Wire:
    """Segments of one connection, appended to a file."""

    def __init__(self, out: bytearray, number: int, clock: int) -> None:
        self.out, self.clock = out, clock
        self.ports = 20_000 + number, 443
        self.next = [1000, 2000]
        for direction, flags in ((CLIENT, 0x02), (SERVER, 0x12), (CLIENT, 0x10)):
            self.segment(direction, flags, b"")

    def segment(self, direction: int, flags: int, payload: bytes) -> None:
        self.clock += 20_000
        a, b = (b"\x0a\x00\x00\x01", b"\x0a\x00\x00\x02")[:: 1 if direction == CLIENT else -1]
        source, target = self.ports[:: 1 if direction == CLIENT else -1]
        tcp = struct.pack(
            ">HHIIBBHHH", source, target, self.next[direction], self.next[1 - direction] if flags != 0x02 else 0,
            0x50, flags, 65000, 0, 0,
        )  # fmt: skip
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + len(payload), 0, 0x4000, 64, 6, 0, a, b)
        frame = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02\x08\0" + ip + tcp + payload
        seconds, ns = divmod(self.clock, 10**9)
        self.out += struct.pack("<IIII", seconds, ns // 1000, len(frame), len(frame)) + frame
        self.next[direction] += len(payload) + (1 if flags & 3 else 0)

    def send(self, direction: int, data: bytes) -> None:
        for at in range(0, len(data), MSS):
            self.segment(direction, 0x18, data[at : at + MSS])
            if at // MSS % 2:
                self.segment(1 - direction, 0x10, b"")


def generate(folder: Path, flows: int, *, responses: int = 8, size: int = 200_000) -> tuple[Path, Path, int]:
    """Write capture and key log; return them and the bytes of plaintext."""
    rng, out, plain = random.Random(1), bytearray(_HEADER), 0
    folder.mkdir(parents=True, exist_ok=True)
    body = rng.randbytes(size)
    keys = []
    for number in range(flows):
        client, server, log = contexts(folder, *SUITES[number % len(SUITES)])
        talk = Talk(client, server)
        for k in range(responses):
            request = f"GET /{number}/{k} HTTP/1.1\r\nHost: bench.test\r\n\r\n".encode()
            response = f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + body
            talk.say(CLIENT, request)
            talk.say(SERVER, response)
            plain += len(request) + len(response)
        wire = Wire(out, number, 1_700_000_000 * 10**9 + number * 10**9)
        for direction, data in talk.chunks:
            wire.send(direction, data)
        wire.segment(CLIENT, 0x11, b"")
        wire.segment(SERVER, 0x11, b"")
        wire.segment(CLIENT, 0x10, b"")
        keys.append(log.read_bytes())
        log.unlink()
    capture, log = folder / "https.pcap", folder / "https.keys"
    capture.write_bytes(out)
    log.write_bytes(b"".join(keys))
    return capture, log, plain


def best(command: list[str], rounds: int) -> float:
    """Return the shortest time of some runs, in seconds."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Make the capture and print a table of times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--flows", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    capture, log, plain = generate(options.folder, options.flows)
    longwire = [sys.executable, "-m", "analyzer", "analyze", str(capture)]
    commands = {"longwire without keys": longwire, "longwire": [*longwire, "--keys", str(log)]}
    if tshark := shutil.which("tshark"):
        shown = ["-T", "fields", "-e", "http.request.uri", "-e", "http.response.code"]
        commands["tshark"] = [tshark, "-r", str(capture), "-o", f"tls.keylog_file:{log}", "-Y", "http", *shown]
    print(f"{capture.stat().st_size / 1e6:.0f} MB, {plain / 1e6:.0f} MB of plaintext")
    for name, command in commands.items():
        seconds = best(command, options.rounds)
        print(f"{name:24} {seconds:7.2f} s  {plain / seconds / 1e6:7.0f} MB/s of plaintext")


if __name__ == "__main__":
    main()
