"""These protocols as the protocol stage runs them: state by connection, and the beats that the kernel noted."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from analyzer.kernel import I32, Mask, Records, clear_rows, distinct, grown, records, roomy
from analyzer.protocols.beats import CONTROL
from analyzer.protocols.messages.frame import frame_messages
from analyzer.protocols.messages.state import CONNECTION, COUNTERS, NOTED, STREAM
from analyzer.protocols.reader import Chunk, Shared

_SHORTEST = 2  # bytes of MQTT's ping
_MANY_ROWS = 1 << 16  # then they are handed over


class Messages:
    """Owns what is remembered of connections that speak one of these protocols."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.places: I32 = np.zeros(1024, np.int32)
        self.streams = records(16, STREAM)
        self.connections = records(8, CONNECTION)
        self.noted = records(256, NOTED)
        self.meta = records(1, COUNTERS)
        self.meta["free"] = -1

    def feed(self, index: I32, volume: int) -> None:
        """Read spans; see `reader.Reader`."""
        a, m = self.shared, self.meta[0]
        if self.places.size < a.channels.shape[0]:
            longer: I32 = np.zeros(a.channels.shape[0], np.int32)
            longer[: self.places.size] = self.places
            self.places = longer
        most = int(m["used"]) + distinct(a.spans["channel"][index]).size
        self.streams, self.connections = grown(self.streams, 2 * most), grown(self.connections, most)
        self.noted = roomy(self.noted, int(m["n"]), volume // _SHORTEST + 2 * index.size)
        frame_messages(
            index, a.spans, a.data, a.pages, a.aside, a.channels, a.apps, self.places, self.streams,
            self.connections, self.noted, a.silences, a.queue, a.stage, self.meta,
        )  # fmt: skip
        if int(m["n"]) > _MANY_ROWS:
            self.show_beats()

    def close(self, chosen: I32) -> None:
        """The flows of these channels are over: beats of what was never proven are none."""
        mine = chosen[chosen < self.places.size]
        mine = mine[self.places[mine] > 0]
        if mine.size == 0:
            return
        self.show_beats()
        over = self.places[mine].astype(np.int64) - 1
        rows = self.noted[: int(self.meta[0]["n"])]
        self._keep(rows[~np.isin(rows["place"], over)])
        pair = (2 * over[:, None] + np.arange(2)).ravel()
        clear_rows(self.streams, pair)
        clear_rows(self.connections, over)
        self.connections["next"][over] = np.append(over[1:], self.meta[0]["free"])
        self.meta["free"] = over[0]
        self.places[mine] = 0

    def show_beats(self) -> None:
        """Hold the beats of connections whose protocol is proven by now."""
        rows = self.noted[: int(self.meta[0]["n"])]
        if rows.shape[0] == 0:
            return
        told = self.connections[rows["place"]]
        proven: Mask = (told["proven"] == 1) & (told["unsure"] == 0)
        ready = rows[proven]
        held = np.zeros(ready.shape[0], CONTROL)
        for name in CONTROL.names or ():
            held[name] = ready[name]
        self.shared.beats.hold(held)
        self._keep(rows[~proven])

    def _keep(self, rows: Records) -> None:
        self.noted[: rows.shape[0]] = rows
        self.meta["n"] = rows.shape[0]

    def rows(self, *, everything: bool) -> Iterator[Chunk]:
        """Yield nothing: these protocols have no tables of their own."""
        return iter(())
