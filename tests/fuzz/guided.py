"""Fuzzing led by coverage, with atheris (`pip install atheris`): kernels run as Python, and each branch of them counts.

python -m tests.fuzz.guided NAME FOLDER -max_total_time=600    other options are libFuzzer's

NAME is `files` (a capture file), `decode` (an Ethernet frame), or a protocol of `entries.PROTOCOLS` (what two sides
say). FOLDER holds what reached something new, and is begun with our seeds. What broke something is written as
crash-... where the command was given. Slow, about a hundred inputs a second; `run` is for millions.
"""

from __future__ import annotations

import gc
import os
import sys
import tempfile
from pathlib import Path
from random import Random

os.environ["NUMBA_DISABLE_JIT"] = "1"  # before anything of ours is imported

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["analyzer"]):
    from tests.fuzz import entries

from tests.fuzz.seeds import Packet, Talk, seeds, write_packets


def as_bytes(talk: Talk) -> bytes:
    """Write a conversation as bytes: before each turn two bytes of length, the highest bit its direction."""
    parts = ((direction, data[at : at + 0x7FFF]) for direction, data in talk for at in range(0, len(data), 0x7FFF))
    return b"".join((direction << 15 | len(data)).to_bytes(2, "big") + data for direction, data in parts)


def as_talk(data: bytes) -> Talk:
    """The other way around; any bytes are a conversation."""
    talk: Talk = []
    at = 0
    while at + 2 <= len(data) and len(talk) < 32:
        word = int.from_bytes(data[at : at + 2], "big")
        talk.append((word >> 15, data[at + 2 : at + 2 + (word & 0x7FFF)]))
        at += 2 + (word & 0x7FFF)
    return talk


def capture_of(name: str, data: bytes) -> bytes:
    """Return the capture that an input stands for."""
    if name == "files":
        return data
    if name == "decode":
        return write_packets([Packet(10**9, data, len(data), 1)])
    said = entries.say(Random(0), as_talk(data), 0).packets
    return write_packets([Packet(ts_ns, frame, len(frame), 1) for ts_ns, frame in said])


def begin(name: str, folder: Path) -> None:
    """Put small seeds into the folder."""
    if name == "files":
        given = [data for data in seeds().files if len(data) < 4096]
    elif name == "decode":
        given = [trace[0].data for trace in seeds().traces if trace[0].link == 1]
    else:
        given = [as_bytes(talk) for talk in seeds().talks[name]]
    for number, data in enumerate(given[:300]):
        (folder / f"seed-{number}").write_bytes(data[:4096])


def main() -> None:
    """Run libFuzzer."""
    name, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    begin(name, folder)
    read = {"files": entries.read_file, "decode": entries.decode}.get(name, entries.analyse)
    current = Path(tempfile.mkdtemp()) / "current"

    def one(data: bytes) -> None:
        current.write_bytes(capture_of(name, data))
        read(current)
        gc.collect()  # an engine is in a circle of references

    atheris.Setup([sys.argv[0], str(folder), "-max_len=4096", "-timeout=20", "-rss_limit_mb=4096", *sys.argv[3:]], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
