"""Mutations: of plain bytes, of packets and their headers, of capture files and their blocks, of conversations."""

from __future__ import annotations

import gzip
import struct
from random import Random

from tests.fuzz.seeds import Packet, Talk, Turn

# Numbers at which lengths, counters and times turn over
_EDGES = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 125, 126, 127, 128, 255, 256, 1023, 1024, 4095, 4096, 16383,
          16384, 16640, 16641, 18432, 32767, 32768, 65535, 65536, 2**24 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32,
          2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1)  # fmt: skip

TOKENS: dict[str, tuple[bytes, ...]] = {
    "http1": (
        b"\r\n", b"\n", b"\r\n\r\n", b"\n\n", b"\r", b"\0", b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 304 \r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n",
        b"Content-Length: 5\r\n", b"Content-Length: 18446744073709551616\r\n", b"Content-Length: -1\r\n",
        b"Content-Length: 9223372036854775807\r\n", b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n", b"5\r\nhello\r\n", b"ffffffffffffffff\r\n",
        b"7fffffffffffffff;x=y\r\n", b"-1\r\n", b"Connection: close\r\n", b"Connection: keep-alive, Upgrade\r\n",
        b"Keep-Alive: timeout=5, max=1\r\n", b"Keep-Alive: timeout=99999999999999999999\r\n", b"Upgrade: websocket\r\n",
        b"Upgrade: h2c\r\n", b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n", b" folded\r\n",
        b"Expect: 100-continue\r\n", b"Host: " + b"a" * 300 + b"\r\n", b"X: " + b"y" * 9000 + b"\r\n",
        b"Content-Type: text/event-stream\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\xff\xfe\x00",
    ),
    "websocket": (
        b"\x81\x00", b"\x81\x7e\x00\x7d", b"\x81\x7f\0\0\0\0\0\0\0\1", b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x88\x02\x03\xe8", b"\x88\x80\0\0\0\0", b"\x89\x00", b"\x8a\x00", b"\x89\xfe\x00\x80", b"\x00\x00",
        b"\x01\x01a",
        b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00", b"\xc1\x05\x00\x00\x00\xff\xff", b"\xf1\x00", b"\x83\x00",
        b"Sec-WebSocket-Extensions: permessage-deflate\r\n", b"; server_no_context_takeover",
        b"; client_max_window_bits=8", b"Sec-WebSocket-Version: 0\r\n", b'42["a"]', b"2probe", b"\r\n\r\n",
    ),
    "tls": (
        b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", b"\x16\x03\x03\x00\x00", b"\x15\x03\x03\x00\x02\x01\x00",
        b"\x15\x03\x03\x00\x02\x02\x28", b"\x14\x03\x03\x00\x01\x01", b"\x17\x03\x03\x40\x00", b"\x17\x03\x03\xff\xff",
        b"\x18\x03\x03\x00\x03\x01\x40\x00", b"\x0b\xff\xff\xff", b"\x02\x00\x00\x46\x03\x03", b"\x00\x00\xff\xff",
        b"\x00\x10\x00\x00", b"\x80\x2e\x01\x03\x01", b"\x30\x84\xff\xff\xff\xff", b"\x18\x00\x00\x01\x00",
    ),
    "messages": (
        b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n", b"-ERR\r\n", b":1\r\n", b"$-1\r\n", b"*-1\r\n", b"*0\r\n",
        b"$0\r\n\r\n", b"*2147483648\r\n", b"$99999999999999999999\r\n", b"*1000000\r\n" * 3, b">2\r\n", b"%1\r\n",
        b"|1\r\n", b"_\r\n", b"PING\r\n", b"\r\n", b"\xc0\x00", b"\xd0\x00", b"\xe0\x00",
        b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04abcd", b"\x30\xff\xff\xff\x7f", b"\x30\xff\xff\xff\xff\xff",
        b"\x32\x05\x00\x01a\x00\x01", b"\x00\x04MQTT\x05",
    ),
    "http2": (
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0\0\0\4\0\0\0\0\0", b"\0\0\0\4\1\0\0\0\0",
        b"\0\0\x06\4\0\0\0\0\0\0\1\0\0\0\0", b"\0\0\x08\6\0\0\0\0\0abcdefgh", b"\0\0\x08\6\1\0\0\0\0abcdefgh",
        b"\0\0\x08\7\0\0\0\0\0\0\0\0\0\0\0\0\x0b", b"\0\0\4\3\0\0\0\0\1\0\0\0\x08",
        b"\0\0\4\x08\0\0\0\0\0\xff\xff\xff\xff", b"\0\0\1\1\5\0\0\0\1\x82", b"\0\0\1\1\0\0\0\0\1\x82",
        b"\0\0\1\x09\4\0\0\0\1\x84", b"\0\0\1\x09\0\0\0\0\1\x84", b"\xff\xff\xff\0\0\0\0\0\1", b"\0\0\0\0\1\0\0\0\1",
        b"\0\0\2\0\x08\0\0\0\1\xff\0", b"\x3f\xe1\xff\xff\xff\x0f", b"\x40\x01a\x7f\xff\xff\xff\x7f", b"\xbe",
        b"\xff\x80\x80\x80\x80\x01", b"\x82\x86\x84\x41\x8c", b"\0\0\5\2\0\0\0\0\1\0\0\0\1\x10",
    ),
    "other": (
        b"\x00\x00\x00\xff", b"\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n",
    ),
}  # fmt: skip


