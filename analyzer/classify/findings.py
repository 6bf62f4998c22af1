"""Findings: what is wrong, how many connections it concerns, and what to change, most severe and farthest first.

Needs   closes, idle_gaps, heartbeats and timeouts of the same flows
Gives   findings
Limits  One finding per code and server. A code that concerns more than MOST_SERVERS servers (a scan, a dead network)
        becomes one finding without a server. Words and severities are in `finding_codes`.
Memory  78 bytes per flow with something to report, until the end; live, of the last LIVE_FLOWS.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analyzer.classify import giving_up
from analyzer.classify.bursts import CLOSE, LEAST_TOLD_S, bursts, closes_of
from analyzer.classify.closing import left_open
from analyzer.classify.endpoints import endpoint_names
from analyzer.classify.exchange import cut_short, half_asked
from analyzer.classify.facts import Array, Facts
from analyzer.classify.finding_codes import CODES, SEVERITIES
from analyzer.classify.giving_up import GAVE_UP, gave_up
from analyzer.classify.grouped import Latest, Rows
from analyzer.classify.heartbeat_findings import too_slow, unanswered
from analyzer.classify.idle_gap import stalled_at_end, trailing_rows
from analyzer.classify.promises import broken, limit_s
from analyzer.classify.request_limits import SERVED, limits, served
from analyzer.classify.timeout_findings import PACE, behind, little_room, mismatched, of_timeouts, paces
from analyzer.classify.tls import only_alert_late
from analyzer.classify.verdict import KIND, Verdict
from analyzer.classify.wording import worded
from analyzer.classify.zombies import SEEN, seen, watched
from analyzer.flows.state import STALLED_ZERO_WINDOW
from analyzer.kernel import I64, Mask, Records, distinct, joined_rows
from analyzer.protocols.channel import HTTP1
from analyzer.tables.build import Coded
from analyzer.tables.tcp import INITIATORS, RACES, TRIGGERS

MOST_SERVERS = 5
_MOST_FLOW_IDS = 1000
_EVIDENCE = 4  # frames kept of a flow; of a finding, those of its first flows
_MOST_FRAMES = 20
_NAMES = tuple(CODES)
_NUMBER = {name: k for k, name in enumerate(_NAMES)}
_LEAST_STALL_NS = 3_000_000_000  # shorter ones are a busy moment
_LEAST_WAIT_NS = 1_000_000_000  # what ends sooner was no timeout: a crash, a backend that cannot be reached

_ROW = np.dtype(
    [("code", np.int8), ("version", np.int8), ("port", np.int32), ("hi", np.int64), ("lo", np.int64),
     ("flow_id", np.int64), ("seconds", np.float64), ("confidence", np.float64), ("frames", np.int64, (_EVIDENCE,))]
)  # fmt: skip

_BY_KIND = {
    "abort_keepalive": "peer.dead", "abort_retransmit": "peer.dead", "silent_death": "peer.dead",
    "rst_to_data_stale": "close.stale_connection", "rst_to_keepalive": "keepalive.too_late",
    "half_closed_open": "close.half_closed_leak", "abort_zero_window": "stall.zero_window",
    "rst_injected_suspected": "reset.middlebox", "refused": "connect.refused", "syn_timeout": "connect.no_answer",
    "synack_timeout": "connect.unfinished", "rst_unread_data": "close.unread_data", "icmp_abort": "close.icmp",
}  # fmt: skip
_BY_RACE = {
    "race": "http.keepalive_race", "stale_reuse": "http.stale_reuse", "silent_drop_reuse": "http.silent_drop_reuse",
    "half_race": "http.half_race",
}  # fmt: skip
_LEAST_CONFIDENCE = {"connect.no_answer": 0.9, "close.half_closed_leak": 0.9, "connect.unfinished": 0.75}


class Findings:
    """Collects what is wrong with each flow while flows finish; one table at the end."""

    def __init__(self, limit: int = 0) -> None:
        """`limit`: troubles, closes and servers' last responses that are looked back on, 0 = all."""
        self._parts = Latest(_ROW, limit)
        self.closes, self._served = Latest(CLOSE, limit), Latest(SERVED, limit)
        self._seen = Latest(SEEN, 2 * limit)
        self._gave_up, self._paces = Latest(GAVE_UP, limit), Latest(PACE, limit)

    def add(self, facts: Facts, verdict: Verdict, closes: dict[str, Any]) -> None:
        """Take finished flows; `closes` are the columns of that table for them."""
        code, seconds = _code_of(facts, verdict, closes), _seconds(facts, closes)
        code[(code == _NUMBER["close.stale_connection"]) & ~(1e9 * seconds >= facts.settings.idle_min_ns)] = -1
        here = np.flatnonzero(code >= 0)
        frames = closes["evidence_frames"]
        self._parts.add(_rows(facts, here, code[here], seconds, verdict.confidence, frames))
        # Before the handshake is complete it is a client that tries again on the same ports: nothing went on.
        ignored = np.flatnonzero((facts.flow["rst_ignored"] > 0) & (facts.flow["handshake_ts"] != 0))
        number = np.full(ignored.size, _NUMBER["reset.ignored"])
        unknown, unsure = np.full(facts.n, np.nan), np.full(facts.n, 0.6)
        self._parts.add(_rows(facts, ignored, number, unknown, unsure, frames))
        self._parts.add(_stalls(facts, verdict))
        self._parts.add(_window_waits(facts))
        self._parts.add(_unserved(facts))
        self._parts.add(_gateway_timeouts(facts))
        self.closes.add(closes_of(facts.done.flows, facts.done.sides))
        self._served.add(served(facts, verdict))
        self._seen.add(seen(facts))
        self._gave_up.add(gave_up(facts, verdict))

    def add_beats(
        self, facts: Facts, verdict: Verdict, closes: dict[str, Any], beats: dict[str, Any], series: dict[str, Any]
    ) -> None:
        """Take columns of `heartbeats` and `heartbeat_series` of the flows that were added last."""
        if beats["flow_id"].size == 0:
            return
        self._paces.add(paces(facts, series))
        here, seconds, frames = unanswered(facts, verdict, closes["graceful_app"].codes, beats)
        sure = np.full(facts.n, 0.9)
        rows = _rows(facts, here, np.full(here.size, _NUMBER["heartbeat.unanswered"]), np.zeros(facts.n), sure, None)
        rows["seconds"], rows["frames"][:, 0] = seconds, frames
        self._parts.add(rows)
        silence = _seconds(facts, closes)
        here = too_slow(facts, verdict, silence, closes["trigger"].codes, series)
        number = np.full(here.size, _NUMBER["heartbeat.too_slow"])
        self._parts.add(_rows(facts, here, number, silence, 0.9 * sure, closes["evidence_frames"]))

    def columns(self, timeouts: dict[str, Any], peers: Sequence[str | None] = ()) -> dict[str, Any]:
        """Return the columns of `findings`; timeouts: the columns of that table, peers: the only client of each row."""
        rows = self._parts.rows()
        zombie = rows["code"] == _NUMBER["close.zombie"]
        rows = rows[~zombie | watched(rows["seconds"], self._seen.rows())]
        found = _of_flows(rows) + of_timeouts(timeouts) + mismatched(timeouts)
        found += behind(timeouts, peers) + little_room(timeouts, self._paces.rows())
        found += _at_once(self.closes.rows()) + _limited(self._served.rows())
        found += _gave_up(self._gave_up.rows())
        found.sort(key=lambda f: (SEVERITIES.index(f["severity"]), -f["flows"], f["code"], f["endpoint"] or ""))
        return _table(found)


