"""Any Arrow table as a list: the answer to a query, whose columns are not declared anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from analyzer.render.listing import write_list
from analyzer.tables.kinds import Column, Table

if TYPE_CHECKING:
    import pyarrow as pa


def write_answer(out: BinaryIO, format: str, rows: pa.Table, width: int | None = None) -> list[str]:
    """Write `rows` as `write_list` does; return the columns that found no room.

    Types that no table of ours has (decimals, structs, dates) become text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if format == "parquet":
        pq.write_table(rows, out)
        return []
    names = _names(rows.column_names)
    columns: list[Column] = []
    arrays: list[pa.ChunkedArray] = []
    for name, field in zip(names, rows.schema, strict=True):
        kind, array = _typed(rows.column(len(arrays)), field.type)
        columns.append(Column(name, kind, "", "s" if kind == "s" else ""))  # six decimals
        arrays.append(array)
    table = Table("answer", "row", "", (), tuple(columns))
    made = pa.Table.from_arrays(arrays, names=names)
    _, hidden = write_list(out, format, table, iter([made]), width)
    return hidden


def _names(given: list[str]) -> list[str]:
    """Return column names made unique: `select a, a` has two of one name."""
    names: list[str] = []
    for name in given:
        number = 1
        unique = name
        while unique in names:
            number += 1
            unique = f"{name}_{number}"
        names.append(unique)
    return names


def _typed(values: pa.ChunkedArray, kind: pa.DataType) -> tuple[str, pa.ChunkedArray]:
    """Return the column type that shows such values best, and the values in the Arrow type it expects."""
    import pyarrow as pa

    if pa.types.is_boolean(kind):
        return "bool", values
    if pa.types.is_string(kind):
        return "str", values
    shown: tuple[str, pa.DataType] = ("str", pa.string())
    if (pa.types.is_integer(kind) and not pa.types.is_uint64(kind)) or (pa.types.is_decimal(kind) and kind.scale == 0):
        shown = "n", pa.int64()
    elif pa.types.is_floating(kind):
        shown = "s", pa.float64()
    elif pa.types.is_timestamp(kind):
        shown = "ts", pa.timestamp("ns", "UTC")
    elif pa.types.is_list(kind) and pa.types.is_integer(kind.value_type):
        shown = "frames", pa.list_(pa.int64())
    try:
        return shown[0], values.cast(shown[1])
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # the year 3000 has no nanoseconds, and some have no text
        words = [None if value is None else str(value) for value in values.to_pylist()]
        return "str", pa.chunked_array([pa.array(words, pa.string())])
