"""One trace as two points of its path saw it: `seen_twice(talk, not_there={9, 10})`.

The trace is what the point beside the client has. A segment of the client is `delay` later at the other point, one of
the server `delay` earlier; the other clock is `ahead`. Frames are counted from 1, as in the trace.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection
from pathlib import Path

from analyzer import Comparison, compare
from tests.talk import Duration, Packet, Talk, ns, write_pcap

Change = Callable[[bytes], bytes]


def seen_twice(
    trace: Talk | list[Packet],
    *,
    not_here: Collection[int] = (),
    not_there: Collection[int] = (),
    delay: Duration = "5ms",
    ahead: Duration = "1h",
    change: Change = bytes,
) -> tuple[list[Packet], list[Packet]]:
    """Return the packets of the client's and of the server's point; `change` bends frames on their way there."""
    packets = trace.packets if isinstance(trace, Talk) else trace
    here = [packet for number, packet in enumerate(packets, 1) if number not in not_here]
    there = []
    for number, (ts, frame) in enumerate(packets, 1):
        by_client = frame[11] == 1  # the source's MAC, as `Talk` makes them
        if number not in not_there:
            there.append((ts + ns(ahead) + (ns(delay) if by_client else -ns(delay)), change(frame)))
    return here, sorted(there, key=lambda packet: packet[0])


def compared(
    folder: Path, here: list[Packet], there: list[Packet], *, turned: bool = False, link: int = 1
) -> Comparison:
    """Return the comparison of two lists of packets; `turned` names the server's capture first."""
    files = [folder / "client.pcap", folder / "server.pcap"]
    for file, packets in zip(files, (here, there), strict=True):
        file.write_bytes(write_pcap(packets, link, nano=True))
    return compare(*(reversed(files) if turned else files))


def translated(port: int) -> Change:
    """Return what a NAT does to a frame: the client's address and port are others behind it."""

    def change(frame: bytes) -> bytes:
        ip, tcp = (26, 34) if frame[11] == 1 else (30, 36)
        frame = frame[:ip] + bytes((192, 0, 2, 1)) + frame[ip + 4 :]
        return frame[:tcp] + struct.pack("!H", port) + frame[tcp + 2 :]

    return change


def rewritten(by: int) -> Change:
    """Return what a firewall does that hides the client's initial sequence number: it adds `by` to all of its."""

    def change(frame: bytes) -> bytes:
        at, added = (38, by) if frame[11] == 1 else (42, by)
        number = struct.unpack("!I", frame[at : at + 4])[0]
        return frame[:at] + struct.pack("!I", (number + added) % 2**32) + frame[at + 4 :]

    return change
