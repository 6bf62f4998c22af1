"""One table as a list: chosen rows and columns, for a person or for the next program in the pipe.

`choose` filters, sorts and limits rows as they come; `write_list` puts them out as text, CSV, JSON or Parquet. Text
also tells whose connection a row is of (`ADDRESSES`); the other formats have the columns of the table and no other. On
a terminal the text fits its width (`grid`), and columns that find no room are named on stderr by the caller. In a pipe
nothing is cut. Everything from the wire is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING, BinaryIO

from analyzer.errors import AnalyzerError
from analyzer.render.beside import beside_flows
from analyzer.render.grid import write_grid
from analyzer.render.plain import places
from analyzer.tables.kinds import Column, Table
from analyzer.tables.schema import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.tables.where import Where

FORMATS = ("table", "csv", "json", "parquet")

ADDRESSES = (Column("client", "str", "client as ip:port"), Column("server", "str", "server as ip:port"))
"""Columns of a text list of connections, or of what belongs to them, beside those of its table."""

_ENDS = ("client_ip", "client_port", "server_ip", "server_port")
"""The columns of `flows` that ADDRESSES are made of."""

SHOWN: dict[str, tuple[str, ...]] = {
    "flows": (
        "flow_id", "client", "server", "duration_s", "close_kind", "close_initiator", "max_payload_gap_s",
        "app_protocol", "close_trigger", "first_ts", "payload_bytes_c", "payload_bytes_s", "sni", "http_host",
    ),
    "closes": (
        "flow_id", "client", "server", "close_kind", "initiator", "trigger", "idle_payload_s", "age_s", "confidence",
        "basis", "evidence_frames", "explanation",
    ),
    "idle_gaps": (
        "flow_id", "client", "server", "duration_s", "class", "filled_by", "fill_count", "ended_by", "survived",
        "censored", "start_frame", "end_frame", "start_ts",
    ),
    "heartbeats": (
        "flow_id", "client", "server", "protocol", "method", "dir", "ts", "frame", "size", "answered", "rtt_s",
        "missed", "late", "answer_frame",
    ),
    "keepalives": (
        "flow_id", "client", "server", "frame", "ts", "dir", "idle_before_s", "answered", "answer_frame", "rtt_s",
        "len",
    ),
    "http_requests": (
        "flow_id", "client", "server", "index", "method", "target", "status", "ttfb_s", "idle_before_s", "reused",
        "complete", "request_frame", "response_frame", "host", "request_ts",
    ),
    "websocket_frames": (
        "flow_id", "client", "server", "index", "frame", "ts", "dir", "opcode", "payload_len", "rtt_s", "close_code",
        "close_reason", "error",
    ),
    "tls_sessions": (
        "flow_id", "client", "server", "version", "sni", "alpn", "cipher", "resumption", "handshake_complete",
        "handshake_s", "close_notify_c", "close_notify_s", "truncated", "alert",
    ),
    "timeouts": (
        "endpoint", "side", "clock", "value_s", "spread_s", "closes", "survived_above", "lower_bound_s",
        "upper_bound_s", "confidence", "known_as", "flow_ids",
    ),
    "findings": ("severity", "code", "flow_ids", "endpoint", "confidence", "title", "recommendation"),
    "endpoints": (
        "endpoint", "flows", "clients", "lifetime_p50_s", "lifetime_p95_s", "rst_share", "idle_close_share", "races",
        "bytes",
    ),
}  # fmt: skip
"""Columns of a text list, from left to right."""

FIRST: dict[str, tuple[str, ...]] = {
    "flows": ("flow_id", "close_kind", "client", "server", "duration_s", "close_initiator", "close_trigger"),
    "closes": ("flow_id", "close_kind", "explanation", "initiator", "server", "client", "trigger"),
    "idle_gaps": ("flow_id", "duration_s", "class", "ended_by", "filled_by", "survived", "server", "client"),
    "heartbeats": ("flow_id", "protocol", "dir", "ts", "answered", "missed", "rtt_s", "frame", "server", "client"),
    "keepalives": ("flow_id", "frame", "dir", "idle_before_s", "answered", "answer_frame", "ts", "server", "client"),
    "http_requests": ("flow_id", "method", "target", "status", "ttfb_s", "idle_before_s", "complete", "server"),
    "websocket_frames": ("flow_id", "frame", "dir", "opcode", "close_code", "close_reason", "ts", "payload_len"),
    "tls_sessions": ("flow_id", "version", "sni", "alpn", "resumption", "truncated", "alert", "server", "client"),
    "timeouts": ("endpoint", "side", "clock", "value_s", "closes", "known_as", "lower_bound_s", "upper_bound_s"),
    "findings": ("code", "title", "severity", "flow_ids", "recommendation", "endpoint"),
}
"""Columns that a narrow terminal keeps, the most telling first; of the others the leftmost stay longest."""

KEEP_ROWS = 65_536
"""Rows held beyond `limit` before the worst are let go, when a list is sorted and limited."""


# ------------------------------------------------------------------------------------------ choosing


def pick_columns(name: str, asked: str | None, format: str) -> Table:
    """Return table `name` narrowed to `asked` (comma-separated), or to what `format` shows without being asked."""
    declared = TABLES[name]
    if format == "table" and "flow_id" in declared:
        declared = declared._replace(columns=(*declared.columns, *ADDRESSES))
    if asked is not None:
        names = [word.strip() for word in asked.split(",") if word.strip()]
    else:
        names = list(SHOWN.get(name, declared.names) if format == "table" else declared.names)
    columns = tuple(_column(declared, word, "--columns") for word in dict.fromkeys(names))
    if not columns:
        raise AnalyzerError("--columns names no column", "the columns are: " + ", ".join(declared.names))
    return declared._replace(columns=columns)


def sort_keys(name: str, asked: str | None) -> list[tuple[str, str]]:
    """Return Arrow sort keys for "column,-other" (a minus sorts downwards), the table's own order after them."""
    if asked is None:
        return []
    declared = TABLES[name]
    keys: dict[str, str] = {}
    for word in asked.split(","):
        column = _column(declared, word.strip().lstrip("-+"), "--sort")
        if column.type == "frames":
            raise AnalyzerError(f"--sort: {column.name} is a list and has no order", "choose another column")
        keys.setdefault(column.name, "descending" if word.strip().startswith("-") else "ascending")
    for key in declared.sort_key:
        keys.setdefault(key, "ascending")
    return list(keys.items())


