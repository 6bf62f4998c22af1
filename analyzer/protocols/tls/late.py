"""Records that wait for their secrets: a program logs those after its handshake is on the wire, or a moment too late.

What    The first encrypted records of each connection, copied, until every secret of it is there. Only where secrets
        may still come: a running capture, and a capture file that brings its own.
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import U8, Records
from analyzer.protocols.tls.sealed import SEALED

# Of one connection: its handshake, and what both sides say in the half second in which a log is written
MAX_RECORDS, MAX_BYTES = 256, 1 << 17
# Of all: those that began first are given up, as their secrets are the least likely to come
MAX_TOTAL = 64 << 20


class Late:
    """What waits, by channel; the dictionary is in the order in which connections began to wait."""

    def __init__(self) -> None:
        self.waiting: dict[int, tuple[list[Records], bytearray]] = {}
        self.total = 0

    def hold(self, channel: int, rows: Records, kept: U8) -> bool:
        """Keep records, and the bytes in `kept` that they point to; return whether more may be held."""
        held, text = self.waiting.setdefault(channel, ([], bytearray()))
        mine = rows.copy()
        before = len(text)
        for row in mine[mine["at"] >= 0]:
            at = int(row["at"])
            text += kept[at : at + int(row["length"])].tobytes()
        ends = np.cumsum(np.where(mine["at"] >= 0, mine["length"], 0))
        mine["at"] = np.where(mine["at"] >= 0, before + ends - mine["length"], -1)
        held.append(mine)
        self.total += len(text) - before
        return sum(part.shape[0] for part in held) < MAX_RECORDS and len(text) < MAX_BYTES

    def take(self, channel: int) -> tuple[Records, U8] | None:
        """Return the records of a channel and the bytes they point to, and forget them; None if there are none."""
        held = self.waiting.pop(channel, None)
        if held is None:
            return None
        self.total -= len(held[1])
        rows = np.concatenate(held[0]).view(np.recarray) if len(held[0]) > 1 else held[0][0]
        return rows.astype(SEALED, copy=False), np.frombuffer(bytes(held[1]) or bytes(1), np.uint8)

    def oldest(self) -> list[int]:
        """Return the channels to give up, so that memory stays bounded."""
        gone, left = [], self.total
        for channel, (_, text) in self.waiting.items():
            if left <= MAX_TOTAL:
                break
            gone.append(channel)
            left -= len(text)
        return gone
