"""Rows into the order that a table's sort key states."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from analyzer.tables.schema import arrow_schema, table


def in_order(name: str, parts: Sequence[pa.Table]) -> pa.Table:
    """Return the parts as one table, sorted by its key (nulls last)."""
    rows = pa.concat_tables(parts) if parts else arrow_schema(name).empty_table()
    key = table(name).sort_key
    if not key or rows.num_rows < 2:
        return rows
    sorted_rows: pa.Table = rows.combine_chunks().sort_by([(column, "ascending") for column in key])
    return sorted_rows
