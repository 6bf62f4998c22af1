"""What is remembered of an HTTP/2 connection: each direction's place in its frame, open streams, pings under way.

Source  RFC 9113 sections 4.1 (frames), 6 (types), 7 (error codes).
"""

from __future__ import annotations

import numpy as np

from analyzer.protocols.events import EVENT_FIELDS

I8, I4, I2, I1, U1 = np.int64, np.int32, np.int16, np.int8, np.uint8

# ------------------------------------------------------------------------------------------------ frames
(DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION) = range(10)
ALTSVC, ORIGIN, PRIORITY_UPDATE = 10, 12, 16  # RFC 7838, RFC 8336, RFC 9218
ACK, END_STREAM, END_HEADERS, PADDED, PRIORITISED = 1, 1, 4, 8, 32
HEAD_BYTES = 9
PREFACE_BYTES = 24

NO_ERROR = 0
# of SETTINGS: RFC 9113 section 6.5.2, RFC 8441 section 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, ENABLE_CONNECT_PROTOCOL = 4, 5, 8
DEFAULT_MAX_FRAME = 16384
WINDOW = 65535  # every window until a frame says otherwise (section 6.9.2)

# What is kept of a control frame's payload: 16 settings (there are seven), or a GOAWAY with 88 bytes of debug data
KEPT_MAX = 96

# A header block larger than this is not put together: servers take 8 to 64 kB. Without a cap a flood of CONTINUATION
# frames (CVE-2024-27316) would fill the memory.
BLOCK_MAX = 1 << 16

# ------------------------------------------------------------------------------------------------ a direction
HEADER, PAYLOAD, PREFACE, LOST = range(4)

STREAM = np.dtype(
    [
        ("state", I1), ("head_len", I1),
        ("ended", I1),  # a FIN was seen
        ("missing", I1),  # of the frame's payload
        ("socket", I4),  # its body is a WebSocket's: place of the stream in the pool + 1
        ("events", I4),  # it is an event stream's: likewise
        ("spoke", I1),  # and says more than beats
        ("type", I2), ("flags", I2),
        ("need", I2),  # bytes of the payload that are kept: fixed fields before a block or data, or a control frame
        ("pad", I2), ("kept_n", I2),
        ("stream_id", I8), ("length", I8), ("left", I8),
        ("first_ts", I8), ("first_frame", I8), ("first_offset", I8), ("first_idle", I8),  # where the frame began
        ("ts", I8), ("frame", I8),  # its last byte so far
        # --- the header block being read
        ("block", I1), ("broken", I1),
        ("method", I1),  # what is known of it without HPACK
        ("block_ends", I1),  # the stream ends with it
        ("block_request", I1),  # it is a request's
        ("block_id", I8),  # stream of its frames
        ("block_stream", I8),  # whose it is: another one if it is a promise
        ("block_bytes", I8), ("block_serial", I8), ("block_ts", I8), ("block_frame", I8),
        # --- what it said
        ("max_frame", I8),  # SETTINGS_MAX_FRAME_SIZE of this side, 0 = not seen
        ("refused_from", I8),  # lowest stream that its GOAWAY leaves out, 0 = none was sent
        ("head", U1, (HEAD_BYTES,)), ("kept", U1, (KEPT_MAX,)),
    ],
    align=True,
)  # fmt: skip

ANY_METHOD, NO_CONNECT, MAYBE_CONNECT = range(3)  # of STREAM.method: the first is that its field has not come

# ------------------------------------------------------------------------------------------------ a connection
CONNECTION = np.dtype(
    [
        ("channel", I4),
        ("seen", I1),
        ("joined", I1),  # the capture begins in its middle
        ("unsure", I1),  # it does, or frames were lost
        ("client", I1),  # direction of the client
        ("connect", I1),  # the server takes extended CONNECT (RFC 8441)
        ("waits", I1),  # for HPACK: 1 the next span has to, 2 the rest of this one too
        ("sockets", I4), ("sockets_ever", I4),  # WebSocket streams and tunnels
        ("tunnels", I4), ("tunnels_ever", I4),  # of these, tunnels
        ("asked", I8),  # bodies of which HPACK was asked whether they are event streams
        ("newest", I4),  # open streams, newest first: place in the pool + 1
        ("streams", I4),
        ("open", I4), ("asking", I4), ("answering", I4),  # requests without whole response; in the middle of either
        ("opened", I8),  # exchanges ever
        ("top_c", I8), ("top_s", I8),  # highest stream that client and server opened
        ("first_id", I8),  # first stream that was seen to open
        ("pings_c", I2), ("pings_s", I2),  # how many wait for their answer (by flow direction)
        ("pings", I8),  # ever
        ("data_ts", I8),  # last DATA of either side
        # --- flow control, each less WINDOW: what client and server may still send, and what a new stream begins with
        ("room_c", I8), ("room_s", I8), ("first_c", I8), ("first_s", I8),
        # --- begun by HTTP/1's Upgrade: its request is stream 1 (RFC 7540 section 3.2); serial 0 = it was not
        ("upgrade_serial", I8), ("upgrade_reused", I1),
        ("upgrade_ts", I8), ("upgrade_end_ts", I8), ("upgrade_frame", I8), ("upgrade_bytes", I8), ("upgrade_idle", I8),
    ],
    align=True,
)  # fmt: skip

