"""Streams of server-sent events, and what is sent only to keep them open: comments, and events that say ping.

Source  WHATWG HTML section 9.2.6: lines end with CR LF, LF or CR; one that begins with a colon is a comment, and it
        suggests one every 15 seconds or so against proxies that drop idle connections. A blank line ends an event.
Sees    how lines begin, and the type of an event that says this first; nothing is copied. What has a kilobyte is no
        beat, but padding that fills a browser's buffer, or news. Beats that come at once are one (see `beats`).
Limits  A stream that is compressed is not read, nor what the data of an event says.
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.beats import CONTROL, PROTOCOLS
from analyzer.protocols.letters import is_beat

I8, I4, I1 = np.int64, np.int32, np.int8

_BOM = (0xEF, 0xBB, 0xBF)  # a stream may begin with it
# What a body that may be an event stream begins with: a comment, data, event, id, retry, or a blank line
FIRST_BYTES = (*b":deir\r\n", _BOM[0])
SHORTEST_BEAT = 2  # bytes: a colon and an end of line
_LF, _CR, _SPACE, _COLON, _E = 10, 13, 32, 58, 101
_TYPE = tuple(b"event:")
_LETTERS, _MANY_LETTERS = 7, 100  # of a type that are looked at, and counted
_MUCH = 1024  # bytes
_MOST = 100 * _MUCH  # that are counted

LINE_START, AFTER_CR, IN_COMMENT, IN_TYPE, IN_FIELD = range(5)
NEW, BEATS, SAYS = range(3)  # what the event being read is; most say something

EVENT_FIELDS = [
    ("event_line", I1),  # where in a line
    ("event_kind", I1),
    ("event_letters", I1),  # how many its type has, so far
    ("event_n", I4), ("event_size", I4),  # bytes of the line, and of the event's lines before it
    ("event_code", I8),  # first letters of its type
]  # fmt: skip
"""What is remembered of an event stream. Few bytes: they fill a direction of HTTP/1 up to two cache lines."""

EVENT_BEAT = np.dtype([("flow_id", I8), ("ts", I8), ("frame", I8), ("size", I8), ("dir", I1)], align=True)


def held_beats(beats: Records, m: Records) -> Records:
    """Return what a kernel wrote as CONTROL rows, and begin anew; m.n_beats is how many there are."""
    rows = beats[: int(m["n_beats"])]
    m["n_beats"] = 0
    held = np.zeros(rows.shape[0], CONTROL)
    for name in EVENT_BEAT.names or ():
        held[name] = rows[name]
    held["protocol"] = PROTOCOLS.index("sse")
    return held


@routine
def begin_events(s: Records) -> None:
    """A body begins; s has EVENT_FIELDS."""
    s.event_line, s.event_kind, s.event_n, s.event_size = LINE_START, NEW, 0, 0


@routine
def lose_line(s: Records) -> None:
    """Bytes are missing: neither the line nor the event that goes on is known."""
    s.event_line, s.event_kind = IN_FIELD, SAYS


@routine
def _note(span: Records, size: int, beats: Records, m: Records) -> None:
    row = beats[m.n_beats]
    row.flow_id, row.dir, row.ts, row.frame, row.size = span.flow_id, span.dir, span.ts_ns, span.frame, size
    m.n_beats += 1


@routine
def _says(s: Records, m: Records) -> None:
    s.event_line = IN_FIELD
    if s.event_kind != BEATS:
        s.event_kind, m.said = SAYS, 1


@routine
def _begin_line(b: int, s: Records, m: Records) -> None:
    if b in _BOM:
        return
    s.event_n = 1
    if b == _COLON:
        s.event_line = IN_COMMENT
    elif b == _E and s.event_kind == NEW:
        s.event_line, s.event_code, s.event_letters = IN_TYPE, 0, 0
    else:
        _says(s, m)


@routine
def _take_type(b: int, s: Records, m: Records) -> None:
    """The line may be the event's type: "event: ping"."""
    if s.event_n <= len(_TYPE):
        if b != _TYPE[s.event_n - 1]:
            _says(s, m)
    elif b != _SPACE or s.event_letters > 0:
        if s.event_letters < _LETTERS:
            s.event_code = s.event_code * 256 + (b - 32 if 97 <= b <= 122 else b)
        s.event_letters = min(s.event_letters + 1, _MANY_LETTERS)


@routine
def _end_line(span: Records, s: Records, beats: Records, m: Records) -> None:
    if s.event_line == LINE_START or s.event_line == AFTER_CR:  # a blank one
        if s.event_kind == BEATS and s.event_size < _MUCH:
            _note(span, s.event_size + 1, beats, m)
        elif s.event_kind == BEATS:
            m.said = 1
        s.event_kind, s.event_size = NEW, 0
        return
    s.event_size = min(s.event_size + s.event_n + 1, _MOST)
    if s.event_line == IN_COMMENT and s.event_n < _MUCH and s.event_kind != BEATS:
        _note(span, s.event_n + 1, beats, m)
    elif s.event_line == IN_TYPE and is_beat(s.event_code, s.event_letters):
        s.event_kind = BEATS
    elif s.event_line == IN_TYPE:
        _says(s, m)


@routine
def read_events(source: U8, at: int, end: int, span: Records, s: Records, beats: Records, m: Records) -> None:
    """Read body bytes [at, end) of an event stream; m.said becomes 1 if they are part of anything but beats."""
    for k in range(at, end):
        b = int(source[k])
        if b in (_LF, _CR):
            if b == _CR or s.event_line != AFTER_CR:
                _end_line(span, s, beats, m)
            s.event_line = AFTER_CR if b == _CR else LINE_START
        elif s.event_line == LINE_START or s.event_line == AFTER_CR:
            _begin_line(b, s, m)
        else:
            s.event_n = min(s.event_n + 1, _MOST)
            if s.event_line == IN_TYPE:
                _take_type(b, s, m)
            elif s.event_line == IN_FIELD and s.event_kind != BEATS:
                m.said = 1
