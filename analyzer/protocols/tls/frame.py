"""TLS record layer, one direction at a time: the framing kernel.

Source  RFC 8446 section 5.1; RFC 5246 section 6.2 for TLS 1.2; RFC 6101 section 5.2 for SSL 3.0.
Sees    record type, version and length; never the plaintext. Bytes of handshakes, alerts and heartbeats are kept for
        whoever reads them; application data is stepped over, except where somebody has the secrets of the connection.
Limits  After missing bytes reading goes on at the next place that can be a header: any at a segment's start, inside a
        segment only one of application data, and then the one after it must bear it out.
"""

from __future__ import annotations

from analyzer.kernel import I32, U8, Records, helper, kernel, routine
from analyzer.protocols.channel import (
    PHASE_PAUSE,
    PHASE_UNKNOWN,
    app_of,
    note_span,
)
from analyzer.protocols.channel import TLS as READ_BY_TLS
from analyzer.protocols.oddities import TLS_BAD_HEADER, TLS_RECORD_CAP, note_odd
from analyzer.protocols.tls.detect import is_header, is_old_hello
from analyzer.protocols.tls.state import (
    ALERT,
    ALERT_LENGTH,
    ALERT_LENGTH_CCM_8,
    ASKED,
    BLED,
    BODY,
    CCS,
    DATA,
    HANDSHAKE,
    HEADER,
    HEADER_BYTES,
    HEARTBEAT,
    LEAST_FINISHED,
    LOST,
    MAX_READ,
    START,
    STEPPED_OVER,
    WANTED,
)
from analyzer.streams.inorder import IN_ASIDE, IN_STORE, SPAN_DATA, SPAN_FIN

# A peer that answers a KeyUpdate at once still needs to be scheduled; handshake RTTs on one machine are smaller.
_SCHEDULING_NS = 1_000_000


@routine
def _open_record(
    span: Records, s: Records, h: Records, number: int, kept: U8, opened: I32, oddities: Records, m: Records
) -> None:  # fmt: skip
    """A header is whole: make room for the body if it will be read."""
    s.kept_at, s.kept_n, s.whole = -1, 0, 1
    s.start_ts, s.start_frame = span.ts_ns, span.frame
    s.state, s.left = BODY, s.length
    if h.update_frame == span.frame and h.update_dir == span.dir:
        h.update_frame = 0  # not alone in its segment: no KeyUpdate by itself
    if s.content_type == DATA:
        keep = m.keep_data != 0 and h.want != STEPPED_OVER
    else:
        keep = s.read < MAX_READ or h.want == WANTED
    if keep:
        if m.kept + s.length > kept.size:
            note_odd(oddities, TLS_RECORD_CAP, span)
        else:
            s.kept_at = m.kept
            m.kept += s.length
            if not s.in_list:
                s.in_list = 1
                opened[m.n_open] = number
                m.n_open += 1


@routine
def _note_beat(row: Records, span: Records, s: Records, h: Records, kept: U8, readable: bool) -> None:
    """Pair heartbeat messages by order (RFC 6520 section 4), and see whether an answer gives more than was asked for.

    Encrypted ones do not say what they are: then the first is a request and the next of the other side its answer.
    """
    s.heartbeats += 1
    kind = 0
    if readable and s.length >= 3 and s.kept_at >= 0:
        kind = kept[s.kept_at]
        said = int(kept[s.kept_at + 1]) * 256 + int(kept[s.kept_at + 2])
        if kind == 1 and said + 3 > s.length:  # asks for bytes that it did not send: CVE-2014-0160
            h.bled = max(h.bled, ASKED)
    answer = h.beat_ts != 0 and h.beat_dir != span.dir and kind != 1
    if answer:
        row.answers, row.rtt = h.beat_index, span.ts_ns - h.beat_ts
        if s.length > h.beat_length:
            h.bled = BLED
        h.beat_ts = 0
    elif kind != 2:
        h.beat_dir, h.beat_index, h.beat_ts, h.beat_length = span.dir, row.index, span.ts_ns, s.length


@routine
def _note_short(span: Records, s: Records, h: Records, path_ns: int) -> None:
    """A record as long as a KeyUpdate (definitions B9): alone in its segment, and answered by another in time."""
    if s.length == 22:
        s.short_22 += 1
    else:
        s.short_14 += 1
    asked = h.update_frame != 0 and h.update_dir != span.dir and h.update_length == s.length
    if asked and span.ts_ns - h.update_ts <= 2 * path_ns + _SCHEDULING_NS:
        if s.length == 22:
            h.updates_22 += 1
        else:
            h.updates_14 += 1
        h.update_frame = 0
        return
    if s.last_frame != s.start_frame and s.start_frame == span.frame:
        h.update_dir, h.update_length, h.update_ts, h.update_frame = span.dir, s.length, span.ts_ns, span.frame


