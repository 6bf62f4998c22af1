"""The columns that decoding a packet gives: one slot per packet, filled if it carries TCP."""

from __future__ import annotations

import numpy as np

# kind of a slot
NOTHING = 0  # not TCP, or not readable
TCP = 1  # a TCP segment
ICMP_QUOTE = 2  # an ICMP error that quotes a TCP segment: addresses, ports and seq are the *quoted* segment's

SEGMENT = np.dtype(
    [
        ("ts_ns", np.int64),
        ("frame", np.int64),
        # Addresses as two signed 64-bit halves, big-endian. IPv4 a.b.c.d is (0, 0x0000ffffaabbccdd), RFC 4291 2.5.5.2
        ("src_hi", np.int64),
        ("src_lo", np.int64),
        ("dst_hi", np.int64),
        ("dst_lo", np.int64),
        ("seq", np.int64),  # raw, 0..2**32-1
        ("ack", np.int64),  # raw; meaningless without the ACK flag
        ("tsval", np.int64),  # RFC 7323 timestamps, -1 = option absent
        ("tsecr", np.int64),
        (
            "sack_left",
            np.int64,
        ),  # first SACK block, raw (RFC 2018), -1 = none. D-SACK: at or below ack (RFC 2883)
        ("sack_right", np.int64),
        ("l2", np.int64),  # fingerprint of the link-layer header and interface: differs if the frame took another way
        ("payload_off", np.int64),  # in the batch's bytes
        ("payload_len", np.int32),  # on the wire, from the IP length
        ("payload_cap", np.int32),  # of these, captured
        ("wire_len", np.int32),  # the whole frame on the wire
        ("window", np.int32),  # raw. For ICMP_QUOTE: type * 256 + code
        ("sport", np.int32),
        ("dport", np.int32),
        ("ip_id", np.int32),  # -1 for IPv6 without fragment header
        ("mss", np.int32),  # -1 = option absent
        ("vlan", np.int32),  # outer 802.1Q tag, -1 = none
        ("vlan_inner", np.int32),
        ("tunnel", np.int32),  # TUNNELS codes as base-16 digits, outermost first (high digit); 0 = none
        ("link", np.int32),  # LINKTYPE of the frame
        ("file", np.int32),
        ("flags", np.int16),  # FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128, AE 256
        ("ttl", np.int16),  # TTL or hop limit of the innermost IP header
        ("dscp", np.int16),
        ("wscale", np.int16),  # shift count of the window scale option, -1 = absent
        ("kind", np.int8),
        ("ip_version", np.int8),
        ("sack_ok", np.int8),
        ("clipped", np.int8),  # 1 if the capture cut the frame short
    ],
    align=True,
)

FIN, SYN, RST, PSH, ACK, URG, ECE, CWR = 1, 2, 4, 8, 16, 32, 64, 128

# Digits of SEGMENT.tunnel, outermost first
TUNNELS = {
    1: "gre",
    2: "ipip",
    3: "vxlan",
    4: "geneve",
    5: "gtp",
    6: "teredo",
    7: "mpls",
    8: "pppoe",
    9: "erspan",
    10: "ah",
    11: "l2tp",
    12: "other",
}


def tunnel_name(code: int) -> str | None:
    """Return e.g. "vxlan" or "mpls/gre" for a SEGMENT.tunnel code, None for 0."""
    names: list[str] = []
    while code:
        names.append(TUNNELS[code & 15])
        code >>= 4
    return "/".join(reversed(names)) or None
