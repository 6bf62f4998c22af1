"""Small isolated messages of every flow, noted while the capture is read: what heartbeats are inferred from.

What    A burst is payload of one direction with pauses below MERGE_NS. It becomes a row if it is small and nothing was
        said just before it. The next burst of the other side is its answer.
Needs   SPAN rows of the tracker, in the order of delivery, and the bytes they point into
Gives   UNIT rows of finished flows (see `heartbeat`)
Limits  Bursts are told apart by time, not by records: two records sent at once are one burst, whose record is 0.
"""

from __future__ import annotations

import numpy as np

from analyzer.classify.heartbeat import ANSWER_NS, QUIET_NS, SMALL, UNIT
from analyzer.kernel import (
    I32,
    I64,
    U8,
    Mask,
    Records,
    chosen_rows,
    clear_rows,
    copy_rows,
    grown,
    helper,
    kernel,
    records,
    roomy,
)
from analyzer.protocols.said import HEAD, listen
from analyzer.streams.inorder import IN_STORE, SPAN_DATA

MERGE_NS = 5_000_000  # segments of one message follow each other faster; an answer over a LAN too, but is the other's
MOST_PER_FLOW = 1 << 14  # a beat each second for four hours, each minute for eleven days
MOST_UNITS = 1 << 19  # 88 MB for all flows together; beyond it no new unit is noted, and the anomaly says so

BURST = np.dtype(
    [("start", np.int64), ("last", np.int64), ("said", np.int64), ("frame", np.int64), ("size", np.int64),
     ("row", np.int32), ("count", np.int32), ("record", np.int32), ("heard", np.int16), ("dir", np.int8),
     ("listens", np.int8), ("rest", np.int64), ("head", np.uint8, (HEAD,))],
    align=True,
)  # fmt: skip
"""Of a flow's slot: the burst that is going on (start 0 = none), when the one before it ended, and the row that waits.

row  place of the row + 1, 0 = none waits    count  rows of this flow
record  length that the header of a TLS record of application data gives at its beginning, 0 = it does not begin so
listens  1 = it may be a unit or an answer    head, rest, heard  then, what it says (see `protocols.said`)
"""

_DATA, _HEADER = 23, 5  # RFC 8446 section 5.1

NOTED = np.dtype([("n", np.int64), ("lost", np.int64), ("lost_flow", np.int64), ("lost_frame", np.int64)], align=True)


@helper
def _end_burst(b: Records, slot: int, flow_id: int, units: Records, m: Records) -> None:
    """The burst of a flow is over: is it an answer, the end of a silence, or a unit itself?"""
    now = b.start
    answers = False
    record = b.record if b.record > 0 and b.record + _HEADER == b.size else 0
    if b.row > 0:
        row = units[b.row - 1]
        if b.dir != row.dir and row.answer_ts == 0 and now - row.ts <= ANSWER_NS:
            row.answer_ts, row.answer_frame, row.answer_size = now, b.frame, min(b.size, 1 << 30)
            row.answer_record = record
            row.answer_rest, row.answer_heard = b.rest, b.heard
            for k in range(HEAD):
                row.answer_head[k] = b.head[k]
            answers = True
        else:
            row.after = now - row.ts
            b.row = 0
    quiet = b.said == 0 or now - b.said >= QUIET_NS
    if not answers and b.size <= SMALL and quiet and b.count < MOST_PER_FLOW:
        if m.n >= MOST_UNITS:
            m.lost += 1
            if m.lost == 1:
                m.lost_flow, m.lost_frame = flow_id, b.frame
        else:
            row = units[m.n]
            row.flow_id, row.slot, row.dir = flow_id, slot, b.dir
            row.ts, row.frame, row.size, row.record = now, b.frame, b.size, record
            row.before = now - b.said if b.said != 0 else -1
            row.after, row.answer_ts, row.answer_frame, row.answer_size, row.answer_record = -1, 0, 0, 0, 0
            row.rest, row.heard, row.answer_rest, row.answer_heard = b.rest, b.heard, 0, 0
            for k in range(HEAD):
                row.head[k], row.answer_head[k] = b.head[k], 0
            m.n += 1
            b.count += 1
            b.row = m.n
    b.said = b.last
    b.start = 0


