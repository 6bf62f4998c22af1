"""The protocol stage: in-order spans in, protocol rows out, and what each flow's application was doing.

Every batch's spans are routed to the protocol that reads their channel. A protocol may hand bytes on (an upgrade, a
tunnel, decrypted text); those are routed again until nothing is left.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from analyzer.anomalies import Ledger
from analyzer.kernel import I32, I64, U8, Records, chosen_rows, clear_rows, copy_rows, distinct, grown, records, roomy
from analyzer.protocols.beats import BEAT, name_grpc
from analyzer.protocols.channel import APP, HTTP1, HTTP2, MESSAGES, READERS, TLS, WEBSOCKET
from analyzer.protocols.http1.state import MAX_HELD, MAX_PIECES_EACH
from analyzer.protocols.joining import WATCH
from analyzer.protocols.oddities import tell
from analyzer.protocols.reader import Chunk, Reader, Shared
from analyzer.protocols.route import FIRST, FIRST_BYTES, route
from analyzer.protocols.said import SAID, Heard
from analyzer.protocols.tls.sealed import Opener
from analyzer.protocols.websocket.joined import HELD_BYTES
from analyzer.settings import Settings
from analyzer.streams.inorder import SPAN, SPAN_DATA

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.protocols.http1.reader import Http1
    from analyzer.protocols.http2.reader import Http2
    from analyzer.protocols.http2.upgrade import Upgraded
    from analyzer.protocols.messages.reader import Messages
    from analyzer.protocols.tls.reader import Tls
    from analyzer.protocols.websocket.handshake import Handshake
    from analyzer.protocols.websocket.reader import WebSocket

# Where `ProtocolStage` has each protocol; their rows come in this order.
_PLACES = {HTTP1: "http1", WEBSOCKET: "websocket", TLS: "tls", HTTP2: "http2", MESSAGES: "messages"}

# What a span can add to its round, at most: what was held of its channel until it decided, ...
_RELEASED = 2 * FIRST_BYTES
# ... the rest of it, handed on, and what waited for the answer to an upgrade.
_HANDED = 1 + MAX_PIECES_EACH

# Rows that plaintext and streams of HTTP/2 may add to a round: by the span, in any case, and at most.
_INSIDE_EACH, _INSIDE_LEAST, _INSIDE_MOST = 48, 1024, 1 << 20

# Bytes of WebSocket that are read before their rows are handed on: a frame may have two, its row has 150 or so.
MOST_AT_ONCE = 2 << 20

# Silences are kept until their flow ends; past this many (32 MiB) the oldest half is forgotten, and gaps that rested
# on them are classed by TCP alone.
MAX_SILENCES = 1 << 20


class Applications(NamedTuple):
    """What the protocols know of n flows: apps (n,) APP, first Host, server name and ALPN of each; their SILENCE, BEAT
    and SAID rows (the last of what was decrypted), in no particular order."""

    apps: Records
    hosts: pa.Array
    sni: pa.Array
    alpn: pa.Array
    silences: Records
    beats: Records
    said: Records


class ProtocolStage:
    """Owns the channels and the protocols that read them; each is loaded once a capture has it."""

    def __init__(
        self, settings: Settings, room: int, *, records_too: bool = False, payload: bool = False,
        opener: Opener | None = None,
    ) -> None:  # fmt: skip
        self.slot_channel: I32 = np.full(room, -1, np.int32)
        self.firsts = records(2048, FIRST)
        self.watches = records(16, WATCH)
        self.shared = Shared(flows=records(1, np.dtype("i8")), apps=records(room + 1, APP), spans=records(1, SPAN))
        self.shared.stage["idle_min"] = settings.idle_min_ns
        self.shared.stage["free_channel"] = -1
        self.routed: I32 = np.zeros(1024, np.int32)
        self.readers: U8 = np.zeros(1024, np.uint8)
        self.order: I32 = np.zeros(1024, np.int32)
        self.count: I64 = np.zeros(len(READERS), np.int64)
        self.volume: I64 = np.zeros(len(READERS), np.int64)
        self.heard = Heard()
        self._records_too, self._payload, self._opener = records_too, payload, opener
        self.shared.open_websockets, self.shared.open_http2 = self._open_websockets, self._open_http2

    @cached_property
    def http1(self) -> Http1:
        from analyzer.protocols.http1.reader import Http1

        return Http1(self.shared)

    @cached_property
    def websocket(self) -> WebSocket:
        from analyzer.protocols.websocket.reader import WebSocket

        return WebSocket(self.shared, payload=self._payload)

    @cached_property
    def tls(self) -> Tls:
        from analyzer.protocols.tls.reader import Tls

        return Tls(self.shared, list_data=self._records_too, opener=self._opener)

    @cached_property
    def http2(self) -> Http2:
        from analyzer.protocols.http2.reader import Http2

        return Http2(self.shared, list_all=self._records_too)

    @cached_property
    def messages(self) -> Messages:
        from analyzer.protocols.messages.reader import Messages

        return Messages(self.shared)

    def _has(self, reader: int) -> bool:
        return _PLACES[reader] in self.__dict__  # where `cached_property` keeps what it made

    def _loaded(self) -> Iterator[Reader]:
        for reader, place in _PLACES.items():
            if self._has(reader):
                yield getattr(self, place)

    def _open_websockets(self, opened: Sequence[Handshake]) -> None:
        self.websocket.open(opened)

    def _open_http2(self, upgraded: Upgraded) -> None:
        self.http2.open(upgraded)

    def feed(self, spans: Records, data: U8, pages: U8, flows: Records) -> Iterator[Chunk]:
        """Take a batch's spans; yield the tables that are ready. Of `flows`, only what never changes is looked at."""
        n = spans.shape[0]
        if n == 0:
            return
        self._begin(n, flows.shape[0])
        a = self.shared
        m = a.stage[0]
        a.data, a.pages, a.flows, a.slot_channel = data, pages, flows, self.slot_channel
        index: I32 = np.arange(n, dtype=np.int32)
        self._make_room(index, fresh=True, joined=distinct(spans["slot"][spans["midstream"] != 0]).size)
        copy_rows(a.spans, spans)
        m["n_spans"] = n
        yield from self._round(index, 1)
        yield from self._rounds()

    def _rounds(self) -> Iterator[Chunk]:
        """Have what is queued read, and what that leads to."""
        a = self.shared
        while n := int(a.stage[0]["n_queue"]):
            index = a.queue[:n].copy()
            self._make_room(index, fresh=False)
            if a.channels["decrypted"][a.spans["channel"][index]].any():
                self.heard.feed(index, a.spans, a.aside, a.channels)
            yield from self._round(index, 0)

    def _round(self, index: I32, fresh: int) -> Iterator[Chunk]:
        """Route the spans in rows `index`, for which there is room, and have them read."""
        a = self.shared
        route(
            index, fresh, a.spans, a.data, a.pages, a.aside, self.slot_channel, a.channels, self.firsts, self.watches,
            self.routed, self.readers, self.order, self.count, self.volume, a.stage,
        )  # fmt: skip
        at = 0
        for reader, size in enumerate(self.count.tolist()):
            if size and reader in _PLACES:
                protocol: Reader = getattr(self, _PLACES[reader])
                for part, volume in self._portions(reader, self.order[at : at + size]):
                    a.make_room_for_silences(part.size)
                    protocol.feed(part, volume)
                    yield from protocol.rows(everything=False)
            at += size

    def _portions(self, reader: int, index: I32) -> Iterator[tuple[I32, int]]:
        """Yield the spans of a reader, and their bytes: all, or if a byte can become a large row, some at a time."""
        volume = int(self.volume[reader])
        if reader != WEBSOCKET or volume <= MOST_AT_ONCE:
            yield index, volume
            return
        spans = self.shared.spans
        bytes_to = np.cumsum(np.where(spans["kind"][index] == SPAN_DATA, spans["length"][index], 0).astype(np.int64))
        cuts = np.searchsorted(bytes_to, np.arange(MOST_AT_ONCE, volume, MOST_AT_ONCE)) + 1
        for part in np.split(index, cuts):
            if part.size:
                spans = self.shared.spans
                yield part, int(spans["length"][part][spans["kind"][part] == SPAN_DATA].sum())

    def _begin(self, n: int, slots: int) -> None:
        """Make room for what a batch of n spans needs once, and forget the spans of the batch before."""
        a = self.shared
        m = a.stage[0]
        m["n_spans"], m["n_aside"] = 0, 0
        self._know(slots)
        a.channels = roomy(a.channels, int(m["n_channels"]), n)
        if int(m["n_silences"]) > MAX_SILENCES:
            half = int(m["n_silences"]) // 2
            a.silences[:half] = a.silences[half : 2 * half].copy()
            m["n_silences"] = half

    def _know(self, slots: int) -> None:
        """Make room for this many flows."""
        if slots > self.slot_channel.size:
            a = self.shared
            longer: I32 = np.full(slots, -1, np.int32)
            longer[: self.slot_channel.size] = self.slot_channel
            self.slot_channel = longer
            a.apps[-1] = np.zeros(1, APP)  # see channel.app_of
            a.apps = grown(a.apps, slots + 1)

    def _make_room(self, index: I32, *, fresh: bool, joined: int = 0) -> None:
        """Make room for what a round can add that reads the spans in rows `index`; they are not there yet if fresh.

        joined  flows among them that the capture joined in their middle: each may turn out to be WebSocket.
        A round's spans may be many more than the batch's: each frame of a tunnel is one.
        """
        a, k = self.shared, index.size
        m = a.stage[0]
        self.firsts = grown(self.firsts, 2 * a.channels.shape[0], 2 * int(m["n_channels"]))
        self.watches = grown(self.watches, 2 * (int(m["n_watches"]) + joined), 2 * int(m["n_watches"]))
        channels, released = k, _RELEASED * k
        if not fresh:
            read = distinct(a.spans["channel"][index]).astype(np.int64)
            channels = read.size
            released = k + int(self.firsts["pieces"][2 * read].sum() + self.firsts["pieces"][2 * read + 1].sum())
        routed = k + released
        spare = routed + _HANDED * channels + 1
        rows = spare + min(_INSIDE_EACH * k + _INSIDE_LEAST, _INSIDE_MOST)
        m["n_queue"], m["spare"] = 0, spare
        a.spans = roomy(a.spans, int(m["n_spans"]), (k if fresh else 0) + rows)
        if a.queue.size < rows:
            a.queue, self.routed, self.order = (np.empty(2 * rows, np.int32) for _ in range(3))
            self.readers = np.empty(2 * rows, np.uint8)
        bytes_more = _RELEASED * (channels + 1) + 2 * MAX_HELD + a.queue.size + 2 * HELD_BYTES * joined
        if a.aside.size < int(m["n_aside"]) + bytes_more:
            used = int(m["n_aside"])
            longer = np.empty(2 * (used + bytes_more), np.uint8)
            longer[:used] = a.aside[:used]
            a.aside = longer

    # -------------------------------------------------------------------------------------- flows that are over
    def close(self, slots: I32, flows: Records) -> Iterator[Chunk]:
        """The flows in these slots are over and their last spans were fed: yield what only waited for that."""
        self.shared.flows = flows
        self._know(int(slots.max(initial=-1)) + 1)  # some may never have said anything
        if self._has(TLS) and self.tls.inside is not None:
            for channel in self.tls.inside.waiting(self._channels_of(slots)):
                self._begin(0, 0)
                self._make_room(np.zeros(0, np.int32), fresh=False)
                self.tls.inside.settle(channel)
                yield from self._rounds()
        own = self._channels_of(slots)
        if own.size:
            for reader in self._loaded():
                reader.close(own)
        yield from self._rows(everything=False)

    def applications(self, slots: I32, flow_ids: I64) -> Applications:
        """Return what is known of these flows (after `close`, before `release`)."""
        apps = chosen_rows(self.shared.apps, slots)
        m = self.shared.stage[0]
        rows = self.shared.silences[: int(m["n_silences"])]
        mine = np.isin(rows["flow_id"], flow_ids)
        taken, kept = chosen_rows(rows, mine), chosen_rows(rows, ~mine)
        copy_rows(self.shared.silences, kept)
        m["n_silences"] = kept.shape[0]
        for reader in self._loaded():
            reader.show_beats()
        beats = name_grpc(self.shared.beats.of(flow_ids), flow_ids[apps["grpc"] == 1])
        return Applications(apps, self._hosts(slots, apps), *self._names(slots), taken, beats, self.heard.of(flow_ids))

    def _hosts(self, slots: I32, apps: Records) -> pa.Array:
        """Return the host that each flow's first request named, null if none did."""
        import pyarrow as pa
        import pyarrow.compute as pc

        hosts = self.http1.hosts(apps) if self._has(HTTP1) else pa.nulls(slots.size, pa.string())
        return pc.coalesce(hosts, self.http2.hosts(slots)) if self._has(HTTP2) else hosts

    def _names(self, slots: I32) -> tuple[pa.Array, pa.Array]:
        """Return the server name and ALPN of each flow, null if there is none."""
        import pyarrow as pa

        if self._has(TLS):
            return self.tls.names_of(slots)
        return pa.nulls(slots.size, pa.string()), pa.nulls(slots.size, pa.string())

    def look_at(self, slots: I32, flow_ids: I64) -> Applications:
        """Return what is known of these flows so far; they go on."""
        self._know(int(slots.max(initial=-1)) + 1)
        apps = chosen_rows(self.shared.apps, slots)
        rows = self.shared.silences[: int(self.shared.stage[0]["n_silences"])]
        mine = rows[np.isin(rows["flow_id"], flow_ids)]
        return Applications(
            apps, self._hosts(slots, apps), *self._names(slots), mine, np.zeros(0, BEAT), np.zeros(0, SAID)
        )

    def release(self, slots: I32) -> None:
        """The slots will be used for other flows."""
        own = self._channels_of(slots)
        channels, m = self.shared.channels, self.shared.stage[0]
        if own.size:
            channels["live"][own] = 0
            channels["next"][own] = np.append(own[1:], m["free_channel"])
            m["free_channel"] = own[0]
            pair = (2 * own.astype(np.int64)[:, None] + np.arange(2)).ravel()
            clear_rows(self.firsts, pair[self.firsts["pieces"][pair] > 0])
            if (watched := channels["watch"][own][channels["watch"][own] > 0]).size:
                self.watches["next"][2 * (watched - 1)] = np.append(watched[1:], m["free_watch"])
                m["free_watch"] = watched[0]
        if self._has(HTTP2):
            self.http2.release(slots)
        self.slot_channel[slots] = -1
        clear_rows(self.shared.apps, slots)

    def so_far(self) -> Iterator[Chunk]:
        """Yield the rows that are ready, also if they are few."""
        yield from self._rows(everything=True)

    def finish(self, ledger: Ledger) -> Iterator[Chunk]:
        """The capture is over: yield the rows that are left, and tell what was odd."""
        yield from self._rows(everything=True)
        tell(self.shared.oddities, ledger)
        unkept = int(self.http1.meta["heap_full"][0]) if self._has(HTTP1) else 0
        ledger.note("http.text_cap", unkept + (self.http2.text_full if self._has(HTTP2) else 0))
        if self._has(WEBSOCKET):
            self.websocket.tell(ledger)
        self.shared.let_go()
        if self._has(TLS):
            self.tls.inside = None

    def _channels_of(self, slots: I32) -> I32:
        """Return every channel of these flows."""
        found = []
        here = self.slot_channel[slots]
        here = here[here >= 0]
        while here.size:
            found.append(here)
            here = self.shared.channels["next"][here]
            here = here[here >= 0]
        return np.concatenate(found).astype(np.int32) if found else np.zeros(0, np.int32)

    def _rows(self, *, everything: bool) -> Iterator[Chunk]:
        for reader in self._loaded():
            yield from reader.rows(everything=everything)
