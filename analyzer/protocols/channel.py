"""What protocols read: channels, each a pair of byte streams, and what is known of a flow's application.

A flow's own bytes are one channel. Whatever a protocol carries inside (decrypted TLS, an HTTP/2 tunnel) is another,
whose parent it is. Every protocol keeps its state per channel (2 * channel + direction for a stream), and never needs
to know how deep it is nested.
"""

from __future__ import annotations

import numpy as np

from analyzer.kernel import I32, Records, helper, routine
from analyzer.streams.inorder import SPAN_FIN

# ------------------------------------------------------------------------------------------------ who reads a channel
UNDECIDED, OPAQUE, HTTP1, WEBSOCKET, TLS, HTTP2, MESSAGES = range(7)
READERS = ("undecided", "opaque", "http1", "websocket", "tls", "http2", "messages")

I8, I4, I2, I1 = np.int64, np.int32, np.int16, np.int8

CHANNEL = np.dtype(
    [
        ("flow_id", I8),
        ("stream_id", I8),  # HTTP/2 stream that carries it, also if not directly; -1 = none
        ("handshake_ts", I8), ("handshake_rtt", I8),  # the flow's, as its first bytes found it; 0 = not seen
        ("slot", I4),
        ("parent", I4),  # -1 = the flow's own bytes
        ("next", I4),  # next channel of the same flow, -1 = the last; of the free list
        ("reader", I1),
        ("kind", I1),  # of MESSAGES: which protocol (see messages.state)
        ("decrypted", I1),
        ("live", I1),
        ("midstream", I1),  # joined in the middle: its first bytes need not be the beginning of anything
        ("opaque_c", I1), ("opaque_s", I1),  # this direction's first bytes are of no protocol that is read
        ("client", I1),  # direction in which the application's client sends
        # --- joined in the middle, before it is known what it is (see websocket.joined)
        ("watch", I4),  # where its frames are followed, + 1
        ("strange_c", I1), ("strange_s", I1),  # segments of client and server that were no frames, up to a few
        ("lost", I1),  # JOINED, and directions (1, 2) of which no frame's beginning is known
        ("switched", I1),  # how often HTTP/1 gave it to another protocol, or through a tunnel to HTTP/1
    ],
    align=True,
)  # fmt: skip

JOINED = 4  # of CHANNEL.lost: its frames began before the capture did

# ------------------------------------------------------------------------------------------------ what a flow is doing
# The state of the conversation between two messages; it classes the silence that follows (definitions B7).
PHASE_UNKNOWN, PHASE_THINK, PHASE_WAIT, PHASE_PAUSE, PHASE_WEBSOCKET, PHASE_TUNNEL = range(6)

