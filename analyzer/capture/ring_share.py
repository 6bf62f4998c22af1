"""Several processes share an interface's packets: a classic BPF program that deals them out by connection.

Source  packet(7), PACKET_FANOUT; linux/filter.h (classic BPF and its ancillary loads); RFC 792, RFC 4443 (ICMP errors).
Sees    addresses, and of whole TCP segments ports too, XORed: both directions of a connection come to one process, and
        the ICMP errors that quote it do. The kernel's own hash (PACKET_FANOUT_HASH) parts the directions of a tunnel
        whose outer UDP ports differ, and sends an ICMP error to wherever its own addresses lead.
        The socket's own filter comes after it.
Limits  Fragments, tunnels and all that is not TCP go by their addresses alone, TCP behind IPv6 extension headers too.
        What is neither IPv4 nor IPv6 (MPLS, PPPoE, 802.11 frames) goes to the first process, and so does what is cut
        off before its addresses or ports.
"""

from __future__ import annotations

import socket
import struct

from analyzer.capture.ring_bpf import Program, packed, set_program
from analyzer.errors import AnalyzerError

MAX_PROCESSES = 256
"""The Linux kernel's limit for a group (PACKET_FANOUT_MAX, unless a group asks for more)."""

_SOL_PACKET, _FANOUT, _FANOUT_DATA = 263, 18, 22
_CBPF, _UNIQUE_ID = 6, 0x2000  # PACKET_FANOUT_CBPF, PACKET_FANOUT_FLAG_UNIQUEID

# Instructions. Loads with _X_ are at X + operand.
_LD_W_ABS, _LD_W_X, _LD_H_X, _LD_B_X, _LD_M, _LDX_K, _LDX_M = 0x20, 0x40, 0x48, 0x50, 0x60, 0x01, 0x61
_ST, _STX, _TAX, _TXA, _RET_K, _RET_A = 0x02, 0x03, 0x07, 0x87, 0x06, 0x16
_JA, _JEQ, _JGT, _JSET = 0x05, 0x15, 0x25, 0x45
_ADD_K, _ADD_X, _MUL_K, _AND_K, _LSH_K, _RSH_K, _XOR_X, _MOD_K = 0x04, 0x0C, 0x24, 0x54, 0x64, 0x74, 0xAC, 0x94

_AD_PROTOCOL, _AD_PKTTYPE = -0x1000 & 0xFFFFFFFF, (-0x1000 + 4) & 0xFFFFFFFF
_NETWORK = -0x100000 & 0xFFFFFFFF  # SKF_NET_OFF: loads are relative to the network header
_OUTGOING = 4
_HASH, _ONE = 0, 1  # scratch words

Line = str | tuple[int, int] | tuple[int, str] | tuple[int, int, str, str]
"""A label, an instruction with its operand, a jump, or a branch: operand, where to if true, where to if false."""


def sharing(count: int) -> Program:
    """Return the program whose result is the number of the process, 0 to count - 1, that gets a packet."""
    # The group sees a packet before its socket does: what came in begins with the network header there, what goes out
    # with the link layer's. Loads from the packet's beginning also reach what lies in other pages; those relative to
    # the network header do so in recent kernels only, but what goes out has its headers in one piece.
    lines: list[Line] = [
        (_LD_W_ABS, _AD_PKTTYPE), (_LDX_K, 0), (_JEQ, _OUTGOING, "out", "in"),
        "out", (_LDX_K, _NETWORK),
        "in", (_LD_W_ABS, _AD_PROTOCOL), (_JEQ, 0x8100, "tag", "no tag"),
        "no tag", (_JEQ, 0x88A8, "tag", "type"),
        # A tag in the way: of what came in the inner one of two; of what goes out one that the card does not add. There
        # the network header is behind all tags.
        "tag", (_TXA, 0), (_JEQ, 0, "inner", "behind"),
        "inner", (_LD_H_X, 2), (_LDX_K, 4), (_JA, "type"),
        "behind", (_LD_B_X, 0), (_RSH_K, 4), (_JEQ, 4, "4", "6?"),
        "6?", (_JEQ, 6, "6", "other"),
        "type", (_JEQ, 0x0800, "4", "no 4"),
        "no 4", (_JEQ, 0x86DD, "6", "other"),
        *_ipv4(), *_ipv6(),
        "ports", (_LD_H_X, 0), (_ST, _ONE), (_LD_H_X, 2), (_LDX_M, _ONE), (_XOR_X, 0), *_into_hash(),
        "mix", *_mixed(), (_MOD_K, count), (_RET_A, 0),
        "other", (_RET_K, 0),
    ]  # fmt: skip
    return _assembled(lines)


