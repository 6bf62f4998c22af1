"""Columns in, typed tables out: numpy to Arrow, and Arrow to pandas at the very end.

A producer hands over one array per column, with missing values in whichever form its kernel writes them:

    n, ts   integers; MISSING is null. ts also takes datetime64[ns]. Floats are allowed for n (NaN is null)
    s       floats; NaN is null
    bool    booleans, or integers 1, 0 and -1 for null
    str     a Coded, a list or an object array with None; bytes are read as UTF-8
    enum    as str; the words are checked if they come as a Coded
    frames  a pair (offsets, values), or a list of lists

Every type also takes an Arrow array. What numpy hands over is copied: the producer may reuse its buffers as soon as
`to_arrow` returns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analyzer.tables.kinds import Column
from analyzer.tables.schema import arrow_schema, arrow_type, table

if TYPE_CHECKING:
    import pandas as pd

MISSING = int(np.iinfo(np.int64).min)
"""Null in an integer column. The smallest int64: no count, length or frame number can be it."""
NAT = MISSING
"""Null in a ts column: the same bits as numpy's NaT."""


class Coded(NamedTuple):
    """A text column of few words: `names[codes[i]]`, null where `codes[i]` is -1.

    codes  (n,) any integer type    names  the words; a code beyond them raises IndexError
    """

    codes: NDArray[Any]
    names: Sequence[str]


def to_arrow(name: str, columns: Mapping[str, Any]) -> pa.Table:
    """Return table `name` with exactly its declared columns, in order; columns not given are null.

    Raises KeyError for a column the schema does not have, ValueError for unequal lengths or a word that is not of the
    enum: both are our bug, not the user's.
    """
    declared = table(name)
    unknown = set(columns) - set(declared.names)
    if unknown:
        raise KeyError(f"table {name} has no column {', '.join(sorted(unknown))}")
    made = {column.name: _column(column, columns[column.name]) for column in declared.columns if column.name in columns}
    lengths = {len(array) for array in made.values()}
    if len(lengths) > 1:
        sizes = ", ".join(f"{key} {len(array)}" for key, array in made.items())
        raise ValueError(f"table {name}: columns differ in length: {sizes}")
    rows = lengths.pop() if lengths else 0
    arrays = [
        made[column.name] if column.name in made else pa.nulls(rows, arrow_type(column.type))
        for column in declared.columns
    ]
    return pa.Table.from_arrays(arrays, schema=arrow_schema(name))


def to_pandas(rows: pa.Table) -> pd.DataFrame:
    """Return `rows` as a DataFrame; dtypes are the same with and without rows, with and without nulls.

    ts -> datetime64[ns, UTC] (NaT)    s -> float64 (NaN)    n -> Int64 (NA)    bool -> boolean (NA)
    str, enum -> pandas' own string dtype (NaN): == gives plain booleans, groupby and value_counts leave nulls out
    frames -> Python lists of int (None)
    """
    import pandas as pd

    mapped = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype(), pa.string(): _string_dtype()}
    lists = [field.name for field in rows.schema if pa.types.is_list(field.type)]
    plain = rows.drop_columns(lists) if lists else rows
    frame: pd.DataFrame = plain.replace_schema_metadata(None).to_pandas(types_mapper=mapped.get)
    for column in lists:
        place = rows.schema.get_field_index(column)
        cells = pd.Series(_lists(rows[column]), dtype=object, index=frame.index)
        frame.insert(place, column, cells)
    return frame


def _string_dtype() -> Any:
    """Return the dtype that pandas 3 gives every text column; pandas 2 has it under other names."""
    import pandas as pd

    try:
        return pd.StringDtype(storage="pyarrow", na_value=np.nan)
    except TypeError:  # pandas 2.2 does not know na_value
        return pd.StringDtype("pyarrow_numpy")


def _lists(cells: pa.ChunkedArray) -> list[list[int] | None]:
    """Return list cells as Python lists. Slicing one flat list is ten times faster than `to_pylist`."""
    out: list[list[int] | None] = []
    for chunk in cells.chunks:
        values = chunk.values.to_pylist()
        offsets = chunk.offsets.to_pylist()
        valid = chunk.is_valid().to_pylist()
        ends = zip(offsets, offsets[1:], valid, strict=False)
        out += [values[begin:end] if there else None for begin, end, there in ends]
    return out