APP = np.dtype(
    [
        # --- what is spoken, innermost
        ("reader", I1),  # past MESSAGES: the kind of protocol that it read
        ("phase", I1), ("tls", I1), ("sse", I1),
        ("requests", I4), ("websocket_messages", I4),
        ("host_at", I4), ("host_len", I4),  # Host of the first request: a text of the HTTP heap, length 0 = none
        # --- clocks
        ("last_ts", I8),  # any stream bytes, or a FIN
        ("said_ts", I8),  # any stream bytes
        ("silence", I8),  # of stream bytes, before the span that is being read, -1 = unknown
        ("app_ts", I8),  # the same without heartbeats
        ("max_app_gap", I8),
        # Silence in ms that client and server promised not to exceed: then the other may close; 0 = none
        ("patience_c", I4), ("patience_s", I4),
        # --- HTTP: how the exchange stood
        ("outstanding", I4),  # requests whose response has not ended
        ("responses", I4),  # responses that ended
        ("open_message", I1),  # a message is in the middle
        ("asking", I1),  # it is a request, answered already or not
        ("answering", I1),  # the outstanding request has the beginning of its response
        ("gave_up", I1),  # the client's FIN came while a request had nothing of its response
        ("close_said", I1),  # 0 nobody, 1 client, 2 server: `Connection: close`, or HTTP/1.0 without keep-alive
        ("close_implied", I1),  # it was not said in words: HTTP/1.0 closes unless told otherwise
        ("requester", I1),  # direction of requests
        ("keepalive_max", I8),  # max= that was last advertised, + 1; 0 = none was
        ("keepalive_timeout", I8),  # timeout= that was last advertised, in seconds, + 1
        ("gateway_wait", I8),  # longest time that a request waited until 504 (Gateway Timeout) came, 0 = none did
        ("gateway_request_frame", I8), ("gateway_frame", I8),
        ("request_ts", I8), ("request_frame", I8),  # last request
        ("request_offset", I8),  # stream position of its first byte
        ("request_idle", I8),  # silence before it, -1 = unknown
        ("response_end_ts", I8),  # last response's end, 0 = none
        # --- WebSocket: close frames of client and server
        ("ws_close_c", I4), ("ws_close_s", I4),  # code, NO_CODE, UNSEEN_CODE; 0 = no close frame
        ("ws_close_first", I1),  # who sent the first one: 0 nobody, 1 client, 2 server
        # --- messages: last words of client and server as BYE; who said them first: 0 nobody, 1 client, 2 server
        ("bye_c", I1), ("bye_s", I1), ("bye_first", I1),
        # --- when client and server first said goodbye: last words, a close frame, GOAWAY; 0 = they did not
        ("bye_ts_c", I8), ("bye_ts_s", I8),
        # --- HTTP/2
        ("goaway_c", I8), ("goaway_s", I8),  # largest error code of a GOAWAY of client and server + 1; 0 = none
        ("annoyed", I1),  # one said ENHANCE_YOUR_CALM, and not because its own ping had no answer
        ("unserved", I4),  # requests above the last stream that the server's GOAWAY still serves
        ("unserved_frame", I8), ("goaway_frame", I8),  # the latest of them; the server's last GOAWAY
        ("window_wait", I8),  # longest time that a body waited for a WINDOW_UPDATE
        ("window_wait_frame", I8), ("window_open_frame", I8),  # last DATA before it; what ended it, 0 = nothing
        ("unsure", I1),  # framing of a direction is lost
        ("grpc", I1),  # a request was gRPC
        # --- TLS, written when the flow is over: goodbye of client and server as TLS_CLOSE
        ("tls_close_c", I1), ("tls_close_s", I1),
        ("tls_truncated", I1),  # TCP ended in the middle of a record: CUT_RECORD; or of what it carried: CUT_MESSAGE
        ("tls_alert", I1),  # a fatal alert was read that came before the close
        ("tls_late_alert", I1),  # one that came after it
        ("tls_last_c", I4), ("tls_last_s", I4),  # bytes of the last record of client and server
        ("tls_bye_c", I8), ("tls_bye_s", I8),  # when close_notify was said, 0 = it was not
        ("tls_bled", I1),  # a heartbeat's answer was longer than its request
        ("tls_adds", I1),  # bytes of a record that are not its plaintext, 0 = not known, DECRYPTED = it was read
    ],
    align=True,
)  # fmt: skip

# Codes of APP.bye_c and bye_s: nothing was said, it is done, something is wrong, silent for too long, ordered
BYE_NONE, BYE_DONE, BYE_FAILED, BYE_IDLED, BYE_ORDERED = range(5)

# Codes of APP.tls_close_c and tls_close_s; the first: no TLS was read
TLS_CLOSE = ("", "yes", "inferred", "no", "unknown")
TLS_GOODBYE = (TLS_CLOSE.index("yes"), TLS_CLOSE.index("inferred"))
DECRYPTED = -1
CUT_RECORD, CUT_MESSAGE = 1, 2
NO_CODE = 1005  # a close frame without a code (RFC 6455 section 7.1.5); never on the wire
UNSEEN_CODE = -1  # a close frame whose code was not captured

# A silence of the stream, with the phase in which it began: what the kernel of `flows` cannot know of a gap.
SILENCE = np.dtype([("flow_id", I8), ("start_ts", I8), ("end_ts", I8), ("phase", I1)], align=True)

