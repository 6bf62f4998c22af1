"""Comments in a stream of server-sent events: the heartbeats that are sent to keep it open.

Source  WHATWG HTML section 9.2.6: lines end with CR LF, LF or CR; one that begins with a colon is a comment, and it
        suggests one every 15 seconds or so against proxies that drop idle connections.
Sees    how each line begins; nothing is copied.
Limits  A stream that is compressed is not read.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.http1.line import COLON, CR, LF
from analyzer.protocols.http1.state import AFTER_CR, IN_COMMENT, IN_FIELD, LINE_START


@routine
def _note(span: Records, s: Records, comments: Records, m: Records) -> None:
    row = comments[m.n_comments]
    row.flow_id, row.dir, row.ts, row.frame, row.size = span.flow_id, span.dir, span.ts_ns, span.frame, s.event_len
    m.n_comments += 1


@routine
def read_events(source: U8, at: int, end: int, span: Records, s: Records, comments: Records, m: Records) -> None:
    """Read body bytes [at, end) of an event stream; m.said becomes 1 if they are part of anything but comments."""
    for k in range(at, end):
        b = source[k]
        if b in (LF, CR):
            if b == LF and s.event_line == AFTER_CR:
                s.event_line = LINE_START
                continue
            if s.event_line == IN_COMMENT:
                s.event_len += 1
                _note(span, s, comments, m)
            s.event_line = AFTER_CR if b == CR else LINE_START
        elif s.event_line == IN_COMMENT:
            s.event_len += 1
        else:
            if s.event_line != IN_FIELD:
                s.event_line, s.event_len = IN_COMMENT if b == COLON else IN_FIELD, 1
            if s.event_line == IN_FIELD:
                m.said = 1
