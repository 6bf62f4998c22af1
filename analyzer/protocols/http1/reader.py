"""HTTP/1 as the protocol stage runs it: the kernel's arrays, and its rows as the `http_requests` table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.kernel import I32, I64, Records, chosen_rows, clear_rows, grown, records, roomy
from analyzer.protocols.events import EVENT_BEAT, SHORTEST_BEAT, held_beats
from analyzer.protocols.heap import move_texts, texts
from analyzer.protocols.http1.frame import close_http1, frame_http1
from analyzer.protocols.http1.line import CARRY_SLOTS, LINE_MAX
from analyzer.protocols.http1.state import (
    CONNECTION,
    EXCHANGE,
    FRAMINGS,
    HTTP,
    MAX_EXCHANGES,
    MAX_PIECES,
    PIECE,
    STREAM,
    TEXTS,
    UPGRADE_H2C,
    UPGRADE_WEBSOCKET,
    VERSIONS,
)
from analyzer.protocols.http2.upgrade import Upgraded
from analyzer.protocols.reader import Chunk, Shared
from analyzer.protocols.websocket.handshake import Handshake, accept_of
from analyzer.streams.inorder import IN_ASIDE, SPAN_DATA
from analyzer.tables.build import MISSING, Coded, to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

# Texts of exchanges that are not in a table yet: 64 MiB, not touched until used. A full heap costs texts, not rows.
HEAP_BYTES = 64 << 20
_MANY_ROWS, _MUCH_TEXT = 1 << 14, 8 << 20  # then they become a table
_SHORTEST = 12  # bytes of a message: "HTTP/1.1 200"


class Http1:
    """Owns what is remembered of HTTP/1 connections."""

    def __init__(self, shared: Shared) -> None:
        self.shared = shared
        self.streams = records(2048, STREAM)
        self.connections = records(1024, CONNECTION)
        self.exchanges = records(MAX_EXCHANGES + 1, EXCHANGE)
        self.done = records(1024, EXCHANGE)
        self.beats = records(64, EVENT_BEAT)
        self.heap, self._other_heap = np.empty(HEAP_BYTES, np.uint8), np.empty(HEAP_BYTES, np.uint8)
        self._compact_at = _MUCH_TEXT
        self.carry = np.empty(CARRY_SLOTS * LINE_MAX, np.uint8)
        self.carry_free: I32 = np.zeros(CARRY_SLOTS, np.int32)
        self.pieces = records(MAX_PIECES, PIECE)
        self.meta = records(1, HTTP)
        self.meta["n_exchanges"] = 1  # the first is the one that nobody sees

    def feed(self, index: I32, volume: int) -> None:
        """Read spans; see `reader.Reader`."""
        a = self.shared
        channels = a.channels.shape[0]
        used = int(a.stage[0]["n_channels"])
        self.streams = grown(self.streams, 2 * channels, 2 * used)
        self.connections = grown(self.connections, channels, used)
        before, open_ones = int(self.meta["n_done"][0]), int(self.meta["n_exchanges"][0])
        volume += int(self.meta["held_bytes"][0])
        # What was open may all end at once: a status line after a hole answers the last of 256 requests. A piece that
        # waits may be missing bytes, and cut a request line short.
        pieces = int(self.meta["n_pieces"][0])
        self.done = roomy(self.done, before, volume // _SHORTEST + index.size + pieces + open_ones)
        beats = volume // SHORTEST_BEAT + index.size
        self.beats = roomy(self.beats, int(self.meta["n_beats"][0]), beats)
        frame_http1(
            index, a.spans, a.data, a.pages, a.aside, a.channels, a.apps, self.streams, self.connections,
            self.exchanges, self.done, self.heap, self.carry, self.carry_free, self.pieces, self.beats, a.oddities,
            a.silences, a.queue, a.stage, self.meta,
        )  # fmt: skip
        if int(self.meta["n_beats"][0]) > _MANY_ROWS:
            self.show_beats()
        self._tell_upgrades(before, int(self.meta["n_done"][0]))

    def _tell_upgrades(self, before: int, after: int) -> None:
        """Pass on what the exchanges agreed on that made their channels WebSocket or HTTP/2."""
        ended = self.done[before:after]
        switched = chosen_rows(ended, ended["status"] == 101)
        if switched.shape[0]:
            self._tell_websockets(chosen_rows(switched, switched["upgrade"] == UPGRADE_WEBSOCKET))
            for exchange in switched[switched["upgrade"] == UPGRADE_H2C]:
                self._tell_http2(exchange)

    def _tell_websockets(self, chosen: Records) -> None:
        texts_of = (
            map(self._bytes, chosen[f"ws_{name}_at"].tolist(), chosen[f"ws_{name}_len"].tolist())
            for name in ("key", "accept", "extensions")
        )
        places = chosen["channel"].tolist(), chosen["response_frame"].tolist()
        keyed = (chosen["request_seen"] != 0).tolist()
        self.shared.open_websockets([Handshake(*told) for told in zip(*places, *texts_of, keyed, strict=True)])

    def _tell_http2(self, e: Records) -> None:
        method, target, host = (
            self._bytes(int(e[f"{name}_at"]), int(e[f"{name}_len"])) for name in ("method", "target", "host")
        )
        upgraded = Upgraded(
            int(e["channel"]), int(e["index"]), method, target, host, int(e["request_ts"]), int(e["request_end_ts"]),
            int(e["request_frame"]), int(e["request_bytes"]), int(e["idle_before"]),
        )  # fmt: skip
        self.shared.open_http2(upgraded)

    def _bytes(self, at: int, length: int) -> bytes | None:
        return self.heap[at : at + length].tobytes() if at >= 0 else None

    def close(self, chosen: I32) -> None:
        """These channels are over; some may have begun after the last bytes that were HTTP."""
        self.streams = grown(self.streams, 2 * self.shared.channels.shape[0])
        self.connections = grown(self.connections, self.shared.channels.shape[0])
        self._read_held(chosen)
        self.done = roomy(self.done, int(self.meta["n_done"][0]), int(self.meta["n_exchanges"][0]))
        close_http1(
            chosen, self.shared.channels, self.shared.apps, self.streams, self.connections, self.exchanges, self.done,
            self.carry_free, self.meta,
        )  # fmt: skip
        pair = (2 * chosen.astype(np.int64)[:, None] + np.arange(2)).ravel()
        clear_rows(self.streams, pair)
        clear_rows(self.connections, chosen)

    def _read_held(self, chosen: I32) -> None:
        """No answer will come to what these channels' newest requests ask for: what followed them was HTTP.

        An empty span makes the kernel look; it stops again behind the next such request.
        """
        a = self.shared
        while (held := chosen[self.connections["held"][chosen] > 0]).size:
            last = self.connections["last"][held]
            self.exchanges["settled"][last[last > 0] - 1] = 1
            a.spans = roomy(a.spans, 0, held.size + 1)
            a.make_room_for_silences(held.size)
            rows = a.spans[: held.size]
            rows["kind"], rows["length"], rows["at"], rows["source"] = SPAN_DATA, 0, 0, IN_ASIDE
            rows["channel"], rows["dir"] = held, 2 - self.connections["requester"][held]
            for name in ("flow_id", "slot"):
                rows[name] = a.channels[name][held]
            rows["ts_ns"] = a.apps["last_ts"][rows["slot"]]
            a.stage["n_spans"], a.stage["n_queue"] = held.size, 0
            self.feed(np.arange(held.size, dtype=np.int32), 0)

    def show_beats(self) -> None:
        """Hold the beats of event streams."""
        self.shared.beats.hold(held_beats(self.beats, self.meta[0]))

    def rows(self, *, everything: bool) -> Iterator[Chunk]:
        """Yield finished exchanges."""
        m = self.meta[0]
        n = int(m["n_done"])
        if n >= _MANY_ROWS or int(m["heap"]) >= self._compact_at or (everything and n):
            if n:
                yield "http_requests", exchange_rows(self.done[:n], self.heap)
            m["n_done"] = 0
            self._compact()

    def _compact(self) -> None:
        """Keep only the texts that are still needed: those of open exchanges, and the first Host of each flow."""
        m = self.meta[0]
        held = self.exchanges[: int(m["n_exchanges"])]
        open_ones = np.flatnonzero(held["open"] == 1)
        named = np.flatnonzero(self.shared.apps["host_len"] > 0)
        at: I64 = np.concatenate(
            [held[name + "_at"][open_ones] for name in TEXTS] + [self.shared.apps["host_at"][named]]
        )
        length: I64 = np.concatenate(
            [held[name + "_len"][open_ones] for name in TEXTS] + [self.shared.apps["host_len"][named]]
        )
        at, length = at.astype(np.int64), length.astype(np.int64)
        before = np.count_nonzero(at >= 0)
        m["heap"] = kept = move_texts(at, length, self.heap, self._other_heap)
        m["heap_full"] += before - np.count_nonzero(at >= 0)
        self.heap, self._other_heap = self._other_heap, self.heap  # a new one would be made of new pages
        self._compact_at = max(_MUCH_TEXT, min(2 * kept, (kept + HEAP_BYTES) // 2))
        for k, name in enumerate(TEXTS):
            held[name + "_at"][open_ones] = at[k * open_ones.size : (k + 1) * open_ones.size]
        self.shared.apps["host_at"][named] = at[len(TEXTS) * open_ones.size :]

    def hosts(self, apps: Records) -> pa.Array:
        """Return the Host of each flow's first request, null if there was none."""
        at = np.where(apps["host_len"] > 0, apps["host_at"], -1).astype(np.int32)
        return texts(at, apps["host_len"], self.heap)


