"""How each connection ended: the rows of `closes`, around the kind that `verdict` found.

Needs   flows, the verdicts, app
Gives   closes
Limits  What the application's protocol knows (layer grace, races, most triggers) is asked of `exchange`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.classify.announced import with_announcement
from analyzer.classify.bursts import burst_trigger, with_company
from analyzer.classify.exchange import (
    announced_by,
    app_trigger,
    graceful_app,
    idle_app,
    race,
    websocket_close,
    with_exchange,
)
from analyzer.classify.facts import Array, Facts
from analyzer.classify.goodbye import said_trigger, with_goodbye
from analyzer.classify.idle_gap import OFTEN, outlived
from analyzer.classify.keepalive import last_unanswered
from analyzer.classify.promises import broken, with_promise
from analyzer.classify.tls import alert_trigger, graceful_tls, only_alert_late
from analyzer.classify.verdict import KIND, Verdict, late_bytes
from analyzer.decode.segment import ACK
from analyzer.flows.state import END_FIN, SENT_AGAIN, SENT_DATA, SENT_FIN, THINK_TIME
from analyzer.kernel import I64, Mask
from analyzer.tables.build import MISSING, Coded
from analyzer.tables.tcp import CLOSE_KINDS, INITIATORS, RACES, TRIGGERS

if TYPE_CHECKING:
    import pyarrow as pa

_CLIENT, _SERVER = 0, 1

_CLEAN = tuple(KIND[k] for k in ("fin_client_first", "fin_server_first", "fin_simultaneous", "fin_half_close"))
_STILL_OPEN = tuple(KIND[k] for k in ("open_active", "open_idle"))
_GAVE_UP = tuple(KIND[k] for k in ("abort_keepalive", "silent_death"))
_UNDECIDED = tuple(KIND[k] for k in ("capture_gap", "implicit_port_reuse"))
_TRIGGER = {
    "rst_unread_data": "rst_unread",
    "rst_to_data_stale": "data_after_close",
    "rst_after_own_fin": "data_after_close",
    "abort_keepalive": "probe_miss",
    "abort_retransmit": "rto",
}


_PATIENT = tuple(KIND[k] for k in ("fin_server_first", "rst_after_peer_fin", "rst_after_own_fin", "rst_on_idle"))


# On TCP alone a server's close after a few seconds may as well be its program's end (3 of 9 in the lab captures). After
# ten the client had its chance, and nearly every server timeout in use that long or longer is an idle one.
_LONG_NS = 10_000_000_000


def timed_out(facts: Facts, verdict: Verdict) -> Mask:
    """Return which flows a server (or what speaks for it) closed because the client had been silent for too long.

    It rests on the flow itself: the server had answered, it was the client's turn, everything was acknowledged, and
    then the server closed. A client that closes in its own turn has simply finished, so nothing is said of it. Whether
    the silence is the same on other flows is a matter of `timeouts`. A protocol that knows a better reason (a close
    frame, an announced close) puts it in place of this one.
    """
    flow, c, s = facts.flow, facts.client, facts.server
    by_server = np.isin(verdict.kind, _PATIENT) & (verdict.initiator == _SERVER) & (flow["close_dir"] == _SERVER)
    answered = (s["payload_ts"] > c["payload_ts"]) & (c["payload_ts"] != 0)
    gaps = facts.done.gaps
    thought = (gaps["ended_by"] == END_FIN + _SERVER) & (gaps["gap_class"] == THINK_TIME) & (facts.gap_row >= 0)
    thinking = np.zeros(facts.n, np.bool_)
    thinking[facts.gap_row[thought]] = True
    answered |= thinking & (s["fin_ack"] > 1)  # whatever the client said after the FIN, if it had said anything before
    parting = only_alert_late(facts, np.maximum(verdict.resetter, 0))
    acknowledged = (c["snd_nxt"] <= np.maximum(c["snd_una"], c["fin_seq"])) | parting
    by_timer = by_server & answered & (flow["close_idle_payload"] >= _LONG_NS) & acknowledged
    # A goodbye after a silence is said by a timer, however short: a program that ends has no reason to wait.
    parted = facts.farewell.side == _SERVER
    result: Mask = by_timer | (parted & (outlived(facts, facts.farewell.silence) < OFTEN))
    return result


def reset_at_once(facts: Facts, verdict: Verdict) -> Mask:
    """Return which flows a side reset after its own FIN though nothing had come for it (a proxy in a hurry)."""
    x = np.maximum(verdict.resetter, 0)
    answered = np.isin(facts.of(x, "rst_stimulus"), (SENT_DATA, SENT_AGAIN))
    after_fin = facts.of(x, "rst_stimulus_ts") > facts.of(x, "fin_ts")
    crossed = late_bytes(facts, x) > 0  # data was on its way when the FIN was sent
    result: Mask = (verdict.kind == KIND["rst_after_own_fin"]) & (facts.of(x, "rst_late_data") == 0) & ~crossed
    return result & ~(answered & after_fin)


def answers_late_fin(facts: Facts, x: I64) -> Mask:
    """Return where X's reset answers nothing but Y's FIN, long after its own was acknowledged.

    Its socket was gone by then: FIN_WAIT_2 runs out on Linux after tcp_fin_timeout.
    """
    acked = facts.of(x, "fin_acked_ts")
    waited = facts.of(1 - x, "fin_ts") - acked >= facts.settings.idle_min_ns
    soon = facts.of(x, "rst_ts") - facts.of(x, "rst_stimulus_ts") <= facts.stimulus_ns
    silent = (facts.of(1 - x, "late_data_after_peer_fin") == 0) | only_alert_late(facts, x)  # else it was used
    only_fin = (facts.of(x, "rst_stimulus") == SENT_FIN) & silent
    result: Mask = (acked != 0) & waited & only_fin & soon
    return result


def left_open(facts: Facts, verdict: Verdict) -> Mask:
    """Return which flows one side closed while the other kept its half open, unused, for `half_close_wait` or longer.

    In the end it closed after all, or was reset; where it never did the kind is half_closed_open.
    """
    ended = np.where(verdict.resetter >= 0, facts.of(np.maximum(verdict.resetter, 0), "rst_ts"), 0)
    result = np.zeros(facts.n, np.bool_)
    goodbye = only_alert_late(facts, facts.flow["close_dir"].astype(np.int64))  # all that the other one said in it
    for x, mine, theirs in ((_CLIENT, facts.client, facts.server), (_SERVER, facts.server, facts.client)):
        first = (mine["fin_acked_ts"] != 0) & ((theirs["fin_ts"] == 0) | (mine["fin_ts"] <= theirs["fin_ts"]))
        until = np.where(theirs["fin_ts"] != 0, theirs["fin_ts"], ended)
        unused = ((theirs["late_data_after_peer_fin"] == 0) | goodbye) & (facts.flow["close_dir"] == x)
        result |= first & unused & (until - mine["fin_acked_ts"] >= facts.settings.half_close_wait_ns)
    return result


def graceful_tcp(facts: Facts, verdict: Verdict) -> Coded:
    """Return whether both directions were closed in order: yes, no, unknown, n/a (not closed)."""
    words = ("yes", "no", "unknown", "n/a")
    kind = verdict.kind
    x = np.maximum(verdict.resetter, 0)
    nothing_lost = (facts.of(x, "rst_outstanding") <= 0) & (
        facts.of(x, "rst_peer_outstanding") <= 1
    )  # 1: the FIN itself
    clean = np.isin(kind, _CLEAN)
    codes = np.select(
        [
            clean & facts.both_fins_acked,
            clean,
            (kind == KIND["rst_after_peer_fin"]) & nothing_lost,
            np.isin(kind, _STILL_OPEN),
            np.isin(kind, _UNDECIDED),
        ],
        [0, 2, 0, 3, 2],
        1,
    )
    return Coded(codes, words)


def rst_signature(facts: Facts, verdict: Verdict) -> Coded:
    """Return what the RST looks like: RST,ACK from a live socket, or bare at the stimulus's ACK number from none."""
    x = np.maximum(verdict.resetter, 0)
    with_ack = (facts.of(x, "rst_flags") & ACK) != 0
    bare = ~with_ack & (facts.of(x, "rst_window") == 0) & (facts.of(x, "rst_seq") == facts.of(x, "rst_stimulus_ack"))
    codes = np.select([verdict.resetter < 0, with_ack & (verdict.kind != KIND["refused"]), bare], [-1, 0, 1], 2)
    codes[(verdict.kind == KIND["refused"]) & with_ack] = 1  # a port without a listener answers like a closed socket
    return Coded(codes, ("live", "closed_socket", "unknown"))


