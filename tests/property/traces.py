"""Strategies: conversations with everything that happens to them, and headers that no kernel would send."""

from __future__ import annotations

import random
import struct
from typing import Any

from hypothesis import strategies as st

from tests.talk import FIN, RST, SYN, Packet, Talk, merge

# What may happen next, and how long after (in units that cross every threshold: RTT, RTO, idle_min, KEEPIDLE)
_PAUSES = st.sampled_from([0.0, 0.0, 0.0001, 0.004, 0.03, 0.21, 0.95, 1.3, 5.0, 61.0, 7200.0])
_DATA = ("orig", "resp")
_STEPS = (
    "orig", "resp", "orig", "resp", "orig_ack", "resp_ack", "orig_probe", "resp_probe", "garbage_probe", "orig_lost",
    "resp_lost", "orig_unseen", "resp_unseen", "orig_retransmit", "resp_retransmit", "zero_window", "window_opens",
    "window_probe", "overlap", "orig_fin", "resp_fin", "orig_rst", "resp_rst", "bare_rst",
)  # fmt: skip


@st.composite
def talks(draw: st.DrawFn, port: int = 40000, *, isn: tuple[int, int] | None = None, most: int = 24) -> Talk:
    """Draw one conversation, whole or cut off anywhere."""
    chosen = isn or (draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 2**32 - 1)))
    talk = Talk(
        ("10.0.0.1", port), ipv6=draw(st.booleans()), timestamps=draw(st.booleans()), isn=chosen,
        capture=draw(st.sampled_from(["client", "middle", "server"])), vlan=draw(st.sampled_from([None, None, 5])),
        wscale=draw(st.sampled_from([None, 0, 7])), rtt=draw(st.sampled_from(["100us", "20ms", "300ms"])),
        t0=1_700_000_000 + draw(st.integers(0, 50)) / 10,
    )  # fmt: skip
    opening = draw(st.sampled_from(["handshake"] * 6 + ["syn", "refused", "half", "syn_twice"]))
    if opening == "refused":
        return talk.syn().resp_rst()
    talk.syn()
    if opening == "syn":
        return talk
    if opening == "syn_twice":
        talk.syn(at=1 + (talk.packets[-1][0] - talk._t0) / 1e9)
    talk.syn_ack()
    if opening != "half":
        talk.ack()
    for step in draw(st.lists(st.sampled_from(_STEPS), max_size=most)):
        talk.wait(draw(_PAUSES))
        take(talk, step, draw)
    return talk


def shuffled(talk: Talk, rng: random.Random) -> Talk:
    """Let the network reorder what a side of an IPv4 conversation sends in a row: frames change their times."""
    start = 0
    for end in range(1, len(talk.packets) + 1):
        if end < len(talk.packets) and _may_pass(talk.packets[end][1], talk.packets[start][1]):
            continue
        frames = [frame for _, frame in talk.packets[start:end]]
        rng.shuffle(frames)
        times = [at for at, _ in talk.packets[start:end]]
        talk.packets[start:end] = zip(times, frames, strict=True)
        start = end
    return talk


def _may_pass(frame: bytes, other: bytes) -> bool:
    """Both are from the same side, and none begins or ends its stream."""
    return frame[6:12] == other[6:12] and not (frame[47] | other[47]) & (FIN | SYN | RST)


def take(talk: Talk, step: str, draw: st.DrawFn) -> None:
    """Let one thing happen."""
    who, _, what = step.partition("_")
    if step in _DATA:
        size = draw(st.sampled_from([1, 7, 100, 1400, 4000]))
        getattr(talk, who)(bytes([65 + size % 26]) * size)
    elif what in ("lost", "unseen"):
        getattr(talk, who)(b"?" * draw(st.sampled_from([1, 50, 2000])), lost=what == "lost", unseen=what == "unseen")
    elif step == "garbage_probe":
        talk.orig_probe(b"\0")
    elif step == "zero_window":
        talk.resp_ack(win=0)
    elif step == "window_opens":
        talk.resp_ack(win=draw(st.sampled_from([1, 9, 400])))
    elif step == "window_probe":
        talk.orig(b"w", lost=True)
    elif step == "overlap":
        back = min(talk.server.snd_nxt - 1, 30)
        talk.resp(b"o" * (back + 5), seq=talk.server.snd_nxt - back)
    elif step == "bare_rst":
        talk.resp_rst(bare=True)
    elif what == "retransmit":
        getattr(talk, step)(draw(st.integers(1, 2)))
    else:
        getattr(talk, step)()


