"""How well idle timeouts are inferred, on made fleets: `python -m tests.calibration.timeouts [SEEDS]`.

Prints for each kind and size of fleet how often the timeout was found within max(1 s, 2 %), and the largest error; and
how often people without any timer were taken for one (confidence of 0.5 and more).
"""

from __future__ import annotations

import sys

from tests.fleet import Timer, fleet, thinking
from tests.property.harness import run
from tests.talk import merge

TIMERS = {
    "ALB 60 s": Timer(60),
    "NAT 350 s": Timer(350, clock="wire", how="rst"),
    "nginx 75 s": Timer(75, jitter_s=0.01),
    "Node 6 s": Timer(6, jitter_s=0.02),
    "gunicorn 2 s, swept each second": Timer(2, sweep_s=1.0),
    "60 s, swept each 30 s": Timer(60, sweep_s=30),
    "client pool 90 s": Timer(90, by="client"),
}


SIZES = (6, 12, 30, 300)
"""Connections of a fleet: three in ten are used again before the timer fires, one in ten is closed by its client,
one in twenty loses its FIN and repeats it."""

MEANS_S = (0.3, 2.0, 10.0, 60.0, 300.0)


def measure(timer: Timer, flows: int, seeds: int) -> tuple[float, list[float], float, float]:
    """Return (share of fleets whose timeout is found within max(1 s, 2 %), errors in s, share with a wrong one, share
    with right bounds and no value)."""
    errors: list[float] = []
    found = wrong = bounded = 0
    for seed in range(seeds):
        rows = run(fleet(timer, flows, seed=seed, early=0.1 if timer.by == "server" else 0.0)).rows("timeouts")
        off = [abs(r["value_s"] - timer.value_s) for r in rows if r["side"] == timer.by and r["value_s"]]
        near = [error <= max(1.0, 0.02 * timer.value_s) for error in off]
        found += any(near)
        wrong += any(not good for good in near)
        errors += off
        if not off:
            bounds = [(r["lower_bound_s"], r["upper_bound_s"]) for r in rows if r["side"] == timer.by]
            right = [low is not None and low <= timer.value_s <= high + 0.3 for low, high in bounds]
            bounded += any(right)
            wrong += any(low is not None and not good for (low, _), good in zip(bounds, right, strict=True))
    return found / seeds, errors, wrong / seeds, bounded / seeds


def people(seeds: int) -> int:
    """Return how many servers whose connections only people end are taken for one with a timer."""
    alarms = 0
    for seed in range(seeds):
        for mean in MEANS_S:
            rows = run(merge(*thinking(150, seed, mean))).rows("timeouts")
            alarms += any(row["value_s"] is not None and row["confidence"] >= 0.5 for row in rows)
    return alarms


def lines(seeds: int = 10) -> list[str]:
    """Return the report."""
    out, right, claims = [], 0.0, 0.0
    for flows in SIZES:
        out.append(f"fleets of {flows:3}                          found  bounded   wrong   largest error")
        for name, timer in TIMERS.items():
            good, errors, wrong, bounded = measure(timer, flows, seeds)
            right, claims = right + good, claims + good + wrong
            out.append(
                f"  {name:34} {good:7.1%}  {bounded:6.1%}  {wrong:6.1%}   {max(errors, default=float('nan')):.2f} s"
            )
    alarms = people(seeds)
    kinds = len(SIZES) * len(TIMERS)
    out.append(f"people taken for a timer: {alarms} of {len(MEANS_S) * seeds} servers")
    out.append(f"recall {right / kinds:.1%}, precision {right / claims:.1%} ({seeds} fleets of each kind and size)")
    return out


if __name__ == "__main__":
    print("\n".join(lines(*(int(word) for word in sys.argv[1:2]))))
