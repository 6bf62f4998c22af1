"""Capture filters in tcpdump's language, compiled by libpcap and run by the Linux kernel.

Source  pcap-filter(7); linux/filter.h (classic BPF and its ancillary loads).
Sees    libpcap through ctypes: nothing has to be built, and longwire runs without it as long as no filter is asked for.
Limits  A VLAN tag that the card took out of a frame is not in it while the filter runs: `vlan 5` then matches nothing,
        and `tcp port 443` matches as if there were no tag.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
import struct
import sys

from analyzer.errors import AnalyzerError

Program = list[tuple[int, int, int, int]]
"""Instructions: code, jump if true, jump if false, operand."""

_LD_W_ABS, _JEQ_K, _JA, _RET_K = 0x20, 0x15, 0x05, 0x06
# SKF_AD_OFF and what lies there
_AD = -0x1000 & 0xFFFFFFFF
_AD_PKTTYPE, _AD_IFINDEX, _AD_HATYPE = _AD + 4, _AD + 8, _AD + 28
_OUTGOING = 4
_DLT = {101: 14 if sys.platform.startswith("openbsd") else 12}  # libpcap's own number for LINKTYPE_RAW
_NETMASK_UNKNOWN = 0xFFFFFFFF
MAX_PROGRAM = 4096  # BPF_MAXINSNS
NOTHING: Program = [(_RET_K, 0, 0, 0)]
"""The filter that nothing passes."""


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


class _Compiled(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint), ("instructions", ctypes.POINTER(_Instruction)))


def compiled(expression: str, link: int, snaplen: int) -> Program:
    """Return `expression` (pcap-filter(7)) as a program for frames of a LINKTYPE; what passes is cut to `snaplen`.

    Raises AnalyzerError if it is wrong, or if libpcap is not there.
    """
    if not expression.strip():
        return [(_RET_K, 0, 0, snaplen)]
    pcap = _libpcap()
    handle = pcap.pcap_open_dead(_DLT.get(link, link), snaplen)
    if not handle:
        raise AnalyzerError("libpcap has no room for a filter")
    made = _Compiled()
    try:
        if pcap.pcap_compile(handle, ctypes.byref(made), expression.encode(), 1, _NETMASK_UNKNOWN) != 0:
            reason = pcap.pcap_geterr(handle).decode("utf-8", "replace")
            raise AnalyzerError(
                f"the filter `{expression}` is wrong: {reason}", "filters are written as for tcpdump: man pcap-filter"
            )
        program = [(i.code, i.jt, i.jf, i.k) for i in made.instructions[: made.length]]
        pcap.pcap_freecode(ctypes.byref(made))
    finally:
        pcap.pcap_close(handle)
    return program


def combined(ethernet: Program, raw: Program, raw_types: list[int], only: list[int], loopback: int) -> Program:
    """Return one program for a socket that sees frames of several interfaces.

    ethernet, raw  what runs for frames with and without an Ethernet header    raw_types  ARPHRD numbers of the latter
    only      interface indexes that may pass, empty = all
    loopback  index of lo, 0 = none: there each packet passes twice, and the outgoing copy is dropped
    """
    head: Program = []
    if only:
        head.append((_LD_W_ABS, 0, 0, _AD_IFINDEX))
        # match: step over the jumps to the next line and over `return 0`
        head += [(_JEQ_K, len(only) - k, 0, index) for k, index in enumerate(only)]
        head.append((_RET_K, 0, 0, 0))
    if loopback:
        head += [(_LD_W_ABS, 0, 0, _AD_PKTTYPE), (_JEQ_K, 0, 3, _OUTGOING), (_LD_W_ABS, 0, 0, _AD_IFINDEX)]
        head += [(_JEQ_K, 0, 1, loopback), (_RET_K, 0, 0, 0)]
    if raw_types and raw != ethernet:
        head.append((_LD_W_ABS, 0, 0, _AD_HATYPE))
        for kind in raw_types:
            head += [(_JEQ_K, 0, 1, kind), (_JA, 0, 0, 0)]
        # each of these jumps goes past the Ethernet program
        for place, (code, _, _, _) in enumerate(head):
            if code == _JA:
                head[place] = (_JA, 0, 0, len(head) - place - 1 + len(ethernet))
        return _checked(head + ethernet + raw)
    return _checked(head + ethernet)


def packed(program: Program) -> bytes:
    """Return the instructions as struct sock_filter."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def set_program(opened: socket.socket, level: int, option: int, program: bytes) -> None:
    """Set packed instructions as a socket option that takes struct sock_fprog."""
    buffer = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("HL" if struct.calcsize("P") == 4 else "H6xQ", len(program) // 8, ctypes.addressof(buffer))
    opened.setsockopt(level, option, head)


def _checked(program: Program) -> Program:
    if len(program) > MAX_PROGRAM:
        raise AnalyzerError("the filter is too long for the Linux kernel", "name fewer hosts or interfaces")
    return program


def _libpcap() -> ctypes.CDLL:
    name = ctypes.util.find_library("pcap")
    try:
        if name is None:
            raise OSError
        pcap = ctypes.CDLL(name)
    except OSError:
        raise AnalyzerError(
            "a filter needs libpcap, and it is not installed",
            "install libpcap0.8 (Debian, Ubuntu) or libpcap (Fedora, Alpine, Arch), or capture without a filter",
        ) from None
    pcap.pcap_open_dead.restype = ctypes.c_void_p
    pcap.pcap_open_dead.argtypes = [ctypes.c_int, ctypes.c_int]
    pcap.pcap_compile.argtypes = [
        ctypes.c_void_p, ctypes.POINTER(_Compiled), ctypes.c_char_p, ctypes.c_int, ctypes.c_uint32,
    ]  # fmt: skip
    pcap.pcap_geterr.restype = ctypes.c_char_p
    pcap.pcap_geterr.argtypes = [ctypes.c_void_p]
    pcap.pcap_freecode.argtypes = [ctypes.POINTER(_Compiled)]
    pcap.pcap_close.argtypes = [ctypes.c_void_p]
    return pcap
