"""Traffic with and without heartbeats, as bursts of payload whose truth is known; and the units a capture has of it.

A burst is (seconds, direction 0 or 1, bytes). `units_of` cuts a conversation into UNIT rows by the definition, a burst
at a time in plain Python: the kernel that does it on captures is tested against it.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from analyzer.classify.heartbeat import ANSWER_NS, QUIET_NS, SMALL, UNIT
from analyzer.kernel import Records, records

Burst = tuple[float, int, int]
Talking = list[Burst]
Make = Callable[[random.Random], Talking]


# ------------------------------------------------------------------------------------------------ with a heartbeat
def beats(
    pick: random.Random, *, period: float, n: int, jitter: float = 0.02, size: int = 23, answer: int = 19,
    missed: float = 0.0, drift: bool = True, direction: int = 0, rtt: float = 0.03, vary: int = 0,
) -> Talking:  # fmt: skip
    """Beats each `period`; jitter is a share of it, `missed` the share that is not there (nor its answer)."""
    out, at = [], pick.uniform(0, period)
    for k in range(n):
        at = at + period * (1 + pick.uniform(0, jitter)) if drift else period * (k + 1 + pick.gauss(0, jitter / 3))
        if pick.random() < missed:
            continue
        out.append((at, direction, size + pick.randint(0, vary)))
        if answer:
            out.append((at + rtt * pick.uniform(1, 1.5), 1 - direction, answer))
    return out


def data(pick: random.Random, until: float, every: float) -> Talking:
    """Requests at random times with answers of random sizes."""
    out, at = [], 0.0
    while (at := at + pick.expovariate(1 / every)) < until:
        out += [(at, 0, pick.randint(40, 900)), (at + pick.uniform(0.02, 0.2), 1, pick.randint(100, 9000))]
    return out


def greeted(pick: random.Random, talking: Talking) -> Talking:
    """The same after two greetings as long as a beat (AMQP begins so)."""
    start = pick.uniform(2, 4)
    later = [(at + start + 2, way, size) for at, way, size in talking]
    return [(1.0, 1, 400), (1.4, 0, 23), (1.45, 1, 400), (start, 0, 23), (start + 0.05, 1, 400), *later]


def idle_beats(pick: random.Random, period: float, until: float, every: float) -> Talking:
    """A beat only after `period` without anything, as most proxies and clients do it."""
    out, at, last = [], 0.0, 0.0
    pending = pick.expovariate(1 / every)
    while at < until:
        due = last + period + pick.uniform(0, 0.02 * period)
        if due < pending:
            out += [(due, 0, 17), (due + 0.03, 1, 17)]
            at = last = due + 0.03
        else:
            out += [(pending, 0, pick.randint(40, 900)), (pending + 0.1, 1, pick.randint(100, 9000))]
            at = last = pending + 0.1
            pending = at + pick.expovariate(1 / every)
    return out


POSITIVE: dict[str, Make] = {
    "every 20 s": lambda p: beats(p, period=20, n=40),
    "every second, five times": lambda p: beats(p, period=1.0, n=5, jitter=0.01),
    "every 25 s, one way": lambda p: beats(p, period=25, n=30, answer=0, direction=1),
    "jitter of 10 %": lambda p: beats(p, period=10, n=60, jitter=0.1),
    "a fifth missed": lambda p: beats(p, period=30, n=50, missed=0.2, drift=False),
    "half missed": lambda p: beats(p, period=30, n=80, missed=0.5, drift=False),
    "a counter in it": lambda p: beats(p, period=15, n=40, vary=3),
    "far away": lambda p: beats(p, period=5, n=40, rtt=0.4),
    "between data": lambda p: beats(p, period=20, n=60) + data(p, 1200, 25),
    "among much data": lambda p: beats(p, period=20, n=100) + data(p, 2000, 8),
    "after silence only": lambda p: idle_beats(p, 15, 900, 40),
    "greetings of the same size": lambda p: greeted(p, beats(p, period=30, n=10, jitter=0.004)),
}


# ------------------------------------------------------------------------------------------------ without
def poisson(pick: random.Random, size: int, rate: float, n: int) -> Talking:
    """One size at random times: typing, clicks."""
    out, at = [], 0.0
    for _ in range(n):
        at += pick.expovariate(rate)
        out += [(at, 0, size), (at + 0.03, 1, size)]
    return out


def polling(pick: random.Random, every: float, n: int) -> Talking:
    """One request by the clock, answers of all sizes."""
    out: Talking = []
    for k in range(n):
        at = every * (k + 1) + pick.uniform(0, 0.02)
        out += [(at, 0, 180), (at + pick.uniform(0.02, 0.1), 1, int(pick.lognormvariate(6.5, 0.8)))]
    return out


def ticks(pick: random.Random, every: float, n: int) -> Talking:
    """Prices by the clock, in few sizes."""
    return [
        (every * (k + 1) + pick.uniform(0, 0.05), 1, pick.choice([61, 61, 61, 61, 66, 72, 80, 95])) for k in range(n)
    ]


def bulk(pick: random.Random, seconds: float) -> Talking:
    """A transfer with small pieces in it."""
    out, at = [], 0.0
    while (at := at + pick.expovariate(20)) < seconds:
        out.append((at, pick.choice([0, 1]), pick.choice([52, 300, 1448, 14480])))
    return out


def periodic_bulk(pick: random.Random, every: float, n: int) -> Talking:
    """A report each minute, of some kilobytes."""
    return [(every * (k + 1), 0, pick.randint(900, 60000)) for k in range(n)]


NEGATIVE: dict[str, Make] = {
    "random, one size": lambda p: poisson(p, 48, 0.2, 80),
    "random, few": lambda p: poisson(p, 48, 0.5, 6),
    "polling each 5 s": lambda p: polling(p, 5, 60),
    "prices each second": lambda p: ticks(p, 1.0, 200),
    "prices each 2 s": lambda p: ticks(p, 2.0, 60),
    "requests": lambda p: data(p, 1200, 10),
    "rare requests": lambda p: data(p, 4000, 60),
    "bulk": lambda p: bulk(p, 120),
    "periodic bulk": lambda p: periodic_bulk(p, 60, 30),
    "backing off": lambda p: [(2.0**k + p.uniform(0, 0.1), 0, 64) for k in range(12)],
    "slow and steady hand": lambda p: [(k * 3 + p.gauss(0, 0.4) + 10, 0, 36) for k in range(50)],
    "human pace": lambda p: [(k * 3 + p.gauss(0, 1.0) + 10, 0, 36) for k in range(50)],
}


# ------------------------------------------------------------------------------------------------ as a capture gives it
def units_of(talking: Talking, flow_id: int = 0) -> Records:
    """Return the UNIT rows of a conversation; bursts are 5 ms apart at least, or of different directions."""
    rows: list[dict[str, int]] = []
    waiting: dict[str, int] | None = None
    last = -1
    for frame, (at, way, size) in enumerate(sorted(talking), 1):
        now = round(at * 1e9)
        before = now - last if last >= 0 else -1
        answers = False
        if waiting is not None:
            answers = waiting["dir"] != way and not waiting["answer_ts"] and now - waiting["ts"] <= ANSWER_NS
            if answers:
                waiting.update(answer_ts=now, answer_frame=frame, answer_size=size)
            else:
                waiting["after"] = now - waiting["ts"]
                waiting = None
        if not answers and size <= SMALL and (before < 0 or before >= QUIET_NS):
            waiting = {
                "flow_id": flow_id, "ts": now, "frame": frame, "before": before, "after": -1, "answer_ts": 0,
                "answer_frame": 0, "size": size, "answer_size": 0, "dir": way,
            }  # fmt: skip
            rows.append(waiting)
        last = now
    out = records(len(rows), UNIT)
    for k, row in enumerate(rows):
        for name, value in row.items():
            out[name][k] = value
    return out


def population(makes: dict[str, Make], each: int, seed: int) -> tuple[Records, list[str]]:
    """Return the units of `each` flows of every kind, and the kind of each flow_id."""
    parts, kinds = [], []
    for name, make in makes.items():
        for k in range(each):
            parts.append(units_of(make(random.Random(f"{seed} {name} {k}")), len(kinds)))
            kinds.append(name)
    return np.concatenate(parts), kinds