# Pings of one direction that may wait; a peer that leaves more unanswered is given up. The oldest of more is forgotten.
MAX_PINGS = 16
PINGS = np.dtype([("opaque", I8), ("index", I8), ("ts", I8), ("frame", I8), ("busy", I1)], align=True)

# gRPC measures bandwidth with a ping as soon as data has come, and keeps alive with one only after a silence (10 s at
# least in grpc-go). What comes sooner than this after data is none that keeps alive.
BUSY_NS = 100_000_000

# ------------------------------------------------------------------------------------------------ a stream
EXCHANGE = np.dtype(
    [
        ("flow_id", I8), ("stream_id", I8), ("index", I8),
        ("serial", I8),  # its texts are found by
        ("request_ts", I8), ("request_end_ts", I8), ("response_ts", I8), ("response_end_ts", I8),
        ("request_frame", I8), ("response_frame", I8), ("request_bytes", I8), ("response_bytes", I8),
        ("idle_before", I8),  # -1 = unknown
        ("newer", I4), ("older", I4),  # + 1
        ("request_seen", I1), ("request_done", I1), ("response_seen", I1), ("response_done", I1),
        ("pushed", I1),  # opened by the server
        ("refused", I1),  # after the last stream that a GOAWAY still serves
        ("reused", I1), ("decrypted", I1), ("open", I1),
        ("socket", I1),  # of a WebSocket or a tunnel: asked for, open
        ("child", I4),  # its channel
        ("offset_c", I8), ("offset_s", I8),  # next position of the channel's streams (by flow direction)
        # --- flow control of the bodies of request and response: see CONNECTION; since when one waits, 0 = none does
        ("room_c", I8), ("room_s", I8),
        ("wait_c_ts", I8), ("wait_s_ts", I8), ("wait_c_frame", I8), ("wait_s_frame", I8),
        ("waited_c", I8), ("waited_s", I8),  # in all
        ("unsure", I1),  # the windows are not known
        ("events", I1), *EVENT_FIELDS,  # of a response: is it an event stream?
    ],
    align=True,
)  # fmt: skip

UNTOLD, NO_EVENTS, EVENTS = range(3)
# Bodies of which HPACK is asked what they are, each makes the stage go round once more: so many at once, and then one
# for so many bytes that a server has sent.
ASKED_AT_ONCE, ASKED_EACH = 256, 4096

NO_SOCKET, ASKED, OPEN, TUNNEL = range(4)  # the last: of any protocol
MAX_SOCKETS = 1024  # WebSockets and tunnels that one connection may ever open: each makes the stage go round once more

# Streams of one connection that may be open: servers allow 100 to 256, gRPC as many as one likes. The search goes
# through them all, so the number bounds the work for a frame.
MAX_STREAMS = 1024
MAX_EXCHANGES = 1 << 17  # the same for all connections together

# ------------------------------------------------------------------------------------------------ rows
FRAME = np.dtype(
    [
        ("flow_id", I8), ("stream_id", I8), ("frame", I8), ("ts", I8), ("length", I8),
        ("error", I8), ("last_stream", I8), ("increment", I8),  # -1 = none
        ("waited", I8),  # for how long the body waited that may go on with it, -1 = none did
        ("index", I8),  # of a ping on its connection
        ("answers", I8), ("ping_of", I8), ("rtt", I8),  # index and frame of the ping that it answers, -1 = none
        ("text_at", I4), ("text_len", I4),  # settings or debug data, at -1 = none
        ("type", I2), ("flags", I2),
        ("dir", I1), ("decrypted", I1),
        ("busy", I1),  # a ping, or its answer, right after data
    ],
    align=True,
)  # fmt: skip

# What the kernel leaves for HPACK, in order: bytes of a header block, its end, that some of it is missing, or the
# question whether what its exchange is answered with is an event stream
PIECE_BYTES, PIECE_END, PIECE_BROKEN, PIECE_ASK = range(4)
PIECE = np.dtype(
    [
        ("stream", I8), ("what", I8), ("at", I8), ("length", I8),
        ("serial", I8),  # exchange, 0 = none
        ("request", I8),  # it is the request's
        ("ts", I8), ("frame", I8),  # where the block began
    ],
    align=True,
)  # fmt: skip

HTTP2 = np.dtype(
    [
        ("list_all", I8),  # DATA, HEADERS and CONTINUATION become rows too
        ("n_frames", I8), ("n_done", I8), ("n_beats", I8), ("n_pieces", I8), ("heap", I8), ("heap_full", I8),
        ("arena", I8),
        ("n_exchanges", I8), ("free_exchange", I8),  # pool; free list + 1
        ("serial", I8),
        ("n_waiting", I8),  # connections that wait
        ("said", I1),  # bytes of an event stream say more than beats
    ],
    align=True,
)  # fmt: skip
