"""Rows as text: CSV and newline-delimited JSON, a column at a time.

A million rows of seventy columns are 70 million cells, so nothing here loops over cells in Python. Each column becomes
one Arrow array of texts, and one call joins them to lines. Text is escaped once per distinct value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analyzer.render.escape import UNSAFE_CLASS, csv_text, json_text
from analyzer.tables.schema import Column, Table

# Lines are joined for this many rows at a time: 8 Ki rows of flows are about 14 MB of JSON, far below the 2 GiB that
# one Arrow string array can hold. Larger slices are not faster (measured from 4 Ki to 64 Ki).
SLICE_ROWS = 8 * 1024

_CSV_CARE = rf"^$|^[=+\-@ ]| $|[\",{UNSAFE_CLASS}]"
_JSON_CARE = rf'["\\{UNSAFE_CLASS}]'


def csv_header(table: Table) -> bytes:
    """Return the header line."""
    return (",".join(table.names) + "\n").encode()


def csv_lines(table: Table, rows: pa.Table) -> pa.Buffer:
    """Return `rows` as CSV lines; null is an empty cell, frames are separated by spaces."""
    parts: list[Any] = []
    for column in table.columns:
        parts += [_csv_cells(column, _chunk(rows, column.name)), ","]
    parts[-1] = "\n"
    return _joined(parts, null="")


def json_lines(table: Table, rows: pa.Table) -> pa.Buffer:
    """Return `rows` as JSON objects, one a line, with every column; null is null, frames are arrays of numbers."""
    parts: list[Any] = []
    for column in table.columns:
        parts += [f',"{column.name}":', _json_cells(column, _chunk(rows, column.name))]
    parts[0] = "{" + parts[0][1:]
    parts.append("}\n")
    return _joined(parts, null="null")


def _joined(parts: list[Any], null: str) -> pa.Buffer:
    """Return the texts of each row joined, row after row: the value bytes of Arrow's string array as they are."""
    lines = pc.binary_join_element_wise(*parts, "", null_handling="replace", null_replacement=null)
    _, offsets, values = lines.buffers()
    return values.slice(0, int(np.frombuffer(offsets, np.int32)[len(lines)]))


def _chunk(rows: pa.Table, name: str) -> pa.Array:
    cells = rows[name]
    return cells.chunk(0) if cells.num_chunks == 1 else cells.combine_chunks()


def _csv_cells(column: Column, cells: pa.Array) -> pa.Array:
    if column.type in ("str", "enum"):
        return _texts(cells, _CSV_CARE, csv_text)
    if column.type == "frames":
        return pc.binary_join(cells.cast(pa.list_(pa.string())), " ")
    return _plain(column, cells)


def _json_cells(column: Column, cells: pa.Array) -> pa.Array:
    if column.type in ("str", "enum"):
        return _texts(cells, _JSON_CARE, json_text, quote='"')
    if column.type == "frames":
        inside = pc.binary_join(cells.cast(pa.list_(pa.string())), ",")
        return pc.binary_join_element_wise("[", inside, "]", "")
    if column.type == "ts":
        return pc.binary_join_element_wise('"', _plain(column, cells), '"', "")
    return _plain(column, cells)


def _plain(column: Column, cells: pa.Array) -> pa.Array:
    """Return numbers, booleans and times as text that neither format has to quote."""
    if column.type == "ts":  # "2024-01-01 00:00:00.000000000Z", and ISO 8601 wants a T
        return pc.binary_replace_slice(cells.cast(pa.string()), 10, 11, "T")
    if column.type == "s":  # JSON has no infinity
        cells = pc.if_else(pc.is_finite(cells), cells, pa.scalar(None, cells.type))
    return cells.cast(pa.string())


def _texts(cells: pa.Array, care: str, escape: Callable[[str], str], quote: str = "") -> pa.Array:
    """Return texts ready to stand in a line: `escape` applied where `care` matches, `quote` around the others."""
    coded = cells.dictionary_encode()
    words = coded.dictionary
    if not len(words):
        return cells
    special = pc.match_substring_regex(words, care)
    ready = pc.binary_join_element_wise(quote, words, quote, "") if quote else words
    if pc.any(special).as_py():
        escaped = pa.array([escape(word) for word in words.filter(special).to_pylist()], pa.string())
        ready = pc.replace_with_mask(ready, special, escaped)
    return ready.take(coded.indices)