# ------------------------------------------------------------------------------------------ one column


def _column(column: Column, given: Any) -> pa.Array:
    """Return `given` as an Arrow array of the column's type."""
    wanted = arrow_type(column.type)
    if isinstance(given, pa.ChunkedArray):
        given = given.combine_chunks()
    if isinstance(given, Coded):
        return _coded(column, given)
    if isinstance(given, pa.Array):
        array = given if given.type == wanted else given.cast(wanted)
        return _nan_to_null(array) if column.type == "s" else array
    if column.type == "frames":
        return _frames(given)
    if column.type in ("str", "enum"):
        return _texts(given)
    if not isinstance(given, np.ndarray):
        given = _array_of(list(given), column.type)
    return _numbers(column.type, given)


def _array_of(values: list[Any], kind: str) -> NDArray[Any]:
    """Return a list of numbers with None as an array in which the missing ones are what `_numbers` takes for null."""
    if kind == "bool":
        return np.array([-1 if value is None else int(value) for value in values], dtype=np.int8)
    if kind == "s" or any(isinstance(value, float) for value in values):
        return np.array(values, dtype=np.float64)  # None becomes NaN
    return np.array([MISSING if value is None else value for value in values], dtype=np.int64)


def _numbers(kind: str, given: NDArray[Any]) -> pa.Array:
    """Return an array of integers, floats or booleans with its nulls; always a copy."""
    wanted = arrow_type(kind)
    values: NDArray[Any]
    if kind == "s":
        values = np.array(given, dtype=np.float64)
        missing = np.isnan(values)
    elif kind == "bool":
        missing = given < 0 if given.dtype.kind in "if" else np.zeros(given.shape, dtype=np.bool_)
        values = given.astype(np.bool_)
    elif given.dtype.kind == "f":
        missing = np.isnan(given)
        values = np.where(missing, 0, given).astype(np.int64)
    else:
        if given.dtype.kind == "M":
            given = given.astype("datetime64[ns]")
        elif given.dtype.kind not in "iub":
            raise ValueError(f"a column of type {kind} cannot hold {given.dtype}")
        values = given.view(np.int64).copy() if given.dtype.kind == "M" else given.astype(np.int64)
        missing = values == MISSING
    holes = missing if missing.any() else None
    array = pa.array(values, pa.int64() if kind == "ts" else wanted, mask=holes)
    return array.view(wanted) if kind == "ts" else array


def _nan_to_null(array: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_nan(array), pa.scalar(None, array.type), array)


def _coded(column: Column, given: Coded) -> pa.Array:
    """Return the words behind the codes."""
    if column.type not in ("str", "enum"):
        raise ValueError(f"column {column.name} is of type {column.type} and cannot be a Coded")
    strange = set(given.names) - set(column.values)
    if column.values and not column.open and strange:
        raise ValueError(f"column {column.name}: {', '.join(sorted(strange))} not among its words")
    codes = np.asarray(given.codes)
    largest = int(codes.max()) if codes.size else -1
    if largest >= len(given.names):
        raise IndexError(f"column {column.name}: code {largest} has no name")
    if largest < 0:  # of many columns no flow has anything
        return pa.nulls(codes.size, pa.string())
    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.array(list(given.names), pa.string()).take(indices)


def _texts(given: Any) -> pa.Array:
    """Return texts as Arrow strings; whatever is no valid UTF-8 is kept as visible \\x.. escapes."""
    values = given.tolist() if isinstance(given, np.ndarray) else list(given)
    try:
        return pa.array(values, pa.string(), from_pandas=True)
    except (UnicodeError, pa.ArrowException, TypeError):  # bytes, or surrogates from the wire
        return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return None
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if not isinstance(value, str):
        raise ValueError(f"a text column cannot hold {type(value).__name__}")
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace") if _odd(value) else value


def _odd(value: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in value)


def _frames(given: Any) -> pa.Array:
    """Return lists of frame numbers out of (offsets, values) or a sequence of sequences."""
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], np.ndarray):
        offsets = pa.array(given[0].astype(np.int32))
        return pa.ListArray.from_arrays(offsets, pa.array(np.array(given[1], dtype=np.int64)))
    lists = [None if cell is None else [int(frame) for frame in cell] for cell in cast("Sequence[Any]", given)]
    return pa.array(lists, pa.list_(pa.int64()))
