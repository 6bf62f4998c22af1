"""Which flow a segment belongs to: an open-addressing hash table over both directions at once.

A new flow on a 4-tuple starts only with a SYN that carries a new initial sequence number. Silence never ends a flow:
the connections longwire is for are the silent ones. `flow_id` counts first segments, as Wireshark's `tcp.stream`.
"""

from __future__ import annotations

from analyzer.decode.segment import ACK, SYN
from analyzer.flows.state import C2S, ROLE_FIRST, ROLE_PORT, ROLE_SYN, ROLE_SYN_ACK, S2C
from analyzer.kernel import I32, I64, Records, helper

_PRIME = (1 << 31) - 1  # modulus of the hash; a Mersenne prime folds with a shift and an addition
_OPEN_A, _OPEN_B, _OPEN_C = 0x2545F491, 0x1B873593, 0x0D2B79F5  # for `was_used`; any odd numbers below 2**30 would do

# Ports >= 1024 on which servers listen by custom, for captures that missed the handshake. A port below 1024 decides
# first (IANA system ports), and an ephemeral port (RFC 6335: 49152+, Linux: 32768+) is the client's.
_EPHEMERAL = 32768


@helper
def _mix(h: int, word: int, secret: int) -> int:
    """One step of a polynomial hash over GF(2**31-1), universal for a secret multiplier. word  below 2**31 - 1"""
    x = (h + word) * secret
    x = (x & _PRIME) + (x >> 31)
    return (x & _PRIME) + (x >> 31)


@helper
def _endpoint_hash(hi: int, lo: int, port: int, secret: int) -> int:
    """A polynomial of port and address in the secret, in pieces that differ below the modulus."""
    h = _mix(0, lo & 0x3FFFFF, secret)
    h = _mix(h, lo >> 22 & 0x3FF | port << 10, secret)
    if hi == 0 and lo >> 32 == 0xFFFF:  # IPv4
        return h
    h = _mix(h, lo >> 32 & 0xFFFFFF, secret)
    h = _mix(h, lo >> 56 & 0xFF | (hi & 0xFFFF) << 8, secret)
    h = _mix(h, hi >> 16 & 0xFFFFFF, secret)
    return _mix(h, hi >> 40 & 0xFFFFFF, secret)


@helper
def _pair_hash(
    a_hi: int, a_lo: int, a_port: int, b_hi: int, b_lo: int, b_port: int, secret: int, other: int
) -> int:  # fmt: skip
    """The same for both directions: (A + k)(B + k), which has no other factors.

    A sum would be linear in the ports: all pairs of one sum would collide, whatever the secret.
    """
    a = _mix(_endpoint_hash(a_hi, a_lo, a_port, secret), other, 1)
    return _mix(0, a, _mix(_endpoint_hash(b_hi, b_lo, b_port, secret), other, 1))


@helper
def _slot_of(pair_hash: int, secret: int, mask: int) -> int:
    return _mix(pair_hash, pair_hash >> 16, secret) & mask


@helper
def find(seg: Records, flows: Records, slots: I32, limits: Records) -> tuple[int, int]:
    """Return (place in `slots`, direction) of the segment's flow; the place is empty (-1 in it) if there is none.

    The secret multipliers (`limits`) differ in each run, so that nobody can choose addresses that collide.
    """
    mask = slots.size - 1
    pair = _pair_hash(
        seg.src_hi, seg.src_lo, seg.sport, seg.dst_hi, seg.dst_lo, seg.dport, limits.secret_a, limits.secret_b
    )
    at = _slot_of(pair, limits.secret_b, mask)
    while True:
        i = slots[at]
        if i < 0:
            return at, C2S
        f = flows[i]
        if f.ip_version == seg.ip_version:
            if (
                f.client_lo == seg.src_lo
                and f.server_lo == seg.dst_lo
                and f.client_port == seg.sport
                and f.server_port == seg.dport
                and f.client_hi == seg.src_hi
                and f.server_hi == seg.dst_hi
            ):
                return at, C2S
            if (
                f.client_lo == seg.dst_lo
                and f.server_lo == seg.src_lo
                and f.client_port == seg.dport
                and f.server_port == seg.sport
                and f.client_hi == seg.dst_hi
                and f.server_hi == seg.src_hi
            ):
                return at, S2C
        at = (at + 1) & mask


