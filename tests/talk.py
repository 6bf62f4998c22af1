"""A TCP conversation written as a trace: `Talk().handshake().orig(b"hi", at="1s").orig_probe(at="61s").resp_ack()`.

`orig_*` methods send from the client, `resp_*` from the server. Each call is one frame (or several, if the payload
needs more than one segment) with the sequence and acknowledgment numbers two kernels would have used.

Time      `at` is when the capture saw the frame, counted from `t0`: "61s", "1.5ms" or seconds as a number. Without it
          a frame follows the one before after a plausible delay: 10 us if from the same side; else what is left of
          `rtt` at the capture point (all of it, half of it, or nothing, which is 50 us).
Numbers   `seq` and `ack` are relative to the initial sequence numbers (0 = the SYN), as `seq_rel` in the tables.
Losses    `lost=True`: the capture has the frame, the receiver never got it. `unseen=True`: the other way around.
Closing   Nothing stops a test from sending after FIN or RST; that is what such tests are for.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterable, Sequence
from typing import Literal, Self, TypeAlias, TypedDict, Unpack

Packet: TypeAlias = tuple[int, bytes]  # capture time in UTC nanoseconds, the frame
Duration: TypeAlias = str | float

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_LETTERS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32, "E": 64, "C": 128}
_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": 10**9, "min": 60 * 10**9, "h": 3600 * 10**9}
_BACK_TO_BACK_NS = 10_000  # between two frames of one side
_THINK_NS = 50_000  # a kernel's answer, seen at its own host


class Over(TypedDict, total=False):
    """What every method accepts to bend a frame away from what a kernel would have sent."""

    at: Duration  # capture time since t0
    seq: int  # relative to the sender's initial sequence number
    ack: int  # relative to the receiver's
    win: int  # as on the wire, not scaled
    flags: str  # Wireshark's letters: "AP"
    ttl: int
    ip_id: int
    dscp: int
    mac: bytes  # the frame's source
    tsval: int
    tsecr: int
    sack: Sequence[tuple[int, int]]  # blocks, relative as `ack`
    options: bytes  # instead of all TCP options; a multiple of four bytes
    trailer: bytes  # link-layer padding after the IP packet
    bad_checksum: bool
    whole: bool  # one segment whatever its length, as captured with segmentation offload
    lost: bool
    unseen: bool


def ns(duration: Duration) -> int:
    """Return the nanoseconds of "20ms", "1.5s", "2min" or of a number of seconds."""
    if not isinstance(duration, str):
        return round(duration * 10**9)
    match = re.fullmatch(r"([\d.]+)(ns|us|ms|s|min|h)", duration)
    if match is None:
        raise ValueError(f"not a duration: {duration!r}")
    return round(float(match[1]) * _UNITS[match[2]])


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071): 16-bit one's complement addition is addition modulo 65535."""
    return -int.from_bytes(data + b"\0" * (len(data) & 1), "big") % 0xFFFF


class _Side:
    """One end of the connection: its address, its numbers, and what it has received so far."""

    def __init__(self, who: tuple[str, int], isn: int, ttl: int, number: int) -> None:
        self.ip = ipaddress.ip_address(who[0]).packed
        self.port, self.isn, self.ttl, self.dscp = who[1], isn, ttl, 0
        self.mac = bytes((2, 0, 0, 0, 0, number))
        self.ip_id = 0x1000 * number
        self.tsval = 100_000 * number  # its clock at t0, in milliseconds
        self.snd_nxt = 0  # relative to isn
        self.rcv_nxt = 0  # relative to the peer's isn
        self.ts_recent = 0
        self.early: list[tuple[int, int]] = []  # received beyond a hole
        self.sent: list[tuple[int, int, bytes]] = []  # seq, flags, payload of all that took sequence space

    def receive(self, seq: int, end: int, tsval: int) -> None:
        """Take in a segment: first what it says about time (RFC 7323 section 4.3), then its place in the stream."""
        if end >= self.rcv_nxt:
            self.ts_recent = tsval
        self.early = sorted([*self.early, (seq, end)])
        for left, right in self.early:
            if left <= self.rcv_nxt < right:
                self.rcv_nxt = right
        self.early = [(left, right) for left, right in self.early if right > self.rcv_nxt]


