"""What protocols found at odds with their specification, counted in kernels, told in `anomalies`."""

from __future__ import annotations

import numpy as np

from analyzer.anomalies import Ledger
from analyzer.kernel import Records, records, routine
from analyzer.protocols.websocket.state import ERRORS as WEBSOCKET_ERRORS

CODES = (
    "http.bad_head", "http.bad_framing", "http.length_and_chunked", "http.two_lengths", "http.bare_lf", "http.obs_fold",
    "http.oversized_head", "http.bad_chunk", "http.orphan_response", "http.pipeline_cap", "http.line_cap",
    "http.early_upgrade", "http.early_cap",
    "tls.bad_header", "tls.record_cap", "tls.bad_handshake", "tls.handshake_cap", "tls.bad_certificate",
    "http2.lost", "http2.bad_length", "http2.bad_stream", "http2.bad_padding", "http2.bad_continuation",
    "http2.frame_size", "http2.block_cap", "http2.stream_cap", "http2.bad_hpack", "http2.hpack_unknown",
    "http2.header_list_cap", "http2.hpack_cap", "http2.websocket_cap", "http2.events_cap",
    "websocket.lost", *(code for _, code in WEBSOCKET_ERRORS[1:]),
)  # fmt: skip
(
    BAD_HEAD, BAD_FRAMING, LENGTH_AND_CHUNKED, TWO_LENGTHS, BARE_LF, OBS_FOLD, OVERSIZED_HEAD, BAD_CHUNK,
    ORPHAN_RESPONSE, PIPELINE_CAP, LINE_CAP, EARLY_UPGRADE, EARLY_CAP,
    TLS_BAD_HEADER, TLS_RECORD_CAP, TLS_BAD_HANDSHAKE, TLS_HANDSHAKE_CAP, TLS_BAD_CERTIFICATE,
    H2_LOST, H2_BAD_LENGTH, H2_BAD_STREAM, H2_BAD_PADDING, H2_BAD_CONTINUATION, H2_FRAME_SIZE, H2_BLOCK_CAP,
    H2_STREAM_CAP, H2_BAD_HPACK, H2_HPACK_UNKNOWN, H2_HEADER_LIST_CAP, H2_HPACK_CAP, H2_WEBSOCKET_CAP,
    H2_EVENTS_CAP,
    WS_LOST, *_WS_ERRORS,
) = range(len(CODES))  # fmt: skip
WS_FIRST = WS_LOST + 1  # a WebSocket error with the number e (websocket.state.ERRORS) is counted at WS_FIRST + e - 1

ODDITY = np.dtype([("count", np.int64), ("flow_id", np.int64), ("frame", np.int64)], align=True)


def new_oddities() -> Records:
    """Return one counter for each code."""
    return records(len(CODES), ODDITY)


@routine
def note_odd(oddities: Records, code: int, span: Records) -> None:
    """Count `code`; the first place is kept."""
    row = oddities[code]
    row.count += 1
    if row.count == 1:
        row.flow_id, row.frame = span.flow_id, span.frame


def tell(oddities: Records, ledger: Ledger) -> None:
    """Put the counts into the ledger."""
    for code, row in zip(CODES, oddities, strict=True):
        ledger.note(code, int(row["count"]), flow_id=int(row["flow_id"]), frame=int(row["frame"]))
