"""Was the capture running while a connection was silent? Captures are cut, joined and paused.

What    Since when there was never a hole of HOLE_NS in what was captured of any connection: a silence that began before
        that may be the capture's, not the connection's.
Needs   first and last segments of all flows, as they finish
Gives   findings: close.zombie only of silences that were watched
Limits  Where everything else is silent, too, nothing is said.
Memory  16 bytes per flow, until the end; live, of the last LIVE_FLOWS.
"""

from __future__ import annotations

import numpy as np

from analyzer.classify.facts import Array, Facts
from analyzer.classify.grouped import Rows
from analyzer.kernel import Mask

HOLE_NS = 300_000_000_000

SEEN = np.dtype([("ts", np.int64)])


def seen(facts: Facts) -> Rows:
    """Return SEEN rows: when the finished flows began and when their last segment came."""
    rows = np.zeros(2 * facts.n, SEEN)
    rows["ts"] = np.concatenate([facts.flow["first_ts"], facts.flow["last_ts"]])
    return rows


def watched(silence_s: Array, rows: Rows) -> Mask:
    """Return which silences, all of them up to the end of the capture, it was running for."""
    ts = np.sort(rows["ts"])
    holes = np.flatnonzero(np.diff(ts) > HOLE_NS)
    since = ts[holes[-1] + 1] if holes.size else ts[:1].sum()
    result: Mask = ts[-1:].sum() - 1e9 * silence_s >= since
    return result
