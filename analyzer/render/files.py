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
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
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


Seen = Callable[[str, pa.Table], None]
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
    seen    called with every chunk written, in final order, once at a time; from any thread
    Memory is bounded by `memory_bytes`: see `Spool`. Leaving the context without `close` leaves no files.
    """

    def __init__(
        self,
        folder: Path,
        format: str,
        where: Where | None = None,
        seen: Seen | None = None,
        memory_bytes: int = MEMORY_BYTES,
    ) -> None:
        if format not in (*FORMATS, WORKBOOK):
            raise AnalyzerError(f"there is no format {format}", f"choose one of {', '.join((*FORMATS, WORKBOOK))}")
        if format == WORKBOOK:
            from analyzer.render.workbook import check_openpyxl

            check_openpyxl()
        make_folder(folder)
        self.folder = folder
        self.format = format
        self._where = where
        self._seen = seen
        self._spool = Spool(folder, memory_bytes)
        self._files = Replacement()
        self._writer = _Writer(format, seen)
        self._begun: set[str] = set()

    def write(self, name: str, rows: pa.Table) -> None:
        """Take rows of table `name`, in any order."""
        self._spool.write(name, rows)

    def complete(self, names: Sequence[str]) -> None:
        """Begin to write tables that get no more rows, beside what goes on, if that can be."""
        if self._where is not None or self.format == WORKBOOK or self._spool.spilled:
            return  # which flows are kept is not known; all tables go into one file; or memory is short
        self._spool.seal(names)
        self._begin((name, self._spool.read(name)) for name in names)

    def close(self) -> list[Path]:
        """Write all tables and return their paths."""
        if self.format == WORKBOOK:
            from analyzer.render.workbook import write_workbook

            path = self.folder / "tables.xlsx"
            with self._spool:
                write_workbook(path, self._spool, self._where, self._seen)
            return [path]
        self._begin((name, rows) for name, rows in self._spool.tables(self._where) if name not in self._begun)
        self._writer.finish()
        return self._files.commit()

    def _begin(self, tables: Iterable[tuple[str, Iterator[pa.Table]]]) -> None:
        for name, chunks in tables:
            self._begun.add(name)
            self._writer.add((self._files.beside(self.folder / f"{name}.{self.format}"), name, chunks))

    def __enter__(self) -> TableSink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._writer.stop()
        self._files.__exit__(kind, error, at)
        self._spool.close()


class _Writer:
    """Writes tables, two at a time in the end: sorting, compressing and writing leave the interpreter to others.

    The first error ends it, and is raised by `finish`.
    """

    def __init__(self, format: str, seen: Seen | None) -> None:
        self._format, self._seen = format, seen
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._failures: list[BaseException] = []
        self._stopped = False
        self._thread: threading.Thread | None = None

    def add(self, job: Job) -> None:
        """Write a table soon."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._work)
            self._thread.start()
        self._jobs.put(job)

    def finish(self) -> None:
        """Help until all is written."""
        self._jobs.put(None)  # the end, for each of two
        self._jobs.put(None)
        self._work()
        if self._thread is not None:
            self._thread.join()
        if self._failures:
            raise self._failures[0]

    def stop(self) -> None:
        """Write no more tables; return when the one that is being written is."""
        self._stopped = True
        self._jobs.put(None)
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        try:
            while (job := self._jobs.get()) is not None and not (self._failures or self._stopped):
                path, name, chunks = job
                write_rows(path, self._format, name, self._observed(name, chunks))
        except BaseException as error:
            self._failures.append(error)

    def _observed(self, name: str, chunks: Iterator[pa.Table]) -> Iterator[pa.Table]:
        for rows in chunks:
            if self._seen is not None:
                with self._lock:
                    self._seen(name, rows)
            yield rows


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
        """Return a new empty file in the folder of `path` that will become it; what a link points to, not the link."""
        named, path = path, path.resolve()
        if path.exists() and not path.is_file():
            what = "a folder" if path.is_dir() else "no regular file"
            raise AnalyzerError(f"{named} is {what}", "name a file")
        try:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        except OSError as error:
            raise AnalyzerError(f"{named} cannot be written: {error.strerror}", "choose another place") from error
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
    with contextlib.suppress(OSError), Path("/proc/self/status").open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("Umask:"):  # asking the system changes it, and another thread may make a file just then
                return int(line.split()[1], 8)
    mask = os.umask(0)
    os.umask(mask)
    return mask


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
