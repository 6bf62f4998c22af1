"""The `flows` table: one row per TCP connection, mostly counters that the kernel kept.

Gives   flows
Limits  Columns that a protocol must fill stay null until that protocol is read.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.capture import linktypes
from analyzer.classify.community import address_text, community_id
from analyzer.classify.exchange import knows_its_beats
from analyzer.classify.facts import Array, Facts
from analyzer.classify.idle_gap import still_open
from analyzer.classify.keepalive import timers, unanswered
from analyzer.classify.verdict import KIND, Verdict
from analyzer.classify.zeek import conn_state, history
from analyzer.decode.segment import tunnel_name
from analyzer.flows.state import EVICTED, ROLE_SOURCES, SEEN_SYN
from analyzer.kernel import I64, Records
from analyzer.protocols.channel import HTTP2, WEBSOCKET
from analyzer.protocols.messages.state import APPLICATIONS
from analyzer.tables.build import MISSING, Coded
from analyzer.tables.tcp import CLOSE_KINDS, INITIATORS, TRIGGERS

# IPFIX flowEndReason (RFC 5102 section 5.11.3): idle timeout, end of flow detected, forced end, lack of resources
_IPFIX_IDLE, _IPFIX_END, _IPFIX_FORCED, _IPFIX_RESOURCES = 1, 3, 4, 5
_DIED = tuple(KIND[k] for k in ("syn_timeout", "synack_timeout", "silent_death"))


def flows(facts: Facts, verdict: Verdict, closes: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of `flows`; `closes` are the columns of that table for the same flows."""
    flow = facts.flow
    probing = timers(facts, verdict.kind == KIND["abort_keepalive"])
    wire_at_end, idle_at_end = _gaps_at_end(facts)
    negotiated = (facts.client["syns"] > 0) & (facts.server["syns"] > 0)
    once = (facts.client["syns"] == 1) & (facts.server["syns"] == 1)  # a repeated SYN: which one was answered?
    longest_idle = _seconds(idle_at_end, (flow["payload_ts"] != 0) | (idle_at_end > 0))
    columns: dict[str, Any] = {
        "flow_id": flow["flow_id"],
        "community_id": community_id(facts.done.flows),
        "client_ip": address_text(flow["client_hi"], flow["client_lo"], flow["ip_version"]),
        "server_ip": address_text(flow["server_hi"], flow["server_lo"], flow["ip_version"]),
        "client_port": flow["client_port"].astype(np.int64),
        "server_port": flow["server_port"].astype(np.int64),
        "ip_version": flow["ip_version"].astype(np.int64),
        "link_type": _named(flow["link"], linktypes.name),
        "vlan": _named(_vlan_code(facts), _vlan_name),
        "tunnel": _named(flow["tunnel"], tunnel_name),
        "role_source": Coded(flow["role_source"], ROLE_SOURCES),
        "first_ts": flow["first_ts"],
        "last_ts": flow["last_ts"],
        "duration_s": np.maximum(flow["last_ts"] - flow["first_ts"], 0) / 1e9,  # a clock may have been set back
        "start_seen": (flow["completeness"] & SEEN_SYN) != 0,
        "end_seen": (flow["close_ts"] != 0) & ((verdict.resetter >= 0) | (facts.both("fin_seq") != 0).all(axis=0)),
        "handshake_rtt_s": _seconds(flow["handshake_rtt"], (flow["handshake_rtt"] > 0) & once),
        "sack_ok": np.where(negotiated, facts.client["sack_ok"] & facts.server["sack_ok"], -1),
        "timestamps_ok": np.where(negotiated, facts.client["ts_ok"] & facts.server["ts_ok"], -1),
        "app_protocol": Coded(_innermost(facts.app), (*APPLICATIONS, "grpc")),
        "sni": facts.sni,
        "alpn": facts.alpn,
        "http_host": facts.hosts,
        "requests": np.where(facts.app["requests"] > 0, facts.app["requests"].astype(np.int64), MISSING),
        "websocket_messages": np.where(
            facts.app["reader"] == WEBSOCKET, facts.app["websocket_messages"].astype(np.int64), MISSING
        ),
        "max_wire_gap_s": _seconds(
            np.maximum(flow["max_wire_gap"], wire_at_end),
            (facts.both("segments").sum(axis=0) > 1) | (wire_at_end > 0),
        ),
        "max_payload_gap_s": longest_idle,
        "max_app_gap_s": _longest_app_gap(facts, idle_at_end, longest_idle),
        "keepidle_s": probing.idle_s,
        "keepintvl_s": probing.interval_s,
        "keepcnt": probing.count,
        "keepalive_profile": probing.profile,
        "completeness": flow["completeness"].astype(np.int64),
        "conn_state": conn_state(facts),
        "history": history(facts),
        "flow_end_reason": _end_reason(facts, verdict),
        "close_kind": Coded(verdict.kind, CLOSE_KINDS),
        "close_initiator": Coded(verdict.initiator, INITIATORS),
        "close_trigger": Coded(closes["trigger"].codes, TRIGGERS),
        "close_confidence": verdict.confidence,
    }
    columns.update(_round_trips(facts))
    for suffix, side in (("_c", facts.client), ("_s", facts.server)):
        columns.update(_side_columns(facts, side, suffix))
    return columns


