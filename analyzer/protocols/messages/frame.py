"""Messages out of in-order bytes, whatever the protocol: the framing kernel.

What    Bytes are gathered into the pieces that a protocol asks for (a line, a number of bytes) and shown to it; what it
        does not want to see is stepped over. It says what is a beat and what an answer.
Limits  A protocol counts once both sides have said what only it says (`proof`); until then beats wait. After bytes that
        are missing outside a body, framing begins anew where a segment begins with a beat.
"""

from __future__ import annotations

from analyzer.kernel import I32, U8, Records, helper, kernel, routine
from analyzer.protocols.channel import BYE_DONE, MESSAGES, OPAQUE, TLS, app_of, note_app, note_span
from analyzer.protocols.messages.kinds import begin, kind_of, take
from analyzer.protocols.messages.state import (
    ANSWER,
    ASIDE,
    BEAT,
    BROKEN,
    FRAMED,
    GOODBYE,
    HEAD,
    LONE,
    LOST,
    MAX_UNPROVEN,
    MORE,
    NUMBERED,
    PART,
    PROTOCOL_OF,
    SAID,
)
from analyzer.protocols.route import FIRST_BYTES
from analyzer.protocols.tls.detect import is_client_hello
from analyzer.streams.inorder import IN_ASIDE, IN_STORE, SPAN_DATA, SPAN_FIN

_INSIDE = 1 << 32  # numbers of beats in a channel that another one carries, apart from those of its flow's own bytes


@routine
def _note(
    what: int, span: Records, s: Records, o: Records, p: Records, c: Records, place: int, rows: Records, m: Records
) -> None:  # fmt: skip
    """Append a beat or an answer; an answer belongs to the oldest beat that has none, or to nothing."""
    if p.proven == 0:
        p.unproven += 1
        if p.unproven > MAX_UNPROVEN:
            return
    if what == ANSWER and o.answered >= o.asked:
        return
    row = rows[m.n]
    row.flow_id, row.dir, row.place, row.protocol = span.flow_id, span.dir, place, PROTOCOL_OF[p.kind]
    row.ts, row.frame, row.size = span.ts_ns, span.frame, s.size + s.left
    row.index, row.answers, row.answer = -1, -1, 0
    base = _INSIDE if c.parent >= 0 else 0
    if what == ANSWER:
        row.answer, row.answers = 1, base + 2 * o.answered + 1 - span.dir
        o.answered += 1
    elif what == LONE or o.state == LOST:  # no answer is due, or none can be seen
        row.answer = NUMBERED[p.kind]
    elif NUMBERED[p.kind]:
        row.index = base + 2 * s.asked + span.dir
        s.asked += 1
    m.n += 1


@routine
def _lose(s: Records, o: Records, p: Records, c: Records) -> None:
    """Where the next message begins is not known any more; what never began is nothing that is read."""
    if p.proven == 0:
        c.reader = OPAQUE
    s.state, s.left = LOST, 0
    o.answered = o.asked  # the answers may be in what is missing


@routine
def _note_bye(bye: int, direction: int, ts_ns: int, p: Records) -> None:
    """A side said its last words; the first ones say why it leaves."""
    if direction == 0 and p.bye_c == 0:
        p.bye_c, p.bye_ts_c = bye, ts_ns
    elif direction == 1 and p.bye_s == 0:
        p.bye_s, p.bye_ts_s = bye, ts_ns
    if p.bye_first == 0:
        p.bye_first = direction + 1


@routine
def _end_piece(
    what: int, span: Records, s: Records, o: Records, p: Records, c: Records, place: int, rows: Records, m: Records
) -> None:  # fmt: skip
    """The protocol said what a piece was."""
    if s.proof and o.proof:
        p.proven = 1
    s.beating = 1 if what in (BEAT, ANSWER, LONE, ASIDE) else 0
    if what in (BEAT, ANSWER, LONE):
        _note(what, span, s, o, p, c, place, rows, m)
    elif what >= GOODBYE:
        _note_bye(BYE_DONE + what - GOODBYE, int(span.dir), span.ts_ns, p)
    for k in range(s.head_len):
        s.head[k] = 0
    s.head_len, s.length, s.number = 0, 0, 0
    if what != PART:
        s.size = 0


