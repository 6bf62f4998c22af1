"""How late it is in a capture: the time of its latest packet, unless that packet's clock is plainly wrong.

One frame dated years ahead would make every connection silent for years, and what comes after it look like another
connection. So a jump of more than a month is believed when a second packet confirms it. (The first packet is believed.)
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import Records, helper, kernel, records

CLOCK = np.dtype([("latest", np.int64), ("far", np.int64)], align=True)  # far: a time to be confirmed, 0 = none
JUMP_NS = 30 * 86_400 * 10**9  # the longest silence that a capture may have (see `capture.pcap`)


def new_clock() -> Records:
    """Return a clock that no packet has moved."""
    return records(1, CLOCK)


@helper
def moved(ts: int, latest: int, far: int) -> tuple[int, int]:
    """Return (latest, far) after a packet at `ts`, which is later than `latest`; latest  0 before the first."""
    if latest == 0 or ts - latest <= JUMP_NS:
        return ts, far
    if far != 0 and abs(ts - far) <= JUMP_NS:
        return max(ts, far), 0
    return latest, ts


@kernel
def move_clock(packets: Records, clock: Records) -> None:
    """Let the packets of a batch pass. packets (n,) PACKET    clock (1,) CLOCK"""
    c = clock[0]
    for i in range(packets.size):
        if packets[i].ts_ns > c.latest:
            c.latest, c.far = moved(packets[i].ts_ns, c.latest, c.far)
