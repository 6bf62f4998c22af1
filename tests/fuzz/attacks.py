"""What an attacker would write to exhaust us: captures of one kind, and the time and memory that they take.

python -m tests.fuzz.attacks              every attack at its size and at four times that, as a table
python -m tests.fuzz.attacks --only NAME  one of them

An attack is *linear* if four times as much of it takes at most six times the time, and *capped* if the memory it takes
beyond an empty capture's stays below `mib`. Where longwire gives something up, the anomaly in `tells` says so.
"""

from __future__ import annotations

import argparse
import json
import re
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests import tlswire, websocket
from tests.talk import Talk

ROOT = Path(__file__).parents[2]
Bytes = NDArray[np.uint8]
T0 = 1_700_000_000
LINEAR = 6.0
_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1)  # nanoseconds, Ethernet
_ETHERNET = bytes.fromhex("020000000001020000000002") + b"\x08\x00"
_SYN, _PSH_ACK = 0x02, 0x18


# ------------------------------------------------------------------------------------------------ building blocks
def frames(n: int, payload: int = 0, *, gap_ns: int = 1000, protocol: int = 6) -> Bytes:
    """Return `n` equal pcap records, (n, bytes): Ethernet, IPv4 and TCP around `payload` bytes, `gap_ns` apart."""
    ip = struct.pack(">BBHHHBBHII", 0x45, 0, 40 + payload, 0, 0, 64, protocol, 0, 0x0A000001, 0x0A000002)
    tcp = struct.pack(">HHIIBBHHH", 40000, 80, 1, 1, 0x50, 0x10, 65535, 0, 0)
    frame = _ETHERNET + ip + tcp + bytes(payload)
    record = struct.pack("<IIII", T0, 0, len(frame), len(frame)) + frame
    out = np.tile(np.frombuffer(record, np.uint8), (n, 1))
    when = np.arange(n, dtype=np.int64) * gap_ns
    put(out, 0, (T0 + when // 10**9).astype("<u4"))
    put(out, 4, (when % 10**9).astype("<u4"))
    return out


def put(records: Bytes, at: int, values: NDArray[np.generic]) -> None:
    """Write a column of numbers into records."""
    records[:, at : at + values.dtype.itemsize] = values.view(np.uint8).reshape(len(records), -1)


# Where a field begins in a record: 16 bytes of record header, 14 of Ethernet, 20 of IPv4
_IP_ID, _FRAGMENT, _SRC, _SPORT, _SEQ, _FLAGS, _PAYLOAD = 34, 36, 42, 50, 54, 63, 70


def in_segments(data: bytes, size: int = 1460) -> bytes:
    """Return pcap records of a client that opens a connection and sends `data`, what fills no segment left out."""
    n = len(data) // size
    out = frames(n, size)
    put(out, _SEQ, (np.arange(n, dtype=np.int64) * size + 1).astype(">u4"))
    out[:, _FLAGS] = _PSH_ACK
    out[:, _PAYLOAD:] = np.frombuffer(data[: n * size], np.uint8).reshape(n, size)
    syn = frames(1)
    syn[:, _FLAGS], syn[:, _SEQ + 3] = _SYN, 0
    return syn.tobytes() + out.tobytes()


def trace(talk: Talk) -> bytes:
    """Return a conversation's pcap records."""
    return talk.pcap(nano=True)[24:]


def of_many(payload: bytes, n: int) -> bytes:
    """Return `n` connections that each send `payload` as the only segment."""
    out = frames(n, len(payload), gap_ns=20_000)
    _spread(out)
    out[:, _FLAGS] = _PSH_ACK
    out[:, _PAYLOAD:] = np.frombuffer(payload, np.uint8)
    return out.tobytes()


def _spread(out: Bytes) -> None:
    """Give each record a source address and port of its own."""
    k = np.arange(len(out), dtype=np.int64)
    put(out, _SRC, (0x0B000000 + k // 60_000).astype(">u4"))
    put(out, _SPORT, (1024 + k % 60_000).astype(">u2"))


# ------------------------------------------------------------------------------------------------ TCP and IP
def syn_flood(n: int) -> bytes:
    """SYNs of as many connections that nobody answers."""
    out = frames(n)
    _spread(out)
    out[:, _FLAGS] = _SYN
    return out.tobytes()


def reuse_flood(n: int) -> bytes:
    """SYNs on one pair of addresses and ports, each with another sequence number: each begins a connection."""
    out = frames(n)
    put(out, _SEQ, (np.arange(n, dtype=np.int64) * 100_003 % 2**32).astype(">u4"))
    out[:, _FLAGS] = _SYN
    return out.tobytes()


def _one_byte(order: NDArray[np.int64]) -> bytes:
    out = frames(len(order), 1)
    put(out, _SEQ, (order + 3).astype(">u4"))
    out[:, _FLAGS] = _PSH_ACK
    start = frames(2, 1)
    put(start, _SEQ, np.array([1, 2], ">u4"))
    return start.tobytes() + out.tobytes()


def backwards(n: int) -> bytes:
    """Segments of one byte in windows of 4,000, each window from its end to its beginning."""
    k = np.arange(n, dtype=np.int64)
    return _one_byte(k // 4000 * 4000 + 3999 - k % 4000)


def scattered(n: int) -> bytes:
    """Every other byte, each alone in a segment, in random order within 4,000: a hole before each, never filled."""
    rng = np.random.default_rng(1)
    k = np.arange(n, dtype=np.int64)
    order = np.concatenate([rng.permutation(part) for part in np.array_split(k, max(1, n // 4000))])
    return _one_byte(2 * order + 1)


def window_probes(n: int) -> bytes:
    """Keep-alive probes a second apart: each is a row, each ends a silence."""
    out = frames(n, 0, gap_ns=10**9)
    put(out, _SEQ, np.zeros(n, ">u4"))
    return trace(Talk().handshake()) + out.tobytes()


def silences(n: int) -> bytes:
    """One byte every two seconds: each silence is a row."""
    out = frames(n, 1, gap_ns=2 * 10**9)
    put(out, _SEQ, (np.arange(n, dtype=np.int64) + 1).astype(">u4"))
    return out.tobytes()


def _fragments(ids: NDArray[np.int64], offsets: NDArray[np.int64], payload: int) -> bytes:
    """Records of fragments, all with more to come."""
    out = frames(len(ids), payload - 20)  # what is TCP's header in other records is payload here
    put(out, _IP_ID, ids.astype(">u2"))
    put(out, _FRAGMENT, (0x2000 | offsets // 8).astype(">u2"))
    return out.tobytes()


def fragment_flood(n: int) -> bytes:
    """First fragments of as many datagrams; the rest never comes."""
    k = np.arange(n, dtype=np.int64)
    out = np.frombuffer(_fragments(k, k * 0, 24), np.uint8).reshape(n, -1).copy()
    put(out, _SRC, (0x0B000000 + k // 65536).astype(">u4"))
    return out.tobytes()


def fragment_comb(n: int) -> bytes:
    """Fragments of 24 bytes in one datagram that overlap their neighbours, in random order, over and over."""
    rng = np.random.default_rng(1)
    return _fragments(np.ones(n, np.int64), rng.integers(0, 8180, n) * 8, 24)


def fragment_cover(n: int) -> bytes:
    """A comb of small fragments in one datagram, then large ones over all of it, clipped to nothing by the capture."""
    comb = _fragments(np.ones(4000, np.int64), np.arange(4000, dtype=np.int64) * 16, 24)
    out = np.frombuffer(_fragments(np.ones(n, np.int64), np.zeros(n, np.int64), 24), np.uint8).reshape(n, -1).copy()
    put(out, 12, np.full(n, 65_000, "<u4"))  # on the wire
    put(out, 32, np.full(n, 64_980, ">u2"))  # the IP header's length: 64,960 bytes of payload
    return comb + out.tobytes()


# ------------------------------------------------------------------------------------------------ files
def gzip_bomb(n: int) -> bytes:
    """A gzip file of `n` KiB that unpacks to a thousand times as much: empty packets."""
    packer, out = zlib.compressobj(9, zlib.DEFLATED, 31), []
    out.append(packer.compress(_HEADER))
    zeros = struct.pack("<IIII", T0, 0, 0, 60) * 65536  # a MiB
    while sum(map(len, out)) < n << 10:
        out.append(packer.compress(zeros))
    return b"".join([*out, packer.flush()])


def zstd_bomb(n: int) -> bytes:
    """A zstd file of run-length blocks, 4 bytes for 128 KiB: `n` of them, no packets."""
    header = b"\x28\xb5\x2f\xfd\x00\x58"  # a window of 2 MiB, no content size
    raw = struct.pack("<I", len(_HEADER) << 3)[:3] + _HEADER
    run = struct.pack("<I", (128 << 10) << 3 | 2)[:3] + b"\x00"
    return header + raw + run * n + b"\x01\x00\x00"


def lz4_bomb(n: int) -> bytes:
    """An lz4 file of `n` blocks of 4 MiB of zeros."""
    import lz4.block

    header = b"\x04\x22\x4d\x18\x60\x70\x73"
    first = struct.pack("<I", 0x80000000 | len(_HEADER)) + _HEADER
    block = lz4.block.compress(bytes(4 << 20), store_size=False)
    return header + first + (struct.pack("<I", len(block)) + block) * n + bytes(4)


def _section() -> bytes:
    return _block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)) + _block(1, struct.pack("<HHI", 1, 0, 0))


def _block(kind: int, body: bytes, claimed: int | None = None) -> bytes:
    size = len(body) + 12 if claimed is None else claimed
    return struct.pack("<II", kind, size) + body + struct.pack("<I", size)


def huge_blocks(n: int) -> bytes:
    """Packet blocks that claim to be 4 GiB long."""
    return _section() + _block(6, bytes(32), 0xFFFFFFF0) * n


def option_loops(n: int) -> bytes:
    """Interface blocks full of empty options, 4,000 in each."""
    return _section() + _block(1, struct.pack("<HHI", 1, 0, 0) + struct.pack("<HH", 2, 0) * 4000) * n


def option_lies(n: int) -> bytes:
    """Statistics blocks whose options claim more bytes than there are."""
    return _section() + _block(5, bytes(12) + struct.pack("<HH", 5, 0xFFFF) * 2) * n


def interfaces(n: int) -> bytes:
    """As many interface blocks, more than are told apart."""
    return _section() + _block(1, struct.pack("<HHI", 1, 0, 0)) * n


def false_records(n: int) -> bytes:
    """A pcap file of large records that is damaged at once; every fourth byte after that looks like a record of 2 MiB.

    n  KiB
    """
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 16 << 20, 1)
    return header + b"\xff" * 16 + b"\x00\x00\x20\x00" * (n * 256)


# ------------------------------------------------------------------------------------------------ HTTP/1
def endless_line(n: int) -> bytes:
    """A request whose first field never ends; n segments."""
    return in_segments(b"GET / HTTP/1.1\r\nX: " + b"a" * (1460 * n))


def endless_head(n: int) -> bytes:
    """A request of as many fields, and no end."""
    return in_segments(b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * (245 * n))


def half_lines(n: int) -> bytes:
    """As many connections that each stop in the middle of a line."""
    return of_many(b"GET / HTTP/1.1\r\nHost: a.exam", n)


def pipeline(n: int) -> bytes:
    """Requests without an answer; 60 in a segment."""
    return in_segments(b"GET /a HTTP/1.1\r\nA:b\r\n\r\n" * (60 * n))


def chunk_crumbs(n: int) -> bytes:
    """A body in chunks of one byte with an extension each."""
    return in_segments(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1;x=y\r\na\r\n" * (140 * n))


def long_targets(n: int) -> bytes:
    """Requests whose target fills a segment."""
    return in_segments((b"GET /" + b"a" * 1429 + b" HTTP/1.1\r\nHost: a\r\n\r\n")[:1460].ljust(1460, b"\n") * n)


# ------------------------------------------------------------------------------------------------ WebSocket
def _deflated(extensions: bytes = b"permessage-deflate") -> Talk:
    return websocket.upgraded(extensions)


def deflate_bombs(n: int) -> bytes:
    """Compressed messages of zeros, each 1,000 times as long as it is; n of 16 MiB."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)
    talk = _deflated()
    for _ in range(n):
        talk.resp(websocket.frame(websocket.BINARY, bomb[:-4], rsv=4))
    return trace(talk)


def tiny_frames(n: int) -> bytes:
    """Empty frames of two bytes, as many as fit into a segment; n segments."""
    talk = websocket.upgraded()
    for _ in range(n):
        talk.resp(b"\x82\x00" * 700)
    return trace(talk)


def ping_flood(n: int) -> bytes:
    """Pings that nobody answers, 11 in a segment."""
    talk = websocket.upgraded()
    for k in range(n):
        talk.resp(b"".join(websocket.frame(websocket.PING, struct.pack(">Q", 11 * k + j) * 15) for j in range(11)))
    return trace(talk)


# ------------------------------------------------------------------------------------------------ TLS
def hello_flood(n: int) -> bytes:
    """As many connections that each send a ClientHello, no two alike."""
    hello = tlswire.record(22, tlswire.client_hello(sni="a.example"))
    out = np.frombuffer(of_many(hello, n), np.uint8).reshape(n, -1).copy()
    put(out, _PAYLOAD + 11, np.arange(n).astype(">u8"))  # in the client's random
    return out.tobytes()


def certificate_bomb(n: int) -> bytes:
    """Servers that send 1,200 certificates of nothing each, n of them."""
    many = tlswire.record(22, tlswire.certificate(*[b"0\x84\xff\xff\xff\xff0000"] * 1200))
    out = []
    for k in range(n):
        talk = Talk(("10.1.0.1", 1024 + k)).handshake().orig(tlswire.full12()[0]).resp(tlswire.full12()[1])
        out.append(trace(talk.resp(many)))
    return b"".join(out)


def record_crumbs(n: int) -> bytes:
    """Empty records of five bytes after a ClientHello; 292 in a segment."""
    return in_segments(tlswire.record(22, tlswire.client_hello()) + b"\x17\x03\x03\x00\x00" * (292 * n))


def endless_handshake(n: int) -> bytes:
    """A handshake message that claims 16 MiB, in records of 16 KiB."""
    talk = Talk().handshake().orig(b"\x16\x03\x01\x40\x00\x01\xff\xff\xff\x03\x03" + b"a" * 16378)
    for _ in range(n):
        talk.orig(b"\x16\x03\x01\x40\x00" + b"a" * 16384)
    return trace(talk)


# ------------------------------------------------------------------------------------------------ HTTP/2
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes.fromhex("000000040000000000")


def _frame2(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


def hpack_bombs(n: int) -> bytes:
    """A field of 3,900 bytes put into the dynamic table, then named by a byte, 15,000 times a head: 58 MB each."""
    field = b"\x40\x01a\x7f\xbd\x1d" + b"v" * 3900
    heads = [_frame2(1, 5, 2 * k + 3, b"\xbe" * 15_000) for k in range(n)]
    return in_segments(_PREFACE + _frame2(1, 5, 1, field) + b"".join(heads))


def continuations(n: int) -> bytes:
    """A head that goes on in CONTINUATION frames and never ends; n segments of them."""
    return in_segments(_PREFACE + _frame2(1, 1, 1, b"\x82") + _frame2(9, 0, 1, b"\x84" * 16) * (58 * n))


def rapid_resets(n: int) -> bytes:
    """Streams opened and reset at once (CVE-2023-44487); n segments of 60."""
    pairs = (
        _frame2(1, 5, (2 * k + 1) % 2**31, b"\x82\x84\x86") + _frame2(3, 0, (2 * k + 1) % 2**31, bytes(4))
        for k in range(60 * n)
    )
    return in_segments(_PREFACE + b"".join(pairs))


# ------------------------------------------------------------------------------------------------ the list
@dataclass(frozen=True)
class Attack:
    """make(n) returns the capture; `n` is its small size, `mib` what four times that may take beyond an empty one.

    few    a size at which a test can afford it, and at which `tells` already shows
    tells  the anomaly that says what was given up, or what is wrong
    """

    make: Callable[[int], bytes]
    n: int
    mib: int
    few: int
    tells: str = ""


ATTACKS: dict[str, Attack] = {
    "syn_flood": Attack(syn_flood, 500_000, 1000, 140_000, "flow.evicted"),
    "reuse_flood": Attack(reuse_flood, 250_000, 700, 5_000),
    "backwards": Attack(backwards, 250_000, 300, 10_000, "stream.reorder_cap"),
    "scattered": Attack(scattered, 250_000, 450, 8_000, "stream.reorder_cap"),
    "window_probes": Attack(window_probes, 500_000, 900, 5_000),
    "silences": Attack(silences, 500_000, 1500, 5_000),
    "fragment_flood": Attack(fragment_flood, 100_000, 200, 45_000, "decode.fragment_cap"),
    "fragment_comb": Attack(fragment_comb, 50_000, 200, 2_000, "decode.fragment_overlap"),
    "fragment_cover": Attack(fragment_cover, 5_000, 200, 200, "decode.fragment_cap"),
    "gzip_bomb": Attack(gzip_bomb, 128, 200, 8),
    "zstd_bomb": Attack(zstd_bomb, 2_000, 200, 50),
    "lz4_bomb": Attack(lz4_bomb, 64, 200, 2),
    "huge_blocks": Attack(huge_blocks, 100_000, 200, 100, "capture.bad_block"),
    "option_loops": Attack(option_loops, 250, 200, 5),
    "option_lies": Attack(option_lies, 25_000, 200, 100, "capture.bad_block"),
    "interfaces": Attack(interfaces, 50_000, 200, 66_000, "capture.bad_block"),
    "false_records": Attack(false_records, 4_000, 200, 500, "capture.damaged"),
    "endless_line": Attack(endless_line, 25_000, 300, 10, "http.oversized_head"),
    "endless_head": Attack(endless_head, 25_000, 300, 300, "http.oversized_head"),
    "half_lines": Attack(half_lines, 50_000, 1100, 5_000, "http.line_cap"),
    "pipeline": Attack(pipeline, 5_000, 500, 10, "http.pipeline_cap"),
    "chunk_crumbs": Attack(chunk_crumbs, 10_000, 300, 50),
    "long_targets": Attack(long_targets, 25_000, 600, 300, "http.pipeline_cap"),
    "deflate_bombs": Attack(deflate_bombs, 200, 200, 4, "websocket.inflate_bomb"),
    "tiny_frames": Attack(tiny_frames, 2_000, 600, 5),
    "ping_flood": Attack(ping_flood, 5_000, 600, 10),
    "hpack_bombs": Attack(hpack_bombs, 25, 300, 3, "http2.header_list_cap"),
    "continuations": Attack(continuations, 2_500, 300, 800, "http2.block_cap"),
    "rapid_resets": Attack(rapid_resets, 1_000, 600, 5),
    "hello_flood": Attack(hello_flood, 10_000, 900, 50),
    "certificate_bomb": Attack(certificate_bomb, 250, 600, 2, "tls.bad_certificate"),
    "record_crumbs": Attack(record_crumbs, 2_500, 600, 5),
    "endless_handshake": Attack(endless_handshake, 1_000, 300, 12, "tls.handshake_cap"),
}


@dataclass(frozen=True)
class Cost:
    """What reading a capture took."""

    seconds: float
    mib: float  # peak resident memory
    mb: float  # size of the file
    anomalies: dict[str, int]


def read(path: Path) -> Cost:
    """Read a capture as `longwire analyze` does, letting go of each row at once."""
    from analyzer import stream

    before = time.process_time()
    anomalies: dict[str, int] = {}
    for name, rows in stream([path]):
        if name == "anomalies":
            anomalies = dict(zip(rows["code"].to_pylist(), rows["count"].to_pylist(), strict=True))
    seconds = time.process_time() - before
    # Not ru_maxrss: that begins with what the parent had when it forked
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    return Cost(seconds, int(peak[1]) / 1024 if peak else 0.0, path.stat().st_size / 1e6, anomalies)


def write(path: Path, data: bytes) -> None:
    """Write a capture; what is neither packed nor pcapng are records that want a file header."""
    whole = data[:4] in (b"\x0a\x0d\x0d\x0a", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18", b"\xd4\xc3\xb2\xa1")
    path.write_bytes(data if whole or data[:2] == b"\x1f\x8b" else _HEADER + data)


def measure(data: bytes) -> Cost:
    """Read a capture in a process of its own: peak memory is a process's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "attack"
        write(path, data)
        command = [sys.executable, "-m", "tests.fuzz.attacks", "--read", str(path)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return Cost(**json.loads(done.stdout))


def verdicts(attack: Attack, small: Cost, large: Cost, empty: Cost) -> Iterator[str]:
    """Yield what is wrong with the costs of an attack."""
    if large.seconds > LINEAR * max(small.seconds, 0.2):
        yield "not linear"
    if large.mib - empty.mib > attack.mib:
        yield f"more than {attack.mib} MiB"
    if attack.tells and attack.tells not in large.anomalies:
        yield f"no {attack.tells}"


def main() -> int:
    """Measure, print a table, fail if anything is neither linear nor capped."""
    line = argparse.ArgumentParser(prog="python -m tests.fuzz.attacks")
    line.add_argument("--only", choices=ATTACKS, nargs="+")
    line.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    asked = line.parse_args()
    if asked.read:
        print(json.dumps(vars(read(asked.read))))
        return 0
    empty = measure(trace(Talk().handshake()))
    print(f"an empty capture: {empty.mib:.0f} MiB, {empty.seconds:.2f} s")
    print("| attack | MB | s | MiB | 4 x MB | s | MiB | said | |\n|---|--:|--:|--:|--:|--:|--:|---|---|")
    wrong = 0
    for name, attack in ATTACKS.items():
        if asked.only and name not in asked.only:
            continue
        small, large = measure(attack.make(attack.n)), measure(attack.make(4 * attack.n))
        said = ", ".join(f"{code} {count}" for code, count in large.anomalies.items())
        found = list(verdicts(attack, small, large, empty))
        wrong += bool(found)
        costs = " | ".join(f"{c.mb:.1f} | {c.seconds:.2f} | {c.mib:.0f}" for c in (small, large))
        print(f"| {name} | {costs} | {said} | {'; '.join(found) or 'ok'} |", flush=True)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
