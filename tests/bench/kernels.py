"""Time the stages inside one process, without start-up and without output: `python -m tests.bench.kernels FILE`.

walk     read the file and find the packets
labels   the same, decode them and label them flow by flow: all that is done per packet
engine   the same, and the verdicts and tables of every flow, which are then dropped

Each line is a stage, its median time, GB/s of capture file and million packets a second. Kernels are compiled before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from analyzer.anomalies import Ledger
from analyzer.capture.reader import open_captures
from analyzer.engine import Engine
from analyzer.settings import Settings


def walk(path: Path) -> int:
    """Return the number of packets in the file."""
    return sum(batch.packets.shape[0] for batch in open_captures([path], Ledger()))


def labels(path: Path) -> int:
    """Decode and label every packet; finished flows are taken out of the table as the engine would."""
    ledger = Ledger()
    reader = open_captures([path], ledger)
    engine = Engine(Settings(), ledger, reader.files)
    packets = 0
    for batch in reader:
        packets += batch.packets.shape[0]
        segments, data = engine.decoder.decode(batch)
        engine.tracker.feed(segments, data)
        if engine.tracker.full():
            engine.tracker.collect()
    return packets


def engine(path: Path) -> int:
    """Run the whole engine and drop its tables."""
    ledger = Ledger()
    reader = open_captures([path], ledger)
    whole = Engine(Settings(), ledger, reader.files)
    packets = 0
    for batch in reader:
        packets += batch.packets.shape[0]
        for _ in whole.feed(batch):
            pass
    for _ in whole.finish():
        pass
    return packets


STAGES: dict[str, Callable[[Path], int]] = {"walk": walk, "labels": labels, "engine": engine}


def measure(path: Path, rounds: int) -> dict[str, dict[str, float]]:
    """Return median seconds, GB/s and million packets a second by stage; one round before that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in STAGES}
    packets = 0
    for n in range(rounds + 1):
        for name, stage in STAGES.items():
            began = time.perf_counter()
            packets = stage(path)
            if n:
                taken[name].append(time.perf_counter() - began)
    size = path.stat().st_size
    medians = {name: statistics.median(seconds) for name, seconds in taken.items()}
    return {name: {"s": s, "gb_per_s": size / s / 1e9, "mpps": packets / s / 1e6} for name, s in medians.items()}


def main() -> None:
    """Print the measurements as text, or as one JSON object for the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    stages = measure(options.file, options.rounds)
    if options.json:
        json.dump(stages, sys.stdout)
        return
    for name, row in stages.items():
        print(f"{name:7} {row['s']:7.3f} s  {row['gb_per_s']:6.2f} GB/s  {row['mpps']:6.2f} Mpackets/s")


if __name__ == "__main__":
    main()
