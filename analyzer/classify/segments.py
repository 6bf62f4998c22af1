"""The opt-in `segments` table: every TCP segment with its labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyzer.decode.segment import ACK
from analyzer.flows.state import LABELS
from analyzer.kernel import Records
from analyzer.tables.build import MISSING, Coded, to_arrow

if TYPE_CHECKING:
    import pyarrow as pa

# Wireshark's letters of tcp.flags.str, low bit first
_LETTERS = "FSRPAUECN"


def segment_rows(segments: Records, labels: Records) -> pa.Table:
    """Return rows of `segments` for a batch, in capture order."""
    here = labels["slot"] >= 0
    seg, label = segments[here], labels[here]
    flags = seg["flags"].astype(np.int64)
    has_ack = (flags & ACK) != 0

    def optional(values: np.ndarray[tuple[int], np.dtype[np.int64]], known: np.ndarray[tuple[int], np.dtype[np.bool_]]):  # type: ignore[no-untyped-def]
        return np.where(known, values, MISSING)

    columns = {
        "flow_id": label["flow_id"],
        "frame": seg["frame"],
        "ts": seg["ts_ns"],
        "dir": Coded(label["dir"], ("c2s", "s2c")),
        "seq": seg["seq"],
        "ack": optional(seg["ack"], has_ack),
        "seq_rel": label["seq_rel"],
        "ack_rel": optional(label["ack_rel"], has_ack & (label["ack_rel"] != -1)),
        "len": seg["payload_len"].astype(np.int64),
        "flags": _words(flags, _flag_letters),
        "window": optional(label["window"], label["window"] >= 0),
        "tsval": optional(seg["tsval"], seg["tsval"] >= 0),
        "tsecr": optional(seg["tsecr"], seg["tsecr"] >= 0),
        "ip_id": optional(seg["ip_id"].astype(np.int64), seg["ip_id"] >= 0),
        "ttl": seg["ttl"].astype(np.int64),
        "analysis": _words(label["analysis"].astype(np.int64), _label_names),
        "answers_frame": optional(label["answers_frame"], label["answers_frame"] > 0),
    }
    return to_arrow("segments", columns)


def _words(bits, name):  # type: ignore[no-untyped-def]
    distinct, codes = np.unique(bits, return_inverse=True)
    words = [name(int(value)) for value in distinct]
    lookup = np.array([-1 if not word else k for k, word in enumerate(words)], np.int64)
    return Coded(lookup[codes] if codes.size else codes, words)


def _flag_letters(bits: int) -> str:
    return "".join(letter for k, letter in enumerate(_LETTERS) if bits >> k & 1)


def _label_names(bits: int) -> str:
    return ",".join(name for k, name in enumerate(LABELS) if bits >> k & 1)