def exchange_rows(done: Records, heap: Any) -> pa.Table:
    """Return EXCHANGE records as rows of `http_requests`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    asked, answered = done["request_seen"] == 1, done["response_seen"] == 1
    text = {name: texts(done[name + "_at"], done[name + "_len"], heap) for name in TEXTS}
    both = asked & answered & (done["request_end_ts"] != 0)
    wait = done["response_ts"] - done["request_end_ts"]  # below 0: the answer came before the whole request
    switched = done["upgrade"] > 0
    switched &= np.where(done["upgrade"] == 4, (done["status"] >= 200) & (done["status"] < 300), done["status"] == 101)
    named = pc.coalesce(text["upgrade_s"], text["upgrade_c"])
    upgrade = pc.if_else(pa.array(done["upgrade"] == 4), "CONNECT", named)
    return to_arrow(
        "http_requests",
        {
            "flow_id": done["flow_id"],
            "index": done["index"],
            "stream_id": _known(done["stream_id"], done["stream_id"] >= 0),
            "method": text["method"], "target": text["target"], "host": text["host"],
            "version": Coded(np.where(asked, done["minor_c"], done["minor_s"]), VERSIONS),
            "status": _known(done["status"], done["status"] > 0),
            "request_ts": _known(done["request_ts"], asked),
            "request_end_ts": _known(done["request_end_ts"], done["request_done"] == 1),
            "response_ts": _known(done["response_ts"], answered),
            "response_end_ts": _known(done["response_end_ts"], done["response_done"] == 1),
            "ttfb_s": np.where(both & (wait >= 0), wait / 1e9, np.nan),
            "request_bytes": _known(done["request_bytes"], done["request_done"] == 1),
            "response_bytes": _known(done["response_bytes"], done["response_done"] == 1),
            "idle_before_s": np.where(done["idle_before"] >= 0, done["idle_before"] / 1e9, np.nan),
            "reused": done["index"] > 0,
            "pipelined": done["pipelined"] == 1,
            "hol_wait_s": np.where(done["hol_wait"] >= 0, done["hol_wait"] / 1e9, np.nan),
            "connection_c": text["connection_c"], "connection_s": text["connection_s"],
            "keepalive_timeout_s": np.where(done["keepalive_timeout"] >= 0, done["keepalive_timeout"] * 1.0, np.nan),
            "keepalive_max": _known(done["keepalive_max"], done["keepalive_max"] >= 0),
            "body_framing_c": Coded(done["framing_c"] - 1, FRAMINGS[1:]),
            "body_framing_s": Coded(done["framing_s"] - 1, FRAMINGS[1:]),
            "upgrade": pc.if_else(pa.array(switched), upgrade, pa.scalar(None, pa.string())),
            "complete": (done["request_done"] == 1) & (done["response_done"] == 1) & (done["damaged"] == 0),
            "request_frame": _known(done["request_frame"], asked),
            "response_frame": _known(done["response_frame"], answered),
            "decrypted": done["decrypted"] == 1,
            "websocket_protocol": text["ws_protocol"],
            "websocket_extensions": text["ws_extensions"],
            "websocket_accepted": _accepted(
                text["ws_key"], text["ws_accept"], switched & asked & (done["upgrade"] == 1)
            ),
        },
    )  # fmt: skip


def _accepted(key: pa.Array, accept: pa.Array, asked: Any) -> Any:
    """Return 1 where Sec-WebSocket-Accept is the answer to the key, 0 where not, -1 where nobody was seen to ask."""
    told = np.full(asked.size, -1, np.int8)
    rows = np.flatnonzero(asked)
    for row, said, wanted in zip(rows, key.take(rows).to_pylist(), accept.take(rows).to_pylist(), strict=True):
        told[row] = said is not None and wanted is not None and accept_of(said.encode()) == wanted.encode()
    return told


def _known(values: Any, known: Any) -> Any:
    return np.where(known, values.astype(np.int64), MISSING)
