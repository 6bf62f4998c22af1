"""Columns in ranges [first, last) that do not overlap: how many different values each has, and its flows as text."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analyzer.kernel import I64

_MOST_FLOW_IDS = 1000  # named in a row; a cell of 8 kB still opens in a spreadsheet


def distinct_in(values: I64, first: I64, last: I64) -> I64:
    """Return how many different values each [first, last) holds. The ranges do not overlap."""
    size = last - first
    owner = np.repeat(np.arange(first.size), size)
    at = np.arange(owner.size) - np.repeat(np.cumsum(size) - size, size) + np.repeat(first, size)
    order = np.lexsort((values[at], owner))
    v, o = values[at][order], owner[order]
    fresh = np.r_[True, (v[1:] != v[:-1]) | (o[1:] != o[:-1])] if v.size else np.zeros(0, np.bool_)
    result: I64 = np.bincount(o[fresh], minlength=first.size)
    return result


def flow_lists(flow_id: I64, first: I64, last: I64) -> NDArray[np.object_]:
    """Return the flows of each [first, last) as text, ascending, the first thousand."""
    size = last - first
    owner = np.repeat(np.arange(first.size), size)
    at = np.arange(owner.size) - np.repeat(np.cumsum(size) - size, size) + np.repeat(first, size)
    order = np.lexsort((flow_id[at], owner))
    ids = flow_id[at][order]
    rank = np.arange(ids.size) - np.repeat(np.cumsum(size) - size, size)
    keep = rank < _MOST_FLOW_IDS
    offsets = np.r_[0, np.cumsum(np.bincount(owner[keep], minlength=first.size))]
    words = pa.array(ids[keep]).cast(pa.string())
    lists = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), words)
    joined: NDArray[np.object_] = np.array(pc.binary_join(lists, " ").to_pylist(), dtype=object)
    return joined