def _code_of(facts: Facts, verdict: Verdict, closes: dict[str, Any]) -> I64:
    """Return the number of what is wrong with each flow, -1 = nothing. What a protocol knows goes before TCP."""
    code = np.full(facts.n, -1)
    for kind, name in _BY_KIND.items():
        sure = verdict.confidence >= _LEAST_CONFIDENCE.get(name, 0.0)
        code[(verdict.kind == KIND[kind]) & sure] = _NUMBER[name]
    # A client that resets after the last word has what it wanted; a server that does may lose what it had sent.
    code[(code == _NUMBER["close.unread_data"]) & (verdict.resetter == 0)] = -1
    fin_first = (facts.client["fin_ts"] != 0) | (facts.server["fin_ts"] != 0)
    used = (verdict.resetter == 1) & ~only_alert_late(facts, np.ones(facts.n, np.int64))  # by a client, after that FIN
    used &= closes["race"].codes < 0  # else the race says so if one was
    code[(code == _NUMBER["close.stale_connection"]) & fin_first & ~used] = -1
    known = np.where(verdict.resetter == 0, _answered_probes(facts.server), _answered_probes(facts.client)) > 1
    code[(code == _NUMBER["keepalive.too_late"]) & known] = _NUMBER["keepalive.state_lost"]
    closed = facts.of(np.maximum(verdict.resetter, 0), "fin_seq") != 0  # who answers a probe so had said goodbye
    code[(verdict.kind == KIND["rst_to_keepalive"]) & closed] = -1
    trigger = closes["trigger"].codes
    probed = (_answered_probes(facts.client) > 0) | (_answered_probes(facts.server) > 0)
    flow = facts.flow
    filled = probed & (10 * flow["close_idle_wire"] < 9 * flow["close_idle_payload"])
    code[(code < 0) & filled & (trigger == TRIGGERS.index("idle_timeout"))] = _NUMBER["keepalive.not_counted"]
    advertised = facts.app["keepalive_timeout"].astype(np.int64) - 1  # seconds; -1 = none was
    by_server = flow["close_dir"] == 1 - facts.app["requester"]
    silence = np.maximum(flow["close_idle_payload"], facts.farewell.silence)  # a goodbye is payload
    early = by_server & (advertised > 1) & (silence < (advertised - 1) * 1_000_000_000)
    code[(code < 0) & early & (trigger == TRIGGERS.index("idle_timeout"))] = _NUMBER["http.closes_early"]
    code[(code < 0) & by_server & _waited(facts, verdict)] = _NUMBER["http.wait_cut"]
    met = (verdict.kind == KIND["handshake_aborted"]) & (facts.server["syns"] == 0) & (facts.server["segments"] > 0)
    code[met | ((code < 0) & (flow["met_old"] == 1))] = _NUMBER["connect.half_open"]
    silent = facts.end_ns - flow["last_ts"] >= facts.settings.zombie_ns
    code[(code < 0) & (verdict.kind == KIND["open_idle"]) & silent] = _NUMBER["close.zombie"]
    code[(code < 0) & broken(facts)] = _NUMBER["heartbeat.promise_broken"]
    code[facts.app["annoyed"] == 1] = _NUMBER["http2.enhance_your_calm"]
    code[facts.app["tls_bled"] == 1] = _NUMBER["tls.heartbleed"]
    code[left_open(facts, verdict)] = _NUMBER["close.half_closed_leak"]
    half = half_asked(facts, verdict.kind)
    code[(code < 0) & half & (_unasked_ns(facts) >= _LEAST_WAIT_NS)] = _NUMBER["http.request_unfinished"]
    cut = cut_short(facts, verdict.kind) & ~half & (trigger != TRIGGERS.index("idle_timeout"))
    code[(code < 0) & by_server & cut] = _NUMBER["http.cut_short"]
    races = closes["race"].codes
    told = facts.app["close_said"] == 2  # a client that goes on after `Connection: close` races nobody (RFC 9112 9.6)
    for race, name in _BY_RACE.items():
        code[(races == RACES.index(race)) & ~(told & (race == "race"))] = _NUMBER[name]
    return code


