"""`longwire sql`: SQL over a folder of tables that `longwire analyze` or `live` wrote with --out, by DuckDB."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analyzer.cli import console
from analyzer.cli.request import Job
from analyzer.errors import AnalyzerError
from analyzer.tables.schema import TABLES


@dataclass(frozen=True, slots=True)
class SqlRequest(Job):
    """The arguments of `longwire sql`."""

    folder: Path
    query: str
    format: str = "table"

    def run(self, own_process: bool) -> int:
        """Answer the query on stdout; tables are views named as in the schema."""
        found = _files(self.folder)
        if self.format == "parquet" and sys.stdout.isatty():
            raise AnalyzerError("Parquet is no text for a terminal", "redirect it: > rows.parquet")
        try:
            import duckdb
        except ImportError:
            raise AnalyzerError("SQL needs DuckDB", "pip install 'longwire[sql]'") from None
        _answer(duckdb, found, self)
        return 0


def _files(folder: Path) -> dict[str, Path]:
    """Return where each table in `folder` is: a file, or the parts of `longwire live`; the newest of several."""
    if not folder.is_dir():
        raise AnalyzerError(f"{folder} is no folder", f"make one: longwire analyze FILE --out {folder}")
    found = {}
    for name in TABLES:
        places = [folder / name, *(folder / f"{name}.{ending}" for ending in ("parquet", "csv", "json"))]
        if there := [place for place in places if place.exists()]:
            found[name] = max(there, key=lambda place: place.stat().st_mtime_ns)
    if not found:
        raise AnalyzerError(f"{folder} has no tables", f"make them: longwire analyze FILE --out {folder}")
    return found


def _answer(duckdb: Any, found: dict[str, Path], request: SqlRequest) -> None:
    with duckdb.connect(":memory:") as connection:
        for name, path in found.items():
            try:
                connection.execute(f"create view {name} as select * from {_reader(name, path)}")
            except duckdb.Error as error:
                raise AnalyzerError(f"{path} cannot be read: {str(error).splitlines()[0]}", "write it anew") from None
        connection.execute("set TimeZone = 'UTC'")  # as longwire prints times
        # The query is the user's own, yet it needs no file but these, no network and no extension.
        connection.execute("set autoinstall_known_extensions = false; set autoload_known_extensions = false")
        connection.execute(f"set allowed_directories = [{_quoted(str(request.folder.resolve()))}]")
        connection.execute("set enable_external_access = false; set lock_configuration = true")
        try:
            asked = connection.sql(request.query)
            rows = None if asked is None else asked.to_arrow_table()
        except duckdb.Error as error:
            lines = str(error).splitlines()
            raise AnalyzerError(lines[0], f"the tables are {', '.join(found)}") from None
    if rows is None:
        raise AnalyzerError(
            "the statement gives no rows", 'ask for some: "select close_kind, count(*) from closes ..."'
        )
    _write(rows, request.format)


def _reader(name: str, path: Path) -> str:
    """Return the table function that reads `path` with the types of the schema."""
    if path.is_dir():
        return f"read_parquet({_quoted(str(path.resolve() / '**' / 'part-*.parquet'))}, hive_partitioning = false)"
    where = _quoted(str(path.resolve()))
    if path.suffix == ".parquet":
        return f"read_parquet({where})"
    types = {"ts": "TIMESTAMPTZ", "s": "DOUBLE", "n": "BIGINT", "bool": "BOOLEAN", "frames": "VARCHAR"}
    if path.suffix == ".json":
        types |= {"frames": "BIGINT[]"}
    columns = ", ".join(f"{_quoted(c.name)}: {_quoted(types.get(c.type, 'VARCHAR'))}" for c in TABLES[name].columns)
    if path.suffix == ".json":
        return f"read_json({where}, format = 'newline_delimited', columns = {{{columns}}})"
    return f"read_csv({where}, header = true, columns = {{{columns}}})"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _write(rows: Any, format: str) -> None:
    """Write the answer: its columns are not those of a table of ours, so Arrow's own types decide."""
    from analyzer.render.answers import write_answer

    sys.stdout.flush()
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    hidden = write_answer(sys.stdout.buffer, format, rows, width)
    sys.stdout.buffer.flush()
    if hidden:
        console.say(f"no room for {', '.join(hidden)}: select fewer columns")
