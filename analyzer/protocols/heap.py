"""Texts from the wire: kernels append bytes to a heap, tables take them from there as Arrow strings.

No Python object is made per text. A text is (at, length) in the heap, at -1 = there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyzer.kernel import I32, I64, U8, Records, kernel, routine

if TYPE_CHECKING:
    import pyarrow as pa


@routine
def put_text(source: U8, start: int, end: int, heap: U8, m: Records) -> int:
    """Append bytes to the heap and return where they are, -1 if it is full."""
    at = m.heap
    if at + (end - start) > heap.size:
        m.heap_full += 1
        return -1
    target, text = heap[at : at + end - start], source[start:end]
    for k in range(end - start):
        target[k] = text[k]
    m.heap = at + (end - start)
    return int(at)


@kernel
def _gather(at: I32, length: I32, heap: U8, offsets: I32, out: U8) -> int:
    """Copy texts one after the other; return how many of them are not plain ASCII."""
    end, odd = 0, 0
    for i in range(at.size):
        offsets[i] = end
        high = 0
        if at[i] >= 0:
            for k in range(length[i]):
                b = heap[at[i] + k]
                out[end + k] = b
                high |= b
            end += length[i]
        if high & 128:
            odd += 1
    offsets[at.size] = end
    return odd


def texts(at: I32, length: I32, heap: U8) -> pa.Array:
    """Return the texts as an Arrow string array; null where `at` is -1, bytes that are no UTF-8 as \\x.. escapes."""
    import pyarrow as pa

    at, length = np.ascontiguousarray(at), np.ascontiguousarray(length)
    there = at >= 0
    offsets = np.zeros(at.size + 1, np.int32)
    out = np.zeros(int(length[there].sum()) + 1, np.uint8)
    odd = _gather(at, length, heap, offsets, out)
    nulls = None if there.all() else pa.array(there).buffers()[1]
    kind = pa.binary() if odd else pa.string()
    array = pa.Array.from_buffers(kind, at.size, [nulls, pa.py_buffer(offsets), pa.py_buffer(out)])
    if not odd:
        return array
    words = [None if word is None else word.decode("utf-8", "backslashreplace") for word in array.to_pylist()]
    return pa.array(words, pa.string())


@kernel
def move_texts(rows_at: I64, rows_length: I64, heap: U8, other: U8) -> int:
    """Copy texts into another heap, setting `rows_at` to their new places; return the end of what is used there.

    Texts of two rows may be one here and are two there: what finds no room gets the place -1.
    """
    end = 0
    for i in range(rows_at.size):
        if rows_at[i] >= 0 and end + rows_length[i] > other.size:
            rows_at[i] = -1
        elif rows_at[i] >= 0:
            for k in range(rows_length[i]):
                other[end + k] = heap[rows_at[i] + k]
            rows_at[i] = end
            end += rows_length[i]
    return end
