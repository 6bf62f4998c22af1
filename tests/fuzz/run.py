"""Make hostile inputs in bulk and keep those that break something.

python -m tests.fuzz.run --inputs 100000 --seed 7                    every entry gets its share
python -m tests.fuzz.run --inputs 5000 --seed 7 --entry tls --checked

A worker process reads one capture after the other; a capture of an entry has many inputs. What went wrong is kept in
`--out` as the capture that did it, with what was said beside it: an exception (kept once for each place that raised
it), a death (segmentation fault), a hang (HANG_S of processor time), or a capture that took more than SLOW_S. Rewritten
with fewer packets by `python -m tests.fuzz.shrink` it becomes a test under `crashers/`.

--checked  kernels compiled with every index checked, and without Python's indexes that count from the end
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[2]
SLOW_S = 1.0
HANG_S = 20.0
# Inputs of each entry in a thousand: what is cheap, and decides most, gets most
SHARES = {
    "files": 150, "decode": 500, "streams": 140, "http1": 40, "http2": 40, "websocket": 40, "tls": 40, "messages": 15,
    "other": 5, "tls_keys": 5, "analyze": 20, "whole_files": 5,
}  # fmt: skip


def plan(inputs: int, entry: str | None) -> dict[str, int]:
    """Return how many inputs each entry gets."""
    from tests.fuzz.entries import ENTRIES

    if entry is not None:
        return {entry: inputs}
    total = sum(SHARES[name] for name in ENTRIES)
    return {name: max(1, inputs * SHARES[name] // total) for name in ENTRIES}


# ------------------------------------------------------------------------------------------------ worker
def warm_up(folder: Path) -> None:
    """Have every kernel compiled or loaded before anything is timed."""
    from tests.fuzz.entries import READINGS
    from tests.fuzz.seeds import seeds, write_packets

    whole = [write_packets(packets) for packets in seeds().traces[:: max(1, len(seeds().traces) // 20)]]
    whole += [write_packets(*seeds().keyed[0]), *seeds().files[:1]]
    for data in whole:
        (folder / "warm").write_bytes(data)
        for read in READINGS:
            read(folder / "warm")


def work(share: dict[str, int], seed: int, first: int, folder: Path, out: Path) -> None:
    """Read the inputs of each entry in turn, the first one's from batch `first` on; say a JSON line for each batch."""
    from tests.fuzz.entries import ENTRIES
    from tests.fuzz.seeds import seeds

    warm_up(folder)
    gc.collect()
    gc.freeze()  # seeds are many objects, and stay: each collection would look at all of them
    current = folder / "current"
    for name, inputs in share.items():
        entry = ENTRIES[name]
        for batch in range(first, -(-inputs // entry.at_once)):
            n = min(entry.at_once, inputs - batch * entry.at_once)
            before = time.process_time()
            current.write_bytes(entry.make(Random(f"{seed}:{name}:{batch}"), seeds(), n))
            signal.setitimer(signal.ITIMER_PROF, HANG_S)
            begun = time.process_time()
            try:
                entry.read(current)
            except Exception as trouble:
                keep(current, out, name, place_of(trouble), traceback.format_exc())
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            took = time.process_time() - begun
            if took > SLOW_S:
                keep(current, out, f"slow-{name}", f"{seed}:{batch}", f"{took:.2f} s of processor time")
            if batch % 10 == 0:
                gc.collect()  # an engine is in a circle of references: 30 MB that would wait for the collector
            mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            told = {"entry": name, "batch": batch, "inputs": n, "make_s": begun - before, "read_s": took, "mib": mib}
            print(json.dumps(told), flush=True)
        first = 0


def place_of(trouble: BaseException) -> str:
    """Return the kind of an exception and the innermost line of ours that raised it."""
    frames = [
        f for f in traceback.extract_tb(trouble.__traceback__) if "/analyzer/" in f.filename or "/fuzz/" in f.filename
    ]
    last = frames[-1] if frames else None
    return f"{type(trouble).__name__}:{last.filename if last else ''}:{last.lineno if last else 0}"


def keep(current: Path, out: Path, name: str, place: str, words: str) -> None:
    """Keep a capture that broke something, once for each place."""
    known = hashlib.sha256(place.encode()).hexdigest()[:10]
    target = out / f"{name}-{known}"
    if not target.exists():
        target.write_bytes(current.read_bytes())
        target.with_name(target.name + ".txt").write_text(f"{place}\n{words}\n")


# ------------------------------------------------------------------------------------------------ parent
def supervise(share: dict[str, int], seed: int, out: Path, *, checked: bool) -> Iterator[tuple[str, dict[str, float]]]:
    """Run the entries to their end, with a new worker after each death; yield the figures of each as it ends."""
    left = dict(share)
    first = 0
    figures = dict.fromkeys(("inputs", "make_s", "read_s", "slowest_s", "mib", "deaths"), 0.0)
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as place:
        while left:
            command = [
                sys.executable, "-m", "tests.fuzz.run", "--worker", json.dumps([left, first]), "--seed", str(seed),
                "--out", str(out), "--place", place,
            ]  # fmt: skip
            env = {**os.environ, "NUMBA_BOUNDSCHECK": "1" if checked else "0"}
            worker = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
            assert worker.stdout is not None
            for line in worker.stdout:
                told = json.loads(line)
                name = next(iter(left))
                if told["entry"] != name:
                    yield name, figures
                    del left[name]
                    figures = dict.fromkeys(figures, 0.0)
                first = told["batch"] + 1
                for key in ("inputs", "make_s", "read_s"):
                    figures[key] += told[key]
                figures["slowest_s"], figures["mib"] = max(figures["slowest_s"], told["read_s"]), told["mib"]
            worker.wait()
            name = next(iter(left))
            if worker.returncode == 0:
                yield name, figures
                return
            if worker.returncode > 0:
                raise RuntimeError(f"the worker itself failed at {name}, batch {first}")
            words = signal.Signals(-worker.returncode).name
            keep(Path(place) / "current", out, f"{words.lower()}-{name}", f"{words}:{seed}:{first}", words)
            figures["deaths"] += 1
            first += 1  # past the batch that did it


def main() -> int:
    """Read the command line and run."""
    line = argparse.ArgumentParser(prog="python -m tests.fuzz.run")
    line.add_argument("--inputs", type=int, default=10_000)
    line.add_argument("--seed", type=int, default=1)
    line.add_argument("--entry")
    line.add_argument("--checked", action="store_true")
    line.add_argument("--out", type=Path, default=ROOT / "tests/fuzz/found")
    line.add_argument("--worker", help=argparse.SUPPRESS)
    line.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    asked = line.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.worker:
        from tests.fuzz.strict import no_negative_indexes

        no_negative_indexes()
        share, first = json.loads(asked.worker)
        work(share, asked.seed, first, asked.place, asked.out)
        return 0
    before = {path.name for path in asked.out.iterdir()}
    print(f"{'entry':12} {'inputs':>9} {'made s':>8} {'read s':>8} {'slowest s':>9} {'MiB':>6} {'deaths':>6}")
    share = plan(asked.inputs, asked.entry)
    for name, f in supervise(share, asked.seed, asked.out, checked=asked.checked):
        print(
            f"{name:12} {f['inputs']:>9.0f} {f['make_s']:>8.1f} {f['read_s']:>8.1f} {f['slowest_s']:>9.2f} "
            f"{f['mib']:>6.0f} {f['deaths']:>6.0f}", flush=True,
        )  # fmt: skip
    found = sorted({path.name for path in asked.out.iterdir() if path.suffix != ".txt"} - before)
    print("found:", ", ".join(found) or "nothing")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
