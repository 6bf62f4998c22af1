"""Did the RST come from the host in whose name it was sent? (definitions B6)

What    Independent clues that a RST took another way, or was made by another stack, than the rest of its direction.
        Each has a weight; together they count 1 - product of (1 - weight), so several are needed.
Source  RFC 9293 section 3.5.2 (what a RST looks like), RFC 7323 section 3.2 (timestamps may be left out of a RST),
        RFC 5961 section 3.2 (where in the window a RST must lie).
Needs   flows: the baseline of each direction and what the first RST looked like
Gives   closes: middlebox_score, middlebox_clues; the kind rst_injected_suspected from SUSPECTED on
Limits  A clue is no proof: say "consistent with". A host that sends RSTs with another initial TTL (64, 128, 255) over
        the same number of hops is not suspected. Link layer, DSCP and the count of IP-IDs are compared with the three
        frames before it; where those differ among themselves nothing is said. A link that differs may be a router that
        took over (HSRP, VRRP). Only a second capture point can prove that a RST was not sent.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.classify.facts import Array, Facts
from analyzer.decode.segment import ACK
from analyzer.flows.state import OFF_COUNT, OTHER_DSCP, OTHER_LINK, SENT_AGAIN, SENT_DATA
from analyzer.kernel import I64, Mask
from analyzer.tables.build import Coded

F64 = NDArray[np.float64]

# From here on a middlebox is the verdict: two strong clues, or one and some weak ones, never one alone. Of 403 resets
# of real captures only one that a box had sent has two strong ones (`python -m tests.calibration.resets`).
SUSPECTED = 0.55
POSSIBLE = 0.4  # from here on it is worth a mention

WEIGHTS = {
    "lives_on": 0.5,  # its sender goes on as if there had been no RST
    "ttl_differs": 0.35,
    "too_fast": 0.35,  # sooner than the host could have answered
    "ip_id_copied": 0.4,  # from the packet of the other direction that it answers
    "ip_id_not_zero": 0.15,  # though all others of its direction are
    # Neither 0 nor what follows, though its direction counts. Of 403 resets of real captures 3 have it, and another TTL
    # as well. Bare RSTs are left out: 21 more had it, of hosts whose kernels number those by another counter.
    "ip_id_off_count": 0.15,
    "dscp_differs": 0.15,  # from its direction, and from what it answers. None has it, but only 5 have a DSCP at all
    "link_differs": 0.25,  # it came from another link-layer address. None of the 352 that can be compared has it
    "no_timestamp": 0.15,  # though it was agreed and the RST is that of a live socket
    "stepping": 0.3,  # several RSTs with rising numbers, to hit a moving window
    "ack_zero": 0.3,
    "out_of_window": 0.3,
    "both_directions": 0.35,  # at the same instant
}
NAMES = tuple(WEIGHTS)

_LEAST_SEGMENTS = 2  # of a direction: fewer are no baseline
_STEADY_SEGMENTS = 4
_LEAST_RTT_NS = 1_000_000  # a nearer host answers faster than a capture's clock can tell
_SAME_INSTANT_NS = 1_000_000
_INITIAL_TTLS = (32, 64, 128, 255)


class Suspicion(NamedTuple):
    """(n,) per flow: score 0 to 1 (0 without a RST), and the clues by name, comma-separated."""

    score: F64
    clues: Coded


def suspect(facts: Facts, resetter: I64) -> Suspicion:
    """Score the RST that ended each flow; resetter (n,) its side, -1 = none."""
    score = np.zeros(facts.n)
    bits = np.zeros(facts.n, np.int64)
    here = np.flatnonzero((resetter >= 0) & (facts.of(np.maximum(resetter, 0), "rst_segments") >= _LEAST_SEGMENTS))
    if here.size:
        held = _clues(_Reset(facts, here, resetter[here]))
        doubt = np.ones(here.size)
        for k, name in enumerate(NAMES):
            doubt *= np.where(held[name], 1 - WEIGHTS[name], 1.0)
            bits[here] |= held[name].astype(np.int64) << k
        score[here] = 1 - doubt
    distinct, codes = np.unique(bits, return_inverse=True)
    words = [",".join(name for k, name in enumerate(NAMES) if int(value) >> k & 1) for value in distinct]
    lookup = np.array([k if word else -1 for k, word in enumerate(words)], np.int64)
    return Suspicion(score, Coded(lookup[codes] if codes.size else codes, words))


class _Reset:
    """Chosen flows with x the side that reset and y the other: r.x("field"), r.y("field"), r.flow."""

    def __init__(self, facts: Facts, here: I64, side: I64) -> None:
        self.flow = facts.flow.at(here)
        self._sides = (facts.client.at(here), facts.server.at(here))
        self.side = side

    def x(self, field: str) -> Array:
        """Return SIDE `field` of the side that reset."""
        picked: Array = np.where(self.side == 0, self._sides[0][field], self._sides[1][field])
        return picked

    def y(self, field: str) -> Array:
        """Return SIDE `field` of the side that was reset."""
        picked: Array = np.where(self.side == 0, self._sides[1][field], self._sides[0][field])
        return picked


def _clues(r: _Reset) -> dict[str, Mask]:
    flags = r.x("rst_flags")
    with_ack = (flags & ACK) != 0
    peer_ip_id, own_ip_id = r.x("rst_peer_ip_id"), r.x("rst_own_ip_id")
    ip_id = r.x("rst_ip_id")
    own_step = (ip_id - own_ip_id) & 0xFFFF
    in_order = (own_ip_id > 0) & (own_step > 0) & (own_step < 0x1000)
    stamped = (r.x("ts_ok") == 1) & (r.y("ts_ok") == 1) & (r.x("newest_tsval") >= 0)
    acked = r.x("rst_stimulus_ack")  # where the other side expects the next byte
    # A closed socket answers each segment with the number that segment acknowledged: that may lie behind.
    behind = (acked > 0) & (r.x("rst_seq") < acked) & with_ack & (r.x("fin_seq") == 0)
    room = np.maximum(r.x("rst_peer_rwnd"), 1 << 16)
    beyond = (acked > 0) & (r.x("rst_seq") > acked + room)
    copied = (ip_id > 0) & (ip_id == peer_ip_id) & ~in_order
    unlike = r.x("rst_unlike")
    return {
        "lives_on": r.x("rst_outlived") > 0,
        "ttl_differs": _ttl_differs(r),
        "too_fast": _too_fast(r),
        "ip_id_copied": copied,
        "ip_id_not_zero": (ip_id > 0) & (own_ip_id <= 0) & (r.x("rst_segments") >= _STEADY_SEGMENTS),
        "ip_id_off_count": ((unlike & OFF_COUNT) != 0) & with_ack & ~copied,
        "dscp_differs": (unlike & OTHER_DSCP) != 0,
        "link_differs": (unlike & OTHER_LINK) != 0,
        "no_timestamp": with_ack & stamped & (r.x("rst_has_ts") == 0),
        "stepping": (r.x("rst_steps") >= 2) & (r.x("fin_seq") == 0),
        "ack_zero": (r.x("rst_ack_zero") == 1) & (r.flow["payload_ts"] != 0),
        "out_of_window": behind | beyond,
        "both_directions": _both_directions(r),
    }


def _hops(ttl: Array) -> Array:
    """Return how many hops away a TTL was set, if its sender began with one of the usual values."""
    initial = np.array(_INITIAL_TTLS)
    result: Array = initial[np.minimum(np.searchsorted(initial, ttl), initial.size - 1)] - ttl
    return result


def _ttl_differs(r: _Reset) -> Mask:
    """Off by 3 or more (load-balanced paths differ by one or two), by 2 if the direction never varied.

    Or set by a neighbour, while all else of its direction has come over routers: a NAT or firewall on the way.
    """
    rst, usual = r.x("rst_ttl").astype(np.int64), r.x("ttl").astype(np.int64)
    apart = np.abs(rst - usual)
    steady = (r.x("ttl_changes") == 0) & (r.x("rst_segments") >= _STEADY_SEGMENTS)
    near = (_hops(rst) == 0) & (r.x("ttl_changes") == 0)
    result: Mask = (usual > 0) & ((apart >= 3) | ((apart >= 2) & steady) | near) & (_hops(rst) != _hops(usual))
    return result


def _too_fast(r: _Reset) -> Mask:
    """It answers what the other side just said in less than half of what its host is away.

    One that acknowledges all of it does answer it. A bare one has the number that it acknowledged, and answers it if
    nothing was said for a round trip before: else it may answer what came a little earlier.
    How far it is away is what the handshake says: kernels answer a SYN at once, and programs may take their time.
    """
    f = r.flow
    to_server, to_client = f["syn_ack_ts"] - f["syn_ts"], f["handshake_ts"] - f["syn_ack_ts"]
    away = np.where(r.side == 1, to_server, to_client)
    known = (f["syn_ts"] != 0) & (f["syn_ack_ts"] != 0) & (f["handshake_ts"] != 0)
    measured = r.y("rtt_min")  # of the other side's data, answered by this side
    away = np.where((measured > 0) & (measured < away), measured, away)
    acks = r.x("rst_acks_all") == 1
    bare = ((r.x("rst_flags") & ACK) == 0) & (r.x("rst_seq") == r.x("rst_stimulus_ack"))
    fresh = bare & (r.x("rst_burst_ts") != 0) & (r.x("rst_burst_idle") > away)
    took = r.x("rst_ts") - np.where(acks, r.x("rst_stimulus_ts"), r.x("rst_burst_ts"))
    answers = np.isin(r.x("rst_stimulus"), (SENT_DATA, SENT_AGAIN)) & (acks | fresh)
    result: Mask = known & answers & (away >= _LEAST_RTT_NS) & (2 * took < away)
    return result


def _both_directions(r: _Reset) -> Mask:
    """Two RSTs at once, neither of them the answer to data of the other side."""
    x_ts, y_ts = r.x("rst_ts"), r.y("rst_ts")
    later = np.where(y_ts > x_ts, r.y("rst_stimulus"), r.x("rst_stimulus"))
    result: Mask = (y_ts != 0) & (np.abs(y_ts - x_ts) <= _SAME_INSTANT_NS) & ~np.isin(later, (SENT_DATA, SENT_AGAIN))
    return result