def number(random: Random) -> int:
    """Return a number near an edge, or any."""
    if random.random() < 0.8:
        return max(0, random.choice(_EDGES) + random.randint(-1, 1))
    return random.getrandbits(random.choice((8, 16, 32, 64)))


def mangle(random: Random, data: bytes, tokens: tuple[bytes, ...] = (), *, most: int = 4) -> bytes:
    """Return the bytes with one to `most` changes."""
    out = bytearray(data)
    for _ in range(random.randint(1, most)):
        _mangle_once(random, out, tokens)
    return bytes(out)


def _mangle_once(random: Random, out: bytearray, tokens: tuple[bytes, ...]) -> None:
    at = random.randint(0, len(out))
    what = random.randrange(10 if tokens else 8)
    if what == 0 and at < len(out):
        out[at] ^= 1 << random.randrange(8)
    elif what == 1 and at < len(out):
        out[at] = random.randrange(256)
    elif what in (2, 3):
        width = random.choice((1, 2, 2, 3, 4, 8))
        value = (number(random) % (1 << 8 * width)).to_bytes(width, random.choice(("big", "little")))
        out[at : at + width] = value
    elif what == 4:
        del out[at : at + random.choice((1, 2, 4, 8, 40, 300))]
    elif what == 5:
        out[at:at] = random.randbytes(random.choice((1, 2, 4, 8, 40)))
    elif what == 6:
        start = random.randint(0, len(out))
        out[at:at] = out[start : start + random.choice((1, 4, 16, 64, 500))] * random.choice((1, 1, 2, 9))
    elif what == 7:
        if random.random() < 0.2:
            del out[at:]
        else:  # a number in words, as lengths in HTTP are
            out[at:at] = str(number(random)).encode()
    elif what >= 8:
        token = random.choice(tokens)
        if random.random() < 0.5:
            out[at:at] = token
        else:
            out[at : at + len(token)] = token


# ------------------------------------------------------------------------------------------------ packets
def mangle_packet(random: Random, packet: Packet) -> Packet:
    """Return a packet with changed bytes, lengths or time."""
    data, wirelen, ts_ns = packet.data, packet.wirelen, packet.ts_ns
    what = random.randrange(12)
    if what < 4:  # headers are where decisions are made
        edge = min(len(data), random.choice((20, 40, 60, 100)))
        data = mangle(random, data[:edge], most=2) + data[edge:]
    elif what < 6:
        data = mangle(random, data)
    elif what == 6:
        data = data[: random.randint(0, len(data))]
    elif what == 7:
        wirelen = number(random) % 2**31
    elif what == 8:
        ts_ns = mangle_time(random, ts_ns)
    else:
        data = mangle_tcp(random, data)
    if random.random() < 0.02:
        return Packet(ts_ns, data, wirelen, random.choice((0, 1, 12, 101, 105, 108, 113, 127, 220, 228, 276, 9999)))
    return Packet(ts_ns, data, max(wirelen, len(data)), packet.link)


