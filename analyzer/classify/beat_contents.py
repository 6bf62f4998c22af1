"""Whether what comes by a timer says anything new: then it is data that ticks, no heartbeat. Where it can be read.

What    A heartbeat says no more than that its sender lives. One that asks for no answer is the same each time, counts
        evenly where no protocol says that it is data, or says that it is one. One that is answered may also have
        numbers that grow anyhow, or bytes that its answer brings back; and its answers are the same, or count evenly:
        a request whose answer brings something new is polling.
Source  definitions B8, "False positives": ticks, polling, telemetry; read in captures of programs of each kind
Needs   UNIT rows of each series, in time order
Gives   which series may be heartbeats
Limits  What looks like ciphertext is judged by timing alone; so are numbers in binary that vary in eight bytes or more.
        Telemetry that has no news for as long as the capture lasts says nothing new. Only the first 32 bytes of a
        message are kept as they are: a number that counts after those is news.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analyzer.kernel import I64, U8, Mask, Records
from analyzer.protocols.said import HEAD, digest

# How units can be read: not at all (encrypted), in bytes of no known protocol, which may be ciphertext, or as what a
# protocol says they are
HIDDEN, PERHAPS, READ = range(3)

MOSTLY = 0.8  # share of messages that have to be so; others of the same size and pace come in between
_CIPHER = 8  # bytes that vary together: no cipher needs less, its tag alone is as long (RFC 6655)
_COUNTER = 8  # bytes of a number in binary; its first ones take years to change
_UNEVEN = 0.25  # of a step: beats may be late
_LINES = 256  # of a series, to compare numbers in text
_NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]+)?")
_EVEN = 0.25, 0.75  # share of bytes with their top bit set, as random ones have it; text has none
_WORD = re.compile(rb"(?<![a-z])(p[io]ng|heart[-_ ]?beat|keep[-_ ]?alive)(?![a-z])", re.IGNORECASE)


def says_nothing_new(
    rows: Records, group: I64, start: I64, reading: NDArray[np.int8], paired: Mask, chosen: I64
) -> Mask:  # fmt: skip
    """Return (k,) which of the `chosen` groups may be heartbeats by what they say; the others are false.

    rows (n,) UNIT by group and time    reading (n,) how each can be read    start, paired (k,) of each group
    """
    result = np.zeros(start.size, np.bool_)
    n = np.bincount(group, minlength=start.size)
    hidden = np.bincount(group, weights=reading == HIDDEN, minlength=start.size)
    blind = hidden > (1 - MOSTLY) * n
    asked = np.zeros(start.size, np.bool_)
    asked[chosen] = True
    here = asked[group]
    whole = _alike(rows, "", group, here, start.size)
    whole &= ~paired | _alike(rows, "answer_", group, here & (rows["answer_ts"] > 0), start.size)
    result[chosen] = (blind | whole)[chosen]
    for k in chosen[~result[chosen]].tolist():  # something varies: each is looked at, a millisecond's work
        mine = slice(int(start[k]), int(start[k] + n[k]))
        seen = reading[mine] != HIDDEN
        result[k] = _may_vary(rows[mine][seen], bool(paired[k]), bool((reading[mine] == READ).any()))
    return result


def _alike(rows: Records, of: str, group: I64, told: Mask, k: int) -> Mask:
    """Return (k,) in which groups most of the messages that were `told` are the same byte for byte."""
    key = digest(rows[told], of)
    group = group[told]
    order = np.lexsort((key, group))
    key, group = key[order], group[order]
    new = np.flatnonzero(np.r_[True, (key[1:] != key[:-1]) | (group[1:] != group[:-1])]) if key.size else key
    times = np.diff(np.r_[new, key.size]).astype(np.int64)
    most = np.zeros(k, np.int64)
    np.maximum.at(most, group[new.astype(np.int64)], times)
    count = np.bincount(group, minlength=k)
    result: Mask = (count > 0) & (most >= MOSTLY * count)
    return result


# ----------------------------------------------------------------------------------------------- one series that varies
class _Texts:
    """Messages of a series, or their answers: their first bytes, and where they vary from one to the next."""

    def __init__(self, rows: Records, of: str) -> None:
        self.head: U8 = np.ascontiguousarray(rows[of + "head"])
        heard: NDArray[Any] = np.ascontiguousarray(rows[of + "heard"])
        rest: NDArray[Any] = np.ascontiguousarray(rows[of + "rest"])
        pair = heard[1:] == heard[:-1]  # a number that grew by a digit moves what comes after it
        self.before, self.after = self.head[:-1][pair], self.head[1:][pair]
        changes = (self.before != self.after).sum(axis=0)  # few are another message in between, or a carry
        self.varies: I64 = np.flatnonzero(changes > (1 - MOSTLY) * len(self.before))
        self.heard, self.rest = heard, rest
        self.rest_varies = bool((pair & (rest[1:] != rest[:-1])).sum() > (1 - MOSTLY) * pair.size)
        self.ragged = bool(pair.sum() < MOSTLY * pair.size)  # most are not as long as the one before

    @cached_property
    def text(self) -> bool:
        """Whether most are text."""
        printable = (_printable(self.head) | (np.arange(HEAD) >= self.heard[:, None])).all(axis=1)
        return int(printable.sum()) >= MOSTLY * printable.size

    def same(self) -> bool:
        """Return whether most are the same."""
        heads = map(bytes, self.head)
        times = Counter(zip(heads, self.heard.tolist(), self.rest.tolist(), strict=True))
        return times.most_common(1)[0][1] >= MOSTLY * len(self.head)

    def unreadable(self) -> bool:
        """Return whether what varies looks like ciphertext."""
        if self.text:
            return False
        if self.varies.size < _CIPHER:
            return self.rest_varies  # behind a long header
        return _EVEN[0] <= float((self.head[:, self.varies] >= 128).mean()) <= _EVEN[1]

    def named(self) -> bool:
        """Return whether most say that they are beats or their answers."""
        return sum(_WORD.search(head.tobytes()) is not None for head in self.head) >= MOSTLY * len(self.head)

    def counts(self, evenly: bool) -> bool:
        """Return whether all that varies are numbers that grow, `evenly` or anyhow: counters, or the time."""
        if self.rest_varies or self.varies.size == 0:
            return False
        if self.text and _counts_in_text(self.lines(), evenly):
            return True  # else it may be a number in binary that happens to look like text
        fields = np.split(self.varies, np.flatnonzero(np.diff(self.varies) > 1) + 1)
        return not self.ragged and all(self._grows(field, evenly) for field in fields)

    def lines(self) -> list[bytes]:
        """Return the first messages as they are."""
        return [head[:n].tobytes() for head, n in zip(self.head[:_LINES], self.heard[:_LINES].tolist(), strict=True)]

    def _grows(self, columns: I64, evenly: bool) -> bool:
        """Return whether a number in binary grows, in network order or the other one."""
        if columns.size >= _COUNTER:
            return False
        weights = 256 ** np.arange(columns.size)
        before, after = self.before[:, columns].astype(np.int64), self.after[:, columns].astype(np.int64)
        steps = after - before
        limit = 256**columns.size  # it may begin anew
        return _grow(steps @ weights[::-1] % limit, limit, evenly) or _grow(steps @ weights % limit, limit, evenly)

    def brings_back(self, beats: _Texts) -> bool:
        """Return whether what varies is what varied in the beats (these are their answers, one for each)."""
        if self.rest_varies or beats.rest_varies or not self.varies.size == beats.varies.size > 0:
            return False
        same = (self.head[:, self.varies] == beats.head[:, beats.varies]).all(axis=1)
        return bool(same.mean() >= MOSTLY)


def _may_vary(rows: Records, paired: bool, read: bool) -> bool:
    """Return whether a series of which some messages or answers differ may be a heartbeat all the same."""
    beats = _Texts(rows, "")
    if beats.named() or (not read and beats.unreadable()):
        return True
    if not paired:
        return not read and beats.counts(evenly=True)
    told = rows[rows["answer_ts"] > 0]
    answers = _Texts(told, "answer_")
    if beats.varies.size and answers.brings_back(_Texts(told, "")):
        return True
    return (beats.same() or beats.counts(evenly=False)) and (
        answers.same() or answers.counts(evenly=True) or (not read and answers.unreadable())
    )


def _counts_in_text(lines: list[bytes], evenly: bool) -> bool:
    """Return whether most lines differ in nothing but numbers in decimal, which grow."""
    words, times = Counter(_NUMBER.sub(b"0", line) for line in lines).most_common(1)[0]
    if times < MOSTLY * len(lines):
        return False
    alike = [line for line in lines if _NUMBER.sub(b"0", line) == words]
    numbers = np.array([[float(number) for number in _NUMBER.findall(line)] for line in alike])
    varying = numbers[:, (numbers != numbers[0]).any(axis=0)]
    return varying.size > 0 and all(_grow(np.diff(column), np.inf, evenly) for column in varying.T)


def _grow(steps: NDArray[Any], limit: float, evenly: bool) -> bool:
    """Return whether most steps of a number below `limit` go up, and `evenly`: nearly as far as the middle one."""
    if not steps.size:
        return False
    middle = float(np.median(steps))
    fits = np.abs(steps - middle) <= _UNEVEN * middle if evenly else (steps > 0) & (steps < limit / 2)
    return bool(middle > 0 and fits.mean() >= MOSTLY)


def _printable(heads: U8) -> Mask:
    """Return which bytes stand in text: all but control characters."""
    result: Mask = (heads >= 32) | ((heads >= 9) & (heads <= 13))
    return result
