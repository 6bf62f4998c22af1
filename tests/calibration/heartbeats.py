"""How well heartbeats are inferred, on made populations: `python -m tests.calibration.heartbeats [FLOWS] [SEED]`.

Prints recall by kind of traffic with a heartbeat, false alarms by kind without, precision and recall overall (as many
flows of every kind), and how far off the periods are.
"""

from __future__ import annotations

import sys

import numpy as np

from analyzer.classify.heartbeat import infer_series
from tests.calibration.beats import NEGATIVE, POSITIVE, population


def measure(each: int, seed: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return (share of flows with a series, by kind with a heartbeat) and (the same, by kind without)."""
    shares = []
    for makes in (POSITIVE, NEGATIVE):
        units, kinds = population(makes, each, seed)
        hit = np.unique(infer_series(units).flow_id)
        of = np.array(kinds)
        shares.append({name: float(np.isin(np.flatnonzero(of == name), hit).mean()) for name in makes})
    return shares[0], shares[1]


def lines(each: int = 200, seed: int = 1) -> list[str]:
    """Return the report."""
    found, alarms = measure(each, seed)
    out = []
    for title, shares in (("found", found), ("false alarms", alarms)):
        out += [title, *(f"  {name:28} {share:7.1%}" for name, share in shares.items())]
    true, false = sum(found.values()), sum(alarms.values())
    precision = true / max(true + false, 1e-9)
    return [*out, f"recall {true / len(found):.1%}, precision {precision:.2%} ({each} flows of each kind)"]


if __name__ == "__main__":
    print("\n".join(lines(*(int(word) for word in sys.argv[1:3]))))