@helper
def place_flow(i: int, flows: Records, slots: I32, limits: Records) -> None:
    """Enter flow `i` into the hash table (used when the table is rebuilt)."""
    mask = slots.size - 1
    f = flows[i]
    pair = _pair_hash(
        f.client_hi, f.client_lo, f.client_port, f.server_hi, f.server_lo, f.server_port, limits.secret_a,
        limits.secret_b,
    )  # fmt: skip
    at = _slot_of(pair, limits.secret_b, mask)
    while slots[at] >= 0:
        at = (at + 1) & mask
    slots[at] = i


@helper
def was_used(seg: Records, pairs: I64) -> bool:
    """True if another flow of the capture had the same addresses and ports; this one is noted in `pairs`.

    pairs  (2**n,) what was last noted at each place, 0 = nothing. Its multipliers are no secret, so that two runs
           forget the same; who makes addresses collide only deceives about these.
    """
    a = _pair_hash(seg.src_hi, seg.src_lo, seg.sport, seg.dst_hi, seg.dst_lo, seg.dport, _OPEN_A, _OPEN_B)
    b = _pair_hash(seg.src_hi, seg.src_lo, seg.sport, seg.dst_hi, seg.dst_lo, seg.dport, _OPEN_B, _OPEN_C)
    mark = a << 31 | b | 1 << 62
    at = (a ^ a >> 16) & (pairs.size - 1)
    known = pairs[at] == mark
    pairs[at] = mark
    return bool(known)


@helper
def _listens(port: int) -> int:
    """How much a port looks like a server's: 3 system port, 2 known service, 1 below the ephemeral range, 0 above."""
    if port < 1024:
        return 3
    if (
        port == 1433 or port == 1521 or port == 1883 or port == 2181 or port == 3000 or port == 3306 or port == 3389
        or port == 4222 or port == 5000 or port == 5222 or port == 5432 or port == 5671 or port == 5672
        or port == 6379 or port == 6443 or port == 8000 or port == 8080 or port == 8081 or port == 8086
        or port == 8443 or port == 8883 or port == 8888 or port == 9000 or port == 9042 or port == 9090
        or port == 9092 or port == 9200 or port == 11211 or port == 15672 or port == 27017 or port == 50051
    ):  # fmt: skip
        return 2
    return 1 if port < _EPHEMERAL else 0


@helper
def role_of_sender(seg: Records) -> tuple[int, int]:
    """Return (direction, role source) of a flow's first segment: C2S if its sender is the client."""
    if seg.flags & SYN:
        return (S2C, ROLE_SYN_ACK) if seg.flags & ACK else (C2S, ROLE_SYN)
    here, there = _listens(seg.sport), _listens(seg.dport)
    if here > there:
        return S2C, ROLE_PORT
    if there > here:
        return C2S, ROLE_PORT
    return C2S, ROLE_FIRST


@helper
def set_endpoints(f: Records, seg: Records, direction: int) -> None:
    """Write the segment's addresses into the flow's key."""
    if direction == C2S:
        f.client_hi, f.client_lo, f.client_port = seg.src_hi, seg.src_lo, seg.sport
        f.server_hi, f.server_lo, f.server_port = seg.dst_hi, seg.dst_lo, seg.dport
    else:
        f.client_hi, f.client_lo, f.client_port = seg.dst_hi, seg.dst_lo, seg.dport
        f.server_hi, f.server_lo, f.server_port = seg.src_hi, seg.src_lo, seg.sport