@st.composite
def captures(draw: st.DrawFn, most_flows: int = 4, *, disorder: bool = True) -> list[Packet]:
    """Draw several conversations as one capture, some frames swapped, lost or captured twice."""
    packets = merge(*(draw(talks(40000 + k)) for k in range(draw(st.integers(1, most_flows)))))
    if not disorder:
        return packets
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(packets) - 1))
        what = draw(st.sampled_from(["swap", "drop", "again"]))
        if what == "swap" and at + 1 < len(packets):
            (one, first), (two, second) = packets[at : at + 2]
            packets[at : at + 2] = [(one, second), (two, first)]
        elif what == "drop" and len(packets) > 1:
            del packets[at]
        elif what == "again":
            packets.insert(at + 1, packets[at])
    return packets


def cuts() -> st.SearchStrategy[list[int]]:
    """Draw places to cut a capture into batches."""
    return st.lists(st.integers(1, 120), max_size=12)


def hostile_packets(most: int = 40) -> st.SearchStrategy[list[Packet]]:
    """Draw segments with any numbers in them, on few ports so that they meet."""
    edge = st.sampled_from([0, 1, 2**30, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1, 1000, 1001, 1002, 2000])
    number = edge | st.integers(0, 2**32 - 1)
    latest = (2**32 - 1) * 10**9  # that a pcap file can say
    time = st.sampled_from([0, 1, 999, 10**6, 10**9, 1_700_000_000 * 10**9, latest]) | st.integers(0, 2**33)
    return st.lists(
        st.builds(
            hostile, time, number, number, st.integers(0, 511), st.sampled_from([0, 1, 65535]), st.booleans(),
            st.binary(max_size=3) | st.just(b"p" * 3000), st.none() | st.tuples(number, number), st.integers(0, 1),
            st.sampled_from([b"", b"\x03\x03\x0e\0", b"\x03\x03\xff\0", b"\x02\x04\xff\xff", b"\x08\x02\0\0"]),
        ),
        min_size=1, max_size=most,
    )  # fmt: skip


def hostile(
    at: int, seq: int, ack: int, flags: int, window: int, back: bool, payload: bytes,
    stamps: tuple[int, int] | None, port: int, more: bytes,
) -> Packet:  # fmt: skip
    """Return one frame with these numbers."""
    options = more + (struct.pack("!BBBBII", 1, 1, 8, 10, *stamps) if stamps else b"")
    ports = (80, 4000 + port) if back else (4000 + port, 80)
    first = (5 + len(options) // 4) << 12 | flags
    tcp = struct.pack("!HHIIHHHH", *ports, seq, ack, first, window, 0, 0) + options + payload
    hosts = (b"\x0a\0\0\2", b"\x0a\0\0\1") if back else (b"\x0a\0\0\1", b"\x0a\0\0\2")
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), seq & 0xFFFF, 0, 64, 6, 0) + hosts[0] + hosts[1]
    return at, bytes(12) + b"\x08\x00" + ip + tcp


def shifted(packets: list[Packet], by_ns: int) -> list[Packet]:
    """Return the packets at another time."""
    return [(at + by_ns, frame) for at, frame in packets]


def plain(rows: list[dict[str, Any]], *without: str) -> list[dict[str, Any]]:
    """Return rows without some columns."""
    return [{name: value for name, value in row.items() if name not in without} for row in rows]
