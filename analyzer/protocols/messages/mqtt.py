"""MQTT: PINGREQ and PINGRESP, DISCONNECT, and the keep-alive that CONNECT promises, or that a server of MQTT 5 says.

Source  OASIS MQTT 3.1.1 and 5.0, sections 2 (fixed header), 3.1 (CONNECT), 3.12, 3.13, 3.14; MQTT 3.1 calls itself
        MQIsdp. 5.0: sections 2.2.2 (properties), 3.2.2.3.14 (Server Keep Alive), 3.14.2.1 (reasons to disconnect).
Sees    the fixed header of each packet; of CONNECT, up to the keep-alive; of CONNACK, 90 bytes of properties.
Limits  If Server Keep Alive may stand behind those, no promise is known.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.letters import begins, coded, number
from analyzer.protocols.messages.promise import promise
from analyzer.protocols.messages.state import ANSWER, BEAT, BROKEN, FAILED, GOODBYE, HEAD, IDLED, ORDERED, SAID
from analyzer.protocols.messages.state import MORE as MORE_BYTES
from analyzer.protocols.verdict import MORE, NO, YES

CONNECT, CONNACK, PUBLISH, PUBREL, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, PINGRESP, DISCONNECT = (
    1, 2, 3, 6, 8, 10, 12, 13, 14
)  # fmt: skip
_SHORTEST_CONNECT = 12  # name, level, flags, keep-alive, an empty client identifier
_PATIENCE_MS = 1500  # one and a half times the keep-alive, which is in seconds (3.1.2.10)
WANT = 2  # type and flags, and the length's first byte
_VERSION_5 = 5
_ERROR, _KEEP_ALIVE_TIMEOUT, _ORDERS = 0x80, 0x8D, (0x8B, 0x98)  # errors from here on; shutting down, administrative

# Properties of CONNACK (5.0 table 2-4) by their size: one byte, two, four, a text or bytes, a pair of texts
_OF_1, _OF_2, _OF_4 = (0x24, 0x25, 0x28, 0x29, 0x2A), (0x13, 0x21, 0x22), (0x11, 0x27)
_OF_TEXT, _PAIR, _SERVER_KEEP_ALIVE = (0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F), 0x26, 0x13

_NAME, _OLD_NAME = coded(b"\0\4MQTT"), coded(b"\0\6MQIs")


@routine
def looks_like_mqtt(first: U8, at: int, n: int, midstream: int) -> int:
    """Answer YES for a CONNECT; in mid-stream for a ping that stands alone, too."""
    if midstream and n == 2 and first[at + 1] == 0 and (first[at] == 0xC0 or first[at] == 0xD0):
        return YES
    if n == 0 or first[at] != CONNECT << 4:
        return MORE if n == 0 else NO
    k = 1
    while k < n and k < 4 and first[at + k] >= 128:
        k += 1
    if k == n:
        return MORE
    k += 1
    answer = begins(first, at + k, n - k, _NAME, 6)
    return answer if answer != NO else begins(first, at + k, n - k, _OLD_NAME, 6)


@routine
def _flags_are_right(kind: int, flags: int) -> bool:
    """Table 2.2: what the low bits of the first byte must be."""
    if kind == PUBLISH:
        return flags & 6 != 6
    return flags == (2 if kind in (PUBREL, SUBSCRIBE, UNSUBSCRIBE) else 0)


@routine
def _take_connect(s: Records, p: Records, k: int, direction: int) -> None:
    """Read level and keep-alive of a CONNECT whose name begins at `k`."""
    at = k + 2 + int(s.head[k + 1])
    p.a = s.head[at]
    promise(p, direction, number(s.head, at + 2, 2) * _PATIENCE_MS)
    s.proof = 1


@routine
def _take_connack(s: Records, p: Records, k: int, direction: int) -> None:
    """Read the properties of a CONNACK of MQTT 5: flags, reason, their length, and each by its identifier."""
    at, end, unit = k + 2, 0, 1
    while at < min(s.head_len, k + 6):
        end += (int(s.head[at]) & 127) * unit
        unit *= 128
        at += 1
        if s.head[at - 1] < 128:
            break
    end += at
    while at < min(end, s.head_len):
        kind = int(s.head[at])
        if kind == _SERVER_KEEP_ALIVE and at + 2 < s.head_len:
            promise(p, 1 - direction, number(s.head, at + 1, 2) * _PATIENCE_MS)
            return
        if kind in _OF_1:
            at += 2
        elif kind in _OF_2:
            at += 3
        elif kind in _OF_4:
            at += 5
        elif kind in _OF_TEXT or kind == _PAIR:
            at += 3 + number(s.head, at + 1, 2)
            if kind == _PAIR and at + 1 < s.head_len:
                at += 2 + number(s.head, at, 2)
        else:
            break
    if at < end:
        promise(p, 1 - direction, 0)  # it may come in what is not read


@routine
def take_mqtt(s: Records, p: Records, direction: int) -> int:
    """Section 2.2: type, flags, and how many bytes follow (2.2.3: seven bits each, four bytes at most)."""
    kind, flags = int(s.head[0]) >> 4, int(s.head[0]) & 15
    if kind == 0 or not _flags_are_right(kind, flags):
        return BROKEN
    k, length, unit = 1, 0, 1
    while k < min(s.head_len, 5) and (k == 1 or s.head[k - 1] >= 128):
        length += (int(s.head[k]) & 127) * unit
        unit *= 128
        k += 1
    if s.head[k - 1] >= 128:
        if k == 5:
            return BROKEN
        s.want = k + 1
        return MORE_BYTES
    if kind == CONNECT and length >= _SHORTEST_CONNECT and s.head_len == k:
        s.want = k + _SHORTEST_CONNECT  # the older and longer name, too
        return MORE_BYTES
    if kind == CONNACK and p.a == _VERSION_5 and length > 2 and s.head_len == k:
        s.want = min(k + length, HEAD)
        return MORE_BYTES
    if kind == DISCONNECT and length > 0 and s.head_len == k:  # MQTT 5 says why
        s.want = k + 1
        return MORE_BYTES
    s.want, s.left = WANT, length - (s.head_len - k)
    if kind == DISCONNECT:
        why = int(s.head[k])
        if why in _ORDERS:
            return ORDERED
        return GOODBYE if why < _ERROR else IDLED if why == _KEEP_ALIVE_TIMEOUT else FAILED
    if kind in (PINGREQ, PINGRESP):
        if length > 0:
            return BROKEN
        s.proof = 1
        return BEAT if kind == PINGREQ else ANSWER
    if kind == CONNECT and s.head_len > k and s.head[k] == 0 and s.head[k + 1] in (4, 6):
        _take_connect(s, p, k, direction)
    if kind == CONNACK and length >= 2:
        s.proof = 1
        if p.a == _VERSION_5 and s.head_len > k:
            _take_connack(s, p, k, direction)
    return SAID
