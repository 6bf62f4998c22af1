"""What is remembered of an HTTP/1 connection: each direction's place in its message, and the exchanges.

An exchange is opened by a request (or by a response that none explains), waits in its channel's queue for the response
(RFC 9112 section 9.3.2: responses come in the order of the requests), and leaves for the table when both have ended.
"""

from __future__ import annotations

import numpy as np

from analyzer.protocols.events import EVENT_FIELDS

I8, I4, I2, I1 = np.int64, np.int32, np.int16, np.int8

# ------------------------------------------------------------------------------------------------ a direction
(START, FIELDS, BODY_LENGTH, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILERS, BODY_CLOSE, LOST) = range(9)

STREAM = np.dtype(
    [
        ("state", I1), ("fin", I1),
        ("is_request", I1),  # what is being read, from its start line
        ("line_long", I1),  # the line is longer than what is kept of it
        ("line_lost", I1),  # no room to keep the line's beginning
        ("resync", I1),  # bytes were lost since the last message that was read whole
        ("row", I4),  # exchange being read; 0 is the one that nobody sees
        ("carry", I4), ("carry_len", I4),  # beginning of a line: slot + 1, bytes
        ("left", I8),  # body bytes still to come
        ("body", I8),  # body bytes so far
        ("line_ts", I8), ("line_frame", I8), ("line_offset", I8), ("line_idle", I8),  # where the line being read began
        ("head_bytes", I8),
        # --- the head being read
        ("length", I8),  # Content-Length, -1 = none, -2 = not to be believed
        ("coding", I1),  # Transfer-Encoding: 0 none, 1 chunked last, 2 something else last
        ("minor", I1), ("keep", I1), ("close", I1), ("upgrade", I1), ("websocket", I1), ("h2c", I1), ("sse", I1),
        ("encoded", I1),  # Content-Encoding: what comes has to be unpacked first
        ("expect", I1), ("status", I2), ("method", I1),
        *EVENT_FIELDS,
        ("field", I8),  # hash of the last field's name, for a value that goes on in the next line
    ],
    align=True,
)  # fmt: skip

SIMPLE_MINOR = 10  # stands for HTTP/0.9 where HTTP/1.x has its x
VERSIONS = (*(f"1.{x}" for x in range(10)), "0.9")

# Methods whose responses are framed in a way of their own (RFC 9112 section 6.3)
OTHER_METHOD, HEAD, CONNECT = 0, 1, 2

# ------------------------------------------------------------------------------------------------ a channel
CONNECTION = np.dtype(
    [
        ("first", I4), ("last", I4),  # queue of exchanges + 1, 0 = empty
        ("waiting", I4), ("opened", I4),  # exchanges in the queue; ever
        ("seen", I1),  # a start line was read: this is HTTP
        ("requester", I1),  # direction of requests + 1, 0 = not known
        ("simple", I1),  # the request was HTTP/0.9, and its answer has not begun
        ("gone", I1),  # the exchange of the request that is being read was handed to the table already
        ("orphans", I4),  # responses that were handed to the table without a request
        ("said_close", I1),  # which side announced the close: 1 client, 2 server
        ("response_end_ts", I8),
        # --- what the client said behind its request for an upgrade (see `early`)
        ("held_first", I4), ("held_last", I4),  # queue of pieces + 1, 0 = empty
        ("held", I4), ("held_bytes", I4),  # pieces; their bytes
        ("held_slot", I4),  # where the bytes are: slot of a line + 1, 0 = none
    ],
    align=True,
)  # fmt: skip

PIECE = np.dtype(
    [("ts_ns", I8), ("frame", I8), ("offset", I8), ("length", I8), ("silence", I8), ("next", I4), ("kind", I1)],
    align=True,
)  # fmt: skip
"""A span that waits: as it came, with the silence before it, and the next one of the connection, or free, + 1."""

# A client has few things to say before it knows that anybody understands them; one that floods is read as HTTP.
MAX_PIECES_EACH = 32  # of one connection, whose bytes fit a line (LINE_MAX)
MAX_PIECES, MAX_HELD = 1024, 1 << 20  # of all; bytes

# ------------------------------------------------------------------------------------------------ an exchange
FRAMING_UNKNOWN, NO_BODY, BY_LENGTH, BY_CHUNKS, BY_CLOSE = range(5)
FRAMINGS = ("", "none", "length", "chunked", "close")

TEXTS = (
    "method", "target", "host", "connection_c", "connection_s", "upgrade_c", "upgrade_s", "ws_key", "ws_accept",
    "ws_extensions", "ws_protocol",
)  # fmt: skip

EXCHANGE = np.dtype(
    [
        ("flow_id", I8), ("stream_id", I8), ("index", I8),
        ("request_ts", I8), ("request_end_ts", I8), ("response_ts", I8), ("response_end_ts", I8),
        ("request_frame", I8), ("response_frame", I8),
        ("request_bytes", I8), ("response_bytes", I8),
        ("idle_before", I8),  # -1 = unknown
        ("hol_wait", I8),  # -1 = not pipelined
        ("keepalive_timeout", I8), ("keepalive_max", I8),  # -1 = none
        ("channel", I4), ("next", I4),  # next in the queue, or free, + 1
        ("status", I2),  # 0 = no response
        ("kind", I1),  # OTHER_METHOD, HEAD, CONNECT
        ("minor_c", I1), ("minor_s", I1),
        ("framing_c", I1), ("framing_s", I1),
        ("request_seen", I1), ("request_done", I1), ("response_seen", I1), ("response_done", I1),
        ("upgrade", I1),  # 0 no, 1 websocket, 2 h2c, 3 another, 4 CONNECT
        ("settled", I1),  # what follows the request for an upgrade is known, or no longer waited for
        ("pipelined", I1), ("decrypted", I1), ("sse", I1), ("damaged", I1), ("open", I1),
        *((name + part, I4) for name in TEXTS for part in ("_at", "_len")),
    ],
    align=True,
)  # fmt: skip

UPGRADE_WEBSOCKET, UPGRADE_H2C, UPGRADE_OTHER, UPGRADE_CONNECT = 1, 2, 3, 4

# Requests that may wait for their responses on one connection: where one direction was not captured, none ever comes.
MAX_WAITING = 256
MAX_EXCHANGES = 1 << 17  # the same for all connections together: as many as there may be flows

# ------------------------------------------------------------------------------------------------ counters
HTTP = np.dtype(
    [
        ("n_exchanges", I8), ("free_exchange", I8),  # pool; free list + 1
        ("n_done", I8),
        ("n_beats", I8),
        ("said", I1),  # the span being read says more than beats of an event stream
        ("heap", I8), ("heap_full", I8),  # bytes used; texts that found no room
        ("n_carry", I8), ("free_carry", I8),  # slots ever used; how many stand in the free list
        ("n_pieces", I8), ("free_piece", I8),  # pool; free list + 1
        ("held_bytes", I8),
        # --- the line just read
        ("line_start", I8), ("line_end", I8), ("line_kept", I8), ("line_cr", I8), ("line_after", I8),
    ],
    align=True,
)  # fmt: skip