def _column(declared: Table, name: str, option: str) -> Column:
    if name in declared:
        return declared.column(name)
    near = get_close_matches(name, declared.names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else "the columns are: " + ", ".join(declared.names)
    raise AnalyzerError(f"{option}: {declared.name} has no column {name!r}", hint)


def choose(
    table: Table,
    chunks: Iterable[tuple[str, pa.Table]],
    where: Where | None,
    keys: list[tuple[str, str]],
    limit: int | None,
) -> Iterator[pa.Table]:
    """Yield the rows of `table` that are wanted, in order, with its columns and others.

    table   as `pick_columns` made it    chunks  (table's name, rows) of any tables, in any order
    where   over this table's own columns and those of its flows    keys  Arrow sort keys; none = the table's own order
    limit   most rows to yield, None = all

    Unsorted lists pass through a `Spool` and take bounded memory, and so do lists that need columns of `flows`, and
    sorted ones with a limit. Another sorted list is held in memory.
    """
    named = where.names if where is not None else set()
    addressed = any(column in table.columns for column in ADDRESSES)
    beside = sorted({*named, *(_ENDS if addressed else ())} - {*TABLES[table.name].names})
    if beside:
        rows = beside_flows(table.name, chunks, beside)
    else:
        rows = (part for name, part in chunks if name == table.name)
    wanted: Iterator[pa.Table] = (part if where is None else part.filter(where.mask(part)) for part in rows)
    if keys:
        wanted = _sorted(wanted, keys, limit)
    elif not beside:
        wanted = _in_order(table.name, wanted)
    wanted = _limited(wanted, limit)
    return map(_with_addresses, wanted) if addressed else wanted


def _with_addresses(rows: pa.Table) -> pa.Table:
    for side in ("client", "server"):
        rows = rows.append_column(side, places(rows[f"{side}_ip"], rows[f"{side}_port"]))
    return rows


def _in_order(name: str, chunks: Iterable[pa.Table]) -> Iterator[pa.Table]:
    from analyzer.render.spool import Spool

    with Spool() as spool:
        for rows in chunks:
            spool.write(name, rows)
        yield from spool.read(name)


def _sorted(chunks: Iterable[pa.Table], keys: list[tuple[str, str]], limit: int | None) -> Iterator[pa.Table]:
    import pyarrow as pa

    held: list[pa.Table] = []
    for rows in chunks:
        held.append(rows)
        if limit is not None and sum(part.num_rows for part in held) > limit + KEEP_ROWS:
            held = [_in_sequence(pa.concat_tables(held), keys).slice(0, limit).combine_chunks()]
    if held:
        yield _in_sequence(pa.concat_tables(held), keys)


def _in_sequence(rows: pa.Table, keys: list[tuple[str, str]]) -> pa.Table:
    import pyarrow.compute as pc

    return rows.take(pc.sort_indices(rows, sort_keys=keys))


def _limited(chunks: Iterator[pa.Table], limit: int | None) -> Iterator[pa.Table]:
    left = limit
    for rows in chunks:
        if left is None:
            yield rows
        elif left > 0:
            yield rows.slice(0, left)
            left -= min(left, rows.num_rows)
        else:
            return


# ------------------------------------------------------------------------------------------ writing


def write_list(
    out: BinaryIO, format: str, table: Table, chunks: Iterator[pa.Table], width: int | None = None
) -> tuple[int, list[str]]:
    """Write rows of `table` to `out`; return how many, and the columns that found no room.

    format  one of FORMATS    width  columns of the terminal, None = no terminal: nothing is cut or left out
    """
    if format == "table":
        return write_grid(out, table, chunks, width, FIRST.get(table.name, ()))
    if format == "parquet":
        return _write_parquet(out, table, chunks), []
    from analyzer.render import rows as text

    lines = text.csv_lines if format == "csv" else text.json_lines
    if format == "csv":
        out.write(text.csv_header(table))
    count = 0
    for rows in chunks:
        count += rows.num_rows
        for start in range(0, rows.num_rows, text.SLICE_ROWS):
            out.write(lines(table, rows.slice(start, text.SLICE_ROWS)))
    return count, []


def _write_parquet(out: BinaryIO, table: Table, chunks: Iterator[pa.Table]) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from analyzer.render.files import COMPRESSION
    from analyzer.tables.schema import arrow_schema

    whole = arrow_schema(table.name)
    schema = pa.schema([whole.field(name) for name in table.names], metadata=whole.metadata)
    count = 0
    with pq.ParquetWriter(out, schema, compression=COMPRESSION) as file:
        for rows in chunks:
            count += rows.num_rows
            file.write_table(rows.select(list(table.names)).cast(schema))
    return count
