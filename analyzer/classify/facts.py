"""Finished flows as columns that the classifiers read: both sides as (2, n) arrays, sides picked by index."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from analyzer.decode.segment import ACK
from analyzer.flows.state import LIVE
from analyzer.flows.tracker import Finished
from analyzer.kernel import I64, Mask, Records
from analyzer.protocols.stage import Applications
from analyzer.settings import Settings

if TYPE_CHECKING:
    from analyzer.classify.farewell import Farewell

Array = NDArray[Any]


class Columns(dict[str, Array]):
    """Fields of records, each column put together when it is first asked for.

    Dozens of classifiers ask for the same ones, and in rows of half a kilobyte they lie far apart.
    """

    def __init__(self, of: Callable[[str], Array]) -> None:
        self._of = of

    def __missing__(self, name: str) -> Array:
        column = self[name] = self._of(name)
        column.flags.writeable = False
        return column

    def at(self, rows: I64) -> Columns:
        """Return the columns of these rows alone."""
        return Columns(lambda name: self[name][rows])


def _columns(rows: Records) -> Columns:
    return Columns(lambda name: np.ascontiguousarray(rows[name]))


class Facts:
    """What is known of n finished flows.

    flow (n,) FLOW    client, server (n,) SIDE    app (n,) APP    hosts (n,) Host of the first request
    sni, alpn (n,) of TLS
    capture_end_ns  time of the last packet so far    end_ns (n,)  until when each flow was watched
    together  with how many others of its server each ended, 0 = alone, and within how many ns (`bursts`)
    """

    def __init__(self, done: Finished, applications: Applications, end_ns: int, settings: Settings) -> None:
        self.done = done
        self.flow = _columns(done.flows)
        self.app = _columns(applications.apps)
        self.hosts = applications.hosts
        self.sni, self.alpn = applications.sni, applications.alpn
        self.silences: Records = applications.silences
        self.beats: Records = applications.beats
        self.said: Records = applications.said
        self.client = _columns(done.sides[0::2])
        self.server = _columns(done.sides[1::2])
        self.capture_end_ns = end_ns
        watched = np.maximum(end_ns, self.flow["last_ts"])  # a flow's own clock may be ahead
        self.end_ns: I64 = np.where(self.flow["ended"] == LIVE, watched, self.flow["ended_ts"])
        self.settings = settings
        self.n = int(done.flows.shape[0])
        self.together: tuple[I64, I64] = (np.zeros(self.n, np.int64), np.zeros(self.n, np.int64))

    def of(self, side: Array, field: str) -> Array:
        """Return SIDE `field` of the client where `side` is 0, of the server where it is 1."""
        picked: Array = np.where(side == 0, self.client[field], self.server[field])
        return picked

    def rows_of(self, flow_ids: I64) -> I64:
        """Return the row of each flow, -1 if it is not here."""
        order, ids = self._by_id
        if not ids.size:
            return np.full(flow_ids.shape[0], -1, np.int64)
        at = np.minimum(np.searchsorted(ids, flow_ids), ids.size - 1)
        return np.where(ids[at] == flow_ids, order[at], -1)

    @cached_property
    def gap_row(self) -> I64:
        """The row of each finished silence's flow, -1 if it is not here."""
        return self.rows_of(self.done.gaps["flow_id"])

    @cached_property
    def gap_class(self) -> Array:
        """The class of each finished silence, with what protocols know."""
        from analyzer.classify.idle_gap import in_phase

        return in_phase(self, self.done.gaps)

    @cached_property
    def survived_idle(self) -> tuple[I64, I64]:
        """The idle silences that were survived: row of the flow, and length in ns; last words survive nothing."""
        from analyzer.classify.idle_gap import survived_idle

        return survived_idle(self)

    @cached_property
    def farewell(self) -> Farewell:
        """Who said goodbye before the close, and after which silence."""
        from analyzer.classify.farewell import farewells

        return farewells(self)

    @cached_property
    def last_words(self) -> tuple[I64, I64]:
        """`goodbye.last_words`."""
        from analyzer.classify.goodbye import last_words

        return last_words(self)

    @cached_property
    def _by_id(self) -> tuple[I64, I64]:
        order = np.argsort(self.flow["flow_id"], kind="stable")
        return order, self.flow["flow_id"][order]

    def both(self, field: str) -> Array:
        """Return SIDE `field` as (2, n): client, server."""
        return np.stack([self.client[field], self.server[field]])

    @cached_property
    def path_rtt(self) -> I64:
        """Round trip of the whole path in ns: smoothed samples of both parts, else the handshake's, else 0."""
        smoothed = self.client["srtt"] + self.server["srtt"]
        rtt: I64 = np.where(smoothed > 0, smoothed, self.flow["handshake_rtt"])
        return rtt

    @cached_property
    def stimulus_ns(self) -> I64:
        """How soon a RST must follow a segment to have been provoked by it (definitions B5)."""
        window: I64 = np.maximum(self.settings.stimulus_ns, self.path_rtt + self.path_rtt // 2)
        return window

    @cached_property
    def both_fins_acked(self) -> Mask:
        """Both directions closed in order and both ends know."""
        both: Mask = (self.client["fin_acked_ts"] != 0) & (self.server["fin_acked_ts"] != 0)
        return both | self.reset_for_ack

    @cached_property
    def reset_for_ack(self) -> Mask:
        """A RST,ACK stands for the last ACK: its side had closed, and had all that the other one sent up to its FIN."""
        result = np.zeros(self.n, np.bool_)
        for x, y in ((self.client, self.server), (self.server, self.client)):
            own = (x["fin_acked_ts"] != 0) & (x["fin_acked_ts"] <= x["rst_ts"])
            acks = ((x["rst_flags"] & ACK) != 0) & (x["rst_ack"] == (y["fin_seq"] & 0xFFFFFFFF))
            first = (y["fin_seq"] != 0) & (y["fin_ts"] <= x["rst_ts"]) & (y["fin_acked_ts"] == 0) & (y["rst_ts"] == 0)
            nothing_late = y["fin_seq"] - 1 <= x["fin_ack"]  # what came after its own FIN it may not have read
            result |= own & acks & first & nothing_late
        return result