class Talk:
    """One TCP connection as a chain of frames; `packets` and `pcap()` give them back.

    capture  where it is taken; decides default delays and TTLs    ipv6  moves IPv4 addresses into fd00::/96
    isn      of client and server; near 2**32 makes a trace that wraps    wscale  both sides' shift, None = no option
    """

    def __init__(
        self,
        client: tuple[str, int] = ("10.0.0.1", 40000),
        server: tuple[str, int] = ("10.0.0.2", 80),
        *,
        ipv6: bool = False,
        t0: float = 1_700_000_000,
        rtt: Duration = "20ms",
        capture: Literal["client", "middle", "server"] = "client",
        timestamps: bool = True,
        wscale: int | None = 7,
        mss: int = 1460,
        isn: tuple[int, int] = (1_000_000, 2_000_000),
        vlan: int | None = None,
    ) -> None:
        if ipv6:
            client, server = ((ip if ":" in ip else f"fd00::{ip}", port) for ip, port in (client, server))
        hops = {"client": (0, 6), "middle": (3, 3), "server": (6, 0)}[capture]
        self.client = _Side(client, isn[0], 64 - hops[0], 1)
        self.server = _Side(server, isn[1], 64 - hops[1], 2)
        self.packets: list[Packet] = []
        self.timestamps, self.wscale, self.mss, self.vlan = timestamps, wscale, mss, vlan
        self._t0 = self._now = ns(t0)
        far = {"client": 0, "middle": ns(rtt) // 2, "server": ns(rtt)}[capture]
        self._answer_ns = {self.client: far or _THINK_NS, self.server: ns(rtt) - far or _THINK_NS}
        self._last: _Side | None = None

    # --- opening

    def handshake(self, **over: Unpack[Over]) -> Self:
        """SYN, SYN-ACK, ACK; `over` bends the SYN."""
        return self.syn(**over).syn_ack().ack()

    def syn(self, **over: Unpack[Over]) -> Self:
        """Send the client's SYN; call it again for a retransmission."""
        return self._send(self.client, SYN, b"", 0, over)

    def syn_ack(self, **over: Unpack[Over]) -> Self:
        """Send the server's SYN-ACK."""
        return self._send(self.server, SYN | ACK, b"", 0, over)

    def ack(self, **over: Unpack[Over]) -> Self:
        """Send the ACK that completes the handshake (the same as `orig_ack`)."""
        return self.orig_ack(**over)

    # --- data and acknowledgments

    def orig(self, payload: bytes, **over: Unpack[Over]) -> Self:
        """Send payload from the client, cut at the MSS unless `whole`."""
        return self._data(self.client, payload, over)

    def resp(self, payload: bytes, **over: Unpack[Over]) -> Self:
        """Send payload from the server, cut at the MSS unless `whole`."""
        return self._data(self.server, payload, over)

    def orig_ack(self, **over: Unpack[Over]) -> Self:
        """Send a segment without payload from the client: an ACK, a duplicate of it, or a window update."""
        return self._send(self.client, ACK, b"", self.client.snd_nxt, over)

    def resp_ack(self, **over: Unpack[Over]) -> Self:
        """Send a segment without payload from the server."""
        return self._send(self.server, ACK, b"", self.server.snd_nxt, over)

    def orig_drop(self, n_bytes: int, **over: Unpack[Over]) -> Self:
        """Let the client send `n_bytes` that arrive but that the capture missed (a hole)."""
        return self._data(self.client, bytes(n_bytes), {**over, "unseen": True})

    def resp_drop(self, n_bytes: int, **over: Unpack[Over]) -> Self:
        """Let the server send `n_bytes` that arrive but that the capture missed (a hole)."""
        return self._data(self.server, bytes(n_bytes), {**over, "unseen": True})

    def orig_retransmit(self, n: int = 1, *, skip: int = 0, **over: Unpack[Over]) -> Self:
        """Resend the client's last `n` segments that took sequence space, leaving out the newest `skip`."""
        return self._resend(self.client, n, skip, over)

    def resp_retransmit(self, n: int = 1, *, skip: int = 0, **over: Unpack[Over]) -> Self:
        """Resend the server's last `n` segments that took sequence space, leaving out the newest `skip`."""
        return self._resend(self.server, n, skip, over)

    # --- keep-alive probes (RFC 9293 section 3.8.4)

    def orig_probe(self, garbage: bytes = b"", **over: Unpack[Over]) -> Self:
        """Send a keep-alive probe from the client: one back in sequence space, with a byte of garbage or none."""
        return self._send(self.client, ACK, garbage, self.client.snd_nxt - 1, over, keep=False)

    def resp_probe(self, garbage: bytes = b"", **over: Unpack[Over]) -> Self:
        """Send a keep-alive probe from the server."""
        return self._send(self.server, ACK, garbage, self.server.snd_nxt - 1, over, keep=False)

    # --- closing

    def orig_fin(self, payload: bytes = b"", **over: Unpack[Over]) -> Self:
        """Send the client's FIN, with a last payload if given."""
        return self._send(self.client, FIN | ACK, payload, self.client.snd_nxt, over)

    def resp_fin(self, payload: bytes = b"", **over: Unpack[Over]) -> Self:
        """Send the server's FIN, with a last payload if given."""
        return self._send(self.server, FIN | ACK, payload, self.server.snd_nxt, over)

    def orig_rst(self, *, bare: bool = False, **over: Unpack[Over]) -> Self:
        """Reset from the client: RST,ACK as of a live socket, or `bare` as of a kernel that knows no such socket."""
        return self._reset(self.client, bare, over)

    def resp_rst(self, *, bare: bool = False, **over: Unpack[Over]) -> Self:
        """Reset from the server; after nothing but a SYN this is the RST,ACK of a closed port."""
        return self._reset(self.server, bare, over)

    # --- time, foreign frames, and the result

    def wait(self, duration: Duration) -> Self:
        """Let time pass before the next frame that has no `at` of its own."""
        self._now += ns(duration)
        return self

    def frame(self, frame: bytes, at: Duration | None = None) -> Self:
        """Put any frame into the capture: an ICMP error, garbage, another connection's packet."""
        self._now = self._now + _BACK_TO_BACK_NS if at is None else self._t0 + ns(at)
        self.packets.append((self._now, frame))
        return self

    def pcap(self, *, nano: bool = False) -> bytes:
        """Return the capture file; with `nano`, timestamps of nine decimals instead of six."""
        return write_pcap(self.packets, nano=nano)

    # --- how a frame is made

    def _data(self, side: _Side, payload: bytes, over: Over) -> Self:
        step = max(len(payload), 1) if over.get("whole") else self.mss - (12 if self.timestamps else 0)
        first = over.get("seq", side.snd_nxt)
        for at in range(0, max(len(payload), 1), step):
            last = at + step >= len(payload)
            self._send(
                side, (PSH if last else 0) | ACK, payload[at : at + step], first + at, {**over, "seq": first + at}
            )
            over = {**over}
            over.pop("at", None)  # the later segments follow the first
        return self

    def _resend(self, side: _Side, n: int, skip: int, over: Over) -> Self:
        newest = len(side.sent) - skip
        for seq, flags, payload in side.sent[newest - n : newest]:
            self._send(side, flags, payload, seq, over, keep=False)
        return self

    def _reset(self, side: _Side, bare: bool, over: Over) -> Self:
        if side.snd_nxt == 0:  # RFC 9293 section 3.10.7.1: no such connection; answer with sequence number 0
            over = {"seq": -side.isn, "win": 0, "options": b"", "ip_id": 0, **over}
        elif bare:
            over = {"win": 0, "options": b"", "ip_id": 0, "flags": "R", **over}
        return self._send(side, RST | ACK, b"", side.snd_nxt, over, keep=False)

    def _send(self, side: _Side, flags: int, payload: bytes, seq: int, over: Over, *, keep: bool = True) -> Self:
        peer = self.server if side is self.client else self.client
        delay = _BACK_TO_BACK_NS if self._last is side else self._answer_ns[side]
        if self._last is None:
            delay = 0
        self._now = self._t0 + ns(over["at"]) if "at" in over else self._now + delay
        self._last = side

        seq = over.get("seq", seq)
        if "flags" in over:
            flags = sum(_LETTERS[letter] for letter in over["flags"])
        end = seq + len(payload) + bool(flags & SYN) + bool(flags & FIN)
        tsval = over.get("tsval", side.tsval + (self._now - self._t0) // 10**6)
        if not over.get("unseen"):
            over = {**over, "seq": seq, "tsval": tsval}
            self.packets.append((self._now, self._frame(side, peer, flags, payload, over)))
        if keep and end > seq:
            side.sent.append((seq, flags, payload))
        if not flags & RST:
            side.snd_nxt = max(side.snd_nxt, end)
            if not over.get("lost"):
                peer.receive(seq, end, tsval)
        return self

    def _frame(self, side: _Side, peer: _Side, flags: int, payload: bytes, over: Over) -> bytes:
        ack = (peer.isn + over.get("ack", side.rcv_nxt)) % 2**32 if flags & ACK or "ack" in over else 0
        options = over["options"] if "options" in over else self._options(side, peer, flags, over)
        window = over.get("win", 64240 if flags & SYN or self.wscale is None else 502)
        offset_flags = (5 + len(options) // 4) << 12 | flags
        ports_to_window = (side.port, peer.port, (side.isn + over["seq"]) % 2**32, ack, offset_flags, window)
        tcp = struct.pack("!HHIIHHHH", *ports_to_window, 0, 0) + options + payload
        pseudo = side.ip + peer.ip + struct.pack("!IHBB", len(tcp), 0, 0, 6)
        total = checksum(pseudo + tcp) ^ (0x5555 if over.get("bad_checksum") else 0)
        tcp = tcp[:16] + struct.pack("!H", total) + tcp[18:]

        side.ip_id = (side.ip_id + 1) & 0xFFFF
        ttl, dscp = over.get("ttl", side.ttl), over.get("dscp", side.dscp)
        if len(side.ip) == 4:
            ip_id = over.get("ip_id", side.ip_id)
            ip = struct.pack("!BBHHHBBH", 0x45, dscp << 2, 20 + len(tcp), ip_id, 0x4000, ttl, 6, 0) + side.ip + peer.ip
            ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
        else:
            ip = struct.pack("!IHBB", 0x60000000 | dscp << 22, len(tcp), 6, ttl) + side.ip + peer.ip
        tag = b"" if self.vlan is None else struct.pack("!HH", 0x8100, self.vlan)
        ethertype = b"\x08\x00" if len(side.ip) == 4 else b"\x86\xdd"
        return peer.mac + over.get("mac", side.mac) + tag + ethertype + ip + tcp + over.get("trailer", b"")

    def _options(self, side: _Side, peer: _Side, flags: int, over: Over) -> bytes:
        """Lay the options out as Linux does; each piece is padded to four bytes."""
        tsval, tsecr = over["tsval"], over.get("tsecr", side.ts_recent if flags & ACK else 0)
        sack = over.get("sack", ())
        stamp = struct.pack("!BBII", 8, 10, tsval % 2**32, tsecr % 2**32) if self.timestamps else b""
        if flags & SYN:
            scale = b"" if self.wscale is None else struct.pack("!BBBB", 1, 3, 3, self.wscale)
            return struct.pack("!BBH", 2, 4, self.mss) + b"\x04\x02" + (stamp or b"\1\1") + scale
        blocks = b"".join(struct.pack("!II", *((peer.isn + edge) % 2**32 for edge in block)) for block in sack)
        return (b"\1\1" + stamp if stamp else b"") + (b"\1\1\5" + bytes([2 + len(blocks)]) + blocks if sack else b"")


def merge(*talks: Talk | Iterable[Packet]) -> list[Packet]:
    """Interleave conversations by capture time; frames of equal time keep the order of the arguments."""
    packets = [packet for talk in talks for packet in (talk.packets if isinstance(talk, Talk) else talk)]
    return sorted(packets, key=lambda packet: packet[0])


def write_pcap(packets: Iterable[Packet], linktype: int = 1, *, nano: bool = False, snaplen: int = 262_144) -> bytes:
    """Return a classic little-endian capture file; frames longer than `snaplen` are clipped."""
    tick = 1 if nano else 1_000
    out = [struct.pack("<IHHiIII", 0xA1B23C4D if nano else 0xA1B2C3D4, 2, 4, 0, 0, snaplen, linktype)]
    for ts_ns, frame in packets:
        out.append(struct.pack("<IIII", ts_ns // 10**9, ts_ns % 10**9 // tick, min(len(frame), snaplen), len(frame)))
        out.append(frame[:snaplen])
    return b"".join(out)


def write_pcapng(packets: Iterable[Packet], linktype: int = 1) -> bytes:
    """Return a minimal pcapng file: one section, one interface with nanosecond timestamps, enhanced packet blocks."""
    body = [_block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1))]
    body.append(_block(1, struct.pack("<HHIHHIHH", linktype, 0, 0, 9, 1, 9, 0, 0)))  # if_tsresol = 10**-9
    for ts_ns, frame in packets:
        head = struct.pack("<IIIII", 0, ts_ns >> 32, ts_ns & 0xFFFFFFFF, len(frame), len(frame))
        body.append(_block(6, head + frame + bytes(-len(frame) % 4)))
    return b"".join(body)


def _block(kind: int, body: bytes) -> bytes:
    return struct.pack("<II", kind, 12 + len(body)) + body + struct.pack("<I", 12 + len(body))
