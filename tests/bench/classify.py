"""Time the verdicts: `python -m tests.bench.classify [--capture FILE] [--scan FILE]`.

capture  what classification adds to the whole, in one run: seconds of its thread in `Engine._rows` and `Engine.whole`
         (verdicts, findings, timeouts, heartbeats, and the rows of all their tables) against all other processor time
scan     the same for a capture of very many connections (see `tests.bench.generate`, synscan)
fleet    a million connections without packets: finished flows of a made fleet (orderly closes by timers, used-again
         ones, silences, keep-alive probes), multiplied, each copy at a server of its own, and classified
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from analyzer.anomalies import Ledger
from analyzer.api import stream
from analyzer.classify.heartbeat import UNIT
from analyzer.engine import Chunk, Engine
from analyzer.flows.tracker import Finished
from analyzer.kernel import Records
from analyzer.protocols.stage import Applications
from analyzer.settings import Settings
from tests.fleet import Timer, fleet
from tests.property.harness import batches

FLEET = 1 << 10
AT_ONCE = 1 << 17  # as many as an engine holds
MILLION = 1_000_000


class Clock:
    """Seconds that a thread spends in generators, and the rows of `flows` that they made."""

    def __init__(self) -> None:
        self.seconds, self.flows = 0.0, 0

    def over(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Yield `chunks`, and count the time until each is there."""
        while True:
            begin = time.thread_time()
            try:
                chunk = next(chunks)
            except StopIteration:
                return
            finally:
                self.seconds += time.thread_time() - begin
            self.flows += chunk[1].num_rows if chunk[0] == "flows" else 0
            yield chunk


class Timed(Engine):
    """An engine that counts what its verdicts take."""

    clock = Clock()

    def _rows(self, *given: Any) -> Iterator[Chunk]:
        yield from self.clock.over(super()._rows(*given))

    def whole(self) -> Iterator[Chunk]:
        """Yield the tables about the whole."""
        yield from self.clock.over(super().whole())


def share_of(path: str) -> str:
    """Return what classification takes of the analysis of a capture."""
    import analyzer.engine

    analyzer.engine.Engine, Timed.clock = Timed, Clock()  # type: ignore[attr-defined]
    try:
        begin = time.process_time()
        for _ in stream(path):
            pass
        total = time.process_time() - begin
    finally:
        analyzer.engine.Engine = Engine  # type: ignore[attr-defined]
    ours = Timed.clock.seconds
    return (
        f"{path}: {Timed.clock.flows:,} connections, classified in {ours:.2f} s of {total:.2f} s of processor time: "
        f"adds {ours / (total - ours):.0%}"
    )


# ------------------------------------------------------------------------------------------------ a million
def finished() -> tuple[Finished, int]:
    """Return the finished flows of a fleet, and the time at which its capture ended."""
    kept: list[Finished] = []

    class Kept(Engine):
        def _rows(self, done: Finished, *given: Any) -> Iterator[Chunk]:
            kept.append(done)
            return iter(())

    trace = fleet(Timer(60), FLEET, probing=0.3, survivors=0.5)
    engine = Kept(Settings(), Ledger())
    for batch in batches(trace):
        list(engine.feed(batch))
    list(engine.finish())
    (done,) = kept
    return done, trace[-1][0]


class Prepared:
    """In place of protocols and units: flows of which nothing was read."""

    def close(self, slots: Any, *given: Any) -> Any:
        """Return nothing for the protocols, no units for the heartbeats."""
        return iter(()) if given and given[0].dtype.names else np.zeros(0, UNIT)

    def applications(self, slots: Any, flow_ids: Any) -> Applications:
        """Return that no protocol was read."""
        from analyzer.protocols.beats import BEAT
        from analyzer.protocols.channel import APP, SILENCE
        from analyzer.protocols.said import SAID

        none = pa.nulls(slots.size, pa.string())
        return Applications(
            np.zeros(slots.size, APP), none, none, none, np.zeros(0, SILENCE), np.zeros(0, BEAT), np.zeros(0, SAID)
        )  # fmt: skip

    def release(self, slots: Any) -> None:
        """Nothing is held."""


def copies(done: Finished, first: int, n: int) -> Finished:
    """Return `n` copies of finished flows, numbered from `first` on, each at a server of its own."""
    size = done.flows.size

    def many(rows: Records) -> Records:
        out: Records = np.tile(rows, n)
        if "flow_id" in (rows.dtype.names or ()):
            out["flow_id"] += np.repeat(first + size * np.arange(n), rows.size)
        return out

    flows = many(done.flows)
    flows["server_lo"] += np.repeat(first + np.arange(n), size)
    rtt = [np.tile(values, n) for values in (done.rtt_p50, done.rtt_p95)]
    slots = np.arange(size * n, dtype=np.int32)
    return Finished(flows, many(done.sides), *rtt, many(done.probes), many(done.gaps), slots)


def million() -> str:
    """Return how long a million connections take."""
    done, end_ns = finished()
    engine = Timed(Settings(), Ledger())
    prepared: Any = Prepared()
    engine.end_ns, engine.protocols, engine.units = end_ns, prepared, prepared
    Timed.clock = Clock()
    nothing = np.zeros(1, np.uint8)
    found = 0
    for first in range(0, MILLION, AT_ONCE):
        some = copies(done, first, AT_ONCE // FLEET)
        for _ in engine._rows(some, np.zeros(0, engine.tracker.spans.dtype), nothing):
            pass
    for name, table in engine.whole():
        found = table.num_rows if name == "timeouts" else found
    return (
        f"fleet: {Timed.clock.flows:,} connections at {MILLION // FLEET + 1:,} servers, classified in "
        f"{Timed.clock.seconds:.2f} s; {found:,} timeouts"
    )


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--capture", help="a capture whose analysis is timed")
    parser.add_argument("--scan", help="a capture of very many connections")
    given = parser.parse_args()
    for path in (given.capture, given.scan):
        if path is not None:
            print(share_of(path))
    print(million())


if __name__ == "__main__":
    main()
