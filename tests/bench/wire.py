"""Frames of one simulated TCP connection, seen beside the server, quickly made.

A `Wire` keeps the numbers of both sides and yields `(time_ns, pcap record)` in time order. It is a model, not a stack:
rounds of one congestion window, an ACK for every second segment, SACK and fast retransmission or a timeout for a lost
segment. Checksums are right: one's complement sums are sums modulo 65535, so they are added up, never walked.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from random import Random
from typing import TypeAlias

Record: TypeAlias = tuple[int, bytes]  # capture time in nanoseconds, pcap record header and frame
Steps: TypeAlias = Generator[Record, None, int]  # yields records, returns the time when it is done

CLIENT, SERVER = 0, 1
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
US, MS, S = 1_000, 1_000_000, 1_000_000_000

_RECORD = struct.Struct("<IIII")
_IP4_TCP = struct.Struct("!14sHHHHHH8sHHIIHHHH")
_IP6_TCP = struct.Struct("!14sIHH32sHHIIHHHH")
_STAMP = struct.Struct("!III")
_BACK_TO_BACK = 12 * US  # 1500 bytes at 1 Gbit/s
_KERNEL = 35 * US  # a host answers a segment
_RTO = 200 * MS  # Linux's smallest
_MAX_WINDOW = 32  # segments a round; a round must stay shorter than the round trip


class Wire:
    """Both ends of one connection. Sequence numbers are relative to `isn`; times are when the capture sees a frame."""

    def __init__(self, rng: Random, addresses: tuple[bytes, bytes], ports: tuple[int, int], *, loss: float) -> None:
        self.rng, self.loss = rng, loss
        self.rtt = int(rng.lognormvariate(3.0, 0.8) * MS) + 2 * MS
        self.stamps = rng.random() < 0.9
        self.v6 = len(addresses[0]) == 16
        self.mss = 1460 - 20 * self.v6 - 12 * self.stamps
        self.window = 10
        self.isn = (rng.getrandbits(32), rng.getrandbits(32))
        self.nxt = [0, 0]  # next sequence number of each side
        self.got = [0, 0]  # next one each side expects
        self.ip_id = [rng.getrandbits(16), rng.getrandbits(16)]
        self.clock = (rng.getrandbits(31), rng.getrandbits(31))
        self.ts_recent = [0, 0]
        macs = b"\x02\x00\x5e\x00\x00\x01", b"\x02\x00\x5e\x00\x00\x02"
        ethertype = b"\x86\xdd" if self.v6 else b"\x08\x00"
        self.link = (macs[1] + macs[0] + ethertype, macs[0] + macs[1] + ethertype)
        self.pairs = (addresses[0] + addresses[1], addresses[1] + addresses[0])
        self.ports = (ports, ports[::-1])
        self.ttl = (64 - rng.randint(8, 20), 64)
        pair = int.from_bytes(self.pairs[0], "big")  # the sum is the same both ways
        self.pseudo = pair % 65535 + 6 + sum(ports)
        self.ip_sum = [pair % 65535 + 0x4500 + 0x4000 + (ttl << 8 | 6) for ttl in self.ttl]

    def segment(
        self,
        t: int,
        side: int,
        flags: int,
        payload: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        win: int | None = None,
        options: bytes | None = None,
    ) -> Record:
        """Make one frame; seq and ack default to where the two sides stand, options to the timestamps."""
        raw_seq = (self.isn[side] + (self.nxt[side] if seq is None else seq)) & 0xFFFFFFFF
        raw_ack = (self.isn[1 - side] + (self.got[side] if ack is None else ack)) & 0xFFFFFFFF if flags & ACK else 0
        if options is None:
            options = self.stamp(t, side) if self.stamps else b""
        size = 20 + len(options) + len(payload)
        offset_flags = (20 + len(options)) << 10 | flags
        if win is None:
            win = 1901 + (raw_ack >> 12 & 7)
        body = int.from_bytes(payload, "big") << (8 * (len(payload) & 1)) if payload else 0
        words = raw_seq + raw_ack + offset_flags + win + int.from_bytes(options, "big") + size
        checksum = -(self.pseudo + words + body) % 65535
        ports = self.ports[side]
        if self.v6:
            head = _IP6_TCP.pack(
                self.link[side], 0x60000000, size, 6 << 8 | self.ttl[side], self.pairs[side],
                *ports, raw_seq, raw_ack, offset_flags, win, checksum, 0,
            )  # fmt: skip
        else:
            ip_id = self.ip_id[side] = (self.ip_id[side] + 1) & 0xFFFF
            ip_checksum = -(self.ip_sum[side] + 20 + size + ip_id) % 65535
            head = _IP4_TCP.pack(
                self.link[side], 0x4500, 20 + size, ip_id, 0x4000, self.ttl[side] << 8 | 6, ip_checksum,
                self.pairs[side], *ports, raw_seq, raw_ack, offset_flags, win, checksum, 0,
            )  # fmt: skip
        length = len(head) + len(options) + len(payload)
        return t, _RECORD.pack(t // S, t % S // US, length, length) + head + options + payload

    def stamp(self, t: int, side: int) -> bytes:
        """Return the timestamps option of RFC 7323, laid out as Linux does, and let the peer remember it."""
        value = (self.clock[side] + t // MS) & 0xFFFFFFFF
        self.ts_recent[1 - side] = value
        return _STAMP.pack(0x0101080A, value, self.ts_recent[side])

    def sack(self, t: int, side: int, left: int, right: int) -> bytes:
        """Return options with one SACK block of the peer's sequence space."""
        edges = ((self.isn[1 - side] + edge) & 0xFFFFFFFF for edge in (left, right))
        return (self.stamp(t, side) if self.stamps else b"") + struct.pack("!III", 0x0101050A, *edges)

    # --- opening and closing

    def handshake(self, t: int) -> Steps:
        """SYN, SYN-ACK, ACK."""
        for side in (CLIENT, SERVER):
            stamp = self.stamp(t, side)[2:] if self.stamps else b"\1\1"
            options = struct.pack("!BBH", 2, 4, self.mss + 12 * self.stamps) + b"\4\2" + stamp + b"\1\3\3\7"
            yield self.segment(t, side, SYN | (ACK if side else 0), win=64240, options=options)
            self.nxt[side] = self.got[1 - side] = 1
            t += self.rtt if side else _KERNEL
        yield self.segment(t, CLIENT, ACK)
        return t

    def joined(self, t: int) -> Steps:
        """Start inside an established connection: nothing on the wire, only numbers well past the handshake."""
        self.nxt = [self.rng.randrange(1, 1 << 20), self.rng.randrange(1, 1 << 20)]
        self.got = [self.nxt[1], self.nxt[0]]
        yield from ()
        return t

    def fins(self, t: int, first: int) -> Steps:
        """Close in order, `first` sending the first FIN."""
        for side in (first, 1 - first):
            yield self.segment(t, side, FIN | ACK)
            self.nxt[side] += 1
            self.got[1 - side] += 1
            t += self.rtt if side == SERVER else _KERNEL
        yield self.segment(t, first, ACK)
        return t

    def reset(self, t: int, side: int) -> Steps:
        """Abort a live connection: RST,ACK."""
        yield self.segment(t, side, RST | ACK)
        return t

    # --- data

    def download(self, t: int, data: bytes) -> Steps:
        """Send `data` from the server. The capture sees a lost segment leave, then its retransmission."""
        cut, at = self.mss, 0
        while at < len(data):
            pieces = [data[i : i + cut] for i in range(at, min(at + cut * self.window, len(data)), cut)]
            at += cut * self.window
            base = self.nxt[SERVER]
            for k, piece in enumerate(pieces):
                push = PSH if k == len(pieces) - 1 else 0
                yield self.segment(t + k * _BACK_TO_BACK, SERVER, ACK | push, piece, seq=base + k * cut)
            self.nxt[SERVER] = end = base + (len(pieces) - 1) * cut + len(pieces[-1])
            t = yield from self._round_ends(t, pieces, base, end)
            self.window = min(2 * self.window, _MAX_WINDOW)
        return t

    def _round_ends(self, t: int, pieces: list[bytes], base: int, end: int) -> Steps:
        """Acknowledge a round of the server's, one round trip later; repair what was lost."""
        cut, count = self.mss, len(pieces)
        lost = self.rng.randrange(count) if self.rng.random() < self.loss * count else count
        arrival = t + self.rtt
        for k in range(1, lost, 2):
            yield self._client_acks(arrival + k * _BACK_TO_BACK, min(base + (k + 1) * cut, end))
        if lost == count:
            t = arrival + count * _BACK_TO_BACK
            if self.got[CLIENT] < end:
                yield self._client_acks(t, end)
            return t + _KERNEL
        hole = base + lost * cut
        if self.got[CLIENT] < hole:
            yield self._client_acks(arrival + lost * _BACK_TO_BACK, hole)
        resent = 0
        for dup, k in enumerate(range(lost + 1, count), 1):
            now = arrival + k * _BACK_TO_BACK
            right = min(base + (k + 1) * cut, end)
            yield self.segment(now, CLIENT, ACK, options=self.sack(now, CLIENT, hole + cut, right))
            if dup == 3:  # fast retransmission, RFC 5681 section 3.2
                resent = now + _BACK_TO_BACK // 2
                yield self.segment(resent, SERVER, ACK | PSH, pieces[lost], seq=hole)
        if not resent:
            resent = t + count * _BACK_TO_BACK + self.rtt + _RTO
            yield self.segment(resent, SERVER, ACK | PSH, pieces[lost], seq=hole)
        self.window = max(self.window // 2, 2) // 2 + 1
        t = resent + self.rtt + count * _BACK_TO_BACK
        yield self._client_acks(t, end)
        return t + _KERNEL

    def _client_acks(self, t: int, ack: int) -> Record:
        self.got[CLIENT] = ack
        return self.segment(t, CLIENT, ACK)

    def upload(self, t: int, data: bytes, *, answer: bool = True) -> Steps:
        """Send `data` from the client. A lost segment never reaches the capture: only its retransmission does.

        answer  acknowledge the last segments at once; else the server's next data does
        """
        cut = self.mss
        for at in range(0, len(data), cut * 10):
            pieces = [data[i : i + cut] for i in range(at, min(at + cut * 10, len(data)), cut)]
            base, count = self.nxt[CLIENT], len(pieces)
            order = list(range(count))
            chance = self.rng.random()
            if count > 1 and chance < self.loss * count:  # one comes late: reordered a little, or lost and resent
                order.append(order.pop(self.rng.randrange(count - 1)))
            late = order[-1] if order[-1] != count - 1 else -1
            self.nxt[CLIENT] = end = base + (count - 1) * cut + len(pieces[-1])
            for n, k in enumerate(order):
                if k == late and chance < self.loss * count / 2:
                    t += self.rtt if count > 3 else _RTO + self.rtt
                yield self.segment(t, CLIENT, ACK | (PSH if k == count - 1 else 0), pieces[k], seq=base + k * cut)
                if late >= 0 and k > late:
                    now = t + _KERNEL // 4
                    hole, right = base + late * cut, min(base + (k + 1) * cut, end)
                    options = self.sack(now, SERVER, hole + cut, right)
                    yield self.segment(now, SERVER, ACK, ack=hole, options=options)
                elif n % 2:
                    self.got[SERVER] = min(base + (k + 1) * cut, end)
                    yield self.segment(t + _KERNEL // 4, SERVER, ACK)
                t += _BACK_TO_BACK
            if self.got[SERVER] < end or late >= 0:
                self.got[SERVER] = end
                if answer or late >= 0:
                    t += _KERNEL
                    yield self.segment(t, SERVER, ACK)
            t += self.rtt if at + cut * 10 < len(data) else _KERNEL
        return t

    # --- silence

    def idle(self, t: int, length: int, keepidle: int = 0, prober: int = CLIENT) -> Steps:
        """Stay silent for `length`; with `keepidle`, the prober sends keep-alive probes and has them answered."""
        end = t + length
        while keepidle and t + keepidle < end:
            t += keepidle
            yield self.segment(t, prober, ACK, seq=self.nxt[prober] - 1)
            yield self.segment(t + (self.rtt if prober else _KERNEL), 1 - prober, ACK)
        return end

    def dead_peer(self, t: int, keepidle: int, interval: int, count: int) -> Steps:
        """Let the server probe a client that is gone, then give up (RFC 1122 section 4.2.3.6)."""
        t += keepidle
        for _ in range(count):
            yield self.segment(t, SERVER, ACK, seq=self.nxt[SERVER] - 1)
            t += interval
        yield self.segment(t, SERVER, RST | ACK)
        return t