def close_time(facts: Facts) -> tuple[I64, I64, I64]:
    """Return (when, wire silence before, payload silence before) in ns; for open flows, the last segment's."""
    flow = facts.flow
    closed = flow["close_ts"] != 0
    when = np.where(closed, flow["close_ts"], flow["last_ts"])
    wire = np.where(closed, flow["close_idle_wire"], facts.end_ns - flow["last_ts"])
    payload = np.where(closed, flow["close_idle_payload"], facts.end_ns - flow["active_ts"])
    known = np.where(closed, flow["close_idle_payload"] >= 0, flow["active_ts"] != 0)
    alone = facts.both("segments").sum(axis=0) <= 1
    return when, np.where(alone & closed, MISSING, wire), np.where(known, payload, MISSING)


def evidence(facts: Facts, verdict: Verdict) -> tuple[I64, I64]:
    """Return (offsets, frames): last payload, FINs, RSTs with what provoked them, ICMP error, last frame of each flow.

    And the probes that nobody answered, where these ended it.
    """
    flow, c, s = facts.flow, facts.client, facts.server
    closed = flow["close_ts"] != 0
    columns = [
        np.where(closed, flow["close_payload_frame"], flow["payload_frame"]),
        c["fin_frame"], s["fin_frame"],
        c["rst_frame"], s["rst_frame"],
        np.where(c["rst_frame"] != 0, c["rst_stimulus_frame"], 0),
        np.where(s["rst_frame"] != 0, s["rst_stimulus_frame"], 0),
        flow["icmp_frame"],
        np.where(closed, 0, flow["last_frame"]),
    ]  # fmt: skip
    probes = last_unanswered(facts, np.isin(verdict.kind, _GAVE_UP))
    if probes.size:
        columns.extend(probes.T)
    frames = np.sort(np.stack(columns, axis=1), axis=1)
    keep = frames > 0
    keep[:, 1:] &= frames[:, 1:] != frames[:, :-1]
    offsets = np.zeros(facts.n + 1, np.int64)
    np.cumsum(keep.sum(axis=1), out=offsets[1:])
    return offsets, frames[keep]


