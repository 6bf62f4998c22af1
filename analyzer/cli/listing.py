"""`longwire flows`, `closes`, `idle` and so on: one table as a list on stdout."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from analyzer.cli import console
from analyzer.cli.request import Job, Reading
from analyzer.errors import AnalyzerError

COMMANDS: dict[str, str] = {
    "flows": "flows",
    "closes": "closes",
    "idle": "idle_gaps",
    "keepalives": "keepalives",
    "heartbeats": "heartbeats",
    "http": "http_requests",
    "websocket": "websocket_frames",
    "tls": "tls_sessions",
    "timeouts": "timeouts",
    "findings": "findings",
    "endpoints": "endpoints",
}
"""Command -> table that it lists."""


@dataclass(frozen=True, slots=True)
class ListRequest(Job):
    """The arguments of a list command."""

    table: str
    files: tuple[Path, ...]
    reading: Reading
    where: str | None = None
    columns: str | None = None
    sort: str | None = None
    limit: int | None = None
    format: str = "table"

    def run(self, own_process: bool) -> int:
        """List the table; a wrong request is found before anything is read."""
        return _list(self, own_process)


def _list(request: ListRequest, own_process: bool) -> int:
    from analyzer.render.listing import choose, pick_columns, sort_keys, write_list
    from analyzer.tables.where import parse_where

    if request.limit is not None and request.limit < 1:
        raise AnalyzerError(f"--limit {request.limit} lists nothing", "give a number of rows, for example 20")
    table = pick_columns(request.table, request.columns, request.format)
    keys = sort_keys(request.table, request.sort)
    where = parse_where(request.where, request.table) if request.where is not None else None
    terminal = sys.stdout.isatty()
    if request.format == "parquet" and terminal:
        raise AnalyzerError("Parquet is no text for a terminal", "redirect it: > rows.parquet")

    from analyzer.cli.source import Source

    source = Source(request.files, request.reading, own_process=own_process)
    chosen = choose(table, source.stream(), where, keys, request.limit)
    width = shutil.get_terminal_size().columns if terminal else None
    out = getattr(sys.stdout, "buffer", None)
    if out is None:
        raise AnalyzerError("stdout takes no bytes", "redirect it to a file")
    sys.stdout.flush()
    rows, hidden = write_list(out, request.format, table, chosen, width)
    out.flush()
    if request.format == "table" and not rows:
        console.say(f"no rows in {request.table}")
    if hidden:
        console.say(f"no room for {', '.join(hidden)}: choose with --columns")
    return source.exit_code()
