"""JSON Schema (draft 2020-12) of the rows that `--format json` writes, made from the declarations of the tables.

The document is shipped as `analyzer/render/tables.schema.json`; each table is one of its `$defs`:
`{"$ref": "urn:longwire:tables#/$defs/closes"}` describes one line of closes.json.
"""

from __future__ import annotations

from typing import Any

from analyzer.tables.kinds import Column, Table
from analyzer.tables.schema import TABLES

_TYPES: dict[str, dict[str, Any]] = {
    "ts": {"type": "string", "format": "date-time", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$"},
    "s": {"type": "number"},
    "n": {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "frames": {"type": "array", "items": {"type": "integer", "minimum": 1}},
    "enum": {"type": "string"},
}


def json_schema() -> dict[str, Any]:
    """Return the schema of all tables."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:longwire:tables",
        "title": "Rows of longwire's tables as JSON",
        "$defs": {name: _row(table) for name, table in TABLES.items()},
    }


def _row(table: Table) -> dict[str, Any]:
    return {
        "title": table.row,
        "description": table.doc,
        "type": "object",
        "properties": {column.name: _value(column) for column in table.columns},
        "required": list(table.names),
        "additionalProperties": False,
    }


def _value(column: Column) -> dict[str, Any]:
    made: dict[str, Any] = {
        "description": column.doc + (f" [{column.unit}]" if column.unit else ""),
        **_TYPES[column.type],
    }
    if column.values and not column.open:
        made["enum"] = [*column.values, *([None] if column.null else [])]
    if column.null:
        made["type"] = [made["type"], "null"]
        made["$comment"] = f"null if {column.null}"
    return made
