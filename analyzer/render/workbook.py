"""Tables as one Excel workbook: a sheet per table, with frozen heads, filters and the meaning of columns as notes.

Written by openpyxl (the optional extra `longwire[xlsx]`) row by row, so memory does not grow with the tables. Excel has
no more than 1,048,576 rows a sheet and no nanoseconds: longer tables are cut, and said to be; times are ISO 8601 text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError
from analyzer.render.escape import FORMULA_STARTS, visible
from analyzer.tables.schema import TABLES

if TYPE_CHECKING:
    import pyarrow as pa

    from analyzer.render.spool import Spool
    from analyzer.tables.where import Where

SHEET_ROWS = 1_048_576
"""Rows of an Excel sheet, its head included (Microsoft, Excel specifications and limits)."""

CELL_CHARACTERS = 32_767
"""Characters of an Excel cell (the same)."""


def check_openpyxl() -> None:
    """Raise AnalyzerError if openpyxl is missing: before a capture is read for it."""
    try:
        import openpyxl  # noqa: F401
    except ImportError:
        raise AnalyzerError("Excel workbooks need openpyxl", "pip install 'longwire[xlsx]'") from None


def write_workbook(
    path: Path,
    spool: Spool,
    where: Where | None = None,
    seen: Callable[[str, pa.Table], None] | None = None,
    *,
    max_rows: int = SHEET_ROWS,
) -> None:
    """Write all tables but the empty ones to `path`, atomically.

    seen  called with every chunk, also of rows that found no place    max_rows  of a sheet, its head included

    The last two sheets say what was left out, if anything was, and what every column means.
    """
    from openpyxl import Workbook

    from analyzer.render.files import Replacement

    book = Workbook(write_only=True)
    try:
        _fill(book, spool, where, seen, max_rows)
        with Replacement() as files, contextlib.closing(book):
            _save(book, files.beside(path))
            files.commit()
    except BaseException:
        _abandon(book)
        raise


def _fill(
    book: Any, spool: Spool, where: Where | None, seen: Callable[[str, pa.Table], None] | None, max_rows: int
) -> None:  # fmt: skip
    cut: dict[str, int] = {}
    for name, chunks in spool.tables(where):
        left_out = _write_sheet(book, name, _observed(name, chunks, seen), max_rows)
        if left_out:
            cut[name] = left_out
    if cut:
        sheet = book.create_sheet("left out")
        sheet.append(["table", "rows that found no place: Excel has no more"])
        for item in cut.items():
            sheet.append(list(item))
    _write_columns(book)


def _save(book: Any, path: Path) -> None:
    """As `book.save`, which leaves the archive open when it fails: it would fail, and say so, once more later."""
    from zipfile import ZIP_DEFLATED, ZipFile

    from openpyxl.writer.excel import ExcelWriter

    archive = ZipFile(path, "w", ZIP_DEFLATED, allowZip64=True)
    try:
        ExcelWriter(book, archive).save()
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            archive.close()
        raise


def _abandon(book: Any) -> None:
    """End what still writes sheets to a full disk, or openpyxl complains about each of them when it is collected.

    And remove their temporary files: openpyxl does at the interpreter's end, which the command does not wait for.
    """
    for sheet in book.worksheets:
        writer = sheet._writer
        for writing in (sheet._rows, writer and writer.xf):
            with contextlib.suppress(ValueError, OSError, StopIteration):
                if writing is not None:
                    writing.close()
        if writer is not None:
            with contextlib.suppress(ValueError, OSError):  # it is gone already
                writer.cleanup()


def _observed(
    name: str, chunks: Iterator[pa.Table], seen: Callable[[str, pa.Table], None] | None
) -> Iterator[pa.Table]:
    for rows in chunks:
        if seen is not None:
            seen(name, rows)
        yield rows


def _write_sheet(book: Any, name: str, chunks: Iterator[pa.Table], max_rows: int) -> int:
    """Write one sheet, none for a table without rows; return how many rows found no place."""
    first = next((rows for rows in chunks if rows.num_rows), None)  # `chunks` goes on after it
    if first is None:
        return 0
    sheet = book.create_sheet(name)
    sheet.freeze_panes = "B2"
    table = TABLES[name]
    sheet.auto_filter.ref = f"A1:{_letters(len(table.columns))}1"
    sheet.append(list(table.names))
    written, left_out = 1, 0
    for rows in _again(first, chunks):
        room = max(0, max_rows - written)
        for row in _cells(name, rows.slice(0, room)):
            sheet.append(row)
        written += min(room, rows.num_rows)
        left_out += max(0, rows.num_rows - room)
    return left_out


def _again(first: pa.Table, rest: Iterator[pa.Table]) -> Iterator[pa.Table]:
    yield first
    yield from rest


def _cells(name: str, rows: pa.Table) -> Iterator[list[Any]]:
    columns = [_column(column.type, rows[column.name]) for column in TABLES[name].columns]
    for row in zip(*columns, strict=True):
        yield list(row)


def _column(kind: str, values: pa.ChunkedArray) -> list[Any]:
    import pyarrow as pa

    if kind == "ts":
        return [text and text.replace(" ", "T") for text in values.cast(pa.string()).to_pylist()]
    if kind == "frames":
        return [None if cell is None else " ".join(map(str, cell)) for cell in values.to_pylist()]
    if kind in ("str", "enum"):
        return [None if text is None else safe_cell(text) for text in values.to_pylist()]
    return values.to_pylist()  # type: ignore[no-any-return]


def safe_cell(text: str) -> str:
    """Return `text` as Excel may hold it: visible, short enough, and never a formula."""
    shown = ("'" if text.startswith(FORMULA_STARTS) else "") + visible(text)
    return shown[:CELL_CHARACTERS]


def _write_columns(book: Any) -> None:
    """Write the last sheet: what every column means."""
    sheet = book.create_sheet("columns")
    sheet.freeze_panes = "A2"
    sheet.append(["table", "column", "type", "unit", "meaning", "empty when"])
    for table in TABLES.values():
        for column in table.columns:
            sheet.append([table.name, column.name, column.type, column.unit, safe_cell(column.doc), column.null])


def _letters(number: int) -> str:
    """Return the name of a sheet's column: 1 -> A, 27 -> AA."""
    out = ""
    while number:
        number, digit = divmod(number - 1, 26)
        out = chr(65 + digit) + out
    return out