@routine
def _end_record(
    span: Records, end_offset: int, s: Records, peer: Records, h: Records, path_ns: int, kept: U8, rows: Records,
    m: Records,
) -> None:  # fmt: skip
    """The last byte of a record: count it, and make it a row if it is listed or kept."""
    sealed = (s.content_type == ALERT and s.length > 2) or (s.content_type == CCS and s.length > 1)
    if s.epoch == 0 and (sealed or s.content_type == DATA):
        s.epoch = 1  # such ones are encrypted: the capture lacks the ChangeCipherSpec
    listed = s.content_type != DATA or m.list_data != 0
    if not s.sure:
        s.state = HEADER
        return
    # One whose bytes are not all there has a number, too: those after it are opened with theirs.
    if listed or s.kept_at >= 0 or (m.keep_data != 0 and h.want != STEPPED_OVER):
        row = rows[m.n_rows]
        row.flow_id, row.channel, row.dir = span.flow_id, span.channel, span.dir
        row.content_type, row.version, row.length = s.content_type, s.version, s.length
        row.epoch, row.whole, row.lost = s.epoch, s.whole, s.lost
        row.listed, row.decrypted, row.inner_type = 1 if listed else 0, 0, 0
        row.encrypted = 1 if s.content_type == DATA or (s.content_type == CCS and s.epoch > 0 and s.length > 1) else 0
        row.alert_level, row.alert, row.messages = -1, -1, -1
        row.at = s.kept_at if s.whole else -1
        row.frame, row.ts_ns, row.start_ts, row.end_offset = span.frame, span.ts_ns, s.start_ts, end_offset
        row.index, row.answers, row.rtt = h.index, -1, -1
        if s.content_type == HEARTBEAT:
            _note_beat(row, span, s, h, kept, s.epoch == 0)
            row.encrypted = 1 if s.epoch > 0 else 0
        m.n_rows += 1
    if s.content_type == DATA:
        s.data_records += 1
        if s.first_data_ts == 0:
            s.first_data_ts = span.ts_ns
        if s.data_after_peer_ts == 0 and peer.first_data_ts != 0 and s.length >= LEAST_FINISHED:
            s.data_after_peer_ts = span.ts_ns
        if s.length in (ALERT_LENGTH, ALERT_LENGTH_CCM_8):
            s.short_alert += 1
        if s.length == 22 or s.length == 14:
            _note_short(span, s, h, path_ns)
    elif s.content_type == CCS:
        s.epoch = min(s.epoch + 1, 30000)
    else:
        s.read += 1
    h.index += 1
    s.records += 1
    s.last_type, s.last_length = s.content_type, s.length
    s.last_ts, s.last_frame = span.ts_ns, span.frame
    s.lost, s.missing, s.kept_at, s.state = 0, 0, -1, HEADER


@routine
def _lose(s: Records) -> None:
    """Framing is gone."""
    if s.state == BODY or s.records > 0:
        s.lost = 1
    s.state, s.head_n, s.kept_at, s.left, s.sure, s.missing = LOST, 0, -1, 0, 0, 1


@helper
def _take_body(source: U8, at: int, end: int, s: Records, kept: U8) -> int:
    """Step over the body, or keep it; return where it goes on."""
    n = min(end - at, s.left)
    if s.kept_at >= 0:
        # Through views: with `at` inside the index, numba allows for negative ones and the loop stays one of bytes.
        to, come = kept[s.kept_at + s.kept_n : s.kept_at + s.kept_n + n], source[at : at + n]
        for k in range(n):
            to[k] = come[k]
        s.kept_n += n
    s.left -= n
    return int(at + n)


@routine
def _find_header(source: U8, at: int, end: int, s: Records, at_start: bool) -> int:
    """After a loss: return where a record may begin, `end` if nowhere; s.sure says how well that is known."""
    if at_start and end - at >= HEADER_BYTES and is_header(source, at):
        s.sure = 1
        return at
    if s.records == 0:
        return end
    k = at
    while k + HEADER_BYTES <= end:
        if source[k] == DATA and source[k + 1] == 3 and is_header(source, k):
            length = int(source[k + 3]) * 256 + int(source[k + 4])
            version = int(source[k + 1]) * 256 + int(source[k + 2])
            after = k + HEADER_BYTES + length
            borne_out = after + HEADER_BYTES > end or is_header(source, after)
            if version == s.version and length > 0 and borne_out:
                s.sure = 0
                return k
        k += 1
    return end


