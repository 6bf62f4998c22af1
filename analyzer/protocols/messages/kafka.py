"""Kafka: the Heartbeat requests of consumer groups.

Source  Kafka protocol guide: request and response headers, API keys (Heartbeat 12, ConsumerGroupHeartbeat 68,
        ShareGroupHeartbeat 76, ApiVersions 18).
Sees    the header of each request, the correlation id of each response.
Limits  ApiVersions opens connections; it counts as a beat only once something else was asked for.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import number
from analyzer.protocols.messages.state import ANSWER, BEAT, BROKEN, MORE, SAID
from analyzer.protocols.verdict import MORE as MORE_BYTES
from analyzer.protocols.verdict import NO, YES

WANT = 8  # length, and of a request its key and version, of a response the correlation id
_WANT_REQUEST = 14
_METADATA, _SASL, _API_VERSIONS = 3, 17, 18
_HEARTBEATS = (12, 68, 76)
_LAST_KEY, _LAST_VERSION = 100, 30
_FIRST_MOST, _MOST, _NAME_MOST = 4096, 1 << 30, 255
_NULL = 0xFFFF

# CONNECTION.a  correlation id of the first request, + 1    CONNECTION.b  that of the last beat, + 1
# STREAM.b  something else than ApiVersions was asked for


@routine
def looks_like_kafka(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer YES for a request that opens a connection: ApiVersions, Metadata, SaslHandshake; in mid-stream for any."""
    if (n > 0 and first[at] != 0) or (n > 1 and not midstream and first[at + 1] != 0) or (n > 4 and first[at + 4] != 0):
        return NO
    if n < _WANT_REQUEST:
        return MORE_BYTES
    length, key, version = number(first, at, 4), number(first, at + 4, 2), number(first, at + 6, 2)
    name = number(first, at + 12, 2)
    opening = key in (_METADATA, _SASL, _API_VERSIONS) and length <= _FIRST_MOST
    if version > _LAST_VERSION or key > _LAST_KEY or not (opening or midstream):
        return NO
    if name == _NULL:
        return YES if opening and length >= 10 and number(first, at + 8, 2) == 0 else NO
    if name > _NAME_MOST or 10 + name > length:
        return NO
    for k in range(14, min(n, 14 + name)):
        if first[at + k] < 33 or first[at + k] > 126:
            return NO
    return YES if name > 0 else NO


@routine
def _take_request(s: Records, p: Records) -> int:
    length, key, version = number(s.head, 0, 4), number(s.head, 4, 2), number(s.head, 6, 2)
    named = number(s.head, 12, 2)
    if length < 10 or length > _MOST or key > _LAST_KEY or version > _LAST_VERSION:
        return BROKEN
    if named != _NULL and (named > _NAME_MOST or 10 + named > length):
        return BROKEN
    s.left = length - 10
    if s.proof == 0:
        s.proof, p.a = 1, number(s.head, 8, 4) + 1
    if key in _HEARTBEATS or (key == _API_VERSIONS and s.b == 1):
        p.b = number(s.head, 8, 4) + 1
        return BEAT
    if key != _API_VERSIONS:
        s.b = 1
    return SAID


@routine
def take_kafka(s: Records, p: Records, direction: int) -> int:
    """Length; then of a request its key, version and correlation id, of a response the correlation id."""
    if p.asker == 0:
        p.asker = direction + 1
    if p.asker == direction + 1:
        if s.head_len < _WANT_REQUEST:
            s.want = _WANT_REQUEST
            return MORE
        return _take_request(s, p)
    length, correlation = number(s.head, 0, 4), number(s.head, 4, 4)
    if length < 4 or length > _MOST:
        return BROKEN
    if s.proof == 0:
        if correlation + 1 != p.a:  # responses come in the order of the requests
            return BROKEN
        s.proof = 1
    s.left = length - 4
    if correlation + 1 != p.b:
        return SAID
    p.b = 0
    return ANSWER
