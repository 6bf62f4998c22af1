"""What a small message says, in as many bytes as it takes to tell it from the next: the first, and a hash of the rest.

What    A message that repeats itself says nothing new: a heartbeat may be inferred from it. What is new may be a number
        that counts, so the first bytes are kept as they are. A WebSocket frame is unmasked (its key is new each time),
        and the Date of an HTTP message is left out: it says when, nothing else.
Source  RFC 6455 section 5.3 (masking), RFC 9110 section 6.6.1 (Date)
Needs   bytes of spans: those on the wire, and plaintext of TLS that was opened
Gives   SAID rows of plaintext; `listen` for whoever keeps such bytes itself (`classify.heartbeat_units`)
Limits  A masked frame is unmasked if it is all of a segment's bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from analyzer.kernel import I32, I64, U8, Records, chosen_rows, copy_rows, grown, kernel, records, roomy, routine
from analyzer.protocols.letters import coded, letters
from analyzer.streams.inorder import SPAN_DATA

HEAD = 32  # bytes: a length, a kind and a counter, or the beginning of a line
LONGEST = 300  # bytes of a message that may be a beat (definitions B8)

# Of all connections that were opened, 72 bytes each: 18 MiB. Past it the oldest half is forgotten, and what stood in
# those records is not known any more.
MOST_SAID = 1 << 18

SAID = np.dtype(
    [("flow_id", np.int64), ("frame", np.int64), ("ts_ns", np.int64), ("rest", np.int64), ("slot", np.int32),
     ("heard", np.int16), ("dir", np.int8), ("head", np.uint8, (HEAD,))],
    align=True,
)  # fmt: skip
"""heard  bytes that were taken    head  the first of them    rest  a hash of those after it, 0 = there are none"""

_DATE, _LF, _COLON = coded(b"DATE"), 10, 58
_FINAL, _MASKED, _LENGTH, _LENGTH_16 = 128, 128, 127, 126  # RFC 6455 section 5.2


def digest(rows: Records, of: str = "") -> NDArray[np.uint64]:
    """Return (n,) a hash of what each row has of a message: its fields head, rest and heard, named `of` and that."""
    words = np.ascontiguousarray(rows[of + "head"]).view(np.uint64)
    key: NDArray[np.uint64] = rows[of + "rest"].astype(np.uint64) * np.uint64(1_000_003)
    key += rows[of + "heard"].astype(np.uint64)
    for column in words.T:  # wraps around, as hashes do
        key = (key ^ column) * np.uint64(0x9E3779B97F4A7C15)
        key ^= key >> np.uint64(29)
    return key


@routine
def _mask(source: U8, at: int, n: int) -> int:
    """Return where the masking key of the one WebSocket frame is that these bytes are, 0 if they are none."""
    if n < 6 or not source[at] & _FINAL or not source[at + 1] & _MASKED:
        return 0
    length = int(source[at + 1]) & _LENGTH
    if length < _LENGTH_16:
        return 2 if length + 6 == n else 0
    if length == _LENGTH_16 and n >= 8 and (int(source[at + 2]) << 8 | int(source[at + 3])) + 8 == n:
        return 4
    return 0


@routine
def listen(source: U8, at: int, n: int, row: Records) -> None:
    """Add the next n bytes of a message to what `row` has of it (fields head, heard and rest of SAID)."""
    mask = _mask(source, at, n) if row.heard == 0 else 0
    value, heard, k = int(row.rest), int(row.heard), 0
    while k < n and heard < LONGEST:
        line = k > 0 and source[at + k - 1] == _LF and k + 5 <= n and source[at + k + 4] == _COLON
        if line and letters(source, at + k, 4) == _DATE:
            while k < n and source[at + k] != _LF:
                k += 1
            k += 1
            continue
        one = int(source[at + k])
        if mask > 0:
            if mask <= k < mask + 4:
                k += 1
                continue
            if k >= mask + 4:
                one ^= int(source[at + mask + (k - mask) % 4])
        if heard < HEAD:
            row.head[heard] = one
        else:  # 39 bits times 20 stay below 2**63: no overflow, compiled or not
            value = ((value ^ one) * 1_000_003 + heard) & 0x7FFFFFFFFF
        heard += 1
        k += 1
    row.rest, row.heard = value, heard


@kernel
def note_said(index: I32, spans: Records, aside: U8, channels: Records, said: Records, n: I64) -> None:
    """Note what small pieces of plaintext say: spans in rows `index`. said has room for as many after its n[0] rows."""
    for i in range(index.size):
        span = spans[index[i]]
        if span.kind != SPAN_DATA or span.length > LONGEST or not channels[span.channel].decrypted:
            continue
        row = said[n[0]]
        row.flow_id, row.frame, row.dir, row.slot = span.flow_id, span.frame, span.dir, span.slot
        row.ts_ns = span.ts_ns
        row.rest, row.heard = 0, 0
        for k in range(HEAD):
            row.head[k] = 0
        listen(aside, span.at, span.length, row)
        n[0] += 1


class Heard:
    """Keeps SAID rows of plaintext until their flow is over."""

    def __init__(self) -> None:
        self.rows = records(64, SAID)
        self.n: I64 = np.zeros(1, np.int64)

    def feed(self, index: I32, spans: Records, aside: U8, channels: Records) -> None:
        """Take the spans in rows `index` whose channel is plaintext."""
        used = int(self.n[0])
        if used > MOST_SAID:
            copy_rows(self.rows, self.rows[used // 2 : used].copy())
            used -= used // 2
            self.n[0] = used
        self.rows = roomy(grown(self.rows, used), used, index.size)
        note_said(index, spans, aside, channels, self.rows, self.n)

    def of(self, flow_ids: I64) -> Records:
        """Return the SAID rows of these flows, and forget them."""
        rows = self.rows[: int(self.n[0])]
        mine = np.isin(rows["flow_id"], flow_ids)
        taken, kept = chosen_rows(rows, mine), chosen_rows(rows, ~mine)
        copy_rows(self.rows, kept)
        self.n[0] = kept.shape[0]
        return taken
