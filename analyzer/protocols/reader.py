"""What the protocol stage asks of a protocol, and what it lends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np

from analyzer.kernel import I32, U8, Records, records, roomy
from analyzer.protocols.beats import Beats
from analyzer.protocols.channel import CHANNEL, SILENCE, STAGE
from analyzer.protocols.http2.upgrade import Upgraded
from analyzer.protocols.oddities import new_oddities
from analyzer.protocols.websocket.handshake import Handshake

if TYPE_CHECKING:
    import pyarrow as pa

Chunk = tuple[str, "pa.Table"]


def _nobody(opened: Sequence[Handshake]) -> None:
    """Take WebSocket handshakes where nobody reads WebSocket."""


def _no_upgrade(upgraded: Upgraded) -> None:
    """Take an upgrade to HTTP/2 where nobody reads HTTP/2."""


def _nothing() -> U8:
    return np.zeros(1, np.uint8)


@dataclass(slots=True)
class Shared:
    """What all protocols see: the spans of this batch and the bytes they point into, channels, flows, counters.

    spans   SPAN rows, those that protocols added included    data, pages, aside  bytes (see streams.inorder)
    flows   FLOW by slot, only for what never changes (addresses, flow_id): the next batch is being followed meanwhile
    apps    APP by slot    channels  CHANNEL    slot_channel  first channel by slot, -1 = none
    beats   heartbeats and their answers, until their flow is over
    queue   rows of `spans` that another protocol has to read; stage.n_queue of them
    open_websockets  called by the protocol that carried WebSocket handshakes, before their channels' bytes are read
    open_http2  called by HTTP/1 for its Upgrade, as early
    """

    flows: Records
    apps: Records
    spans: Records
    data: U8 = field(default_factory=_nothing)
    pages: U8 = field(default_factory=_nothing)
    aside: U8 = field(default_factory=_nothing)
    channels: Records = field(default_factory=lambda: records(1024, CHANNEL))
    queue: I32 = field(default_factory=lambda: np.zeros(1024, np.int32))
    silences: Records = field(default_factory=lambda: records(1024, SILENCE))
    oddities: Records = field(default_factory=new_oddities)
    stage: Records = field(default_factory=lambda: records(1, STAGE))
    slot_channel: I32 = field(default_factory=lambda: np.full(1, -1, np.int32))
    open_websockets: Callable[[Sequence[Handshake]], None] = _nobody
    open_http2: Callable[[Upgraded], None] = _no_upgrade
    beats: Beats = field(default_factory=Beats)

    def make_room_for_silences(self, spans: int) -> None:
        """Before a protocol reads so many spans: each may end one."""
        self.silences = roomy(self.silences, int(self.stage[0]["n_silences"]), spans)

    def let_go(self) -> None:
        """Forget the protocols, so that the 20 MB of an engine that is done are free at once, not when cycles are."""
        self.open_websockets, self.open_http2 = _nobody, _no_upgrade


class Reader(Protocol):
    """One protocol: its state by channel, its kernel, its rows."""

    def feed(self, index: I32, volume: int) -> None:
        """Read the spans in rows `index` of the shared ones, `volume` bytes in all."""

    def close(self, chosen: I32) -> None:
        """The flows of these channels are over."""

    def show_beats(self) -> None:
        """Put the heartbeats that were read since the last time into `shared.beats`: flows are about to be judged."""

    def rows(self, *, everything: bool) -> Iterator[Chunk]:
        """Yield finished rows as tables, if they are many or `everything` is wanted."""
