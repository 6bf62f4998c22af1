"""What is remembered of a WebSocket connection: each direction's place in its frame and message, and pings that wait.

State is kept by place, not by channel: only connections that speak WebSocket have one. A stream is 2 * place +
direction.
"""

from __future__ import annotations

import numpy as np

I8, I4, I2, I1 = np.int64, np.int32, np.int16, np.int8

# ------------------------------------------------------------------------------------------------ RFC 6455 section 5.2
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
OPCODES = ("continuation", "text", "binary", "close", "ping", "pong", "reserved")  # as in the table
CONTROL_MAX = 125  # section 5.5: payload of a control frame

# ------------------------------------------------------------------------------------------------ errors
# How a frame breaks the protocol: what the table says. The anomaly of each has the code beside it.
ERRORS = (
    ("", ""),
    ("unmasked frame of a client", "websocket.unmasked"),
    ("masked frame of a server", "websocket.masked"),
    ("reserved opcode", "websocket.reserved_opcode"),
    ("reserved bit set", "websocket.reserved_bits"),
    ("control frame longer than 125 bytes", "websocket.control_too_long"),
    ("fragmented control frame", "websocket.control_fragmented"),
    ("continuation of nothing", "websocket.bad_continuation"),
    ("message inside a message", "websocket.bad_interleaving"),
    ("length not in its shortest form", "websocket.bad_length"),
    ("impossible length", "websocket.impossible_length"),
    ("close payload of one byte", "websocket.bad_close"),
    ("bad close code", "websocket.bad_close_code"),
    ("invalid UTF-8", "websocket.bad_utf8"),
    ("data after close", "websocket.data_after_close"),
    ("cut short", "websocket.cut_short"),
    ("cannot be inflated", "websocket.bad_deflate"),
)
(
    FINE, UNMASKED, MASKED, RESERVED_OPCODE, RESERVED_BITS, TOO_LONG, FRAGMENTED, NO_START, INSIDE, NOT_SHORTEST,
    IMPOSSIBLE, SHORT_CLOSE, BAD_CODE, BAD_UTF8, AFTER_CLOSE, CUT_SHORT, BAD_DEFLATE,
) = range(len(ERRORS))  # fmt: skip

# ------------------------------------------------------------------------------------------------ a direction
HEADER, PAYLOAD, LOST = range(3)
KIND_UNKNOWN, KIND_TEXT, KIND_BINARY = range(3)
KINDS = ("text", "binary")

# First bytes of each message that are kept: all of what a heartbeat says (see `words`), and enough for a preview.
HEAD_MAX = 128

