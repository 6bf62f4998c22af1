"""A small interpreter of classic BPF, as the Linux kernel runs it."""

from __future__ import annotations

import struct

from analyzer.capture.ring_bpf import Program

_AD, _NET, _LL = -0x1000, -0x100000, -0x200000
_WORD = 0xFFFFFFFF
_SIZES = {0x00: 4, 0x08: 2, 0x10: 1}


class CutOffError(Exception):
    """A load beyond the packet: the kernel returns 0."""


def run(
    program: Program,
    packet: bytes,
    *,
    pkttype: int = 0,
    ifindex: int = 3,
    hatype: int = 1,
    protocol: int = 0x0800,
    network: int = 0,
) -> int:
    """Return the result: of a filter, how many bytes of the packet pass, 0 = none.

    protocol, pkttype, ifindex, hatype  what the kernel knows of it    network  where its network header is
    """
    ancillary = {_AD: protocol, _AD + 4: pkttype, _AD + 8: ifindex, _AD + 28: hatype}

    def load(where: int, size: int) -> int:
        (at,) = struct.unpack("i", struct.pack("I", where & _WORD))
        if at in ancillary:
            return ancillary[at]
        if at < 0:
            assert at >= _NET, "relative to the network header only"
            at += network - _NET
        if at < 0 or at + size > len(packet):
            raise CutOffError
        return int.from_bytes(packet[at : at + size], "big")

    a = x = at = 0
    memory: dict[int, int] = {}  # a word that nobody stored cannot be loaded: the kernel refuses such a program
    for _ in range(10_000):
        code, jt, jf, k = program[at]
        at += 1
        kind, other = code & 7, x if code & 8 else k
        try:
            if kind == 6:
                return a if code == 0x16 else k
            if code == 0xB1:
                x = 4 * (load(k, 1) & 15)
            elif code in (0x60, 0x61, 0x00, 0x01):
                value = memory[k] if code & 0x60 else k
                a, x = (value, x) if kind == 0 else (a, value)
            elif kind == 0:
                a = load(k + (x if code & 0xE0 == 0x40 else 0), _SIZES[code & 0x18])
            elif kind in (2, 3):
                memory[k] = a if kind == 2 else x
            elif code == 0x05:
                at += k
            elif kind == 5:
                at += jt if {0x10: a == other, 0x20: a > other, 0x30: a >= other, 0x40: a & other}[code & 0xF0] else jf
            elif code in (0x07, 0x87):
                a, x = (a, a) if code == 0x07 else (x, x)
            else:
                assert kind == 4, f"instruction {code:#x}"
                a = {
                    0x00: a + other, 0x10: a - other, 0x20: a * other, 0x40: a | other, 0x50: a & other,
                    0x60: a << other & _WORD if other < 32 else 0, 0x70: a >> other if other < 32 else 0,
                    0x90: a % other if other else 0, 0xA0: a ^ other,
                }[code & 0xF0] & _WORD  # fmt: skip
        except CutOffError:
            return 0
    raise AssertionError("the program does not end")