# ------------------------------------------------------------------------------------------------ counters
STAGE = np.dtype(
    [
        ("n_channels", I8), ("free_channel", I8),
        ("n_spans", I8),  # of the batch, those that protocols added included
        ("n_silences", I8),
        ("n_aside", I8),  # bytes put aside in this batch
        ("n_queue", I8), ("n_routed", I8),
        ("n_watches", I8), ("free_watch", I8),  # pairs of WATCH, and of these free ones: the first, + 1
        ("spare", I8),  # rows of `spans` and of `queue` that what is carried inside has to leave to all others
        ("idle_min", I8),
    ],
    align=True,
)  # fmt: skip


@helper
def new_channel(slot: int, flow_id: int, parent: int, slot_channel: I32, channels: Records, m: Records) -> int:
    """Open a channel of a flow; the caller has made room. The flow's own comes first in its list."""
    index = m.free_channel
    if index >= 0:
        m.free_channel = channels[index].next
    else:
        index = m.n_channels
        m.n_channels += 1
    c = channels[index]
    c.flow_id, c.slot, c.parent, c.stream_id = flow_id, slot, parent, -1
    c.live, c.reader, c.kind, c.decrypted, c.midstream, c.client = 1, UNDECIDED, 0, 0, 0, 0
    c.opaque_c, c.opaque_s, c.switched = 0, 0, 0
    c.watch, c.strange_c, c.strange_s, c.lost = 0, 0, 0, 0
    if parent < 0:
        c.handshake_ts, c.handshake_rtt = 0, 0
        c.next = slot_channel[slot]
        slot_channel[slot] = index
    else:  # after the flow's own, which stays first
        first = slot_channel[slot]
        c.handshake_ts, c.handshake_rtt = channels[first].handshake_ts, channels[first].handshake_rtt
        c.next = channels[first].next
        channels[first].next = index
    return int(index)


@helper
def app_of(c: Records, apps: Records) -> Records:
    """Return where a channel's conversation is noted: APP of its flow.

    What stands inside a stream of HTTP/2 is not how the connection stands: it has the last row, which nobody reads.
    """
    return apps[c.slot] if c.stream_id < 0 else apps[apps.size - 1]


@helper
def note_span(span: Records, c: Records, app: Records, silences: Records, m: Records) -> None:
    """Before a protocol reads a span: if a long silence ends with it, keep the phase in which that began."""
    before = app.said_ts if app.said_ts != 0 else c.handshake_ts
    app.silence = max(span.ts_ns - before, 0) if before != 0 else -1
    if app.last_ts != 0 and span.ts_ns - app.last_ts >= m.idle_min:
        row = silences[m.n_silences]
        row.flow_id, row.phase = span.flow_id, app.phase
        row.start_ts, row.end_ts = app.last_ts, span.ts_ns
        m.n_silences += 1
    app.last_ts = max(app.last_ts, span.ts_ns)
    if span.kind != SPAN_FIN:
        app.said_ts = max(app.said_ts, span.ts_ns)


@helper
def note_app(app: Records, ts_ns: int) -> None:
    """The application said something that was no heartbeat."""
    if app.app_ts != 0:
        app.max_app_gap = max(app.max_app_gap, ts_ns - app.app_ts)
    app.app_ts = max(app.app_ts, ts_ns)


@routine
def hand_on(span: Records, at: int, spans: Records, queue: I32, m: Records) -> None:
    """Queue the bytes of a span from position `at` on (as `span.at` counts) for the protocol that now reads it."""
    left = span.at + span.length - at
    if left > 0:
        rest = spans[m.n_spans]
        rest.flow_id, rest.slot, rest.channel, rest.dir = span.flow_id, span.slot, span.channel, span.dir
        rest.kind, rest.source, rest.frame, rest.ts_ns = span.kind, span.source, span.frame, span.ts_ns
        rest.offset, rest.length, rest.at = span.offset + span.length - left, left, at
        queue[m.n_queue] = m.n_spans
        m.n_queue += 1
        m.n_spans += 1
