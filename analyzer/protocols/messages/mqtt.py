"""MQTT: PINGREQ and PINGRESP, and the keep-alive that CONNECT promises.

Source  OASIS MQTT 3.1.1 and 5.0, sections 2 (fixed header), 3.1 (CONNECT), 3.12, 3.13; MQTT 3.1 calls itself MQIsdp.
Sees    the fixed header of each packet; of CONNECT, up to the keep-alive.
Limits  MQTT 5 lets CONNACK replace the keep-alive (Server Keep Alive): that is not read.
"""

from __future__ import annotations

from analyzer.kernel import U8, Records, routine
from analyzer.protocols.messages.state import ANSWER, BEAT, BROKEN, SAID
from analyzer.protocols.messages.state import MORE as MORE_BYTES
from analyzer.protocols.messages.words import begins, coded
from analyzer.protocols.verdict import MORE, NO, YES

CONNECT, CONNACK, PUBLISH, PUBREL, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, PINGRESP = 1, 2, 3, 6, 8, 10, 12, 13
_SHORTEST_CONNECT = 12  # name, level, flags, keep-alive, an empty client identifier
_PATIENCE_NS = 1_500_000_000  # one and a half times the keep-alive, which is in seconds (3.1.2.10)
WANT = 2  # type and flags, and the length's first byte
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
def _promised(s: Records, k: int) -> int:
    """Return the silence in ns that the server bears from a client whose CONNECT begins at `k`, 0 = any."""
    at = k + 2 + int(s.head[k + 1]) + 2  # name, level and flags
    return ((int(s.head[at]) << 8) + int(s.head[at + 1])) * _PATIENCE_NS


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
    s.want, s.left = WANT, length - (s.head_len - k)
    if kind in (PINGREQ, PINGRESP):
        if length > 0:
            return BROKEN
        s.proof = 1
        return BEAT if kind == PINGREQ else ANSWER
    if kind == CONNECT and s.head_len > k and s.head[k] == 0 and s.head[k + 1] in (4, 6):
        p.patience, p.promised_by = _promised(s, k), direction
        s.proof = 1
    if kind == CONNACK and length >= 2:
        s.proof = 1
    return SAID
