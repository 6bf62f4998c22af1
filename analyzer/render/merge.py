"""Sorting tables, and merging sorted ones, without a Python step per row.

Keys are whole numbers or times, compared column by column; nulls come last. Both functions are stable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_LAST = int(np.iinfo(np.int64).max)  # where nulls sort

Keys = list[NDArray[np.int64]]


def sorted_rows(chunks: list[pa.Table], key: tuple[str, ...]) -> pa.Table:
    """Return the rows of `chunks` sorted by the columns of `key`, stable; an empty key leaves them as they are.

    Empties `chunks`. Column after column is put together and sorted: what is copied stays in the cache (half the time
    of whole tables), and of one column only two copies are held.
    """
    rows = pa.concat_tables(chunks)
    chunks.clear()
    order, schema, left = _order(rows, key), rows.schema, rows.columns
    del rows
    taken = None if order is None else pa.array(order)
    columns: list[pa.Array] = []
    while left:
        whole = left.pop().combine_chunks()
        columns.append(whole if taken is None else whole.take(taken))
    return pa.Table.from_arrays(columns[::-1], schema=schema)


def _order(rows: pa.Table, key: tuple[str, ...]) -> NDArray[Any] | None:
    """Return the row numbers in sorted order, None if the rows are sorted already."""
    if not key or rows.num_rows < 2:
        return None
    if not all(pa.types.is_integer(rows[name].type) or pa.types.is_timestamp(rows[name].type) for name in key):
        order = pc.sort_indices(rows, sort_keys=[(name, "ascending") for name in key]).to_numpy()  # nulls last
        return None if np.array_equal(order, np.arange(order.size, dtype=order.dtype)) else order
    keys = [_numbers(rows[name]) for name in key]
    if _ascending(keys):
        return None
    order = _stable(keys[0])  # the rows of one flow come in their order: mostly this is enough, in a third of the time
    return order if _ascending([column[order] for column in keys]) else np.lexsort(keys[::-1])


def _ascending(keys: Keys) -> bool:
    """True if rows with these keys are in order."""
    open_yet = np.ones(keys[0].size - 1, np.bool_)  # pairs of neighbours that are equal so far
    for column in keys:
        before, after = column[:-1], column[1:]
        if (open_yet & (before > after)).any():
            return False
        open_yet &= before == after
    return True


def _stable(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the row numbers in the order of `numbers`; a narrow range is sorted by its digits, which numpy does for
    16 bits."""
    least = numbers.min()
    narrow = int(numbers.max()) - int(least) < 1 << 16
    return np.argsort((numbers - least).astype(np.uint16) if narrow else numbers, kind="stable")


def merge(runs: list[Iterator[pa.Table]], key: tuple[str, ...]) -> Iterator[pa.Table]:
    """Yield the rows of several sorted runs in order; where keys are equal, those of the earlier run come first.

    Each run yields its batches in order. One batch of each is held. The run whose batch ends first sets the bound: no
    later batch of any run can come before it, so what is up to the bound is sorted and yielded.
    """
    if len(runs) == 1:  # nothing to compare: keys may be of any type
        yield from runs[0]
        return
    heads = [head for at, run in enumerate(runs) if (head := _Head.first(at, run, key))]
    while len(heads) > 1:
        slowest = min(heads, key=lambda head: (head.last(), head.run_no))
        bound = slowest.last()
        ready = [head.take(bound, inclusive=head.run_no <= slowest.run_no) for head in heads]
        yield sorted_rows([rows for rows in ready if rows.num_rows], key)
        heads = [head for head in heads if head.rows.num_rows or head.advance()]
    for head in heads:
        yield head.rows
        yield from head.run


@dataclass(slots=True)
class _Head:
    """What is still to be merged of one run's current batch."""

    run_no: int
    run: Iterator[pa.Table]
    key: tuple[str, ...]
    rows: pa.Table
    keys: Keys

    @classmethod
    def first(cls, run_no: int, run: Iterator[pa.Table], key: tuple[str, ...]) -> _Head | None:
        head = cls(run_no, run, key, pa.table({}), [])
        return head if head.advance() else None

    def advance(self) -> bool:
        """Load the next batch that has rows; False if there is none."""
        for rows in self.run:
            if rows.num_rows:
                self.rows = rows
                self.keys = [_numbers(rows[name]) for name in self.key]
                return True
        return False

    def last(self) -> tuple[int, ...]:
        return tuple(int(column[-1]) for column in self.keys)

    def take(self, bound: tuple[int, ...], inclusive: bool) -> pa.Table:
        """Cut off and return the rows below `bound`, with those equal to it if `inclusive`."""
        begin, end = 0, self.rows.num_rows
        for column, value in zip(
            self.keys, bound, strict=True
        ):  # rows in begin:end equal the bound in all columns so far
            window = column[begin:end]
            begin, end = (
                begin + int(np.searchsorted(window, value, "left")),
                begin + int(np.searchsorted(window, value, "right")),
            )
        count = end if inclusive else begin
        taken = self.rows.slice(0, count)
        self.rows = self.rows.slice(count)
        self.keys = [column[count:] for column in self.keys]
        return taken


def _numbers(cells: pa.ChunkedArray) -> NDArray[np.int64]:
    whole = cells.cast(pa.int64()) if pa.types.is_timestamp(cells.type) else cells
    numbers: NDArray[np.int64] = pc.fill_null(whole, _LAST).to_numpy()
    return numbers