def _answered_probes(side: Records) -> I64:
    result: I64 = side["probes"] - side["unanswered"] - (side["probe_row"] >= 0)
    return result


def _waited(facts: Facts, verdict: Verdict) -> Mask:
    """Return where a request of HTTP/1 waited, in silence, for an answer of which nothing came before the close."""
    app = facts.app
    asked = (app["reader"] == HTTP1) & (app["outstanding"] > 0) & (app["answering"] == 0) & (app["open_message"] == 0)
    ended = ~np.isin(verdict.kind, [KIND[kind] for kind in ("open_active", "open_idle", "capture_gap")])
    before = facts.flow["close_ts"] > app["request_ts"]  # a reset may cross a request
    result: Mask = asked & ended & before & (facts.flow["close_idle_payload"] >= _LEAST_WAIT_NS)
    return result


def _unasked_ns(facts: Facts) -> I64:
    """Return how long before the close the requester had said its last."""
    result: I64 = facts.flow["close_ts"] - facts.of(facts.app["requester"].astype(np.int64), "payload_ts")
    return result


def _seconds(facts: Facts, closes: dict[str, Any]) -> Array:
    """Return the silence that matters: before the data that was too late, else before the close."""
    late = np.maximum(facts.client["burst_idle"], facts.server["burst_idle"]) / 1e9
    before_close = np.fmax(closes["idle_payload_s"], np.maximum(facts.farewell.silence, 0) / 1e9)
    used_again = np.isin(
        closes["close_kind_base"].codes, [KIND[k] for k in ("rst_to_data_stale", "abort_retransmit", "silent_death")]
    )
    asked = facts.app["request_idle"]
    result: Array = np.where(used_again, late, before_close)
    result = np.where(broken(facts), limit_s(facts), result)
    result = np.where(closes["close_kind"].codes == KIND["open_idle"], closes["idle_wire_s"], result)
    result = np.where(half_asked(facts, closes["close_kind"].codes), _unasked_ns(facts) / 1e9, result)
    # A request that met the server's close tells of the server's patience, any other of the silence before it.
    races = closes["race"].codes
    met = np.isin(races, [RACES.index(word) for word in ("race", "stale_reuse")])
    asked_before = facts.flow["close_ts"] - facts.app["request_ts"]  # crossing it, the request broke that silence
    patience = np.where((asked > 0) & (asked_before > 0), (asked + asked_before) / 1e9, before_close)
    result = np.where(met, patience, result)
    return np.where((races > RACES.index("none")) & ~met & (asked > 0), asked / 1e9, result)


