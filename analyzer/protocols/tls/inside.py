"""TLS from inside: records that somebody can open, and what stood in them.

Handshake messages, alerts and heartbeats go the way of those in clear. Application data becomes spans of a channel of
its own, which are routed like a flow's own bytes; a close_notify ends that direction as a FIN would, because only then
nothing is missing (RFC 8446 section 6.1).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from analyzer.kernel import I32, I64, U8, Records, distinct, grown, kernel
from analyzer.protocols.channel import HTTP2, new_channel
from analyzer.protocols.reader import Shared
from analyzer.protocols.tls.direction import MAX_PLAIN
from analyzer.protocols.tls.late import Late
from analyzer.protocols.tls.sealed import Contents, Opener, plain
from analyzer.protocols.tls.session import Session
from analyzer.protocols.tls.state import ALERT, DATA, HANDSHAKE, STEPPED_OVER, UNSETTLED, WANTED
from analyzer.streams.inorder import IN_ASIDE, SPAN_DATA, SPAN_FIN, SPAN_HOLE

if TYPE_CHECKING:
    from analyzer.protocols.tls.reader import Tls


@kernel
def open_channel(slot: int, flow_id: int, parent: int, slot_channel: I32, channels: Records, stage: Records) -> int:
    """Open a channel of plaintext and return its number; there is room for it."""
    index = new_channel(slot, flow_id, parent, slot_channel, channels, stage[0])
    channels[index].decrypted, channels[index].stream_id = 1, channels[parent].stream_id
    return index


class _Child:
    """The plaintext channel of a connection: its number, and the next stream position of each direction."""

    __slots__ = ("channel", "ended", "offset")

    def __init__(self, channel: int) -> None:
        self.channel = channel
        self.offset = [1, 1]
        self.ended = [False, False]


# Compressed records that are opened at once: room is made for the longest contents that they may have
_FEW = 64

# Bytes that stand for a hole of unknown size in HTTP/2: no frame is longer, so framing begins anew after it
_UNKNOWN = 1 << 24


class Inside:
    """Asks the opener, and hands on what it returns."""

    def __init__(self, shared: Shared, tls: Tls, opener: Opener) -> None:
        self.shared, self.tls, self.opener = shared, tls, opener
        self.children: dict[int, _Child] = {}
        self.missed: set[int] = set()  # connections of which data passed unopened before any was opened
        self.late = Late()
        self.failed = 0  # records that were not opened, of connections that closed

    def take(self, rows: Records, index: I32, volume: int) -> None:
        """Open the records of a batch; `rows` are the new ones of every connection."""
        a = self.shared
        touched = distinct(a.spans["channel"][index]).tolist()
        sealed = np.flatnonzero(rows["encrypted"] == 1)
        owners = rows["channel"][sealed]
        order = np.argsort(owners, kind="stable")
        sealed, owners = sealed[order], owners[order]
        begins = np.flatnonzero(np.diff(owners, prepend=-1)).tolist()
        by_channel = {int(owners[k]): sealed[k:end] for k, end in pairwise([*begins, sealed.size])}
        for channel in touched:
            if channel >= self.tls.connections.shape[0]:
                continue
            connection, mine = self.tls.connections[channel], by_channel.get(channel)
            if connection["want"] == UNSETTLED:
                connection["want"] = self._wants(channel)
                if connection["want"] == UNSETTLED and self.opener.grows and mine is not None:
                    if not self.late.hold(channel, rows[mine], self.tls.kept):
                        connection["want"] = self._settle(channel)
                    mine = None
            session = self.tls.session(channel) if connection["want"] == WANTED else None
            if session is not None:
                if waited := self.late.take(channel):
                    self._open(channel, session, waited[0], np.arange(waited[0].shape[0]), waited[1])
                if mine is not None:
                    self._open(channel, session, rows, mine, self.tls.kept)
        for channel in self.late.oldest():
            self.late.take(channel)
            self.tls.connections[channel]["want"] = STEPPED_OVER
            self.opener.forgo()

    def _wants(self, channel: int) -> int:
        session = self.tls.session(channel)
        if session is None:
            connection = self.tls.connections[channel]
            return STEPPED_OVER if connection["index"] > 0 else UNSETTLED
        grows = self.opener.grows and session.hello_seen
        if session.hello_seen and self.opener.wants(session.terms) and (not grows or self.opener.ready(session.terms)):
            return WANTED  # 0-RTT data comes before the ServerHello
        if not session.hello_seen or not session.server_seen:
            return UNSETTLED if not session.fatal and self.tls.connections[channel]["index"] < 64 else STEPPED_OVER
        return UNSETTLED if grows else STEPPED_OVER

    def waiting(self, channels: I32) -> list[int]:
        """Return which of these channels have records that wait for their secrets."""
        return [channel for channel in channels.tolist() if channel in self.late.waiting]

    def settle(self, channel: int) -> None:
        """A connection is over: open what waits with the secrets that came meanwhile, if they did."""
        self.tls.connections[channel]["want"] = self._settle(channel)
        session, waited = self.tls.session(channel), self.late.take(channel)
        if session is not None and waited:
            self._open(channel, session, waited[0], np.arange(waited[0].shape[0]), waited[1])

    def _settle(self, channel: int) -> int:
        """No more is held: make do with the secrets that came, or let the connection go by."""
        session = self.tls.session(channel)
        if session is not None and self.opener.wants(session.terms):
            return WANTED
        self.late.take(channel)
        self.opener.forgo()
        return STEPPED_OVER

    def _open(self, channel: int, session: Session, rows: Records, chosen: I64, kept: U8) -> None:
        """Open one connection's records, whose bytes are in `kept`.

        After a renegotiation the next ones need its terms: one epoch at a time.
        """
        parts = [chosen]
        if not session.tls13 and chosen.size > 1:
            parts = np.split(chosen, np.flatnonzero(np.diff(rows["epoch"][chosen])) + 1)
        if session.terms.compression:  # contents may be longer than their records
            parts = [few for part in parts for few in np.split(part, range(_FEW, part.size, _FEW))]
        for part in parts:
            mine = rows[part]
            self._make_room(part.size * MAX_PLAIN if session.terms.compression else int(mine["length"].sum()))
            a = self.shared
            at = int(a.stage[0]["n_aside"])
            contents = self.opener.open(channel, session.terms, mine, kept, a.aside, at)
            a.stage[0]["n_aside"] = at + int(contents.length.sum())
            self._read(channel, session, rows, part, contents)

    def _make_room(self, size: int) -> None:
        """Make room in `aside` for `size` bytes, and for what routing puts there."""
        a = self.shared
        used, slack = int(a.stage[0]["n_aside"]), a.queue.size
        if used + size + slack > a.aside.size:
            longer = np.empty(2 * (used + size) + slack, np.uint8)
            longer[:used] = a.aside[:used]
            a.aside = longer

    def _read(self, channel: int, session: Session, rows: Records, part: I64, contents: Contents) -> None:
        """Read what was in records, in their order; runs of application data are handed on as one."""
        kind = contents.kind
        opened = part[kind > 0]
        if opened.size:
            session.opened = True
            rows["decrypted"][opened] = 1
            rows["inner_type"][opened] = kind[kind > 0]
        if opened.size < part.size or True in session.sealed:
            for direction in (0, 1):
                mine = kind[rows["dir"][part] == direction]
                session.sealed[direction] = bool(mine[-1] == 0) if mine.size else session.sealed[direction]
        begin, lost = 0, rows["lost"][part] == 1
        for place in [*np.flatnonzero((kind != DATA) | lost).tolist(), part.size]:
            if begin < place:
                self._hand_on(channel, rows[part[begin:place]], contents.at[begin], contents.length[begin:place])
            begin = place + 1
            if place == part.size:
                break
            row, at, length = rows[part[place]], int(contents.at[place]), int(contents.length[place])
            if lost[place]:
                self._lose(channel, session, row)
            if kind[place] == DATA:
                self._hand_on(channel, rows[part[place : place + 1]], at, contents.length[place : place + 1])
            else:
                self._take(channel, session, row, int(kind[place]), self.shared.aside[at : at + length].tobytes())

    def _lose(self, channel: int, session: Session, row: Records) -> None:
        """Records went by of which nobody knows how many, nor how much was in them."""
        child = self.children.get(channel)
        if child is None:
            self.missed.add(channel)
        elif not child.ended[int(row["dir"])]:
            self._span(child, row, SPAN_HOLE, _UNKNOWN if session.alpn == "h2" else 1)

    def _take(self, channel: int, session: Session, row: Records, kind: int, content: bytes) -> None:
        """Read a record that is no application data; kind 0: it was not opened."""
        if kind == 0:
            self._missing(channel, row)
        elif kind == HANDSHAKE:
            (record,) = plain(row.reshape(1), np.zeros(1, np.int64), self.shared.channels, self.shared.flows)
            if (word := self.tls.take_handshake(session, content, record)) >= 0:
                row["messages"] = word
        elif kind == ALERT and len(content) >= 2:
            self.tls.take_alert(session, row, content[:2], int(row["dir"]))
            if content[1] == 0:
                self._end(channel, row)

    # -------------------------------------------------------------------------------------- spans of the plaintext
    def _child(self, channel: int) -> _Child:
        child = self.children.get(channel)
        if child is None:
            a = self.shared
            parent = a.channels[channel]
            slot, flow_id = int(parent["slot"]), int(parent["flow_id"])
            a.channels = grown(a.channels, int(a.stage[0]["n_channels"]) + 1)
            child = self.children[channel] = _Child(
                open_channel(slot, flow_id, channel, a.slot_channel, a.channels, a.stage)
            )
            if channel in self.missed:
                self._join(a.channels[child.channel], self.tls.session(channel))
        return child

    def _join(self, c: Records, session: Session | None) -> None:
        """The first contents were not opened: these begin somewhere, and only ALPN (RFC 7301) can say of what."""
        c["midstream"] = 1
        if session is not None and session.alpn == "h2":
            c["reader"], c["client"] = HTTP2, session.client_dir

    def _span(self, child: _Child, row: Records, kind: int, length: int) -> None:
        a = self.shared
        m = a.stage[0]
        place = int(m["n_spans"])
        if not self._has_room(1):
            child.ended = [
                True,
                True,
            ]  # opened and failing records by turns, thousands in a segment: not meant to be read
            return
        span = a.spans[place]
        direction = int(row["dir"])
        span["flow_id"], span["slot"] = row["flow_id"], a.channels[child.channel]["slot"]
        span["channel"], span["dir"], span["kind"], span["source"] = child.channel, direction, kind, IN_ASIDE
        span["offset"], span["length"], span["at"] = child.offset[direction], length, m["n_aside"]
        span["frame"], span["ts_ns"] = row["frame"], row["ts_ns"]
        a.queue[int(m["n_queue"])] = place
        m["n_queue"] += 1
        m["n_spans"] += 1
        child.offset[direction] += length

    def _has_room(self, rows: int) -> bool:
        a = self.shared
        m = a.stage[0]
        most = min(int(a.spans.shape[0]) - int(m["n_spans"]), a.queue.size - int(m["n_queue"]))
        return rows + int(m["spare"]) <= most

    def _hand_on(self, channel: int, rows: Records, at: int, sizes: I64) -> None:
        """Queue plaintext that stands in `aside` from `at` on for whoever reads it.

        Records of one direction that end in one segment make one span: so there is room.
        """
        if not sizes.any():
            return
        a, child = self.shared, self._child(channel)
        direction, frame = rows["dir"], rows["frame"]
        first = np.flatnonzero(np.diff(direction, prepend=-1) | np.diff(frame, prepend=-1))
        length = np.add.reduceat(sizes, first)
        places = at + np.cumsum(length) - length
        if any(child.ended):
            live = ~np.array(child.ended)[direction[first]]
            first, length, places = first[live], length[live], places[live]
        m = a.stage[0]
        place, queued, n = int(m["n_spans"]), int(m["n_queue"]), first.size
        if n == 0:
            return
        if not self._has_room(n):
            child.ended = [True, True]
            return
        spans = a.spans[place : place + n]
        spans["flow_id"], spans["slot"] = rows["flow_id"][0], a.channels[child.channel]["slot"]
        spans["channel"], spans["kind"], spans["source"] = child.channel, SPAN_DATA, IN_ASIDE
        spans["dir"], spans["frame"], spans["ts_ns"] = direction[first], frame[first], rows["ts_ns"][first]
        spans["length"], spans["at"] = length, places
        for side in (0, 1):
            own = np.flatnonzero(direction[first] == side)
            spans["offset"][own] = child.offset[side] + np.cumsum(length[own]) - length[own]
            child.offset[side] += int(length[own].sum())
        a.queue[queued : queued + n] = np.arange(place, place + n)
        m["n_spans"], m["n_queue"] = place + n, queued + n

    def _missing(self, channel: int, row: Records) -> None:
        """A record that was not opened, after others that were: its plaintext is a hole."""
        child = self.children.get(channel)
        if child is None and row["content_type"] == DATA:
            self.missed.add(channel)
        elif child is not None and row["content_type"] == DATA and not child.ended[int(row["dir"])]:
            a = self.shared
            last = a.spans[int(a.stage[0]["n_spans"]) - 1]
            if last["channel"] == child.channel and last["dir"] == row["dir"] and last["kind"] == SPAN_HOLE:
                last["length"] += row["length"]
                child.offset[int(row["dir"])] += int(row["length"])
            else:
                self._span(child, row, SPAN_HOLE, max(1, int(row["length"])))

    def _end(self, channel: int, row: Records) -> None:
        child = self.children.get(channel)
        if child is not None and not child.ended[int(row["dir"])]:
            self._span(child, row, SPAN_FIN, 0)
            child.ended[int(row["dir"])] = True

    def close(self, channel: int, session: Session) -> None:
        """The connection is over."""
        self.children.pop(channel, None)
        self.missed.discard(channel)
        if session.opened:
            self.failed += self.opener.close(channel).failed