@routine
def _take_header(
    source: U8, at: int, end: int, span: Records, s: Records, h: Records, number: int, kept: U8, opened: I32,
    oddities: Records, m: Records,
) -> int:  # fmt: skip
    """Read a record header, perhaps cut by a segment's end; return where the body begins."""
    while s.head_n < HEADER_BYTES and at < end:
        s.head[s.head_n] = source[at]
        s.head_n += 1
        at += 1
    if s.head_n < HEADER_BYTES:
        return at
    s.head_n = 0
    head = s.head
    if is_header(head, 0):
        if s.state == HEADER:
            s.sure = 1
        s.content_type = head[0]
        s.version = int(head[1]) * 256 + int(head[2])
        s.length = int(head[3]) * 256 + int(head[4])
        _open_record(span, s, h, number, kept, opened, oddities, m)
    elif s.state == START and is_old_hello(head, 0, HEADER_BYTES):
        s.content_type, s.version = HANDSHAKE, 2
        s.length = (int(head[0]) & 0x7F) * 256 + int(head[1])
        _open_record(span, s, h, number, kept, opened, oddities, m)
        if s.kept_at >= 0:
            for k in range(3):
                kept[s.kept_at + k] = head[2 + k]
        s.kept_n, s.left = 3, s.length - 3
    else:
        if s.state == HEADER and s.sure:
            note_odd(oddities, TLS_BAD_HEADER, span)
        _lose(s)
    return at


@helper
def _read(
    source: U8, span: Records, s: Records, peer: Records, h: Records, path_ns: int, number: int,
    kept: U8, opened: I32, rows: Records, oddities: Records, m: Records,
) -> None:  # fmt: skip
    at, end = span.at, span.at + span.length
    shift = span.offset - span.at
    while at < end:
        if s.state == BODY:
            at = _take_body(source, at, end, s, kept)
        elif s.state == LOST:
            at = _find_header(source, at, end, s, at == span.at)
            if at < end:
                s.state = START
                at = _take_header(source, at, end, span, s, h, number, kept, opened, oddities, m)
        else:
            if s.state == START:
                s.sure = 1
            at = _take_header(source, at, end, span, s, h, number, kept, opened, oddities, m)
        while s.state == BODY and s.left == 0:
            _end_record(span, at + shift, s, peer, h, path_ns, kept, rows, m)


@routine
def _skip_missing(span: Records, s: Records, peer: Records, h: Records, path_ns: int, kept: U8, rows: Records,
                  m: Records) -> None:  # fmt: skip
    """Bytes that the capture does not have: inside a body they are only counted."""
    s.missing = 1
    if s.state == BODY and span.length <= s.left:
        s.left -= span.length
        s.whole, s.kept_at = 0, -1
        if s.left == 0:
            _end_record(span, span.offset + span.length, s, peer, h, path_ns, kept, rows, m)
    else:
        _lose(s)


@kernel
def frame_tls(
    index: I32, spans: Records, data: U8, pages: U8, aside: U8, channels: Records, apps: Records,
    streams: Records, connections: Records, kept: U8, opened: I32, rows: Records, oddities: Records,
    silences: Records, queue: I32, stage: Records, meta: Records,
) -> None:  # fmt: skip
    """Cut the spans of TLS channels into records.

    index    (n,) rows of `spans`, in stream order per direction    data, pages, aside  the bytes they point into
    streams  (2 * channels,) STREAM    connections  (channels,) CONNECTION    opened  streams with a kept record open
    rows     SEALED, one per record that ended and is listed or kept; its bytes are in `kept`
    """
    m, sm = meta[0], stage[0]
    for k in range(index.size):
        span = spans[index[k]]
        c = channels[span.channel]
        if c.reader != READ_BY_TLS:
            queue[sm.n_queue] = index[k]
            sm.n_queue += 1
            continue
        number = 2 * span.channel + span.dir
        s, peer, h, app = streams[number], streams[number ^ 1], connections[span.channel], app_of(c, apps)
        inner = m.keep_data != 0 and h.want != STEPPED_OVER  # then what is inside decides the phase
        if not inner and c.stream_id < 0:
            note_span(span, c, app, silences, sm)
        if h.seen == 0:
            h.seen, app.reader, app.tls = 1, READ_BY_TLS, 1
            if c.midstream:
                s.state, peer.state = LOST, LOST
        path_ns = c.handshake_rtt
        if span.kind == SPAN_DATA:
            source = pages if span.source == IN_STORE else aside if span.source == IN_ASIDE else data
            _read(source, span, s, peer, h, path_ns, number, kept, opened, rows, oddities, m)
        elif span.kind == SPAN_FIN:
            s.fin, s.fin_ts = 1, span.ts_ns
        else:
            _skip_missing(span, s, peer, h, path_ns, kept, rows, m)
        if not inner:
            app.open_message = 1 if s.state == BODY or peer.state == BODY else 0
            app.phase = PHASE_PAUSE if app.open_message else PHASE_UNKNOWN


@kernel
def move_kept(opened: I32, streams: Records, kept: U8, other: U8, meta: Records) -> None:
    """Move the records that are not whole yet into another buffer; forget the streams that have none."""
    m = meta[0]
    end, n = 0, 0
    for k in range(m.n_open):
        s = streams[opened[k]]
        if s.state != BODY or s.kept_at < 0:
            s.in_list = 0
            continue
        for b in range(s.kept_n):
            other[end + b] = kept[s.kept_at + b]
        s.kept_at = end
        end += s.length
        opened[n] = opened[k]
        n += 1
    m.kept, m.n_open = end, n
