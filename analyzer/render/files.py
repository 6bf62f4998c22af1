"""Tables as files: Parquet, CSV and newline-delimited JSON.

Every table is written, also an empty one. A file appears under its name only when it is whole: it is written beside it
under another name and renamed at the end, so a run that fails leaves what was there before.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from analyzer.errors import AnalyzerError
from analyzer.render.folder import make_folder
from analyzer.render.spool import MEMORY_BYTES, Spool
from analyzer.tables.schema import TABLES, arrow_schema

if TYPE_CHECKING:
    from analyzer.tables.where import Where

FORMATS = ("parquet", "csv", "json")
WORKBOOK = "xlsx"
"""All tables in one file, DIR/tables.xlsx; needs the extra longwire[xlsx]."""

ROW_GROUP_ROWS = 128 * 1024
"""Rows of a Parquet row group: about 20 MB of segments; readers fetch and skip by row group."""

COMPRESSION = "snappy"
"""The quicker one: 3,000 random flows in 13 ms (zstd 24 ms), a million in 4.0 s (zstd 4.7 s, and 17 % smaller)."""

DICTIONARY = ("enum", "str")
"""Types of columns written as numbers of a dictionary. For plain numbers it takes a third longer and saves nothing."""


Job = tuple[Path, str, Iterator[pa.Table]]  # a file to write, the table that it is for, and its rows in order


class TableFile(Protocol):
    """One open file of one format; rows of one table, in order."""

    def write(self, rows: pa.Table) -> None:
        """Append rows."""

    def close(self) -> None:
        """Finish the file."""


class TableSink:
    """Takes chunks of tables as flows finish, and at `close` writes DIR/<table>.<format>, each in its final order.

    folder  made if it does not exist
    where   keeps the flows that satisfy it, and of every table with flow_id their rows
    Memory is bounded by `memory_bytes`: see `Spool`. Leaving the context without `close` leaves no files.
    """

    def __init__(self, folder: Path, format: str, where: Where | None = None, memory_bytes: int = MEMORY_BYTES) -> None:
        if format not in (*FORMATS, WORKBOOK):
            raise AnalyzerError(f"there is no format {format}", f"choose one of {', '.join((*FORMATS, WORKBOOK))}")
        if format == WORKBOOK:
            from analyzer.render.workbook import check_openpyxl

            check_openpyxl()
        make_folder(folder)
        self.folder = folder
        self.format = format
        self._where = where
        self._spool = Spool(folder, memory_bytes)

    def write(self, name: str, rows: pa.Table) -> None:
        """Take rows of table `name`, in any order."""
        self._spool.write(name, rows)

    def close(self, seen: Callable[[str, pa.Table], None] | None = None) -> list[Path]:
        """Write all tables and return their paths. `seen` is called with every chunk written, in final order."""
        if self.format == WORKBOOK:
            from analyzer.render.workbook import write_workbook

            path = self.folder / "tables.xlsx"
            with self._spool:
                write_workbook(path, self._spool, self._where, seen)
            return [path]
        with self._spool, Replacement() as files:
            tables = [
                (files.beside(self.folder / f"{name}.{self.format}"), name, chunks)
                for name, chunks in self._spool.tables(self._where)
            ]
            self._write_all(tables, seen)
            return files.commit()

    def _write_all(self, tables: list[Job], seen: Callable[[str, pa.Table], None] | None) -> None:
        """Write the tables, two at a time: sorting, compressing and writing leave the interpreter to others.

        The first error ends both workers and is raised here.
        """
        waiting = iter(tables)
        lock = threading.Lock()
        failures: list[BaseException] = []

        def observe(name: str, rows: pa.Table) -> None:
            if seen is not None:
                with lock:
                    seen(name, rows)

        def work() -> None:
            try:
                while not failures:
                    with lock:
                        job = next(waiting, None)
                    if job is None:
                        return
                    path, name, chunks = job
                    write_rows(path, self.format, name, _observed(name, chunks, observe))
            except BaseException as error:
                failures.append(error)

        helper = threading.Thread(target=work)
        helper.start()
        try:
            work()
        finally:
            helper.join()
        if failures:
            raise failures[0]

    def __enter__(self) -> TableSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._spool.close()


def write_table(path: Path, format: str, name: str, rows: pa.Table) -> None:
    """Write one whole table, atomically. Rows are written in the order given."""
    with Replacement() as files:
        write_rows(files.beside(path), format, name, [rows])
        files.commit()


def write_summary(folder: Path, summary: dict[str, Any]) -> Path:
    """Write DIR/summary.json, atomically."""
    path = folder / "summary.json"
    with Replacement() as files:
        text = json.dumps(summary, indent=2, ensure_ascii=True, allow_nan=False)
        files.beside(path).write_text(text + "\n", encoding="ascii")
        files.commit()
    return path


def write_rows(path: Path, format: str, name: str, chunks: Iterable[pa.Table]) -> None:
    """Write table `name` to `path` as it stands, chunk by chunk."""
    file: TableFile = _ParquetFile(path, name) if format == "parquet" else _TextFile(path, name, format)
    with contextlib.closing(file):
        for rows in chunks:
            file.write(rows)


class Replacement:
    """Files that appear all at once: written under other names, renamed by `commit`, removed if that never comes."""

    def __init__(self) -> None:
        self._pending: dict[Path, Path] = {}

    def beside(self, path: Path) -> Path:
        """Return a new empty file in the folder of `path` that will become it."""
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        self._pending[Path(name)] = path
        return Path(name)

    def commit(self) -> list[Path]:
        """Give the files their names."""
        mode = 0o666 & ~_umask()  # mkstemp makes files for the owner alone
        done = []
        for made, path in self._pending.items():
            made.chmod(mode)
            made.replace(path)
            done.append(path)
        self._pending = {}
        return done

    def __enter__(self) -> Replacement:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for made in self._pending:
            made.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _observed(name: str, chunks: Iterator[pa.Table], seen: Callable[[str, pa.Table], None]) -> Iterator[pa.Table]:
    for rows in chunks:
        seen(name, rows)
        yield rows


# ------------------------------------------------------------------------------------------ formats


class _ParquetFile:
    """Parquet, with docs and units as field metadata."""

    def __init__(self, path: Path, name: str) -> None:
        import pyarrow.parquet as pq

        self._name = name
        words = [column.name for column in TABLES[name].columns if column.type in DICTIONARY]
        self._file = pq.ParquetWriter(path, arrow_schema(name), compression=COMPRESSION, use_dictionary=words)
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def write(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        self._rows += rows.num_rows
        if self._rows >= ROW_GROUP_ROWS:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        if self._rows:
            rows = pa.concat_tables(self._waiting)
            self._file.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        self._waiting, self._rows = [], 0


class _TextFile:
    """CSV with a header line, or JSON with one object a line."""

    def __init__(self, path: Path, name: str, format: str) -> None:
        from analyzer.render import rows as text

        self._table = TABLES[name]
        self._lines = text.csv_lines if format == "csv" else text.json_lines
        self._slice_rows = text.SLICE_ROWS
        self._file = path.open("wb")
        if format == "csv":
            self._file.write(text.csv_header(self._table))

    def write(self, rows: pa.Table) -> None:
        for start in range(0, rows.num_rows, self._slice_rows):
            self._file.write(self._lines(self._table, rows.slice(start, self._slice_rows)))

    def close(self) -> None:
        self._file.close()
