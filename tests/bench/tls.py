"""Time decryption: `python -m tests.bench.tls DIR --flows 60` makes HTTPS traffic with its key log, and reads it.

Real handshakes and records of Python's ssl (TLS 1.3 and 1.2, AES-GCM and ChaCha20-Poly1305), HTTP/1.1 inside, in
segments of 1448 bytes. longwire and tshark read the capture with the same key log; longwire also without it, and a
capture of the same segments whose bytes are of no protocol: what TLS costs that is only stepped over. Whole processes,
best of the rounds, which are interleaved.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.unit.protocols.tls.wire import CLIENT, SERVER, Talk, contexts

MSS = 1448
_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)
SUITES = (
    (ssl.TLSVersion.TLSv1_3, None),
    (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-AES128-GCM-SHA256"),
    (ssl.TLSVersion.TLSv1_2, "ECDHE-RSA-CHACHA20-POLY1305"),
)


class Made(NamedTuple):
    """The capture, the same with bytes of no protocol, the key log, bytes of plaintext."""

    capture: Path
    twin: Path
    log: Path
    plain: int


class Wire:
    """Segments of one connection, appended to a file; and to another with zeros for payload."""

    def __init__(self, out: bytearray, plain: bytearray, number: int, clock: int) -> None:
        self.out, self.plain, self.clock = out, plain, clock
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
        head = struct.pack("<IIII", seconds, ns // 1000, len(frame), len(frame))
        self.out += head + frame
        self.plain += head + frame[: len(frame) - len(payload)] + bytes(len(payload))
        self.next[direction] += len(payload) + (1 if flags & 3 else 0)

    def send(self, direction: int, data: bytes) -> None:
        for at in range(0, len(data), MSS):
            self.segment(direction, 0x18, data[at : at + MSS])
            if at // MSS % 2:
                self.segment(1 - direction, 0x10, b"")


def generate(folder: Path, flows: int, *, responses: int = 8, size: int = 200_000) -> Made:
    """Write the captures and the key log."""
    rng, out, twin, plain = random.Random(1), bytearray(_HEADER), bytearray(_HEADER), 0
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
        wire = Wire(out, twin, number, 1_700_000_000 * 10**9 + number * 10**9)
        for direction, data in talk.chunks:
            wire.send(direction, data)
        wire.segment(CLIENT, 0x11, b"")
        wire.segment(SERVER, 0x11, b"")
        wire.segment(CLIENT, 0x10, b"")
        keys.append(log.read_bytes())
        log.unlink()
    made = Made(folder / "https.pcap", folder / "plain.pcap", folder / "https.keys", plain)
    made.capture.write_bytes(out)
    made.twin.write_bytes(twin)
    made.log.write_bytes(b"".join(keys))
    return made


def best(commands: dict[str, list[str]], rounds: int) -> dict[str, tuple[float, float]]:
    """Return the shortest wall time and processor time of each command, in seconds."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            times[name].append((wall, cpu))
    return {name: (min(w for w, _ in runs), min(c for _, c in runs)) for name, runs in times.items()}


def main() -> None:
    """Make the captures and print a table of times."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--flows", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--responses", type=int, default=8, help="of each connection")
    parser.add_argument("--size", type=int, default=200_000, help="bytes of a response")
    options = parser.parse_args()
    made = generate(options.folder, options.flows, responses=options.responses, size=options.size)
    longwire = [sys.executable, "-m", "analyzer", "analyze"]
    commands = {
        "longwire, plain TCP": [*longwire, str(made.twin)],
        "longwire without keys": [*longwire, str(made.capture)],
        "longwire": [*longwire, str(made.capture), "--keys", str(made.log)],
    }
    if tshark := shutil.which("tshark"):
        shown = ["-T", "fields", "-e", "http.request.uri", "-e", "http.response.code"]
        keys = ["-o", f"tls.keylog_file:{made.log}"]
        commands["tshark"] = [tshark, "-r", str(made.capture), *keys, "-Y", "http", *shown]
    print(f"{made.capture.stat().st_size / 1e6:.0f} MB, {made.plain / 1e6:.0f} MB of plaintext")
    times = best(commands, options.rounds)
    for name, (wall, cpu) in times.items():
        print(f"{name:24} {wall:7.2f} s  {cpu:7.2f} s of processor  {made.plain / wall / 1e6:7.0f} MB/s of plaintext")
    tcp, stepped, opened = (times[name] for name in list(commands)[:3])
    print(f"TLS that is stepped over costs {stepped[1] / tcp[1]:.2f} times plain TCP's processor time")
    print(f"opening it: {made.plain / (opened[1] - stepped[1]) / 1e6:.0f} MB/s of plaintext on one core")
    if "tshark" in times:
        print(f"{times['tshark'][0] / opened[0]:.1f} times as fast as tshark")


if __name__ == "__main__":
    main()
