"""Which close kind each connection has, and who ended it (definitions B5), from what TCP alone shows.

What    Exactly one kind per flow: the conditions are asked in order, and the first that holds decides.
Source  RFC 9293 sections 3.6 (closing), 3.5.2-3.5.3 (resets); RFC 5961 (challenge ACKs); RFC 1122 section 4.2.2.13.
Needs   flows: the FINs, the RSTs and what was true just before them
Limits  A FIN or RST does not say which program decided, nor that it was the host whose address it bears.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.classify.facts import Array, Facts
from analyzer.classify.keepalive import waits_in_vain
from analyzer.classify.middlebox import SUSPECTED, Suspicion, suspect
from analyzer.decode.segment import ACK
from analyzer.flows.state import REUSED, SENT_AGAIN, SENT_DATA, SENT_PROBE, SENT_SYN
from analyzer.kernel import I64, Mask, Records
from analyzer.tables.tcp import CLOSE_KINDS, INITIATORS

KIND = {name: code for code, name in enumerate(CLOSE_KINDS)}
_WHO = {name: code for code, name in enumerate(INITIATORS)}
_CLIENT, _SERVER = 0, 1

# A side that stopped retrying has given up if it stayed silent this many times longer than its last wait: timers double
# at most (RFC 6298 section 5.5), so by then the next try would have come.
_GAVE_UP = 2.5
LEAK_SURE = 0.95  # of a half-closed connection that it is leaked: it was watched for long enough
_MANY_FINS = 4
_RTO_NS = 1_000_000_000  # the initial one, RFC 6298 section 2.1: what is not answered by then is sent again


@dataclass(slots=True)
class Verdict:
    """(n,) per flow. kind, initiator: codes of the enums. confidence 0 to 1. resetter: side of the RST, -1 = none.

    base  the kind before a suspected middlebox overrode it    suspicion  what speaks for one
    """

    kind: I64
    base: I64
    initiator: I64
    confidence: np.ndarray[tuple[int], np.dtype[np.float64]]
    inferred: Mask
    resetter: I64
    suspicion: Suspicion


class _Case:
    """Collects (condition, kind, initiator, confidence) in order; the first condition that holds decides."""

    def __init__(self, n: int) -> None:
        self.open = np.ones(n, np.bool_)
        self.kind = np.full(n, KIND["open_active"], np.int64)
        self.initiator = np.full(n, _WHO["none"], np.int64)
        self.confidence = np.full(n, 0.9)
        self.inferred = np.zeros(n, np.bool_)

    def add(self, condition: Mask, kind: str, initiator: Any, confidence: Any, *, inferred: bool = False) -> None:
        """Decide the open flows for which `condition` holds. `initiator`: a word, or sides (0 client, 1 server)."""
        here = self.open & condition
        code = _WHO[initiator] if isinstance(initiator, str) else np.asarray(initiator)[here]
        self.kind[here] = KIND[kind]
        self.initiator[here] = code
        self.confidence[here] = confidence if np.isscalar(confidence) else np.asarray(confidence)[here]
        self.inferred[here] = inferred
        self.open &= ~condition


# Kinds that say of a RST no more than when it came. What its sender acknowledged or answered is explained well enough.
_MAY_BE_INJECTED = tuple(
    KIND[k] for k in ("rst_abort", "rst_on_idle", "rst_to_data_stale", "rst_to_keepalive", "rst_unread_data")
)

# INITIATORS begins with client, server: a side is its own code
assert INITIATORS[:2] == ("client", "server")


def judge(facts: Facts) -> Verdict:
    """Return the verdict on each flow."""
    case = _Case(facts.n)
    resetter = _resetter(facts)
    _judge_resets(facts, case, resetter)
    _judge_fins(facts, case)
    _judge_unfinished(facts, case)
    suspicion = suspect(facts, resetter)
    base = case.kind.copy()
    injected = np.isin(base, _MAY_BE_INJECTED) & (suspicion.score >= SUSPECTED)
    case.kind[injected], case.initiator[injected] = KIND["rst_injected_suspected"], _WHO["middlebox"]
    case.confidence[injected], case.inferred[injected] = suspicion.score[injected], True
    return Verdict(case.kind, base, case.initiator, case.confidence, case.inferred, resetter, suspicion)


# ------------------------------------------------------------------------------------------------ RST
def _resetter(facts: Facts) -> I64:
    """Return who sent the RST that ended the flow, -1 if none did (or the close was complete before it)."""
    c, s = facts.client["rst_ts"], facts.server["rst_ts"]
    side = np.where((s != 0) & ((c == 0) | (s < c)), 1, 0)
    when = np.where(side == 1, s, c)
    done = np.maximum(facts.client["fin_acked_ts"], facts.server["fin_acked_ts"])
    complete = facts.both_fins_acked & (done <= when)
    result: I64 = np.where((when != 0) & ~complete, side, -1)
    return result


def _judge_refusals(facts: Facts, case: _Case, has: Mask, x: I64) -> None:
    """A RST by x ended the flow before it was established."""
    flow = facts.flow
    opening = (facts.client["syns"] > 0) | (facts.server["syns"] > 0)
    has = has & (flow["handshake_ts"] == 0) & opening & (flow["payload_ts"] == 0)
    sure = np.where(facts.of(x, "rst_ack") == 1, 0.99, 0.9)
    case.add(has & (x == _SERVER) & (facts.server["syns"] == 0), "refused", "server", sure)
    case.add(has & (x == _CLIENT), "handshake_aborted", "client", 0.95)
    gave_up = has & (facts.server["syns"] >= 2)  # on a handshake that the client never completed
    case.add(gave_up, "synack_timeout", "server", 0.8, inferred=True)


def _judge_resets(facts: Facts, case: _Case, resetter: I64) -> None:
    """A RST by X ended the flow; Y is the other side."""
    has = resetter >= 0
    x = np.maximum(resetter, 0)
    y = 1 - x

    def of_x(name: str) -> Array:
        return facts.of(x, name)

    when = of_x("rst_ts")
    _judge_refusals(facts, case, has, x)
    only_resets = (facts.both("segments") == facts.both("rsts")).all(axis=0)
    case.add(has & only_resets, "capture_gap", "unknown", 0.5, inferred=True)

    x_fin = (of_x("fin_seq") != 0) & (of_x("fin_ts") <= when)
    y_fin = (facts.of(y, "fin_seq") != 0) & (facts.of(y, "fin_ts") <= when)
    soon = when - of_x("rst_stimulus_ts") <= facts.stimulus_ns
    to_data = soon & np.isin(of_x("rst_stimulus"), (SENT_DATA, SENT_AGAIN))
    rested = of_x("rst_burst_idle") >= facts.settings.idle_min_ns
    bare = (of_x("rst_flags") & ACK) == 0
    tries = facts.settings.dead_peer_tries

    begun = of_x("rst_burst_ts") >= of_x("fin_ts")  # else it was under way when X closed
    case.add(has & x_fin & to_data & rested & begun, "rst_to_data_stale", x, 0.9)
    case.add(has & soon & (of_x("rst_stimulus") == SENT_PROBE), "rst_to_keepalive", x, 0.95)
    case.add(has & (of_x("rst_probe_run") >= tries), "abort_keepalive", x, 0.95)
    case.add(has & x_fin, "rst_after_own_fin", x, np.where(of_x("rst_late_data") != 0, 0.95, 0.85))
    # the waits double (RFC 6298 section 5.5); a tail loss probe in front can hide that once
    backed_off = (of_x("rst_retries") >= tries) & (of_x("rst_doublings") >= tries - 2)
    waiting = (of_x("rst_outstanding") > 0) & backed_off
    # The peer came back, and closed; its FIN met no socket any more: that one had given up before.
    case.add(has & y_fin & bare & waiting, "abort_retransmit", x, 0.9)
    # It went on for a while after that FIN: then its reset is no answer to it.
    went_on = (of_x("late_data_after_peer_fin") > 0) & (of_x("rst_outstanding") <= 0)
    went_on &= when - of_x("payload_ts") >= facts.settings.idle_min_ns
    case.add(has & y_fin & went_on, "rst_abort", x, 0.7, inferred=True)
    case.add(has & y_fin, "rst_after_peer_fin", y, 0.95)
    # KEEPCNT may be 1 or 2: then X's own RST, after it had waited for the last answer, tells what for (definitions B2).
    waited = when - of_x("probe_ts") >= np.maximum(3 * facts.path_rtt, facts.settings.probe_quiet_ns)
    alone = facts.of(y, "segments") == 0  # what it answered may not be in the capture
    few = ~bare & (of_x("rst_probe_run") >= 1) & waited & (~alone | (of_x("rst_probe_run") == of_x("probes")))
    case.add(has & few, "abort_keepalive", x, 0.7, inferred=True)
    case.add(has & (of_x("rst_window_probe_run") >= tries), "abort_zero_window", x, 0.85)
    case.add(has & waiting, "abort_retransmit", x, 0.9)
    # It knew the connection and had received all of it: no socket that was gone, nobody who had forgotten it.
    received = ~bare & (of_x("rst_acks_all") == 1) & (of_x("rst_window") != 0)
    case.add(has & to_data & rested & received, "rst_unread_data", x, 0.7, inferred=True)
    knew = ~bare & (of_x("rst_knew") == 1)  # of this very burst it had acknowledged something
    stale = to_data & (rested | bare) & ~knew
    case.add(has & stale, "rst_to_data_stale", x, np.where(rested & bare, 0.9, 0.6), inferred=True)
    # A host that was started anew is found by what is sent again, once it can be reached (ARP, a link that comes up).
    gone = bare & (of_x("rst_window") == 0) & (of_x("rst_seq") == of_x("rst_stimulus_ack"))
    gone &= (of_x("rst_stimulus") == SENT_AGAIN) & (of_x("rst_peer_outstanding") > 0)
    case.add(has & gone, "rst_to_data_stale", x, 0.8, inferred=True)
    unread = (of_x("rst_unread") != 0) & ~bare
    # Its own window was closed: it had stopped reading long before.
    stopped = stopped_reading(facts, x)
    case.add(has & unread & stopped, "rst_unread_data", x, 0.9)
    asked = facts.of(y, "window_probe_ts") != 0  # the capture began when it had stopped already
    case.add(has & ~bare & stopped & asked, "rst_unread_data", x, 0.7, inferred=True)
    quiet = of_x("rst_idle_payload") >= facts.settings.idle_min_ns
    idle = quiet & (of_x("rst_outstanding") <= 0)  # else it waited for an acknowledgement, and no longer
    case.add(has & idle, "rst_on_idle", x, np.where(alone, 0.5, 0.8), inferred=True)
    case.add(has & unread, "rst_unread_data", x, 0.6, inferred=True)
    case.add(has, "rst_abort", x, np.where(alone, 0.5, 0.7), inferred=True)


# ------------------------------------------------------------------------------------------------ FIN
def _judge_fins(facts: Facts, case: _Case) -> None:
    """No RST ended the flow; X sent the first FIN."""
    from analyzer.classify.tls import only_alert_late

    flow = facts.flow
    fin = facts.both("fin_seq") != 0
    any_fin = fin.any(axis=0) & ~_unheard(facts)
    fin_ts = facts.both("fin_ts")
    x = np.where(fin[0] & (~fin[1] | (fin_ts[0] <= fin_ts[1])), _CLIENT, _SERVER)
    y = 1 - x
    two = fin.all(axis=0)
    full = facts.both_fins_acked

    crossed = (facts.client["fin_ack"] < facts.server["fin_seq"]) & (facts.server["fin_ack"] < facts.client["fin_seq"])
    apart = np.abs(fin_ts[0] - fin_ts[1])
    at_once = apart < np.maximum(facts.path_rtt, flow["handshake_rtt"]) + 5_000_000
    case.add(two & crossed & at_once, "fin_simultaneous", "both", 0.9)
    spoke = (facts.of(y, "late_data_after_peer_fin") > 0) & ~only_alert_late(facts, x)  # TLS answers a FIN so
    case.add(two & spoke, "fin_half_close", x, 0.95)
    sure = np.where(full, 0.99, 0.85)
    case.add(two & (x == _CLIENT), "fin_client_first", "client", sure)
    case.add(two, "fin_server_first", "server", sure)

    x_acked = facts.of(x, "fin_acked_ts") != 0
    y_unseen = facts.of(y, "segments") == 0
    # Whatever the capture lacks of Y: had it answered, these would not come.
    insisted = facts.of(x, "fins") >= _MANY_FINS
    case.add(any_fin & y_unseen & insisted, "fin_unanswered", x, 0.7, inferred=True)
    case.add(any_fin & y_unseen & (x == _CLIENT), "fin_client_first", "client", 0.6, inferred=True)
    case.add(any_fin & y_unseen, "fin_server_first", "server", 0.6, inferred=True)
    case.add(any_fin & ~x_acked & (facts.of(x, "fins") >= 3), "fin_unanswered", x, 0.9)
    lost = facts.of(y, "lost_after_peer_fin") != 0  # after its FIN X acknowledged something, perhaps Y's FIN
    case.add(any_fin & lost, "capture_gap", "unknown", 0.6, inferred=True)
    since = facts.end_ns - facts.of(x, "fin_ts")
    again = facts.of(x, "fins") >= 2
    silent = (facts.of(y, "last_ts") <= facts.of(x, "fin_ts")) & (since >= _RTO_NS)
    case.add(any_fin & ~x_acked & (again | silent), "fin_unanswered", x, np.where(again, 0.7, 0.5))
    waited = since >= facts.settings.half_close_wait_ns
    # Joined so late that Y may have closed before: nothing of it was captured but acknowledgements.
    unknown = (facts.of(y, "syns") == 0) & (facts.of(y, "payload_bytes") == 0)
    sure = np.where(x_acked & ~unknown, np.where(waited, LEAK_SURE, 0.7), 0.5)
    case.add(any_fin, "half_closed_open", x, sure)


def _unheard(facts: Facts) -> Mask:
    """Return where a side sends data again and again that nobody acknowledges: its FIN behind that is not the story."""
    lost = np.zeros(facts.n, np.bool_)
    for side, peer in ((facts.client, facts.server), (facts.server, facts.client)):
        data_end = np.where(side["fin_seq"] != 0, side["fin_seq"] - 1, side["snd_nxt"])
        lost |= _backed_off(facts, side, peer) & (side["una_known"] == 1) & (side["snd_una"] < data_end)
    result: Mask = lost & ~(facts.both("fin_seq") != 0).all(axis=0)
    return result


def _backed_off(facts: Facts, side: Records, peer: Records) -> Mask:
    """Return where a side repeats its data, its waits double, and its peer says nothing at all."""
    tries = facts.settings.dead_peer_tries
    result: Mask = (lone_retries(side, peer["last_ts"]) >= tries) & (side["retry_doublings"] >= tries - 2)
    return result


# ------------------------------------------------------------------------------------------------ neither
def _judge_unfinished(facts: Facts, case: _Case) -> None:
    """Neither FIN nor RST ended the flow (within the capture)."""
    flow, client, server = facts.flow, facts.client, facts.server
    tries = facts.settings.dead_peer_tries
    silence = facts.end_ns - flow["last_ts"]
    last = (flow["last_ts"] <= flow["icmp_ts"] + facts.stimulus_ns) | (server["segments"] == 0)
    ended_by_icmp = (flow["icmp_hard"] == 1) & last
    case.add(ended_by_icmp, "icmp_abort", "unknown", 0.8, inferred=True)

    opening = (flow["handshake_ts"] == 0) & (flow["payload_ts"] == 0) & (client["syns"] > 0)
    second = silence >= _RTO_NS  # by then a SYN is sent again
    unanswered = opening & (server["segments"] == 0) & ((client["syns"] >= 2) | second)
    case.add(unanswered, "syn_timeout", "none", np.where(client["syns"] >= 2, 0.95, 0.6))
    half = opening & (server["syns"] > 0) & ((server["syns"] >= 2) | second)
    case.add(half, "synack_timeout", "none", np.where(server["syns"] >= 2, 0.9, 0.5))
    # The client's ACK is there but the SYN-ACK comes again: the accept queue is full, and the ACK was dropped.
    full_queue = (server["syns"] >= 2) & (server["last_kind"] == SENT_SYN) & (server["payload_bytes"] == 0)
    full_queue &= server["last_ts"] > flow["handshake_ts"]  # else it completed it: the SYNs had crossed
    case.add(full_queue, "synack_timeout", "none", 0.8, inferred=True)

    for k, side, peer in ((_CLIENT, client, server), (_SERVER, server, client)):
        run = side["unanswered_run"] + waits_in_vain(facts, side)
        waited = _GAVE_UP * side["probe_gap"]
        case.add((run >= tries) & (silence > waited), "abort_keepalive", INITIATORS[k], 0.7, inferred=True)
        gave_up = _backed_off(facts, side, peer) & (silence > _GAVE_UP * side["retry_gap"])
        case.add(gave_up, "abort_retransmit", INITIATORS[k], 0.7, inferred=True)
    stuck = np.maximum(lone_retries(client, server["last_ts"]), lone_retries(server, client["last_ts"])) >= tries
    probing = np.maximum(
        client["unanswered_run"] + waits_in_vain(facts, client), server["unanswered_run"] + waits_in_vain(facts, server)
    )
    knocking = np.maximum(
        window_probes_missed(client, server["last_ts"]), window_probes_missed(server, client["last_ts"])
    )
    case.add(stuck | (probing >= tries) | (knocking >= tries), "silent_death", "none", 0.9)
    case.add(flow["ended"] == REUSED, "implicit_port_reuse", "unknown", 0.9)
    # One number of each side is acknowledged and not captured, and no more: both FINs, most likely.
    beyond = facts.both("missing_bytes") + facts.both("snd_nxt") - facts.both("deliver_nxt") == 1
    known = (facts.both("syns") > 0) | (facts.both("payload_bytes") > 0)
    acked = facts.both("snd_una") == facts.both("snd_nxt")
    case.add((beyond & known & acked).all(axis=0), "capture_gap", "unknown", 0.6, inferred=True)
    since = np.where(flow["active_ts"] != 0, flow["active_ts"], flow["first_ts"])  # no payload at all in the capture
    case.add(facts.end_ns - since >= facts.settings.idle_min_ns, "open_idle", "none", 0.95)
    case.add(case.open, "open_active", "none", 0.95)


def stopped_reading(facts: Facts, x: I64) -> Mask:
    """Return where x (n,), which reset the connection, had closed its receive window."""
    result: Mask = (facts.of(x, "rst_own_window") == 0) & (facts.of(x, "rst_segments") > 0)
    return result


def lone_retries(side: Records, peer_last_ts: I64) -> I64:
    """Return how many repetitions a side had sent when the capture ended since its peer last said anything."""
    result: I64 = np.where(peer_last_ts > side["retry_ts"], 0, side["lone_retries"])
    return result


def window_probes_missed(side: Records, peer_last_ts: I64) -> I64:
    """Return how many zero-window probes a side had sent when the capture ended since its peer last said anything."""
    result: I64 = np.where(peer_last_ts > side["window_probe_ts"], 0, side["window_probe_misses"])
    return result


def late_bytes(facts: Facts, x: I64) -> I64:
    """Return how many bytes of the other side came, or were under way, after what the FIN of x (n,) acknowledged."""
    y = 1 - x
    said = np.where(facts.of(y, "fin_seq") != 0, facts.of(y, "fin_seq") - 1, facts.of(y, "snd_nxt"))
    result: I64 = said - facts.of(x, "fin_ack")
    return result