@helper
def _record(span: Records, data: U8, pages: U8) -> int:
    """Return the length of the TLS record of application data that a span begins with, 0 if it does not."""
    if span.length < _HEADER:
        return 0
    source = pages if span.source == IN_STORE else data
    at = span.at
    if source[at] != _DATA or source[at + 1] != 3:
        return 0
    return int(source[at + 3]) << 8 | int(source[at + 4])


@helper
def _begin_burst(b: Records, span: Records, data: U8, pages: U8) -> None:
    """A burst begins with this span; bytes are looked at only where it may be a unit or an answer."""
    b.start, b.last, b.frame, b.size, b.dir = span.ts_ns, span.ts_ns, span.frame, span.length, span.dir
    b.record = _record(span, data, pages)
    b.listens = 1 if b.row > 0 or b.said == 0 or span.ts_ns - b.said >= QUIET_NS else 0
    if b.listens:
        b.rest, b.heard = 0, 0
        for k in range(HEAD):
            b.head[k] = 0
        if b.size <= SMALL:
            listen(pages if span.source == IN_STORE else data, span.at, span.length, b)


@kernel
def note_units(
    spans: Records, n: int, data: U8, pages: U8, bursts: Records, units: Records, noted: Records
) -> None:  # fmt: skip
    """Take the first n spans; bursts (slots,) BURST, units UNIT rows with room for n more, noted (1,) NOTED."""
    m = noted[0]
    for i in range(n):
        span = spans[i]
        if span.kind != SPAN_DATA:
            continue
        b = bursts[span.slot]
        if b.start != 0:
            if b.dir == span.dir and span.ts_ns - b.last <= MERGE_NS:
                b.size += span.length
                b.last = max(b.last, span.ts_ns)
                if b.listens and b.size <= SMALL:
                    listen(pages if span.source == IN_STORE else data, span.at, span.length, b)
                continue
            _end_burst(b, span.slot, span.flow_id, units, m)
        _begin_burst(b, span, data, pages)


@kernel
def end_units(slots: I32, ids: I64, bursts: Records, units: Records, noted: Records) -> None:
    """End the bursts of flows that are over; slots, ids (n,) where they are and their flow_id."""
    for i in range(slots.size):
        if bursts[slots[i]].start != 0:
            _end_burst(bursts[slots[i]], slots[i], ids[i], units, noted[0])


class Units:
    """Collects the units of flows that go on. 104 bytes per flow and 168 per unit."""

    def __init__(self, room: int) -> None:
        self.bursts = records(room, BURST)
        self.rows = records(1024, UNIT)
        self.noted = records(1, NOTED)

    def feed(self, spans: Records, n: int, data: U8, pages: U8, slots: int) -> None:
        """Take the first n spans; `slots` is how many flows the tracker has room for.

        data, pages  the bytes they point into (see `streams.inorder`)
        """
        self.bursts = grown(self.bursts, slots)
        self.rows = roomy(self.rows, int(self.noted[0]["n"]), n)
        note_units(spans, n, data, pages, self.bursts, self.rows, self.noted)

    def close(self, slots: I32, flow_id: I64) -> Records:
        """Return the UNIT rows of flows that are over, in the order noted, and forget these flows."""
        self.rows = roomy(self.rows, int(self.noted[0]["n"]), slots.size)
        self.bursts = grown(self.bursts, int(slots.max(initial=-1)) + 1)  # some may never have said anything
        end_units(slots, flow_id, self.bursts, self.rows, self.noted)
        n = int(self.noted[0]["n"])
        over = np.zeros(self.bursts.shape[0], np.bool_)
        over[slots] = True
        rows = self.rows[:n]
        go: Mask = over[rows["slot"]]
        taken, kept = chosen_rows(rows, go), chosen_rows(rows, ~go)
        copy_rows(self.rows, kept)
        self.noted["n"] = kept.shape[0]
        clear_rows(self.bursts, slots)
        # A waiting row has moved: it is the last of its flow.
        waiting = self.bursts["row"] > 0
        if waiting.any():
            place = np.zeros(self.bursts.shape[0], np.int32)
            place[kept["slot"]] = np.arange(1, kept.shape[0] + 1)
            self.bursts["row"][waiting] = place[waiting]
        return taken
