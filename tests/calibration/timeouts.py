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


def main(seeds: int = 10) -> None:
    """Print the report."""
    for flows in (12, 30, 300):
        print(f"fleets of {flows}")
        for name, timer in TIMERS.items():
            errors = []
            for seed in range(seeds):
                rows = run(fleet(timer, flows, seed=seed, early=0.1 if timer.by == "server" else 0.0)).rows("timeouts")
                errors += [abs(r["value_s"] - timer.value_s) for r in rows if r["side"] == timer.by and r["value_s"]]
            good = sum(error <= max(1.0, 0.02 * timer.value_s) for error in errors)
            print(f"  {name:34} {good / seeds:6.1%}  largest error {max(errors, default=float('nan')):.2f} s")
    alarms = 0
    for seed in range(seeds):
        for mean in (0.3, 2.0, 10.0, 60.0, 300.0):
            rows = run(merge(*thinking(150, seed, mean))).rows("timeouts")
            alarms += any(row["value_s"] is not None and row["confidence"] >= 0.5 for row in rows)
    print(f"people taken for a timer: {alarms} of {5 * seeds} servers")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:2]))