def closes(facts: Facts, verdict: Verdict) -> dict[str, Any]:
    """Return the columns of `closes`."""
    flow = facts.flow
    when, wire, payload = close_time(facts)
    idle_payload = np.where(payload == MISSING, np.nan, payload / 1e9)
    trigger = np.full(facts.n, TRIGGERS.index("unknown"))
    for kind, word in _TRIGGER.items():
        trigger[verdict.kind == KIND[kind]] = TRIGGERS.index(word)
    trigger[reset_at_once(facts, verdict)] = TRIGGERS.index("unknown")
    # The other side's goodbye is no use of a closed connection.
    x = np.maximum(verdict.resetter, 0)
    goodbye = (facts.farewell.side == verdict.initiator) | only_alert_late(facts, x)
    trigger[(verdict.kind == KIND["rst_after_own_fin"]) & goodbye] = TRIGGERS.index("unknown")
    races = race(facts, verdict.base)
    trigger = app_trigger(facts, trigger, verdict.initiator, races, verdict.kind)
    trigger = alert_trigger(facts, trigger, verdict.kind)
    idle = timed_out(facts, verdict) | broken(facts)
    trigger[(trigger == TRIGGERS.index("unknown")) & idle] = TRIGGERS.index("idle_timeout")
    trigger = said_trigger(facts, burst_trigger(facts, trigger))
    age = np.maximum(when - flow["first_ts"], 0) / 1e9  # a clock may have been set back
    return {
        "flow_id": flow["flow_id"],
        "ts": when,
        "close_kind": Coded(verdict.kind, CLOSE_KINDS),
        "close_kind_base": Coded(verdict.base, CLOSE_KINDS),
        "initiator": Coded(verdict.initiator, INITIATORS),
        "trigger": Coded(trigger, TRIGGERS),
        "idle_wire_s": np.where(wire == MISSING, np.nan, wire / 1e9),
        "idle_payload_s": idle_payload,
        "idle_app_s": idle_app(facts, when, idle_payload),
        "age_s": age,
        "fin_c": facts.client["fins"].astype(np.int64),
        "fin_s": facts.server["fins"].astype(np.int64),
        "rst_c": facts.client["rsts"].astype(np.int64),
        "rst_s": facts.server["rsts"].astype(np.int64),
        "rst_signature": rst_signature(facts, verdict),
        "middlebox_score": np.where(verdict.resetter >= 0, verdict.suspicion.score, np.nan),
        "middlebox_clues": verdict.suspicion.clues,
        "graceful_tcp": graceful_tcp(facts, verdict),
        "graceful_tls": graceful_tls(facts, verdict.kind, verdict.initiator),
        "graceful_app": graceful_app(facts, verdict.kind),
        "announced_by": announced_by(facts),
        **websocket_close(facts, verdict.kind),
        "race": Coded(races, RACES),
        "confidence": verdict.confidence,
        "basis": Coded(verdict.inferred.astype(np.int8), ("observed", "inferred")),
        "evidence_frames": evidence(facts, verdict),
        "explanation": _explanation(facts, verdict, idle_payload, races),
    }


def _explanation(facts: Facts, verdict: Verdict, idle_payload: Array, races: I64) -> pa.Array:
    """Return what TCP shows in a sentence, and what the application's protocol adds to it in others."""
    from analyzer.classify.sentences import explain

    told = with_exchange(facts, explain(facts, verdict, idle_payload), races, verdict.kind)
    told = with_announcement(told, facts, verdict.kind)
    return with_company(with_promise(with_goodbye(told, facts), facts), facts)