def _rows(
    facts: Facts, here: I64, code: I64, seconds: Array, confidence: Array, evidence: tuple[I64, I64] | None
) -> Rows:  # fmt: skip
    rows = np.zeros(here.size, _ROW)
    flow = facts.flow.at(here)
    rows["code"], rows["flow_id"] = code, flow["flow_id"]
    rows["hi"], rows["lo"] = flow["server_hi"], flow["server_lo"]
    rows["port"], rows["version"] = flow["server_port"], flow["ip_version"]
    rows["seconds"], rows["confidence"] = seconds[here], confidence[here]
    if here.size and evidence is not None:
        offsets, frames = evidence
        count = np.minimum(np.diff(offsets)[here], _EVIDENCE)
        for k in range(_EVIDENCE):  # the last ones of a close say more than the first
            at = np.clip(offsets[here + 1] - count + k, 0, max(frames.size - 1, 0))
            rows["frames"][:, k] = np.where(k < count, frames[at] if frames.size else 0, 0)
    return rows


def _stalls(facts: Facts, verdict: Verdict) -> Rows:
    """Silences behind a closed window, one row each."""
    gaps = facts.done.gaps
    gaps = gaps[gaps["gap_class"] == STALLED_ZERO_WINDOW]
    trailing = trailing_rows(facts)
    at_end = facts.flow["flow_id"][stalled_at_end(facts) & (verdict.kind == KIND["open_idle"])]
    gaps = joined_rows(gaps, trailing[np.isin(trailing["flow_id"], at_end)])
    gaps = gaps[gaps["end_ts"] - gaps["start_ts"] >= _LEAST_STALL_NS]
    here = facts.rows_of(gaps["flow_id"])
    gaps, here = gaps[here >= 0], here[here >= 0]
    if here.size == 0:
        return np.zeros(0, _ROW)
    number = np.full(here.size, _NUMBER["stall.zero_window"])
    rows = _rows(facts, here, number, np.zeros(facts.n), np.ones(facts.n), None)
    rows["seconds"] = (gaps["end_ts"] - gaps["start_ts"]) / 1e9
    rows["frames"][:, 0], rows["frames"][:, 1] = gaps["start_frame"], np.maximum(gaps["end_frame"], 0)
    rows["confidence"] = 0.9
    return rows


def _window_waits(facts: Facts) -> Rows:
    """Connections on which HTTP/2's flow control held a body back, one row each."""
    waited = facts.app["window_wait"]
    here = np.flatnonzero(waited >= _LEAST_STALL_NS)
    number = np.full(here.size, _NUMBER["http2.window_stall"])
    rows = _rows(facts, here, number, waited / 1e9, np.full(facts.n, 0.9), None)
    for k, name in enumerate(("window_wait_frame", "window_open_frame")):
        rows["frames"][:, k] = facts.app[name][here]
    return rows


def _unserved(facts: Facts) -> Rows:
    """Connections of HTTP/2 with requests that the server's GOAWAY left out, one row each."""
    here = np.flatnonzero(facts.app["unserved"] > 0)
    number = np.full(here.size, _NUMBER["http2.unserved"])
    rows = _rows(facts, here, number, np.full(facts.n, np.nan), np.full(facts.n, 0.9), None)
    for k, name in enumerate(("unserved_frame", "goaway_frame")):
        rows["frames"][:, k] = facts.app[name][here]
    return rows


def _gateway_timeouts(facts: Facts) -> Rows:
    """Connections on which a request waited until a 504 came, one row each."""
    waited = facts.app["gateway_wait"]
    here = np.flatnonzero(waited >= _LEAST_WAIT_NS)
    number = np.full(here.size, _NUMBER["http.wait_cut"])
    rows = _rows(facts, here, number, waited / 1e9, np.full(facts.n, 0.9), None)
    for k, name in enumerate(("gateway_request_frame", "gateway_frame")):
        rows["frames"][:, k] = facts.app[name][here]
    return rows


