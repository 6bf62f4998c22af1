"""Leave out packets of a capture that breaks something, as long as it still does.

python -m tests.fuzz.shrink FOUND NAME    writes tests/fuzz/crashers/NAME-NUMBER.pcapng

The number keeps the cuts and caps with which the file was read.

Each try runs in a process of its own, as a crash ends it. A file that is no longer broken when its packets are written
anew (the damage is in the file itself) is kept as it is.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

from analyzer.errors import AnalyzerError
from tests.fuzz.run import HANG_S, ROOT
from tests.fuzz.seeds import Packet, read_packets, write_packets

TARGET = Path(__file__).parent / "crashers"
_READ = (
    "import resource, sys; from pathlib import Path; from tests.fuzz.entries import READINGS; "
    f"resource.setrlimit(resource.RLIMIT_CPU, ({int(HANG_S)}, {int(HANG_S)})); "
    "[read(Path(sys.argv[1])) for read in READINGS]"
)


def breaks(data: bytes, number: int) -> bool:
    """Return whether reading a capture fails in any way."""
    with tempfile.NamedTemporaryFile(suffix=f"-{number}") as file:
        Path(file.name).write_bytes(data)
        done = subprocess.run([sys.executable, "-c", _READ, file.name], cwd=ROOT, capture_output=True, check=False)
    return done.returncode != 0


def shrink(packets: list[Packet], number: int) -> list[Packet]:
    """Return fewer packets that still break something: halves are left out first, then quarters, down to one."""
    step = len(packets) // 2
    while step:
        at = 0
        while at < len(packets):
            fewer = packets[:at] + packets[at + step :]
            if fewer and breaks(write_packets(fewer), number):
                packets = fewer
            else:
                at += step
        step //= 2
    return packets


def main() -> int:
    """Shrink one file."""
    found, name = Path(sys.argv[1]), sys.argv[2]
    data = found.read_bytes()
    number = zlib.crc32(data)
    if not breaks(data, number):
        print("it breaks nothing")
        return 1
    try:
        packets = read_packets(found)
    except AnalyzerError:
        packets = []
    if packets and breaks(write_packets(packets), number):
        data = write_packets(shrink(packets, number))
    target = TARGET / f"{name}-{number}.pcapng"
    target.write_bytes(data)
    print(f"{target}: {len(data)} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