@helper
def _read(
    source: U8, span: Records, s: Records, o: Records, p: Records, c: Records, place: int, rows: Records, m: Records
) -> bool:  # fmt: skip
    """Read a span; return whether the application said something in it."""
    at, end = int(span.at), int(span.at + span.length)
    said = False
    if s.state == LOST and kind_of(source, at, min(end - at, FIRST_BYTES), 1) == p.kind:
        s.state = FRAMED
        begin(s, p.kind)
    while at < end and s.state == FRAMED and c.reader == MESSAGES:
        if s.left > 0:
            n = min(s.left, end - at)
            s.left -= n
            at += n
            said = said or s.beating == 0
            continue
        if s.size == 0:
            s.quiet = span.ts_ns - s.ts if s.ts != 0 else 1 << 62
            s.begun = span.ts_ns
        b = source[at]
        at += 1
        s.ts = span.ts_ns
        s.length += 1
        s.size += 1
        if s.head_len < HEAD:
            s.head[s.head_len] = b
            s.head_len += 1
        if s.want > 0:
            if s.head_len < s.want:
                continue
        elif b != s.until:
            s.before = b if b < 128 else 0
            if 48 <= b <= 57 and s.number >= 0:
                s.number = min(s.number * 10 + int(b) - 48, 1 << 40)
            elif b != 13:
                s.number = 0 if b == 32 else -1
            continue
        what = take(p.kind, s, o, p, int(span.dir))
        if what == BROKEN:
            _lose(s, o, p, c)
        elif what != MORE:
            _end_piece(what, span, s, o, p, c, place, rows, m)
            said = said or what == SAID or what >= GOODBYE or p.unsure == 1
    s.ts = span.ts_ns
    return said or s.state == LOST


@routine
def _skip_missing(length: int, s: Records, o: Records, p: Records, c: Records) -> None:
    """Bytes that the capture does not have: inside a body they are only counted."""
    if s.state == FRAMED and length <= s.left:
        s.left -= length
    else:
        _lose(s, o, p, c)


@routine
def _place_of(span: Records, c: Records, places: I32, streams: Records, connections: Records, m: Records) -> int:
    """Return where the state of a channel is; a place for it if it has none."""
    if places[span.channel] > 0:
        return int(places[span.channel]) - 1
    place = int(m.free)
    if place >= 0:
        m.free = connections[place].next
    else:
        place = int(m.used)
        m.used += 1
    places[span.channel] = place + 1
    p = connections[place]
    p.channel, p.kind = span.channel, c.kind
    begin(streams[2 * place], c.kind)
    begin(streams[2 * place + 1], c.kind)
    return place


@kernel
def frame_messages(
    index: I32, spans: Records, data: U8, pages: U8, aside: U8, channels: Records, apps: Records,
    places: I32, streams: Records, connections: Records, rows: Records, silences: Records, queue: I32, stage: Records,
    meta: Records,
) -> None:  # fmt: skip
    """Read the spans of channels of these protocols.

    index  (n,) rows of `spans`, in stream order per direction    data, pages, aside  the bytes they point into
    places (channels,) where the state of a channel is, + 1    streams (2 * places,) STREAM    connections (places,)
    rows   NOTED, written here    queue  rows of `spans` that another protocol has to read
    """
    m, sm = meta[0], stage[0]
    for k in range(index.size):
        span = spans[index[k]]
        c = channels[span.channel]
        source = pages if span.source == IN_STORE else aside if span.source == IN_ASIDE else data
        place = _place_of(span, c, places, streams, connections, m) if c.reader == MESSAGES else 0
        direction = int(span.dir)
        s, o = streams[2 * place + direction], streams[2 * place + 1 - direction]
        hello = span.kind == SPAN_DATA and s.left == 0 and is_client_hello(source, span.at, span.length)
        if c.reader == MESSAGES and hello:
            c.reader = TLS  # STARTTLS and its like
        if c.reader != MESSAGES:
            queue[sm.n_queue] = index[k]
            sm.n_queue += 1
            continue
        p, app = connections[place], app_of(c, apps)
        if c.stream_id < 0:
            note_span(span, c, app, silences, sm)
        if span.kind == SPAN_DATA:
            if _read(source, span, s, o, p, c, place, rows, m):
                note_app(p, span.ts_ns)
        elif span.kind != SPAN_FIN:
            _skip_missing(span.length, s, o, p, c)
        if p.proven:
            app.reader = MESSAGES + p.kind
            app.app_ts, app.max_app_gap = p.app_ts, p.max_app_gap
            app.patience_c, app.patience_s = p.patience_c, p.patience_s
            app.bye_c, app.bye_s, app.bye_first = p.bye_c, p.bye_s, p.bye_first
            app.bye_ts_c, app.bye_ts_s = p.bye_ts_c, p.bye_ts_s
            app.unsure = 1 if s.state == LOST or o.state == LOST else 0
