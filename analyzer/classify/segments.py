"""The opt-in `segments` table: every TCP segment with its labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from analyzer.decode.segment import ACK
from analyzer.flows.state import LABELS
from analyzer.kernel import I64, Mask, Records, chosen_rows, joined_rows
from analyzer.tables.build import MISSING, Coded, to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

# Wireshark's letters of tcp.flags.str, low bit first
_LETTERS = "FSRPAUECN"


CHOSEN_ROWS = 50_000
"""Segments of chosen flows that wait until rows are made of them: a batch has a few, and making a table is not free."""


MOST_FLOWS = 1 << 28
"""No capture has more flows than this: a larger number was mistyped, and is not looked for (256 MB of lookup)."""


class ChosenSegments:
    """Collects the segments of some flows over batches, and makes rows of many at a time."""

    def __init__(self, flow_ids: Sequence[int]) -> None:
        known = [flow_id for flow_id in flow_ids if 0 <= flow_id < MOST_FLOWS]
        self._wanted = np.zeros(max(known, default=0) + 2, np.bool_)  # flow_id -> is it wanted; the last: all beyond
        self._wanted[known] = True
        self._held: list[tuple[Records, Records]] = []
        self.waiting = 0

    def add(self, segments: Records, labels: Records) -> bool:
        """Take a batch; True if it is time to ask for `rows`."""
        here = (labels["slot"] >= 0) & self._wanted[np.minimum(labels["flow_id"], self._wanted.size - 1)]
        if here.any():
            self._held.append((chosen_rows(segments, here), chosen_rows(labels, here)))
            self.waiting += int(here.sum())
        return self.waiting >= CHOSEN_ROWS

    def rows(self) -> pa.Table:
        """Return rows of what waits, in capture order, and forget it."""
        held, self._held, self.waiting = self._held, [], 0
        return segment_rows(joined_rows(*(pair[0] for pair in held)), joined_rows(*(pair[1] for pair in held)))


def segment_rows(segments: Records, labels: Records) -> pa.Table:
    """Return rows of `segments` for a batch, in capture order."""
    here = labels["slot"] >= 0
    seg, label = segments[here], labels[here]
    flags = seg["flags"].astype(np.int64)
    has_ack = (flags & ACK) != 0

    columns = {
        "flow_id": label["flow_id"],
        "frame": seg["frame"],
        "ts": seg["ts_ns"],
        "dir": Coded(label["dir"], ("c2s", "s2c")),
        "seq": seg["seq"],
        "ack": _optional(seg["ack"], has_ack),
        "seq_rel": label["seq_rel"],
        "ack_rel": _optional(label["ack_rel"], has_ack & (label["ack_rel"] != -1)),
        "len": seg["payload_len"].astype(np.int64),
        "flags": _words(flags, _flag_letters),
        "window": _optional(label["window"], label["window"] >= 0),
        "tsval": _optional(seg["tsval"], seg["tsval"] >= 0),
        "tsecr": _optional(seg["tsecr"], seg["tsecr"] >= 0),
        "ip_id": _optional(seg["ip_id"].astype(np.int64), seg["ip_id"] >= 0),
        "ttl": seg["ttl"].astype(np.int64),
        "analysis": _words(label["analysis"].astype(np.int64), _label_names),
        "answers_frame": _optional(label["answers_frame"], label["answers_frame"] > 0),
    }
    return to_arrow("segments", columns)


def _optional(values: I64, known: Mask) -> I64:
    return np.where(known, values, MISSING)


def _words(bits: I64, name: Callable[[int], str]) -> Coded:
    """Return bit sets as words, each distinct one named once."""
    distinct, codes = np.unique(bits, return_inverse=True)
    words = [name(int(value)) for value in distinct]
    lookup = np.array([-1 if not word else k for k, word in enumerate(words)], np.int64)
    return Coded(lookup[codes] if codes.size else codes, words)


def _flag_letters(bits: int) -> str:
    return "".join(letter for k, letter in enumerate(_LETTERS) if bits >> k & 1)


def _label_names(bits: int) -> str:
    return ",".join(name for k, name in enumerate(LABELS) if bits >> k & 1)