STREAM = np.dtype(
    [
        # --- the frame being read
        ("state", I1), ("opcode", I1), ("fin", I1), ("rsv", I1), ("masked", I1), ("error", I1),
        ("apart", I1),  # no part of a message: a control frame, or a reserved opcode
        ("head_len", I1), ("head", np.uint8, (14,)),  # bytes of its header
        ("mask", I8),  # masking key, its first byte lowest; 0 = none
        ("length", I8), ("left", I8),  # payload bytes in all, still to come
        ("missing", I8),  # of those seen, bytes that the capture does not have
        ("ts", I8), ("frame", I8),  # last byte that was seen
        ("first_ts", I8), ("first_frame", I8),  # its first byte
        ("kept", I2), ("payload", np.uint8, (CONTROL_MAX,)),  # of a control frame
        # --- the message being read
        ("open", I1),  # one has begun and not ended
        ("kind", I1),
        ("compressed", I1), ("inflate", I1),  # says so; is inflated
        ("partial", I1),  # a part of it was not captured
        ("bad_utf8", I1),
        ("utf8_left", I1), ("utf8_low", I2), ("utf8_high", I2),  # inside a character: bytes to come, range of the next
        ("id", I8), ("frames", I8), ("wire", I8),
        ("message_ts", I8), ("message_frame", I8),  # its first byte
        ("words", I2), ("word", np.uint8, (HEAD_MAX,)),  # its first bytes, unmasked
        # --- the direction
        ("closed", I1),  # sent a close frame
        ("ended", I1),  # sent its FIN
        ("unsure", I1),  # framing was lost: what comes may be the middle of a message
        ("trust", I1),  # frames in a row that bytes after a loss were found to be
    ],
    align=True,
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ a connection
DEFLATE_UNKNOWN, DEFLATE_NO, DEFLATE_YES = range(3)

CONNECTION = np.dtype(
    [
        ("channel", I4),
        ("deflate", I1),  # permessage-deflate was agreed on
        ("foreign", I1),  # an extension that is not read was: reserved bits are its
        ("opened", I1),  # what its first message opened (see `words`), 0 = nothing that is known
        ("inflate_c", I1), ("inflate_s", I1),  # messages of this direction can be inflated (by flow direction)
        ("joined", I1),  # the capture begins in its middle; then, while it is not known what it opened:
        ("pinged", I1), ("habit", I1),  # who said engine.io's ping last (direction + 1), how many were answered
        ("asked_c", I1), ("asked_s", I1),  # a ping from before the capture may still be answered
        ("pings_c", I2), ("pings_s", I2),  # how many wait for their pong
        ("ping_rtt_c", I8), ("ping_rtt_s", I8),  # how long the last one that was answered took
        ("index", I8), ("messages", I8),  # frames, messages so far
    ],
    align=True,
)  # fmt: skip

# Pings of one direction that may wait: more than a peer can leave unanswered before it is given up. The oldest of more
# counts as unanswered.
MAX_PINGS = 16

PINGS = np.dtype([("hash", I8), ("length", I8), ("index", I8), ("ts", I8), ("frame", I8)], align=True)

UNSEEN_PING = -2  # of FRAME.pong_of: one from before the capture, perhaps

# ------------------------------------------------------------------------------------------------ rows
FRAME = np.dtype(
    [
        ("flow_id", I8), ("stream_id", I8), ("index", I8), ("frame", I8), ("ts", I8), ("payload_len", I8),
        ("message_id", I8),  # -1 = none
        ("pong_of", I8), ("rtt", I8),  # -1 = none; UNSEEN_PING
        ("reason_at", I4), ("reason_len", I4),
        ("close_code", I4),  # 0 = none
        ("dir", I1), ("opcode", I1), ("fin", I1), ("rsv", I1), ("masked", I1), ("error", I1), ("decrypted", I1),
        ("missing", I1),  # its payload was not captured whole
    ],
    align=True,
)  # fmt: skip

MESSAGE = np.dtype(
    [
        ("flow_id", I8), ("stream_id", I8), ("message_id", I8), ("first_ts", I8), ("last_ts", I8),
        ("first_frame", I8), ("last_frame", I8), ("frames", I8), ("wire_len", I8),
        ("len", I8),  # -1 = not known
        ("head_at", I4), ("head_len", I4),  # its first bytes, unmasked and inflated, in the heap; -1 = not known
        ("dir", I1), ("kind", I1), ("compressed", I1),
        ("utf8_ok", I1),  # -1 = not known
        ("complete", I1), ("decrypted", I1),
        ("said", I1),  # which heartbeat or answer it is by its words, 0 = none (see `words`)
    ],
    align=True,
)  # fmt: skip

# What the kernel leaves for zlib, in order: bytes of a compressed message, its end, or that it has none
PIECE_BYTES, PIECE_END, PIECE_BROKEN = range(3)
PIECE = np.dtype(
    [
        ("stream", I8), ("at", I8), ("length", I8), ("what", I8), ("text", I8), ("message", I8), ("row", I8),
        ("frame", I8),  # packet
    ],
    align=True,
)  # fmt: skip

KEYS = 64  # as many bytes of payload are looked at together

WEBSOCKET = np.dtype(
    [
        ("n_frames", I8), ("n_messages", I8), ("n_pieces", I8), ("heap", I8), ("heap_full", I8), ("arena", I8),
        ("keys", np.uint8, (KEYS,)),  # the masking key, again and again
    ],
    align=True,
)  # fmt: skip