def mangle_time(random: Random, ts_ns: int) -> int:
    """Return another time: a little or far away, or none that can be."""
    if random.random() < 0.5:
        return max(0, ts_ns + random.choice((-1, 1)) * random.choice((1, 10**3, 10**6, 10**9, 60 * 10**9, 10**14)))
    return number(random) % 2**64


def mangle_tcp(random: Random, data: bytes) -> bytes:
    """Return an Ethernet frame with another sequence number, acknowledgment, flags, window or option in its TCP."""
    ip = 14
    if len(data) > 54 and data[12:14] == b"\x08\x00" and data[23] == 6:
        tcp = ip + (data[14] & 15) * 4
    elif len(data) > 74 and data[12:14] == b"\x86\xdd" and data[20] == 6:
        tcp = ip + 40
    else:
        return mangle(random, data, most=1)
    out = bytearray(data)
    if tcp + 20 > len(out):
        return data
    what = random.randrange(6)
    if what < 2:
        at = tcp + 4 + 4 * what
        step = random.choice((-1, 1)) * random.choice((1, 2, 10, 1460, 65535, 2**30, 2**31 - 1, 2**31))
        old = int.from_bytes(out[at : at + 4], "big")
        out[at : at + 4] = ((old + step) % 2**32).to_bytes(4, "big")
    elif what == 2:
        out[tcp + 13] ^= 1 << random.randrange(6)
    elif what == 3:
        out[tcp + 14 : tcp + 16] = (number(random) % 65536).to_bytes(2, "big")
    elif what == 4:
        out[tcp + 12] = random.randrange(256)
    elif len(out) > tcp + 24:
        at = random.randint(tcp + 20, min(len(out) - 1, tcp + 59))
        out[at] = random.choice((0, 1, 2, 3, 4, 5, 8, 10, 254, random.randrange(256)))
    return bytes(out)


def mangle_trace(random: Random, packets: list[Packet], most: int = 40) -> list[Packet]:
    """Return a part of a trace with packets changed, lost, doubled, swapped or moved."""
    start = random.randrange(max(1, len(packets) - most)) if random.random() < 0.3 else 0
    out = packets[start : start + most]
    for _ in range(random.randint(1, 5)):
        if not out:
            break
        k = random.randrange(len(out))
        what = random.randrange(10)
        if what < 5:
            out[k] = mangle_packet(random, out[k])
        elif what == 5:
            del out[k]
        elif what == 6:
            out.insert(random.randint(0, len(out)), out[k])
        elif what == 7:
            j = random.randrange(len(out))
            out[k], out[j] = out[j], out[k]
        elif what == 8:  # everything from here on is later, or earlier
            step = random.choice((-1, 1)) * random.choice((10**6, 10**9, 3600 * 10**9))
            out[k:] = [Packet(max(0, p.ts_ns + step), p.data, p.wirelen, p.link) for p in out[k:]]
        else:
            out[k:] = [Packet(p.ts_ns, p.data[:54], p.wirelen, p.link) for p in out[k:]]
    return out


# ------------------------------------------------------------------------------------------------ conversations
def mangle_talk(random: Random, talk: Talk, kind: str, other: Talk) -> Talk:
    """Return a conversation with changed bytes, turns lost, doubled, swapped, or taken from another one."""
    out: list[Turn] = list(talk[:24])
    for _ in range(random.randint(1, 3)):
        k = random.randrange(len(out))
        direction, data = out[k]
        what = random.randrange(10)
        if what < 6:
            out[k] = direction, mangle(random, data, TOKENS[kind])
        elif what == 6 and len(out) > 1:
            del out[k]
        elif what == 7:
            out.insert(random.randint(0, len(out)), (direction, data))
        elif what == 8:
            out[k:] = other[k : k + 8] or other[:1]
        else:
            out[k] = 1 - direction, data
    return out


