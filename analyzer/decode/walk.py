"""What every header reader shares: the walk's state, the kinds of header, the anomalies.

A packet is walked header by header. Each reader has the same shape:

    reader(w, s, data) -> kind of the next header

It checks that what it reads was captured (`w.end`), writes what it learned into the slot `s`, moves `w.at` past
itself, and names the next header. It never looks back and never looks ahead, so any nesting of headers works.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from analyzer.kernel import Records, helper


def _typed(value: int) -> int:
    """Return `value` as int64. numba would compile a helper anew for each plain int constant it is called with."""
    typed: int = np.int64(value)  # type: ignore[assignment]
    return typed


WALK = np.dtype(
    [
        ("at", np.int64),  # where the next header starts
        ("end", np.int64),  # captured bytes end here; never past the end of the data
        ("wire", np.int64),  # bytes on the wire end here; at least `end`
        ("ip", np.int64),  # where the innermost IP header starts
        ("packet", np.int64),  # slot of the batch
        ("next", np.int64),  # kind of the next header
        ("proto", np.int64),  # EtherType or IP protocol number, for the kinds that ask for one
        ("steps", np.int64),  # headers read so far
        ("quote", np.int64),  # inside an ICMP error: type * 256 + code, else 0
        ("noted", np.int64),  # anomalies seen in this packet, a bit each
    ],
    align=True,
)

MAX_STEPS: Final = 64
"""Headers in one packet. Real ones have fewer than 20; the bound keeps a stack of 8-byte extension headers cheap."""

# Ends of a walk
DONE: Final = _typed(0)
REBASE: Final = _typed(-1)  # a link type the kernel does not know: rebase.py finds the IP header
REASSEMBLE: Final = _typed(-2)  # an IP fragment, `ip` at its IP header and `at` at its payload: fragments.py

# Kinds of header. By layer: below IP ...
ETHERNET: Final = _typed(1)
BY_ETHERTYPE: Final = _typed(2)  # whatever EtherType `proto` says
VLAN: Final = _typed(3)
LLC: Final = _typed(4)
SLL: Final = _typed(5)
SLL2: Final = _typed(6)
NULL: Final = _typed(7)
PPP: Final = _typed(8)
PPPOE: Final = _typed(9)
MPLS: Final = _typed(10)
RAW_IP: Final = _typed(11)  # version by its first nibble
TAG: Final = _typed(12)  # a tag to step over; `proto` says which
# ... IP and what stands directly on it ...
IPV4: Final = _typed(20)
IPV6: Final = _typed(21)
BY_PROTOCOL: Final = _typed(22)  # whatever IP protocol `proto` says
EXTENSION: Final = _typed(23)
FRAGMENT: Final = _typed(24)
AH: Final = _typed(25)
UDP: Final = _typed(26)
TCP: Final = _typed(27)
ICMP: Final = _typed(28)
ICMPV6: Final = _typed(29)
ROUTING: Final = _typed(30)
# ... and tunnels
GRE: Final = _typed(40)
ERSPAN2: Final = _typed(41)
ERSPAN3: Final = _typed(42)
VXLAN: Final = _typed(43)
VXLAN_GPE: Final = _typed(44)
GENEVE: Final = _typed(45)
GTP: Final = _typed(46)
TEREDO: Final = _typed(47)
L2TP: Final = _typed(48)
NSH: Final = _typed(49)
ETHERIP: Final = _typed(50)

# Digits of SEGMENT.tunnel (segment.TUNNELS)
IN_GRE: Final = _typed(1)
IN_IPIP: Final = _typed(2)
IN_VXLAN: Final = _typed(3)
IN_GENEVE: Final = _typed(4)
IN_GTP: Final = _typed(5)
IN_TEREDO: Final = _typed(6)
IN_MPLS: Final = _typed(7)
IN_PPPOE: Final = _typed(8)
IN_ERSPAN: Final = _typed(9)
IN_AH: Final = _typed(10)
IN_L2TP: Final = _typed(11)
IN_OTHER: Final = _typed(12)

# Anomalies, as bits of `noted`: kernels cannot write to the Ledger, Decoder.settle() carries the counts over
CODES: Final = (
    "decode.bad_link", "decode.bad_ip", "decode.bad_tcp", "decode.bad_option", "decode.too_deep", "decode.unassembled",
)  # fmt: skip
BAD_LINK: Final = _typed(1)
BAD_IP: Final = _typed(2)
BAD_TCP: Final = _typed(4)
BAD_OPTION: Final = _typed(8)
TOO_DEEP: Final = _typed(16)
UNASSEMBLED: Final = _typed(32)


@helper
def note(w: Records, code: int) -> int:
    """Note an anomaly, once per packet and code; return DONE."""
    w.noted |= code
    return DONE


@helper
def enter(w: Records, s: Records, digit: int, kind: int) -> int:
    """Record one more tunnel and return `kind`, the header inside it. Seven digits fit."""
    if s.tunnel >> 24 != 0:
        return note(w, TOO_DEEP)
    s.tunnel = s.tunnel << 4 | digit
    return kind
