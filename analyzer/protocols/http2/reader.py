"""HTTP/2 as the protocol stage runs it: state by connection, the kernel's arrays, HPACK for header blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from analyzer.kernel import I32, U8, clear_rows, distinct, grown, records, roomy
from analyzer.protocols.channel import HTTP2, UNDECIDED, WEBSOCKET
from analyzer.protocols.events import EVENT_BEAT, SHORTEST_BEAT, held_beats
from analyzer.protocols.http2.frame import frame_http2
from analyzer.protocols.http2.headers import BlockError, Fields, HeaderTable, Said, said_by, take_request, take_response
from analyzer.protocols.http2.rows import frame_rows, heartbeats, request_rows
from analyzer.protocols.http2.state import (
    ASKED,
    CONNECTION,
    EVENTS,
    EXCHANGE,
    FRAME,
    HEAD_BYTES,
    KEPT_MAX,
    MAX_EXCHANGES,
    MAX_PINGS,
    MAX_SOCKETS,
    NO_SOCKET,
    OPEN,
    PIECE,
    PIECE_ASK,
    PIECE_BROKEN,
    PIECE_BYTES,
    PINGS,
    STREAM,
    TUNNEL,
)
from analyzer.protocols.http2.state import HTTP2 as COUNTERS
from analyzer.protocols.http2.streams import close_http2, find_exchange, set_socket
from analyzer.protocols.http2.tunnel import open_tunnel
from analyzer.protocols.http2.upgrade import Upgraded
from analyzer.protocols.oddities import (
    H2_BAD_HPACK,
    H2_BLOCK_CAP,
    H2_HEADER_LIST_CAP,
    H2_HPACK_CAP,
    H2_HPACK_UNKNOWN,
    H2_WEBSOCKET_CAP,
)
from analyzer.protocols.reader import Chunk, Shared
from analyzer.protocols.websocket.handshake import Handshake

if TYPE_CHECKING:
    import pyarrow as pa

_MANY_ROWS, _MUCH_TEXT = 1 << 15, 16 << 20  # then they become a table

# Directions whose header table is kept at once, 64 KiB each at most: 256 MiB in the worst case.
MAX_TABLES = 4096
# Bytes of header blocks whose end has not come, of all connections together.
MAX_PARTIAL = 64 << 20
# Characters of exchanges that are not in a table yet, of all connections together.
MAX_SAID = 64 << 20
_NOTHING = Said()


class Http2:
    """Owns what is remembered of HTTP/2 connections."""

    def __init__(self, shared: Shared, *, list_all: bool = False) -> None:
        self.shared = shared
        self.shown = 0  # frames that were looked at for heartbeats, of those that wait to become rows
        self.places: I32 = np.full(1024, -1, np.int32)
        self.free: list[int] = []
        self.used = 0
        self.streams = records(16, STREAM)
        self.connections = records(8, CONNECTION)
        self.pings = records(16 * MAX_PINGS, PINGS)
        self.frames, self.done, self.pieces = records(1024, FRAME), records(1024, EXCHANGE), records(1024, PIECE)
        self.exchanges = records(MAX_EXCHANGES + 1, EXCHANGE)
        self.beats = records(64, EVENT_BEAT)
        self.heap: U8 = np.zeros(4096, np.uint8)
        self.arena: U8 = np.zeros(4096, np.uint8)
        self.meta = records(1, COUNTERS)
        self.meta["n_exchanges"] = 1  # the first is nobody's
        self.meta["list_all"] = list_all
        self.tables: dict[int, HeaderTable] = {}
        self.partial: dict[int, bytearray] = {}
        self.partial_bytes = 0
        self.said: dict[int, Said] = {}
        self.said_chars, self.text_full = 0, 0
        self._hosts: dict[int, str] = {}  # of the first request, by slot

    # ------------------------------------------------------------------------------------ bytes
    def feed(self, index: I32, volume: int) -> None:
        """Read spans; see `reader.Reader`."""
        a = self.shared
        for channel in distinct(a.spans["channel"][index]).tolist():
            if (channel >= self.places.size or self.places[channel] < 0) and a.channels[channel]["reader"] == HTTP2:
                self._place(channel)
        self._make_room(volume // HEAD_BYTES + 2 * index.size, volume, index.size)
        frame_http2(
            index, a.spans, a.data, a.pages, a.aside, a.channels, a.apps, self.places, self.streams,
            self.connections, self.pings, self.frames, self.exchanges, self.done, self.beats, self.pieces, self.heap,
            self.arena, a.oddities, a.silences, a.queue, a.stage, self.meta,
        )  # fmt: skip
        self._read_blocks()
        if int(self.meta["n_beats"][0]) > _MANY_ROWS:
            self.show_beats()
        if int(self.meta["n_waiting"][0]):
            self.connections["waits"][: self.used] = 0
            self.meta["n_waiting"] = 0

    def open(self, upgraded: Upgraded) -> None:
        """The bytes of a channel are HTTP/2 from here on; the request that asked for it is stream 1."""
        if self.shared.channels[upgraded.channel]["reader"] != HTTP2:
            return
        h = self.connections[self._place(upgraded.channel)]
        m = self.meta[0]
        m["serial"] += 1
        h["upgrade_serial"], h["upgrade_reused"], h["opened"] = m["serial"], upgraded.index > 0, upgraded.index + 1
        h["upgrade_ts"], h["upgrade_end_ts"] = upgraded.request_ts, upgraded.request_end_ts
        h["upgrade_frame"], h["upgrade_bytes"] = upgraded.request_frame, upgraded.request_bytes
        h["upgrade_idle"] = upgraded.idle_before
        said = self.said[int(m["serial"])] = said_by(upgraded)
        self.said_chars += said.size

    def _place(self, channel: int) -> int:
        """Make room for the state of a channel and return where it is."""
        if channel >= self.places.size:
            longer: I32 = np.full(max(channel + 1, 2 * self.places.size), -1, np.int32)
            longer[: self.places.size] = self.places
            self.places = longer
        if self.free:
            place = self.free.pop()
        else:
            place = self.used
            self.used += 1
            self.streams = grown(self.streams, 2 * self.used)
            self.connections = grown(self.connections, self.used)
            self.pings = grown(self.pings, 2 * MAX_PINGS * self.used)
        self.places[channel] = place
        self.connections[place]["channel"] = channel
        return place

    def _make_room(self, n: int, volume: int, spans: int) -> None:
        """Make room for what `n` frames give: a row, the end of a stream, three pieces of a header block."""
        m = self.meta[0]
        self.frames = roomy(self.frames, int(m["n_frames"]), n)
        self.done = roomy(self.done, int(m["n_done"]), n)
        self.pieces = roomy(self.pieces, 0, 3 * n)
        self.heap = roomy(self.heap, int(m["heap"]), volume + KEPT_MAX * spans)
        self.arena = roomy(self.arena, 0, volume)
        self.beats = roomy(self.beats, int(m["n_beats"]), volume // SHORTEST_BEAT + spans)
        m["arena"], m["n_pieces"] = 0, 0

    # ------------------------------------------------------------------------------------ header blocks
    def _read_blocks(self) -> None:
        """Put the pieces of header blocks together, and read those that are whole."""
        pieces = self.pieces[: int(self.meta[0]["n_pieces"])].tolist()
        for stream, what, at, length, serial, of_request, ts, frame in pieces:
            if what == PIECE_BYTES:
                if self.partial_bytes + length > MAX_PARTIAL:
                    self._note(H2_BLOCK_CAP, stream, frame)
                    self._forget_block(stream)
                    self.tables[stream] = HeaderTable(known=False)
                else:
                    self.partial.setdefault(stream, bytearray()).extend(self.arena[at : at + length].tobytes())
                    self.partial_bytes += length
                continue
            if what == PIECE_ASK:
                self._tell_events(stream >> 1, serial)
                continue
            block = self._forget_block(stream)
            if what == PIECE_BROKEN:
                if self._table(stream, frame) is not None:
                    self.tables[stream] = HeaderTable(known=False)
                continue
            fields = self._fields(stream, block, frame)
            if fields is not None and serial:
                self._take(stream, serial, fields, of_request, ts, frame)

    def _tell_events(self, place: int, serial: int) -> None:
        """Answer whether the response of an exchange is an event stream."""
        if serial in self.said and self.said[serial].events:
            at = find_exchange(place, serial, self.connections, self.exchanges)
            if at >= 0:
                self.exchanges[at]["events"] = EVENTS

    def _forget_block(self, stream: int) -> bytes:
        block = bytes(self.partial.pop(stream, b""))
        self.partial_bytes -= len(block)
        return block

    def _table(self, stream: int, frame: int) -> HeaderTable | None:
        table = self.tables.get(stream)
        if table is None:
            if len(self.tables) >= MAX_TABLES:
                self._note(H2_HPACK_CAP, stream, frame)
                return None
            joined = bool(self.connections[stream >> 1]["joined"])
            table = self.tables[stream] = HeaderTable(known=not joined)
        return table

    def _fields(self, stream: int, block: bytes, frame: int) -> Fields | None:
        """Return the fields of a block, None if it cannot be read; then the table is not known any more."""
        table = self._table(stream, frame)
        if table is None:
            return None
        try:
            return table.read(block)
        except BlockError as error:
            self._note((H2_HEADER_LIST_CAP, H2_HPACK_UNKNOWN, H2_BAD_HPACK)[error.why], stream, frame)
        self.tables[stream] = HeaderTable(known=False)
        return None

    def _take(
        self, stream: int, serial: int, fields: Fields, of_request: int, ts: int, frame: int
    ) -> None:  # fmt: skip
        """Keep what a block says of its exchange, and of the flow."""
        said = self.said.setdefault(serial, Said())
        self.said_chars -= said.size
        was_unknown, said.unknown = said.unknown, False
        if of_request:
            take_request(said, fields)
        else:
            take_response(said, fields, ts, frame)
        if said.unknown:
            self._note(H2_HPACK_UNKNOWN, stream, frame)
        said.unknown = said.unknown or was_unknown
        if self.said_chars + said.size > MAX_SAID:
            said.target = None
            self.text_full += 1  # told as http.text_cap
        self.said_chars += said.size
        slot = int(self.shared.channels[int(self.connections[stream >> 1]["channel"])]["slot"])
        if said.grpc:
            self.shared.apps[slot]["grpc"] = 1
        if said.is_tunnel or said.protocol == "websocket":
            self._take_socket(stream >> 1, serial, said, frame, of_request=bool(of_request))
        if of_request and said.host:
            self._hosts.setdefault(slot, said.host)

    def _take_socket(self, place: int, serial: int, said: Said, frame: int, *, of_request: bool) -> None:
        """A WebSocket or a tunnel was asked for, or was granted: then its stream's bytes get a channel."""
        h = self.connections[place]
        if of_request:
            if said.status is not None or said.method != "CONNECT" or not (said.is_tunnel or h["connect"]):
                return
            if int(h["sockets_ever"]) >= MAX_SOCKETS:
                self._note(H2_WEBSOCKET_CAP, 2 * place, frame)
                return
            set_socket(place, serial, ASKED, 0, self.connections, self.exchanges)
            said.asked = True
        elif said.asked and said.status is not None:
            said.asked = False
            if not 200 <= said.status < 300:
                set_socket(place, serial, NO_SOCKET, 0, self.connections, self.exchanges)
                return
            a, parent = self.shared, int(h["channel"])
            a.channels = grown(a.channels, int(a.stage[0]["n_channels"]) + 1)
            at = find_exchange(place, serial, self.connections, self.exchanges)
            if at < 0:  # the answer ended it
                return
            stream_id = int(self.exchanges[at]["stream_id"])
            reader = UNDECIDED if said.is_tunnel else WEBSOCKET
            child = open_tunnel(parent, stream_id, int(h["client"]), reader, a.slot_channel, a.channels, a.stage)
            what = TUNNEL if said.is_tunnel else OPEN
            set_socket(place, serial, what, child, self.connections, self.exchanges)
            if said.is_tunnel:
                return
            extensions = (said.websocket_extensions or "").encode() or None
            a.open_websockets([Handshake(child, frame, None, None, extensions, keyed=False)])

    def _note(self, code: int, stream: int, frame: int) -> None:
        odd = self.shared.oddities[code]
        if odd["count"] == 0:
            channel = int(self.connections[stream >> 1]["channel"])
            odd["flow_id"], odd["frame"] = self.shared.channels[channel]["flow_id"], frame
        odd["count"] += 1

    # ------------------------------------------------------------------------------------ the end
    def close(self, chosen: I32) -> None:
        """The flows of these channels are over."""
        mine = chosen[chosen < self.places.size]
        mine = mine[self.places[mine] >= 0]
        if mine.size == 0:
            return
        over = self.places[mine]
        self.done = roomy(self.done, int(self.meta[0]["n_done"]), int(self.connections["streams"][over].sum()))
        a = self.shared
        close_http2(
            mine, self.places, a.channels, a.flows, a.apps, self.connections, self.exchanges, self.done, self.meta
        )  # fmt: skip
        pair = (2 * over.astype(np.int64)[:, None] + np.arange(2)).ravel()
        clear_rows(self.streams, pair)
        clear_rows(self.connections, over)
        for stream in pair.tolist():
            self.tables.pop(stream, None)
            self._forget_block(stream)
        self.free.extend(over.tolist())
        self.places[mine] = -1

    def hosts(self, slots: I32) -> pa.Array:
        """Return the authority of the first request of each flow, null if there was none."""
        import pyarrow as pa

        if not self._hosts:
            return pa.nulls(slots.size, pa.string())
        return pa.array([self._hosts.get(slot) for slot in slots.tolist()], pa.string())

    def release(self, slots: I32) -> None:
        """The slots will be used for other flows."""
        if self._hosts:
            for slot in slots.tolist():
                self._hosts.pop(slot, None)

    def show_beats(self) -> None:
        """Hold the pings among the frames that were read since the last time, and the beats of event streams."""
        self.shared.beats.hold(held_beats(self.beats, self.meta[0]))
        n = int(self.meta["n_frames"][0])
        if n != self.shown:
            self.shared.beats.hold(heartbeats(self.frames[self.shown : n]))
            self.shown = n

    def rows(self, *, everything: bool) -> Iterator[Chunk]:
        """Yield finished frames and streams."""
        m = self.meta[0]
        frames, done = int(m["n_frames"]), int(m["n_done"])
        if max(frames, done) >= _MANY_ROWS or int(m["heap"]) >= _MUCH_TEXT or everything:
            self.show_beats()
            self.shown = 0
            if frames:
                yield "http2_frames", frame_rows(self.frames[:frames], self.heap)
            if done:
                ended = self.done[:done]
                said = [self.said.pop(serial, _NOTHING) for serial in ended["serial"].tolist()]
                self.said_chars -= sum(one.size for one in said)
                yield "http_requests", request_rows(ended, said)
            m["n_frames"], m["n_done"], m["heap"] = 0, 0, 0
