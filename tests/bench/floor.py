"""What no program in Python that writes these tables as Parquet can go below: `python -m tests.bench.floor FILE...`

Whole processes, median of seven, file in the page cache:

start   imports numpy and pyarrow.parquet, and ends
read    the same, and another thread reads the capture meanwhile
write   the same, and then writes the tables that longwire makes of it, two at a time, as longwire does: they lie
        ready in mapped files, so no packet was looked at, no row made and nothing sorted
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.bench.bench import Runs, into_cache, run

_CODE = """
import os, sys, threading
what, capture, ready, out = sys.argv[1:]
def read():
    room = bytearray(1 << 22)
    with open(capture, "rb", buffering=0) as file:
        while file.readinto(room):
            pass
reader = threading.Thread(target=read)
if what != "start":
    reader.start()
import numpy
import pyarrow as pa, pyarrow.parquet as pq
if what != "start":
    reader.join()
def write(names):
    for name in names:
        with pa.memory_map(f"{ready}/{name}") as file:
            rows = pa.ipc.open_file(file).read_all()
            words = [field.name for field in rows.schema if field.type == pa.string()]
            pq.write_table(rows, f"{out}/{name}", compression="snappy", use_dictionary=words, row_group_size=1 << 17)
if what == "write":
    names = sorted(os.listdir(ready), key=lambda name: -os.path.getsize(f"{ready}/{name}"))
    other = threading.Thread(target=write, args=(names[1::2],))
    other.start()
    write(names[0::2])
    other.join()
os._exit(0)
"""
STEPS = ("start", "read", "write")


def make_ready(capture: Path, folder: Path) -> None:
    """Write the tables of a capture as Arrow files."""
    import pyarrow as pa

    from analyzer import analyze

    analysis = analyze(capture)
    for name in analysis:
        rows = analysis.arrow(name).combine_chunks()
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
            writer.write_table(rows)


def main() -> None:
    """Print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    for capture in given.files:
        with tempfile.TemporaryDirectory() as ready, tempfile.TemporaryDirectory() as out:
            make_ready(capture, Path(ready))
            runs = {step: Runs() for step in STEPS}
            for _ in range(given.rounds):
                for step in STEPS:
                    into_cache(capture)
                    run([sys.executable, "-c", _CODE, step, str(capture), ready, out], runs[step])
        print(capture.name, ", ".join(f"{step} {runs[step].s:.2f} s" for step in STEPS))


if __name__ == "__main__":
    main()
