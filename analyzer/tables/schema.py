"""The tables: every name, type, unit and meaning, declared once.

API, files, reports and documentation are made from `TABLES`; nothing else knows a column by heart. Importing this
module costs nothing: pyarrow is imported by the functions that need it.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from analyzer.tables import conclusions, protocols, tcp, twopoint
from analyzer.tables.kinds import TYPES, Column, Table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "COMPARISON",
    "TABLES",
    "TYPES",
    "Column",
    "Table",
    "arrow_schema",
    "arrow_type",
    "empty_table",
    "problems",
    "table",
]

TABLES: dict[str, Table] = {
    made.name: made
    for made in (
        tcp.FLOWS,
        tcp.SEGMENTS,
        tcp.KEEPALIVES,
        tcp.IDLE_GAPS,
        tcp.CLOSES,
        protocols.HTTP_REQUESTS,
        protocols.WEBSOCKET_FRAMES,
        protocols.WEBSOCKET_MESSAGES,
        protocols.TLS_RECORDS,
        protocols.TLS_SESSIONS,
        protocols.HTTP2_FRAMES,
        protocols.HEARTBEATS,
        protocols.HEARTBEAT_SERIES,
        conclusions.TIMEOUTS,
        conclusions.FINDINGS,
        conclusions.ENDPOINTS,
        conclusions.CAPTURES,
        conclusions.ANOMALIES,
    )
}

COMPARISON: dict[str, Table] = {made.name: made for made in (twopoint.PAIRS, twopoint.DIFFERENCES)}
"""What `compare` gives of two captures; an analysis of one has `TABLES`."""


def table(name: str) -> Table:
    """Return the declaration of table `name`; KeyError names the tables there are."""
    found = TABLES.get(name) or COMPARISON.get(name)
    if found is None:
        raise KeyError(f"no table {name}; there are {', '.join((*TABLES, *COMPARISON))}")
    return found


@cache
def arrow_type(kind: str) -> pa.DataType:
    """Return the Arrow type of a column type (a key of TYPES)."""
    import pyarrow as pa

    types = {
        "ts": pa.timestamp("ns", "UTC"),
        "s": pa.float64(),
        "n": pa.int64(),
        "str": pa.string(),
        "enum": pa.string(),
        "bool": pa.bool_(),
        "frames": pa.list_(pa.int64()),
    }
    return types[kind]


@cache
def arrow_schema(name: str) -> pa.Schema:
    """Return the Arrow schema of table `name`; each field's metadata has its doc, unit, null rule and enum values."""
    import pyarrow as pa

    declared = table(name)
    fields = []
    for column in declared.columns:
        about = {
            "type": column.type,
            "doc": column.doc,
            "unit": column.unit,
            "null": column.null,
            "values": ",".join(column.values),
        }
        metadata = {key: value for key, value in about.items() if value}
        fields.append(pa.field(column.name, arrow_type(column.type), metadata=metadata))
    return pa.schema(fields, metadata={"table": name, "row": declared.row, "doc": declared.doc})


def empty_table(name: str) -> pa.Table:
    """Return table `name` with its columns and no rows."""
    return arrow_schema(name).empty_table()


def problems(name: str, rows: pa.Table) -> list[str]:
    """Return what `rows` gets wrong against the declaration of table `name`: types, nulls, enum words, order.

    For tests and for checking a producer; the writers trust their input.
    """
    import numpy as np
    import pyarrow.compute as pc

    declared = table(name)
    expected = arrow_schema(name)
    if not rows.schema.equals(expected):
        return [f"{name}: columns or types differ from the schema:\n{rows.schema}\nexpected:\n{expected}"]
    found: list[str] = []
    for column in declared.columns:
        cells = rows[column.name]
        if not column.null and cells.null_count:
            found.append(f"{name}.{column.name}: {cells.null_count} nulls, and it is never null")
        if column.values and not column.open:
            strange = set(pc.unique(cells).to_pylist()) - {*column.values, None}
            found += [f"{name}.{column.name}: {word!r} is not one of its words" for word in sorted(strange)]
    if declared.sort_key and rows.num_rows > 1:
        order = pc.sort_indices(rows, sort_keys=[(key, "ascending") for key in declared.sort_key])
        if not pc.all(pc.equal(order, np.arange(rows.num_rows, dtype=np.uint64))).as_py():
            found.append(f"{name}: rows are not sorted by {', '.join(declared.sort_key)}")
    return found