def _ipv4() -> list[Line]:
    """Return what hashes the IPv4 packet at X, or the one that it quotes."""
    return [
        "4", (_LD_B_X, 9), (_JEQ, 1, "icmp", "hash 4"),
        "icmp", (_LD_H_X, 6), (_JSET, 0x1FFF, "hash 4", "begins"),
        "begins", (_STX, _ONE), *_past_header(), (_LD_B_X, 0),
        (_JEQ, 3, "quotes", "not 3"),
        "not 3", (_JEQ, 4, "quotes", "not 4"),
        "not 4", (_JEQ, 5, "quotes", "not 5"),
        "not 5", (_JEQ, 11, "quotes", "not 11"),
        "not 11", (_JEQ, 12, "quotes", "no error"),
        "no error", (_LDX_M, _ONE), (_JA, "hash 4"),
        "quotes", (_TXA, 0), (_ADD_K, 8), (_TAX, 0),
        "hash 4", (_LD_W_X, 12), (_ST, _HASH), (_LD_W_X, 16), (_STX, _ONE), *_into_hash(), (_LDX_M, _ONE),
        (_LD_B_X, 9), (_JEQ, 6, "tcp 4", "mix"),
        "tcp 4", (_LD_H_X, 6), (_JSET, 0x3FFF, "mix", "whole"),
        "whole", *_past_header(), (_JA, "ports"),
    ]  # fmt: skip


def _ipv6() -> list[Line]:
    """Return what hashes the IPv6 packet at X, or the one that it quotes."""
    words: list[Line] = []
    for at in range(12, 40, 4):
        words += [(_LD_W_X, at), *_into_hash(), (_LDX_M, _ONE)]
    return [
        "6", (_LD_B_X, 6), (_JEQ, 58, "icmp 6", "hash 6"),
        "icmp 6", (_LD_B_X, 40), (_JEQ, 0, "hash 6", "1 or more"),
        "1 or more", (_JGT, 4, "hash 6", "quotes 6"),
        "quotes 6", (_TXA, 0), (_ADD_K, 48), (_TAX, 0),
        "hash 6", (_STX, _ONE), (_LD_W_X, 8), (_ST, _HASH), *words,
        (_LD_B_X, 6), (_JEQ, 6, "tcp 6", "mix"),
        "tcp 6", (_TXA, 0), (_ADD_K, 40), (_TAX, 0), (_JA, "ports"),
    ]  # fmt: skip


def _past_header() -> list[Line]:
    """Move X from an IPv4 header to what follows it."""
    return [(_LD_B_X, 0), (_AND_K, 15), (_LSH_K, 2), (_ADD_X, 0), (_TAX, 0)]


def _into_hash() -> list[Line]:
    """XOR A into the hash; X is lost."""
    return [(_LDX_M, _HASH), (_XOR_X, 0), (_ST, _HASH)]


def _mixed() -> list[Line]:
    """Load the hash so that each of its bits counts in each bit (MurmurHash3's finalizer).

    One multiplication would not do: Linux gives its connections ports of one parity, and neighbours have addresses that
    differ in few bits.
    """
    lines: list[Line] = [(_LD_M, _HASH)]
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 0)):
        lines += [(_ST, _HASH), (_RSH_K, shift), (_LDX_M, _HASH), (_XOR_X, 0)]
        lines += [(_MUL_K, factor)] if factor else []
    return lines


def _assembled(lines: list[Line]) -> Program:
    """Return the instructions with their labels resolved."""
    places: dict[str, int] = {}
    instructions: list[tuple[int, int] | tuple[int, str] | tuple[int, int, str, str]] = []
    for line in lines:
        if isinstance(line, str):
            places[line] = len(instructions)
        else:
            instructions.append(line)
    program: Program = []
    for at, (code, operand, *branches) in enumerate(instructions):
        yes, no = ([places[str(label)] - at - 1 for label in branches] or [0, 0])[:2]
        program.append((code, yes, no, places[operand] - at - 1 if isinstance(operand, str) else operand))
    return program


def join(opened: socket.socket, group: int, count: int) -> int:
    """Have a bound packet socket join a group, -1 = found one under a number that is free; return the number.

    Numbers that the kernel finds, and not the process's own: processes of two containers may have the same.
    """
    asked = (_CBPF | _UNIQUE_ID) << 16 if group < 0 else _CBPF << 16 | group
    try:
        opened.setsockopt(_SOL_PACKET, _FANOUT, struct.pack("=I", asked))
        if group < 0:
            set_program(opened, _SOL_PACKET, _FANOUT_DATA, packed(sharing(count)))
    except OSError as trouble:
        raise AnalyzerError(
            f"the kernel does not share packets among processes: {trouble.strerror}",
            "it needs Linux 4.12 or later; capture without --processes",
        ) from None
    found: int = struct.unpack("=I", opened.getsockopt(_SOL_PACKET, _FANOUT, 4))[0]
    return found & 0xFFFF
