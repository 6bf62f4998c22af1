"""WebSocket as the protocol stage runs it: state by connection, the kernel's arrays, zlib for what is compressed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from analyzer.anomalies import Ledger
from analyzer.kernel import I32, I64, U8, clear_rows, grown, records, roomy
from analyzer.protocols.channel import OPAQUE, PHASE_WEBSOCKET, WEBSOCKET
from analyzer.protocols.oddities import WS_FIRST
from analyzer.protocols.reader import Chunk, Shared
from analyzer.protocols.websocket.frame import close_websocket, frame_websocket
from analyzer.protocols.websocket.handshake import Deflate, Handshake
from analyzer.protocols.websocket.heartbeats import heartbeats
from analyzer.protocols.websocket.inflate import BombError, Inflater
from analyzer.protocols.websocket.message import read_inflated
from analyzer.protocols.websocket.rows import frame_rows, message_rows
from analyzer.protocols.websocket.state import (
    BAD_DEFLATE,
    BAD_UTF8,
    CONNECTION,
    CONTROL_MAX,
    DEFLATE_NO,
    DEFLATE_YES,
    FRAME,
    HEAD_MAX,
    MAX_PINGS,
    MESSAGE,
    PIECE,
    PIECE_BYTES,
    PIECE_END,
    PINGS,
    STREAM,
)  # fmt: skip
from analyzer.protocols.websocket.state import (
    WEBSOCKET as COUNTERS,
)

_MANY_ROWS, _MUCH_TEXT = 1 << 16, 16 << 20  # then they become a table
_WORDS = HEAD_MAX + CONTROL_MAX  # bytes that a span can put into the heap besides its own

# Directions whose window is kept at once, about 40 kB each: 160 MB in the worst case.
MAX_INFLATERS = 4096


class WebSocket:
    """Owns what is remembered of WebSocket connections."""

    def __init__(self, shared: Shared, *, payload: bool = False) -> None:
        self.shared = shared
        self.payload = payload
        self.shown = [0, 0]  # frames and messages that were looked at for heartbeats, of those that wait to become rows
        self.places: I32 = np.full(1024, -1, np.int32)
        self.free: list[int] = []
        self.used = 0
        self.streams = records(16, STREAM)
        self.connections = records(8, CONNECTION)
        self.pings = records(1 << 13, PINGS)  # so much grows in place, and 1 kB for each connection is a lot to copy
        self.frames, self.messages, self.pieces = records(1024, FRAME), records(1024, MESSAGE), records(1024, PIECE)
        self.heap: U8 = np.zeros(4096, np.uint8)
        self.arena: U8 = np.zeros(4096, np.uint8)
        self.meta = records(1, COUNTERS)
        self.inflaters: dict[int, Inflater] = {}
        self.counts = {"websocket.bad_handshake": 0, "websocket.old_draft": 0, "websocket.inflate_bomb": 0,
                       "websocket.inflate_cap": 0}  # fmt: skip
        self.first: dict[str, tuple[int, int]] = {}

    # ------------------------------------------------------------------------------------ connections
    def open(self, handshakes: Sequence[Handshake]) -> None:
        """The bytes of these channels are WebSocket from here on, where they are not known to be something else."""
        channels = self.shared.channels
        taken = []
        for opened in handshakes:
            is_own = channels[opened.channel]["reader"] == WEBSOCKET
            if is_own and opened.is_old:
                self._note("websocket.old_draft", int(channels[opened.channel]["flow_id"]), opened.frame)
                channels[opened.channel]["reader"] = OPAQUE
            elif is_own:
                if not opened.is_accepted:
                    self._note("websocket.bad_handshake", int(channels[opened.channel]["flow_id"]), opened.frame)
                taken.append(opened)
        if not taken:
            return
        chosen = np.array([opened.channel for opened in taken])
        places = self._place(chosen)
        slots = channels["slot"][chosen]
        self.shared.apps["reader"][slots], self.shared.apps["phase"][slots] = WEBSOCKET, PHASE_WEBSOCKET
        agreed = [opened.agreed() for opened in taken]
        deflate = [client is not None for client, _, _ in agreed]
        self.connections["deflate"][places] = np.where(deflate, DEFLATE_YES, DEFLATE_NO)
        self.connections["foreign"][places] = [foreign for _, _, foreign in agreed]
        for place, opened, (client, server, _) in zip(places.tolist(), taken, agreed, strict=True):
            if client is not None and server is not None:
                self._inflate_from(place, opened, client, server)

    def _inflate_from(self, place: int, opened: Handshake, client: Deflate, server: Deflate) -> None:
        """Both directions are compressed from here on."""
        channel = self.shared.channels[opened.channel]
        for direction, agreed in enumerate((client, server) if channel["client"] == 0 else (server, client)):
            if len(self.inflaters) >= MAX_INFLATERS:
                self._note("websocket.inflate_cap", int(channel["flow_id"]), opened.frame)
                break
            self.inflaters[2 * place + direction] = Inflater(agreed)
            self.connections[place]["inflate_s" if direction else "inflate_c"] = 1

    def _place(self, channels: I64) -> I64:
        """Return where the state of channels is, making room for those that have none."""
        self._know(int(channels.max()))
        new = list(dict.fromkeys(channels[self.places[channels] < 0].tolist()))
        if new:
            given = self.free[: len(new)]
            del self.free[: len(new)]
            more = len(new) - len(given)
            self.places[new] = given + list(range(self.used, self.used + more))
            self.used += more
            self.streams = grown(self.streams, 2 * self.used)
            self.connections = grown(self.connections, self.used)
            self.pings = grown(self.pings, 2 * MAX_PINGS * self.used)
            self.connections["channel"][self.places[new]] = new
        return self.places[channels].astype(np.int64)

    def _know(self, channel: int) -> None:
        """Make `places` long enough for this channel."""
        if channel >= self.places.size:
            longer: I32 = np.full(max(channel + 1, 2 * self.places.size), -1, np.int32)
            longer[: self.places.size] = self.places
            self.places = longer

    # ------------------------------------------------------------------------------------ bytes
    def feed(self, index: I32, volume: int) -> None:
        """Read spans; see `reader.Reader`."""
        a = self.shared
        channels = a.spans["channel"][index]
        self._know(int(channels.max(initial=0)))
        new = channels[self.places[channels] < 0]
        if (own := new[a.channels["reader"][new] == WEBSOCKET]).size:
            self._place(own)
        self._make_room(volume // 2 + 3 * index.size, volume, index.size)
        frame_websocket(
            index, a.spans, a.data, a.pages, a.aside, a.channels, a.apps, self.places, self.streams,
            self.connections, self.pings, self.frames, self.messages, self.pieces, self.heap, self.arena, a.oddities,
            a.silences, a.queue, a.stage, self.meta,
        )  # fmt: skip
        self._inflate()

    def _make_room(self, n: int, volume: int, spans: int) -> None:
        """Make room for `n` frames more: two bytes of payload make one, and each span may end one begun before."""
        m = self.meta[0]
        self.frames = roomy(self.frames, int(m["n_frames"]), n)
        self.messages = roomy(self.messages, int(m["n_messages"]), n)
        self.pieces = roomy(self.pieces, 0, 2 * n)
        self.heap = roomy(self.heap, int(m["heap"]), volume + _WORDS * spans)
        self.arena = roomy(self.arena, 0, volume)
        m["arena"], m["n_pieces"] = 0, 0

    def _inflate(self) -> None:
        """Give the pieces of compressed messages to zlib, and note what it said."""
        pieces = self.pieces[: int(self.meta[0]["n_pieces"])].tolist()
        told: list[tuple[int, int, int, bytes, int]] = []  # as `_tell` takes them
        last = b""  # piece that the end of its message follows at once
        for k, (stream, at, length, what, text, message, row, frame) in enumerate(pieces):
            inflater = self.inflaters.get(stream)
            if inflater is None:
                continue
            try:
                if what == PIECE_BYTES:
                    piece = self.arena[at : at + length].tobytes()
                    after = pieces[k + 1] if k + 1 < len(pieces) else None
                    if after is not None and (after[0], after[3], after[7]) == (stream, PIECE_END, frame):
                        last = piece
                    else:
                        inflater.take(piece, text=bool(text))
                elif what == PIECE_END:
                    piece, last = last, b""
                    size, head, valid = inflater.end(piece, text=bool(text))
                    told.append((message, stream >> 1, size, head, valid if text else -1))
                    if text and not valid:
                        self._name(row, frame)
                elif inflater.agreed.takeover:
                    self._give_up(stream)  # what follows may refer to what is missing
                else:
                    inflater.drop()
            except (zlib.error, BombError) as error:
                self._give_up(stream)
                flow_id = int(self.shared.channels[int(self.connections[stream >> 1]["channel"])]["flow_id"])
                if isinstance(error, BombError):
                    self._note("websocket.inflate_bomb", flow_id, frame)
                else:
                    self._count(BAD_DEFLATE, flow_id, frame)
        if told:
            self._tell(told)

    def _tell(self, told: list[tuple[int, int, int, bytes, int]]) -> None:
        """Put what came out of messages into their records: message, place, length, first bytes, are they UTF-8."""
        m = self.meta[0]
        rows, places, sizes, firsts, valid = zip(*told, strict=True)
        heads = b"".join(firsts)
        at = int(m["heap"])
        self.heap = roomy(self.heap, at, len(heads))
        self.heap[at : at + len(heads)] = np.frombuffer(heads, np.uint8)
        m["heap"] = at + len(heads)
        lengths, index = np.array([len(head) for head in firsts]), np.array(rows)
        self.messages["len"][index] = sizes
        self.messages["head_at"][index] = at + np.cumsum(lengths) - lengths
        self.messages["head_len"][index] = lengths
        self.messages["utf8_ok"][index] = valid
        read_inflated(
            index, np.array(places), self.messages, self.connections, self.shared.channels, self.heap
        )  # fmt: skip

    def _give_up(self, stream: int) -> None:
        """Messages of this direction are only counted from here on."""
        del self.inflaters[stream]
        self.connections[stream >> 1]["inflate_s" if stream & 1 else "inflate_c"] = 0

    def _name(self, row: int, frame: int) -> None:
        """A message inflated to what is not UTF-8: name it at the frame that ended it."""
        ended = self.frames[row]
        if ended["error"] == 0:
            ended["error"] = BAD_UTF8
        self._count(BAD_UTF8, int(ended["flow_id"]), frame)

    def _count(self, error: int, flow_id: int, frame: int) -> None:
        odd = self.shared.oddities[WS_FIRST + error - 1]
        odd["count"] += 1
        if odd["count"] == 1:
            odd["flow_id"], odd["frame"] = flow_id, frame

    def _note(self, code: str, flow_id: int, frame: int | None) -> None:
        self.counts[code] += 1
        if frame is not None:
            self.first.setdefault(code, (flow_id, frame))

    # ------------------------------------------------------------------------------------ the end
    def close(self, chosen: I32) -> None:
        """The flows of these channels are over."""
        mine = chosen[chosen < self.places.size]
        mine = mine[self.places[mine] >= 0]
        if mine.size == 0:
            return
        a = self.shared
        self._make_room(2 * mine.size, 0, 2 * mine.size)
        close_websocket(
            mine, a.channels, a.apps, self.places, self.streams, self.connections, self.frames, self.messages,
            self.pieces, self.heap, a.oddities, self.meta,
        )  # fmt: skip
        over = self.places[mine]
        pair = (2 * over.astype(np.int64)[:, None] + np.arange(2)).ravel()
        clear_rows(self.streams, pair)
        clear_rows(self.connections, over)
        for stream in pair.tolist():
            self.inflaters.pop(stream, None)
        self.free.extend(over.tolist())
        self.places[mine] = -1

    def show_beats(self) -> None:
        """Hold the heartbeats among what was read since the last time."""
        frames, messages = int(self.meta["n_frames"][0]), int(self.meta["n_messages"][0])
        if [frames, messages] != self.shown:
            new_frames, new_messages = self.frames[self.shown[0] : frames], self.messages[self.shown[1] : messages]
            self.shared.beats.hold(heartbeats(new_frames, new_messages))
            self.shown = [frames, messages]

    def rows(self, *, everything: bool) -> Iterator[Chunk]:
        """Yield finished frames and messages."""
        m = self.meta[0]
        frames, messages = int(m["n_frames"]), int(m["n_messages"])
        if max(frames, messages) >= _MANY_ROWS or int(m["heap"]) >= _MUCH_TEXT or everything:
            self.show_beats()
            self.shown = [0, 0]
            if frames:
                yield "websocket_frames", frame_rows(self.frames[:frames], self.heap)
            if messages:
                yield "websocket_messages", message_rows(self.messages[:messages], self.heap, payload=self.payload)
            m["n_frames"], m["n_messages"], m["heap"] = 0, 0, 0

    def tell(self, ledger: Ledger) -> None:
        """Put into the ledger what no kernel counts."""
        for code, count in self.counts.items():
            flow_id, frame = self.first.get(code, (None, None))
            ledger.note(code, count, flow_id=flow_id, frame=frame)