# ------------------------------------------------------------------------------------------------ grouped
def _of_flows(rows: Rows) -> list[dict[str, Any]]:
    """Return the findings about flows."""
    found = []
    for number in distinct(rows["code"]).tolist():
        mine = rows[rows["code"] == number]
        order = np.lexsort((mine["flow_id"], mine["port"], mine["lo"], mine["hi"], mine["version"]))
        mine = mine[order]
        same: Mask = np.ones(max(mine.size - 1, 0), np.bool_)
        for name in ("version", "hi", "lo", "port"):
            same &= mine[name][1:] == mine[name][:-1]
        start = np.flatnonzero(np.r_[True, ~same])
        if start.size > MOST_SERVERS:
            found.append(_one(number, mine[np.argsort(mine["flow_id"], kind="stable")], None, int(start.size)))
            continue
        names = endpoint_names(mine[start]).to_pylist()
        for name, a, b in zip(names, start.tolist(), [*start[1:].tolist(), mine.size], strict=True):
            found.append(_one(number, mine[a:b], name, 1))
    return found


def _one(number: int, rows: Rows, endpoint: str | None, servers: int) -> dict[str, Any]:
    code = CODES[_NAMES[number]]
    seconds = rows["seconds"][~np.isnan(rows["seconds"])]
    low, median, high = np.quantile(seconds, (0, 0.5, 1)).tolist() if seconds.size else (0.0, 0.0, 0.0)
    flow_ids = distinct(rows["flow_id"])
    frames = rows["frames"].ravel()
    frames = frames[frames > 0]
    _, first = np.unique(frames, return_index=True)
    found = worded(code, int(flow_ids.size), low, median, high)
    if servers > 1:
        found["title"] += f", at {servers} servers"
        if code.least > 1:  # everybody silent or unwilling: a scan, a peer-to-peer program, or this host's own network
            found["severity"] = "note"
    return found | {
        "endpoint": endpoint, "confidence": float(rows["confidence"].mean()),
        "flow_ids": " ".join(map(str, flow_ids[:_MOST_FLOW_IDS].tolist())),
        "frames": sorted(frames[np.sort(first)][:_MOST_FRAMES].tolist()),
    }  # fmt: skip


def _at_once(closes: Rows) -> list[dict[str, Any]]:
    """Return the moments at which a server ended many connections."""
    found = []
    for burst in bursts(closes):
        seconds = max(np.ptp(burst["ts"]) / 1e9, LEAST_TOLD_S)
        one = worded(CODES["close.burst"], burst.size, seconds, seconds, seconds)
        found.append(one | {"confidence": 0.8} | _where(burst))
    return found


def _limited(served: Rows) -> list[dict[str, Any]]:
    """Return the servers that end a connection after so many requests."""
    found = []
    for reached in limits(served):
        requests = float(reached["responses"][0])
        one = worded(CODES["http.max_requests"], reached.size, requests, requests, requests)
        found.append(one | {"confidence": 0.8} | _where(reached))
    return found


def _gave_up(rows: Rows) -> list[dict[str, Any]]:
    """Return the servers and sides that give up on data after the same time."""
    found = []
    for mine, low, high in giving_up.limits(rows):
        one = worded(CODES["timeout.unacknowledged"], mine.size, low, (low + high) / 2, high)
        one["title"] += f", by the {INITIATORS[mine['side'][0]]}"
        found.append(one | {"confidence": 0.7 if low == high else 0.5} | _where(mine))
    return found


def _where(rows: Rows) -> dict[str, Any]:
    """Return endpoint, flow_ids and frames of flows of one server."""
    ids = " ".join(map(str, rows["flow_id"][:_MOST_FLOW_IDS].tolist()))
    return {
        "endpoint": endpoint_names(rows[:1]).to_pylist()[0],
        "flow_ids": ids,
        "frames": rows["frame"][:_MOST_FRAMES].tolist(),
    }


def _table(found: list[dict[str, Any]]) -> dict[str, Any]:
    severities = [SEVERITIES.index(one["severity"]) for one in found]
    return {
        "finding_id": np.arange(len(found)),
        "code": [one["code"] for one in found],
        "severity": Coded(np.array(severities, np.int8), SEVERITIES),
        "confidence": np.array([one["confidence"] for one in found], np.float64),
        "flow_ids": [one["flow_ids"] for one in found],
        "endpoint": [one["endpoint"] for one in found],
        "title": [one["title"] for one in found],
        "explanation": [one["explanation"] for one in found],
        "recommendation": [one["recommendation"] for one in found],
        "evidence_frames": [one["frames"] for one in found],
        "reference": [CODES[one["code"]].reference for one in found],
    }
