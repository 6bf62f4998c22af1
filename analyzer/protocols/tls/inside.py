"""TLS from inside: records that somebody can open, and what stood in them.

Handshake messages, alerts and heartbeats go the way of those in clear. Application data becomes spans of a channel of
its own, which are routed like a flow's own bytes; a close_notify ends that direction as a FIN would, because only then
nothing is missing (RFC 8446 section 6.1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyzer.kernel import I32, I64, Records, distinct, grown, kernel
from analyzer.protocols.channel import new_channel
from analyzer.protocols.reader import Shared
from analyzer.protocols.tls.sealed import Opened, Opener
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


# Rows of the span table that routing needs to give back what it held
FIRST_ROOM = 64


class Inside:
    """Asks the opener, and hands on what it returns."""

    def __init__(self, shared: Shared, tls: Tls, opener: Opener) -> None:
        self.shared, self.tls, self.opener = shared, tls, opener
        self.children: dict[int, _Child] = {}
        self.failed = 0  # records that were not opened, of connections that closed

    def take(self, rows: Records, index: I32, volume: int) -> None:
        """Open the records of a batch; `rows` are the new ones of every connection."""
        a = self.shared
        touched = distinct(a.spans["channel"][index]).tolist()
        sealed = np.flatnonzero(rows["encrypted"] == 1)
        by_channel: dict[int, list[int]] = {}
        for k, channel in zip(sealed.tolist(), rows["channel"][sealed].tolist(), strict=True):
            by_channel.setdefault(channel, []).append(k)
        for channel in touched:
            if channel >= self.tls.connections.shape[0]:
                continue
            connection = self.tls.connections[channel]
            if connection["want"] == UNSETTLED:
                connection["want"] = self._wants(channel)
            if connection["want"] == WANTED and channel in by_channel:
                session = self.tls.session(channel)
                if session is not None:
                    self._open(channel, session, rows, np.array(by_channel[channel]))

    def _wants(self, channel: int) -> int:
        session = self.tls.session(channel)
        if session is None:
            connection = self.tls.connections[channel]
            return STEPPED_OVER if connection["index"] > 0 else UNSETTLED
        if session.hello_seen and self.opener.wants(session.terms):
            return WANTED  # 0-RTT data comes before the ServerHello
        if not session.hello_seen or not session.server_seen:
            return UNSETTLED if not session.fatal and self.tls.connections[channel]["index"] < 64 else STEPPED_OVER
        return STEPPED_OVER

    def _open(self, channel: int, session: Session, rows: Records, chosen: I64) -> None:
        """Open one connection's records. After a renegotiation the next ones need its terms: one epoch at a time."""
        epochs = rows["epoch"][chosen]
        turns = np.flatnonzero(np.diff(epochs)) + 1 if not session.tls13 else np.zeros(0, np.int64)
        for part in np.split(chosen, turns):
            mine = rows[part]
            opened = self.opener.open(channel, session.terms, mine, self.tls.kept)
            self._read(channel, session, rows, part, opened)

    def _read(
        self, channel: int, session: Session, rows: Records, part: I64,
        opened: list[Opened],
    ) -> None:  # fmt: skip
        a = self.shared
        m = a.stage[0]
        size = sum(len(one.plaintext) for one in opened)
        slack = a.queue.size
        if int(m["n_aside"]) + size + slack > a.aside.size:
            longer = np.empty(2 * (int(m["n_aside"]) + size) + slack, np.uint8)
            longer[: int(m["n_aside"])] = a.aside[: int(m["n_aside"])]
            a.aside = longer
        if opened:
            session.opened = True
            read = part[[one.row for one in opened]]
            rows["decrypted"][read] = 1
            rows["inner_type"][read] = [one.inner_type for one in opened]
        places: dict[int, Opened] = {one.row: one for one in opened}
        run: list[tuple[int, bytes | memoryview]] = []  # rows of application data that follow each other
        for place, k in enumerate(part.tolist()):
            one = places.get(place)
            if one is not None and one.inner_type == DATA:
                run.append((k, one.plaintext))
                continue
            row = rows[k]
            direction = int(row["dir"])
            if one is None:
                self._hand_on(channel, rows, run)
                self._missing(channel, row)
            elif one.inner_type == HANDSHAKE:
                self.tls.take_messages(session, row, bytes(one.plaintext), direction)
            elif one.inner_type == ALERT and len(one.plaintext) >= 2:
                self.tls.take_alert(session, row, bytes(one.plaintext[:2]), direction)
                if one.plaintext[1] == 0:
                    self._hand_on(channel, rows, run)
                    self._end(channel, row)
        self._hand_on(channel, rows, run)

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
        return child

    def _span(self, child: _Child, row: Records, kind: int, length: int) -> None:
        a = self.shared
        m = a.stage[0]
        place = int(m["n_spans"])
        if place >= a.spans.shape[0] - FIRST_ROOM or int(m["n_queue"]) >= a.queue.size:
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

    def _hand_on(self, channel: int, rows: Records, run: list[tuple[int, bytes | memoryview]]) -> None:
        """Queue plaintext for whoever reads it, and empty the run.

        Records of one direction that end in one segment make one span: so there is room.
        """
        mine = np.array([k for k, _ in run], np.int64)
        texts = [text for _, text in run]
        run.clear()
        sizes: I64 = np.array([len(text) for text in texts], np.int64)
        if not sizes.any():
            return
        a, child = self.shared, self._child(channel)
        direction, frame = rows["dir"][mine], rows["frame"][mine]
        if any(child.ended):
            kept = np.flatnonzero(~np.array(child.ended)[direction])
            mine, direction, frame, sizes = mine[kept], direction[kept], frame[kept], sizes[kept]
            texts = [texts[k] for k in kept.tolist()]
            if not sizes.any():
                return
        first = np.append(0, np.flatnonzero((np.diff(direction) != 0) | (np.diff(frame) != 0)) + 1)
        length = np.add.reduceat(sizes, first)
        m = a.stage[0]
        place, queued, at = int(m["n_spans"]), int(m["n_queue"]), int(m["n_aside"])
        n = first.size
        if place + n > a.spans.shape[0] - FIRST_ROOM or queued + n > a.queue.size:
            child.ended = [True, True]
            return
        room, end = memoryview(a.aside.data), at
        for text in texts:
            room[end : end + len(text)] = text
            end += len(text)
        spans = a.spans[place : place + n]
        spans["flow_id"], spans["slot"] = rows["flow_id"][mine[0]], a.channels[child.channel]["slot"]
        spans["channel"], spans["kind"], spans["source"] = child.channel, SPAN_DATA, IN_ASIDE
        spans["dir"], spans["frame"], spans["ts_ns"] = direction[first], frame[first], rows["ts_ns"][mine[first]]
        spans["length"], spans["at"] = length, at + np.cumsum(length) - length
        for side in (0, 1):
            own = np.flatnonzero(direction[first] == side)
            spans["offset"][own] = child.offset[side] + np.cumsum(length[own]) - length[own]
            child.offset[side] += int(length[own].sum())
        a.queue[queued : queued + n] = np.arange(place, place + n)
        m["n_spans"], m["n_queue"], m["n_aside"] = place + n, queued + n, end

    def _missing(self, channel: int, row: Records) -> None:
        """A record that was not opened, after others that were: its plaintext is a hole."""
        child = self.children.get(channel)
        if child is not None and row["content_type"] == DATA and not child.ended[int(row["dir"])]:
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
        if session.opened:
            self.failed += self.opener.close(channel).failed