# ------------------------------------------------------------------------------------------------ files
def mangle_file(random: Random, data: bytes) -> bytes:
    """Return a capture file with changed records or blocks, or changed anywhere; sometimes packed."""
    if data[:4] == b"\x0a\x0d\x0d\x0a" and random.random() < 0.7:
        out = _mangle_blocks(random, data)
    elif data[:4] in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1") and random.random() < 0.7:
        out = _mangle_records(random, data)
    else:
        out = mangle(random, data)
    if random.random() < 0.1:
        out = pack(random, out)
        if random.random() < 0.7:
            out = mangle(random, out)
    return out


def pack(random: Random, data: bytes) -> bytes:
    """Return the file packed by one of the packers."""
    import lz4.frame
    import zstandard

    cut = random.randint(0, len(data)) if random.random() < 0.3 else len(data)  # two members, two frames
    packers = (
        lambda part: gzip.compress(part, 1, mtime=0),
        lambda part: zstandard.ZstdCompressor(level=1).compress(part),
        lz4.frame.compress,
    )
    packer = random.choice(packers)
    return b"".join(packer(part) for part in (data[:cut], data[cut:]) if part)


def _mangle_records(random: Random, data: bytes) -> bytes:
    """Change the file header or record headers of a little-endian pcap file."""
    out = bytearray(data)
    if random.random() < 0.2:
        at = random.choice((0, 4, 6, 8, 12, 16, 20, 22))
        out[at : at + 4] = (number(random) % 2**32).to_bytes(4, "little")
    at, headers = 24, []
    while at + 16 <= len(data) and len(headers) < 500:
        headers.append(at)
        at += 16 + int.from_bytes(data[at + 8 : at + 12], "little")
    for _ in range(random.randint(1, 3)):
        if headers:
            at = random.choice(headers) + random.choice((0, 4, 8, 8, 12))
            out[at : at + 4] = (number(random) % 2**32).to_bytes(4, "little")
    return bytes(out) if random.random() < 0.7 else mangle(random, bytes(out), most=2)


def _mangle_blocks(random: Random, data: bytes) -> bytes:
    """Change blocks of a pcapng file: kind, lengths, options, order; or copy, lose or invent one."""
    order = "<" if data[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
    blocks, at = [], 0
    while at + 12 <= len(data) and len(blocks) < 500:
        size = max(12, struct.unpack_from(order + "I", data, at + 4)[0])
        blocks.append(data[at : at + size])
        at += size
    for _ in range(random.randint(1, 3)):
        k = random.randrange(len(blocks))
        block = bytearray(blocks[k])
        what = random.randrange(9)
        if what == 0:
            block[0:4] = struct.pack(order + "I", random.choice((1, 2, 3, 4, 5, 6, 10, 0xBAD, 0x0A0D0D0A)))
        elif what == 1:
            block[4:8] = struct.pack(order + "I", number(random) % 2**32)
        elif what == 2:
            block[-4:] = struct.pack(order + "I", number(random) % 2**32)
        elif what < 5:  # its fields and options, with lengths that fit
            body = mangle(random, bytes(block[8:-4]), most=2)
            body += bytes(-len(body) % 4)
            size_field = struct.pack(order + "I", len(body) + 12)
            block = bytearray(bytes(block[0:4]) + size_field + body + size_field)
        elif what == 5:
            blocks.insert(random.randint(0, len(blocks)), bytes(block))
            continue
        elif what == 6 and len(blocks) > 1:
            del blocks[k]
            continue
        elif what == 7:
            kind, option = random.choice((1, 5, 6)), (number(random) % 65536, number(random) % 65536)
            body = random.randbytes(random.choice((8, 20))) + struct.pack(order + "HH", *option) + bytes(8)
            size_field = struct.pack(order + "I", len(body) + 12)
            block = bytearray(struct.pack(order + "I", kind) + size_field + body + size_field)
        else:
            block = block[: random.randint(0, len(block))]
        blocks[k] = bytes(block)
    return b"".join(blocks)
