"""Rows of a table with what `flows` says of their connections: both are sorted by flow_id and read in step.

A flow's row may come long after those of its frames and requests, so both tables wait in a `Spool`: bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


def beside_flows(name: str, chunks: Iterable[tuple[str, pa.Table]], columns: Sequence[str]) -> Iterator[pa.Table]:
    """Yield the rows of table `name`, which has a flow_id, in their final order, with `columns` of their flows.

    chunks  (table's name, rows) of any tables, in any order
    """
    from analyzer.render.spool import Spool

    with Spool() as spool:
        for table, rows in chunks:
            if table in (name, "flows"):
                spool.write(table, rows)
        flows = _Flows(spool.read("flows"), columns)
        for rows in spool.read(name):
            yield flows.beside(rows)


class _Flows:
    """A window over the flows: those that the rows asked for belong to, and no more than a chunk around them."""

    def __init__(self, chunks: Iterator[pa.Table], columns: Sequence[str]) -> None:
        self._chunks = (rows.select(["flow_id", *columns]) for rows in chunks)
        self._columns = columns
        self._held: list[pa.Table] = []

    def beside(self, rows: pa.Table) -> pa.Table:
        """Return `rows`, none of which is of an earlier flow than those of the last call, with the columns."""
        import pyarrow as pa
        import pyarrow.compute as pc

        first, last = rows["flow_id"][0].as_py(), rows["flow_id"][-1].as_py()
        held = [part for part in self._held if _last_id(part) >= first]
        while not held or _last_id(held[-1]) < last:
            more = next(self._chunks, None)
            if more is None:
                break
            held.append(more)
        self._held = held
        flows = pa.concat_tables(held)
        own = flows.take(pc.index_in(rows["flow_id"], value_set=flows["flow_id"].combine_chunks()))
        for name in self._columns:
            rows = rows.append_column(name, own[name])
        return rows


def _last_id(rows: pa.Table) -> int:
    number: int = rows["flow_id"][-1].as_py()
    return number
