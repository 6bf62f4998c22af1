"""Is it HTTP/2? From the first bytes of a direction, and of segments where framing was lost.

Source  RFC 9113 sections 3.4 (the client begins with the preface, the server with SETTINGS), 4.1, 6 (what each type of
        frame looks like).
"""

from __future__ import annotations

from analyzer.kernel import U8, routine
from analyzer.protocols.http2.state import (
    ACK,
    ALTSVC,
    CONTINUATION,
    DATA,
    END_HEADERS,
    GOAWAY,
    HEAD_BYTES,
    HEADERS,
    ORIGIN,
    PADDED,
    PING,
    PREFACE_BYTES,
    PRIORITISED,
    PRIORITY,
    PRIORITY_UPDATE,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
)
from analyzer.protocols.verdict import MORE, NO, YES

_ERRORS = 14  # codes that are registered (section 7)
_GRPC_PREFIX = 5  # bytes before each message: gRPC over HTTP2, Length-Prefixed-Message

PREFACE = (80, 82, 73, 32, 42, 32, 72, 84, 84, 80, 47, 50, 46, 48, 13, 10, 13, 10, 83, 77, 13, 10, 13, 10)


@routine
def is_frame(b: U8, at: int, max_length: int) -> bool:
    """True if nine bytes are a frame header that a correct sender could send; about one in 10,000 random ones is."""
    length = int(b[at]) << 16 | int(b[at + 1]) << 8 | int(b[at + 2])
    kind, flags = int(b[at + 3]), int(b[at + 4])
    whole = int(b[at + 5]) | int(b[at + 6]) | int(b[at + 7]) | int(b[at + 8]) == 0  # of the connection, no stream
    if int(b[at + 5]) > 0 or length > max_length:  # the R bit, and streams past the 16 millionth, which few live to see
        return False
    if kind == DATA:
        return not whole and flags & ~(1 | PADDED) == 0
    if kind == HEADERS:
        return not whole and length > 0 and flags & ~(1 | END_HEADERS | PADDED | PRIORITISED) == 0
    if kind == PRIORITY:
        return not whole and length == 5 and flags == 0
    if kind == RST_STREAM:
        return not whole and length == 4 and flags == 0
    if kind == SETTINGS:
        return whole and length % 6 == 0 and (flags == 0 or (flags == ACK and length == 0))
    if kind == PUSH_PROMISE:
        return not whole and length > 4 and flags & ~(END_HEADERS | PADDED) == 0
    if kind == PING:
        return whole and length == 8 and flags <= ACK
    if kind == GOAWAY:
        return whole and length >= 8 and flags == 0
    if kind == WINDOW_UPDATE:
        return length == 4 and flags == 0
    if kind == CONTINUATION:
        return not whole and flags & ~END_HEADERS == 0
    return flags == 0 and kind in (ALTSVC, ORIGIN, PRIORITY_UPDATE)


@routine
def begins_frames(b: U8, start: int, end: int, max_length: int) -> bool:
    """True if [start, end) holds whole frames and nothing else, or two headers where they should be: one in 10^8."""
    n, at = 0, start
    while at + HEAD_BYTES <= end:
        if not is_frame(b, at, max_length):
            return False
        n += 1
        at += HEAD_BYTES + (int(b[at]) << 16 | int(b[at + 1]) << 8 | int(b[at + 2]))
    return n >= 2 or (n == 1 and at == end)


@routine
def _is_settings(b: U8, at: int, n: int) -> int:
    """Answer whether `n` bytes are the SETTINGS frame that a server begins with."""
    for k in range(min(n, HEAD_BYTES)):
        value = 4 if k == 3 else 0
        if k != 2 and b[at + k] != value:
            return NO
    if n > 2 and b[at + 2] % 6 != 0:
        return NO
    if n < HEAD_BYTES + 2:
        return MORE
    if b[at + 2] > 0:  # its first setting: one of those in use, or one that means nothing (RFC 8701)
        known = b[at + 9] == 0 and 1 <= b[at + 10] <= 9
        return YES if known or (b[at + 9] & 15 == 10 and b[at + 10] & 15 == 10) else NO
    if n < 2 * HEAD_BYTES:
        return MORE
    return YES if is_frame(b, at + HEAD_BYTES, 1 << 14) else NO


@routine
def _is_inside(b: U8, at: int, n: int) -> bool:
    """True if `n` bytes begin with a frame that says much about itself, and what follows it is one too."""
    if n < HEAD_BYTES + 4 or not is_frame(b, at, 1 << 14):
        return False
    kind, flags = int(b[at + 3]), int(b[at + 4])
    if kind == HEADERS:  # the first field is most often a line of the static table
        return int(b[at]) == 0 and flags & ~1 == END_HEADERS and int(b[at + HEAD_BYTES]) >= 0x80
    if kind != PING and kind != WINDOW_UPDATE and kind != RST_STREAM:
        return False
    following = HEAD_BYTES + int(b[at + 2])
    if n < following:
        return False
    if n - following >= HEAD_BYTES:
        return is_frame(b, at + following, 1 << 14)
    # a segment of one frame (n is less than what detection looks at), or the beginning of another header
    return n == following or (n == PREFACE_BYTES and b[at + following] == 0)


@routine
def _tells(b: U8, at: int) -> bool:
    """True if the whole frame at `at` says something that no length and type would say by chance."""
    length, kind = int(b[at]) << 16 | int(b[at + 1]) << 8 | int(b[at + 2]), int(b[at + 3])
    first = at + HEAD_BYTES
    if kind == GOAWAY:  # last stream, and an error that is registered (section 7)
        return (
            int(b[first]) < 128
            and b[first + 4] == 0
            and b[first + 5] == 0
            and b[first + 6] == 0
            and b[first + 7] < _ERRORS
        )
    if kind == DATA and length >= _GRPC_PREFIX:  # a message of gRPC: is it compressed, how long is it
        said = int(b[first + 1]) << 24 | int(b[first + 2]) << 16 | int(b[first + 3]) << 8 | int(b[first + 4])
        return b[first] <= 1 and said == length - _GRPC_PREFIX
    if kind == SETTINGS:
        return int(b[at + 4]) == ACK
    return kind in (PING, RST_STREAM, WINDOW_UPDATE)


@routine
def joins_http2(b: U8, start: int, end: int) -> bool:
    """True if a segment of a connection that was joined in its middle is nothing but frames, beyond doubt.

    That is one frame which says much about itself, or several of which one does or is HEADERS.
    """
    n, at, telling, headers = 0, start, False, False
    while at + HEAD_BYTES <= end:
        length = int(b[at]) << 16 | int(b[at + 1]) << 8 | int(b[at + 2])
        if not is_frame(b, at, 1 << 14) or at + HEAD_BYTES + length > end:
            return False
        telling = telling or _tells(b, at)
        headers = headers or (int(b[at + 3]) == HEADERS and int(b[at + 4]) & END_HEADERS != 0)
        n += 1
        at += HEAD_BYTES + length
    return at == end and (telling or (n >= 2 and headers))


@routine
def looks_like_http2(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer from `n` bytes at `first[at]`: the preface, a server's SETTINGS; in mid-stream a telling frame."""
    same = 0
    while same < n and same < PREFACE_BYTES and first[at + same] == PREFACE[same]:
        same += 1
    if same == PREFACE_BYTES:
        return YES
    if same == n:
        return MORE
    if midstream and _is_inside(first, at, n):
        return YES
    return _is_settings(first, at, n)
