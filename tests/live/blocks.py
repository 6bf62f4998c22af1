"""Blocks of a TPACKET_V3 ring, built byte by byte as the kernel lays them out."""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass

import numpy as np

from analyzer.kernel import U8

_E = "<" if sys.byteorder == "little" else ">"
VLAN_VALID, TPID_VALID = 0x10, 0x40
HEADER, MAC_OFFSET = 48, 88


@dataclass(frozen=True)
class Framed:
    """One frame in a ring."""

    ts_ns: int
    data: bytes
    ifindex: int = 3
    wirelen: int | None = None
    tci: int | None = None
    tpid: int | None = None
    pkttype: int = 0


def block(frames: list[Framed]) -> U8:
    """Return the packets of a block one after another, as `walk_ring` finds them from offset 0 on."""
    out = bytearray()
    for number, frame in enumerate(frames):
        size = (MAC_OFFSET + len(frame.data) + 15) & ~15
        status = (VLAN_VALID if frame.tci is not None else 0) | (TPID_VALID if frame.tpid is not None else 0)
        wirelen = len(frame.data) if frame.wirelen is None else frame.wirelen
        head = struct.pack(
            _E + "IIIIIIHHIIHH8x", size if number < len(frames) - 1 else 0, frame.ts_ns // 10**9,
            frame.ts_ns % 10**9, len(frame.data), wirelen, status, MAC_OFFSET, MAC_OFFSET + 14, 0,
            frame.tci or 0, frame.tpid or 0, 0,
        )  # fmt: skip
        head += struct.pack(_E + "HHiHBB8s", 17, 0x0008, frame.ifindex, 1, frame.pkttype, 6, b"")
        out += (head.ljust(MAC_OFFSET, b"\0") + frame.data).ljust(size, b"\0")
    return np.frombuffer(bytes(out), np.uint8).copy()
