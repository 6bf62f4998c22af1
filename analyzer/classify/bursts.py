"""Connections of one server that end together: a restart, a deployment, a load balancer that lets go of its targets.

What    At least LEAST closes by the server within WINDOW_NS, after different ages and different silences, so that no
        timer explains it, and CONTRAST times as many as its closes in the AROUND_NS before and after make likely.
Source  definitions B5 (deploy_burst)
Needs   flows that closed, those that were handed over before and those that wait for it
Gives   closes.trigger (deploy_burst), closes.explanation, findings: close.burst
Limits  Only connections that lasted LEAST_AGE_NS count: short ones end together whenever many begin together. A close
        that is judged before the others came, because a capture had too many connections, knows nothing of them; nor do
        processes that share a live capture know of each other's. A trigger looks back on MOST_LOOKED_AT closes.
Memory  61 bytes for each close of that kind, until the end.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from analyzer.classify.facts import Facts
from analyzer.classify.grouped import SERVER, Latest, Rows, by_server, server_numbers
from analyzer.classify.wording import followed_by, short
from analyzer.kernel import I64, Mask, Records
from analyzer.protocols.channel import BYE_IDLED
from analyzer.tables.tcp import TRIGGERS

LEAST = 5
WINDOW_NS = 2_000_000_000
CONTRAST = 5
AROUND_NS = 10_000_000_000  # closed connections linger for longer: what came after is known when the first is judged
LEAST_AGE_NS = 5_000_000_000
_SPREAD_NS = 2_000_000_000  # timers that count age or silence end connections closer together than that
MOST_LOOKED_AT = 16384  # closes that were judged, whenever others are: a server's usual pace shows in fewer
LEAST_TOLD_S = 0.01  # less is told as this
_SERVER = 1

CLOSE = np.dtype(
    [("version", np.int8), ("port", np.int32), ("hi", np.int64), ("lo", np.int64), ("ts", np.int64), ("age", np.int64),
     ("idle", np.int64), ("frame", np.int64), ("flow_id", np.int64)]
)  # fmt: skip
_TOGETHER = (
    "{others} other connections of this server ended within {seconds} s of it, after other silences: a restart or a "
    "deployment rather than a timer."
)

BURST = np.dtype(
    [("version", np.int8), ("port", np.int32), ("hi", np.int64), ("lo", np.int64), ("first", np.int64),
     ("last", np.int64), ("closes", np.int64)]
)  # fmt: skip
_SERVER_FIELDS = ("ip_version", "server_hi", "server_lo", "server_port")  # of a flow, as SERVER


def closes_of(flows: Records, sides: Records) -> Rows:
    """Return CLOSE rows of the flows that their server ended after a while. flows (n,) FLOW, sides (2 * n,) SIDE."""
    here = np.flatnonzero((flows["live"] == 1) & (flows["close_dir"] == _SERVER) & (flows["close_ts"] != 0))
    here = here[flows["close_ts"][here] - flows["first_ts"][here] >= LEAST_AGE_NS]
    rows = np.zeros(here.size, CLOSE)
    fields = (*_SERVER_FIELDS, "close_ts", "close_idle_payload", "close_frame", "flow_id")
    for name, field in zip((*SERVER, "ts", "idle", "frame", "flow_id"), fields, strict=True):
        rows[name] = flows[field][here]
    rows["age"] = rows["ts"] - flows["first_ts"][here]
    # A server may say that it goes (WebSocket 1001, GOAWAY) before it closes: the silence is the one before that.
    words = sides["burst_ts"][2 * here + 1]
    parting = (words != 0) & (rows["ts"] - words < WINDOW_NS)
    rows["idle"] = np.where(parting, np.maximum(rows["idle"], sides["burst_idle"][2 * here + 1]), rows["idle"])
    return rows


def bursts(rows: Rows) -> list[Rows]:
    """Return the bursts among CLOSE rows, each with its rows by time."""
    return [burst for mine in by_server(rows) for burst in _of_server(mine[np.argsort(mine["ts"], kind="stable")])]


def recent_bursts(known: Latest, waiting: Rows) -> Rows:
    """Return a BURST row for each burst among CLOSE rows: what waits to be judged, and the last of what was judged."""
    rows = np.concatenate([*known.last(MOST_LOOKED_AT), waiting])
    _, once = np.unique(rows["flow_id"], return_index=True)  # what is being handed over is in both
    rows = _crowded(rows[once])
    found = bursts(rows)
    result = np.zeros(len(found), BURST)
    for k, burst in enumerate(found):
        for name in SERVER:
            result[name][k] = burst[name][0]
        result["first"][k], result["last"][k], result["closes"][k] = burst["ts"][0], burst["ts"][-1], burst.size
    return result


def _crowded(rows: Rows) -> Rows:
    """Return the rows of the servers that ended LEAST connections within WINDOW_NS."""
    server = server_numbers(rows)
    order = np.lexsort((rows["ts"], server))
    server, ts = server[order], rows["ts"][order]
    near = (server[LEAST - 1 :] == server[: 1 - LEAST]) & (ts[LEAST - 1 :] - ts[: 1 - LEAST] <= WINDOW_NS)
    result: Rows = rows[order][np.isin(server, server[: 1 - LEAST][near])]
    return result


def in_burst(facts: Facts, known: Rows) -> tuple[I64, I64]:
    """Return how many others each flow ended with, 0 = it ended alone, and within how many ns; known: BURST rows.

    Those that were younger than what makes a burst belong to it as well, if they had been silent.
    """
    flow = facts.flow
    others, within = np.zeros(facts.n, np.int64), np.zeros(facts.n, np.int64)
    old = flow["close_ts"] - flow["first_ts"] >= LEAST_AGE_NS
    idle = old | (flow["close_idle_payload"] >= facts.settings.idle_min_ns)
    here = np.flatnonzero(idle & (flow["close_dir"] == _SERVER) & (flow["close_ts"] != 0))
    if not known.size or not here.size:
        return others, within
    both = np.zeros(known.size + here.size, BURST)  # each close behind the bursts of its server that it may belong to
    both[: known.size] = known
    for name, field in zip(SERVER, _SERVER_FIELDS, strict=True):
        both[name][known.size :] = flow[field][here]
    ts = flow["close_ts"][here]
    since = np.concatenate([known["last"] - WINDOW_NS, ts])
    server, row = server_numbers(both), np.arange(both.size)
    order = np.lexsort((row, since, server))
    latest = np.maximum.accumulate(np.where(order < known.size, row, -1))  # places in `order`
    found = np.full(both.size, -1, np.int64)
    found[order] = np.where(latest >= 0, order[latest], -1)
    burst = found[known.size :]
    member = (burst >= 0) & (server[burst] == server[known.size :])
    member &= ts <= known["first"][np.where(member, burst, 0)] + WINDOW_NS
    here, ts, burst = here[member], ts[member], known[burst[member]]
    others[here] = burst["closes"] - old[here]
    within[here] = np.maximum(burst["last"], ts) - np.minimum(burst["first"], ts)
    return others, within


def restarted(facts: Facts) -> Mask:
    """Return which connections ended with others, and not after words about their own silence."""
    result: Mask = (facts.together[0] > 0) & (facts.last_words[1] != BYE_IDLED)
    return result


def burst_trigger(facts: Facts, trigger: I64) -> I64:
    """Return the triggers with `deploy_burst` where a silence, or nothing, would else be the reason."""
    weaker = np.isin(trigger, (TRIGGERS.index("unknown"), TRIGGERS.index("idle_timeout")))
    result: I64 = np.where(restarted(facts) & weaker, TRIGGERS.index("deploy_burst"), trigger)
    return result


def with_company(explanation: pa.Array, facts: Facts) -> pa.Array:
    """Return the explanations with a sentence about the connections that ended at the same time."""
    others, within = facts.together
    more = np.full(facts.n, "", object)
    for k in np.flatnonzero(restarted(facts)).tolist():
        more[k] = _TOGETHER.format(others=f"{others[k]:,}", seconds=short(max(within[k] / 1e9, LEAST_TOLD_S)))
    return followed_by(explanation, more)


def _of_server(rows: Rows) -> list[Rows]:
    """Return the bursts of one server; `rows` by time."""
    ts, found, k = rows["ts"], [], 0
    end = np.searchsorted(ts, ts + WINDOW_NS, "right")
    held = end - np.arange(rows.size)
    around = np.searchsorted(ts, ts[end - 1] + AROUND_NS, "right") - np.searchsorted(ts, ts - AROUND_NS)
    usual = CONTRAST * WINDOW_NS / (WINDOW_NS + 2 * AROUND_NS)
    for first in np.flatnonzero((held >= LEAST) & (held >= usual * (around - held))).tolist():
        if first < k:
            continue
        burst = rows[first : end[first]]
        idle = burst["idle"]
        # A timer that sweeps ends what has been silent for its time or longer, by less than its time
        if np.ptp(burst["age"]) >= _SPREAD_NS and np.ptp(idle) >= _SPREAD_NS and idle.max() >= 2 * idle.min():
            found.append(burst)
            k = int(end[first])
    return found
