"""What the kernel remembers of a TLS connection: each direction's place in its record, and what both need to know."""

from __future__ import annotations

import numpy as np

I8, I4, I2, I1, U1 = np.int64, np.int32, np.int16, np.int8, np.uint8

CCS, ALERT, HANDSHAKE, DATA, HEARTBEAT = 20, 21, 22, 23, 24  # RFC 8446 section 5.1, RFC 6520 section 3
HEADER_BYTES = 5
# TLS 1.2 lets a record grow to 2**14 + 2048 bytes, TLS 1.3 to 2**14 + 256 (RFC 5246 section 6.2.3, RFC 8446 section
# 5.2). At this point it is not known which one we watch, so the wider limit stands.
MAX_LENGTH = 2**14 + 2048

# Handshake and alert records of one direction that are read. A connection has some ten, one that renegotiates every
# hour for a year a few ten thousand; a flood of empty ones would cost a Python call each.
MAX_READ = 1 << 15

# Bytes of records kept until they are whole, 64 MiB (not touched until used): what one batch brings, and the beginnings
# of records that come in pieces, 18 kB at most each. Past it records are framed, not read (`tls.record_cap`).
KEPT_BYTES = 64 << 20
KEPT_HIGH = 8 << 20  # then what is still needed is moved together

START, HEADER, BODY, LOST = range(4)

# Records of TLS 1.3 add a byte of type and a tag, 16 bytes or 8 with CCM_8 (RFC 8446 section 5.2), to what they carry:
# an alert of 2 bytes, a Finished of 36 and more (section 4.4.4: a hash behind four bytes).
ALERT_LENGTH, ALERT_LENGTH_CCM_8, LEAST_FINISHED = 19, 11, 45

# A heartbeat asked for bytes that it did not send; an answer was longer than its request.
ASKED, BLED = 1, 2

STREAM = np.dtype(
    [
        ("left", I8),  # bytes of the record still to come
        ("state", I1),
        ("head_n", I1), ("head", U1, (8,)),  # beginning of a header that a segment's end cut
        ("content_type", I1),
        ("whole", I1),  # no byte of the record is missing
        ("sure", I1),  # framing was found, not guessed
        ("lost", I1),  # records were lost since the last one that was read
        ("fin", I1), ("in_list", I1),
        ("version", np.uint16), ("length", I4),
        ("kept_at", I8), ("kept_n", I8),  # its bytes in `kept`, -1 = not kept
        ("start_ts", I8), ("start_frame", I8),
        # --- the last record that ended
        ("last_ts", I8), ("last_frame", I8), ("last_length", I4), ("last_type", I1),
        ("missing", I1),  # bytes after it are missing
        # --- counts
        ("records", I8), ("data_records", I8), ("read", I8), ("heartbeats", I8),
        ("epoch", I2),  # ChangeCipherSpecs
        ("fin_ts", I8),
        ("first_data_ts", I8),
        ("data_after_peer_ts", I8),  # first record of application data after one of the peer's that can be a Finished
        ("short_22", I8), ("short_14", I8),  # records as long as a KeyUpdate
        ("short_alert", I8),  # as long as an alert
    ],
    align=True,
)  # fmt: skip

# Whether this connection's encrypted records are kept
UNSETTLED, STEPPED_OVER, WANTED = range(3)

CONNECTION = np.dtype(
    [
        ("index", I8),  # records so far, both directions
        ("seen", I1), ("want", I1),
        ("bled", I1),  # 0, ASKED or BLED
        # --- heartbeat request that waits for its answer
        ("beat_dir", I1), ("beat_index", I8), ("beat_ts", I8), ("beat_length", I4),
        # --- a record that may be a KeyUpdate, and waits for one from the other side (definitions B9)
        ("update_dir", I1), ("update_length", I4), ("update_ts", I8), ("update_frame", I8),
        ("updates_22", I4), ("updates_14", I4),  # answered ones, by length of the record
    ],
    align=True,
)  # fmt: skip

TLS = np.dtype(
    [
        ("n_rows", I8),
        ("kept", I8),  # bytes of `kept` in use
        ("n_open", I8),  # streams listed as having a kept record open
        ("list_data", I1),  # application data records become rows
        ("keep_data", I1),  # somebody can decrypt: connections that are UNSETTLED are kept
    ],
    align=True,
)  # fmt: skip
