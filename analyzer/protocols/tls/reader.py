"""TLS as the protocol stage runs it: the kernel's arrays, the sessions, and what others ask of them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from analyzer.kernel import I32, I64, U8, Records, chosen_rows, clear_rows, grown, records, roomy
from analyzer.protocols.oddities import CODES
from analyzer.protocols.reader import Chunk, Shared
from analyzer.protocols.tls.closing import over
from analyzer.protocols.tls.frame import frame_tls, move_kept
from analyzer.protocols.tls.hello import read_old_hello
from analyzer.protocols.tls.inside import Inside
from analyzer.protocols.tls.messages import plausible
from analyzer.protocols.tls.names import SSL2, alert_name, handshake_name
from analyzer.protocols.tls.offer import client_of
from analyzer.protocols.tls.resume import Issued
from analyzer.protocols.tls.rows import (
    SessionColumns,
    heartbeats,
    note_cut_messages,
    record_rows,
    session_columns,
    session_rows,
    tell_apps,
)
from analyzer.protocols.tls.sealed import SEALED, Opener, Record, plain
from analyzer.protocols.tls.session import CLIENT_HELLO, NEW_TICKET, OLD_RETRY, SERVER_HELLO, Session
from analyzer.protocols.tls.state import (
    ALERT,
    CCS,
    CONNECTION,
    HANDSHAKE,
    KEPT_BYTES,
    KEPT_HIGH,
    STREAM,
    TLS,
)

if TYPE_CHECKING:
    import pyarrow as pa

_MANY_ROWS, _MANY_SESSIONS = 1 << 15, 1 << 12  # then they become a table
_SHORTEST = 5  # bytes of an empty record


@lru_cache(256)  # lists of 32 at most
def _names(kinds: tuple[int, ...]) -> str:
    return ",".join(map(handshake_name, kinds))


class Tls:
    """Owns what is remembered of TLS connections.

    list_data  application data records become rows of `tls_records`    opener  decrypts, see `sealed`
    """

    def __init__(self, shared: Shared, *, list_data: bool = False, opener: Opener | None = None) -> None:
        self.shared = shared
        self.streams = records(2048, STREAM)
        self.connections = records(1024, CONNECTION)
        self.listed = records(1024, SEALED)
        self.shown = 0  # of those, how many were looked at for heartbeats
        self.kept: U8 = np.empty(1, np.uint8)
        self.spare: U8 = np.empty(1, np.uint8)
        self.opened: I32 = np.zeros(2048, np.int32)
        self.meta = records(1, TLS)
        self.meta["list_data"], self.meta["keep_data"] = list_data, 0
        self.sessions: dict[int, Session] = {}
        self.issued = Issued()
        self.words: dict[str, int] = {}  # lists of handshake messages, as SEALED.messages names them
        self.done: list[SessionColumns] = []
        self.n_done = 0
        self.names: dict[int, tuple[str | None, str | None]] = {}  # by slot: server name and ALPN of flows that closed
        self.inside: Inside | None = None
        if opener is not None:
            self.use(opener)

    def use(self, opener: Opener) -> None:
        """Keep encrypted records from now on, and show them to `opener`."""
        self.inside = Inside(self.shared, self, opener)
        self.meta["keep_data"] = 1

    # -------------------------------------------------------------------------------------- a batch
    def feed(self, index: I32, volume: int) -> None:
        """Read spans; see `reader.Reader`."""
        a, m = self.shared, self.meta[0]
        channels = a.channels.shape[0]
        used = int(a.stage[0]["n_channels"])
        self.streams = grown(self.streams, 2 * channels, 2 * used)
        self.connections = grown(self.connections, channels, used)
        self.opened = grown(self.opened, 2 * channels)
        if self.kept.size < KEPT_BYTES:
            self.kept = np.empty(KEPT_BYTES, np.uint8)
        elif int(m["kept"]) > KEPT_HIGH - volume:
            if self.spare.size < KEPT_BYTES:
                self.spare = np.empty(KEPT_BYTES, np.uint8)
            move_kept(self.opened, self.streams, self.kept, self.spare, self.meta)
            self.kept, self.spare = self.spare, self.kept  # pages that were touched once are cheaper than new ones
        before = int(m["n_rows"])
        self.listed = roomy(self.listed, before, volume // _SHORTEST + 2 * index.size)
        frame_tls(
            index, a.spans, a.data, a.pages, a.aside, a.channels, a.apps, self.streams, self.connections,
            self.kept, self.opened, self.listed, a.oddities, a.silences, a.queue, a.stage, self.meta,
        )  # fmt: skip
        rows = self.listed[before : int(m["n_rows"])]
        if rows.shape[0]:
            self._take(rows)
        if self.inside is not None:
            self.inside.take(rows, index, volume)
            self._drop_unlisted(before)

    def _take(self, rows: Records) -> None:
        """Read the records that are not application data, in the order in which they ended."""
        kinds = rows["content_type"]
        chosen = np.flatnonzero((kinds == HANDSHAKE) | (kinds == ALERT) | (kinds == CCS))
        if chosen.size == 0:
            return
        a = self.shared
        for k, record in zip(chosen.tolist(), plain(rows, chosen, a.channels, a.flows), strict=True):
            session = self.sessions.get(record.channel) or self._begin(record)
            direction = record.dir
            if record.lost or not record.whole:
                session.messages[direction].forget()
                session.uncertain = True
            session.take_turn(direction)
            if record.content_type == CCS:
                session.take_ccs(direction)
                if not session.tls13:  # there it says nothing
                    self.issued.link(session, record, a.flows)
            else:
                at = record.at
                data = self.kept[at : at + record.length].tobytes() if at >= 0 else b""  # else it was not kept
                if record.content_type == ALERT:
                    self._take_alert(session, rows[k], data, direction)
                elif self._in_clear(session, data, record):
                    if (word := self.take_handshake(session, data, record)) >= 0:
                        rows["messages"][k] = word
                else:
                    rows["encrypted"][k] = 1
                    session.take_encrypted(direction, record.epoch, record.ts_ns)
            if session.end_ts:
                session.closed_flights = True

    def session(self, channel: int) -> Session | None:
        """Return the session of a channel, if one was begun."""
        return self.sessions.get(channel)

    def _begin(self, record: Record) -> Session:
        session = self.sessions[record.channel] = Session(record.flow_id, record.slot, record.frame, self.note)
        return session

    def note(self, code: str, flow_id: int, frame: int) -> None:
        """Count something odd."""
        odd = self.shared.oddities[CODES.index(code)]
        if odd["count"] == 0:
            odd["flow_id"], odd["frame"] = flow_id, frame
        odd["count"] += 1

    def _in_clear(self, session: Session, data: bytes, record: Record) -> bool:
        """Return whether a handshake record can be read as it is."""
        in_clear = record.epoch == 0 or session.tls13
        messages = session.messages[record.dir]
        if data and not messages.buffer and not messages.skip and record.version != SSL2:
            if not in_clear:
                return session.version == 0 and plausible(data)
            if not session.hello_seen and not session.server_seen:
                return plausible(data)  # joined in mid-connection: it may be encrypted
        return in_clear

    def take_handshake(self, session: Session, data: bytes, record: Record) -> int:
        """Read a record's handshake bytes, in clear or decrypted; return what `word` says of them, -1 of none."""
        if data and record.version == SSL2:
            session.take_client_hello(client_of(read_old_hello(data)), record.dir, record.start_ts)
            return self.word([CLIENT_HELLO])
        messages, seen = session.messages[record.dir], []
        for kind, body in messages.feed(data):
            retry = session.retry
            ts_ns = record.start_ts if kind == CLIENT_HELLO else record.ts_ns
            session.take(kind, body, record.dir, ts_ns, keep=self.inside is not None)
            seen.append(OLD_RETRY if session.retry and not retry else kind)
            if kind in (SERVER_HELLO, NEW_TICKET):
                self.issued.link(session, record, self.shared.flows)
        if messages.odd:
            self.note(messages.odd, session.flow_id, record.frame)
            messages.odd = ""
        return self.word(seen) if seen else -1

    def _take_alert(self, session: Session, row: Records, data: bytes, direction: int) -> None:
        if len(data) == 2 and data[0] in (1, 2):  # an encrypted one has a MAC, and is longer
            self.take_alert(session, row, data, direction)
        else:
            row["encrypted"] = 1

    def take_alert(self, session: Session, row: Records, data: bytes, direction: int) -> None:
        """Read an alert, in clear or decrypted."""
        row["alert_level"], row["alert"] = data[0], data[1]
        session.take_alert(data[0], data[1], alert_name(data[1]), direction, int(row["ts_ns"]))

    def word(self, seen: list[int]) -> int:
        """Return the number of a list of messages; a hostile one cannot make too many different ones."""
        text = _names(tuple(seen[:32]))
        if len(self.words) > 1 << 14:
            text = "..."
        return self.words.setdefault(text, len(self.words))

    def _drop_unlisted(self, before: int) -> None:
        """Rows that were only there to be opened are done with."""
        m = self.meta[0]
        rows = self.listed[before : int(m["n_rows"])]
        chosen = np.flatnonzero(rows["listed"] == 1)
        if chosen.size < rows.shape[0]:
            rows[: chosen.size] = rows[chosen]
            m["n_rows"] = before + chosen.size

    # -------------------------------------------------------------------------------------- flows that are over
    def close(self, chosen: I32) -> None:
        """These channels are over."""
        mine = chosen[chosen < self.connections.shape[0]]
        mine = mine[self.connections["seen"][mine] == 1]
        pair = (2 * mine.astype(np.int64)[:, None] + np.arange(2)).ravel()
        if mine.size:
            self._end(mine, pair)
        self._forget_open(pair)
        clear_rows(self.streams, pair)
        clear_rows(self.connections, mine)

    def _forget_open(self, streams: I64) -> None:
        m = self.meta[0]
        if self.streams["in_list"][streams].any():
            held = self.opened[: int(m["n_open"])]
            left = held[~np.isin(held, streams)]
            self.opened[: left.size] = left
            m["n_open"] = left.size

    def _end(self, mine: I32, pair: I64) -> None:
        """Make the rows of these channels' sessions, and tell their flows' other tables what they need of them."""
        own = chosen_rows(self.shared.channels, mine)
        slots = own["slot"]
        sessions = []
        for channel, flow_id, slot in zip(mine.tolist(), own["flow_id"].tolist(), slots.tolist(), strict=True):
            session = self.sessions.pop(channel, None) or Session(flow_id, slot, 0, self.note)
            if self.inside is not None:
                self.inside.close(channel, session)
            sessions.append(session)
        sides = chosen_rows(self.streams, pair[0::2]), chosen_rows(self.streams, pair[1::2])
        flows, connections = chosen_rows(self.shared.flows, slots), chosen_rows(self.connections, mine)
        ended = over(sessions, sides, connections, flows)
        columns = session_columns(ended)
        whole = own["stream_id"] < 0  # others are a tunnel's
        note_cut_messages(self.shared.apps, slots, columns, whole, flows["close_ts"] != 0)
        self.done.append(columns)
        self.n_done += len(sessions)
        tell_apps(self.shared.apps, slots, columns, ended, whole)
        for slot, sni, alpn in zip(slots.tolist(), columns["sni"], columns["alpn"], strict=True):
            before = self.names.get(slot)
            self.names[slot] = (sni, alpn) if before is None else (before[0] or sni, before[1] or alpn)

    def names_of(self, slots: I32) -> tuple[pa.Array, pa.Array]:
        """Return (server name, ALPN) of flows that were closed; forgets them."""
        import pyarrow as pa

        if not self.names:
            return pa.nulls(slots.size, pa.string()), pa.nulls(slots.size, pa.string())
        both = [self.names.pop(slot, (None, None)) for slot in slots.tolist()]
        return pa.array([sni for sni, _ in both], pa.string()), pa.array([alpn for _, alpn in both], pa.string())

    def show_beats(self) -> None:
        """Hold the heartbeats (RFC 6520) among the records that were listed since the last time."""
        n = int(self.meta["n_rows"][0])
        if n != self.shown:
            self.shared.beats.hold(heartbeats(self.listed[self.shown : n]))
            self.shown = n

    def rows(self, *, everything: bool) -> Iterator[Chunk]:
        """Yield records and finished sessions."""
        m = self.meta[0]
        n = int(m["n_rows"])
        if n >= _MANY_ROWS or (everything and n):
            self.show_beats()
            self.shown = 0
            yield "tls_records", record_rows(self.listed[:n], list(self.words))
            m["n_rows"] = 0
        if self.n_done >= _MANY_SESSIONS or (everything and self.done):
            yield "tls_sessions", session_rows(self.done)
            self.done, self.n_done = [], 0