def _side_columns(facts: Facts, side: Any, suffix: str) -> dict[str, Any]:
    syn = side["syns"] > 0
    counts = {
        "frames": side["frames"],
        "wire_bytes": side["wire_bytes"],
        "payload_bytes": side["payload_bytes"],
        "mss": np.where(syn & (side["mss"] >= 0), side["mss"].astype(np.int64), MISSING),
        "wscale": np.where(syn & (side["wscale"] >= 0), side["wscale"].astype(np.int64), MISSING),
        "retransmits": side["retransmits"],
        "spurious": side["spurious"],
        "out_of_order": side["out_of_order"],
        "duplicate_acks": side["duplicate_acks"],
        "zero_windows": side["zero_windows"],
        "missing_bytes": side["missing_bytes"],
        "keepalive_probes": side["probes"].astype(np.int64),
        "keepalive_unanswered": unanswered(facts, side),
    }
    return {name + suffix: values.astype(np.int64) for name, values in counts.items()}


def _round_trips(facts: Facts) -> dict[str, Any]:
    """Whole-path RTTs: quantiles of the far side plus the smallest of the near one (whose ACKs may be delayed)."""
    smallest = facts.both("rtt_min")
    has = facts.both("srtt") > 0
    far = np.where(has[1] & (~has[0] | (smallest[1] > smallest[0])), 1, 0)
    far_min = np.where(far == 1, smallest[1], smallest[0])
    near_min = np.where(has.all(axis=0), np.where(far == 1, smallest[0], smallest[1]), 0)
    out: dict[str, Any] = {"rtt_min_s": _seconds(np.where(has, smallest, 0).sum(axis=0), has[0] | has[1])}
    for name, both in (("rtt_p50_s", facts.done.rtt_p50), ("rtt_p95_s", facts.done.rtt_p95)):
        picked = np.where(far == 1, both[1::2], both[0::2])
        picked = np.where(picked >= 0, np.maximum(picked, far_min), picked)  # samples are rounded down (`RTT_UNIT_NS`)
        out[name] = _seconds(picked + near_min, picked >= 0)
    return out


def _innermost(app: Records) -> I64:
    """Return the innermost protocol that was read, as a place in APPLICATIONS; past them gRPC, which HTTP/2 carries."""
    reader: I64 = app["reader"].astype(np.int64)
    result: I64 = np.where((reader == HTTP2) & (app["grpc"] == 1), len(APPLICATIONS), reader)
    return result


def _longest_app_gap(facts: Facts, payload_ns: Array, payload_s: Array) -> Array:
    """Return the longest silence of the application: without its pings where they are read, else that of payload."""
    app, flow = facts.app, facts.flow
    until = np.where(flow["close_ts"] != 0, flow["close_ts"], facts.end_ns)
    spoken = knows_its_beats(app) & (app["app_ts"] != 0)
    gap = np.maximum(np.maximum(app["max_app_gap"], until - app["app_ts"]), payload_ns)
    result: Array = np.where(spoken, gap / 1e9, payload_s)
    return result


def _gaps_at_end(facts: Facts) -> tuple[Array, Array]:
    """Return (wire silence, longest payload silence) in ns, with what the end of the capture cut off."""
    flow = facts.flow
    going_on = still_open(facts)
    wire = np.where(going_on, facts.end_ns - flow["last_ts"], 0)
    payload = np.where(going_on, facts.end_ns - flow["active_ts"], 0)
    return wire, np.maximum(flow["max_payload_gap"], payload)


def _end_reason(facts: Facts, verdict: Verdict) -> Array:
    reason = np.where((facts.flow["close_ts"] != 0) | (facts.flow["ended"] == 1), _IPFIX_END, _IPFIX_FORCED)
    reason = np.where(np.isin(verdict.kind, _DIED), _IPFIX_IDLE, reason)
    result: Array = np.where(facts.flow["ended"] == EVICTED, _IPFIX_RESOURCES, reason).astype(np.int64)
    return result


def _seconds(ns: Array, known: Array) -> Array:
    result: Array = np.where(known, ns / 1e9, np.nan)
    return result


def _vlan_code(facts: Facts) -> Array:
    """One number for the tags: outer + 1 in the high half, inner + 1 in the low (0 = none)."""
    code: Array = (facts.flow["vlan"].astype(np.int64) + 1) * 65536 + facts.flow["vlan_inner"] + 1
    return code


def _vlan_name(code: int) -> str | None:
    outer, inner = code // 65536 - 1, code % 65536 - 1
    if outer < 0:
        return None
    return f"{outer}.{inner}" if inner >= 0 else str(outer)


def _named(codes: Array, name: Any) -> Coded:
    """Return small numbers as words, each distinct one named once."""
    distinct, index = np.unique(codes, return_inverse=True)
    words = [name(int(code)) for code in distinct]
    lookup = np.array([-1 if word is None else k for k, word in enumerate(words)], np.int64)
    return Coded(lookup[index] if index.size else index, [word or "" for word in words])
