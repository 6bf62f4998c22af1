"""The workbook, read back with openpyxl."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analyzer.render import workbook
from analyzer.render.files import TableSink
from analyzer.render.spool import Spool
from analyzer.render.workbook import safe_cell, write_workbook
from analyzer.tables.build import to_arrow
from analyzer.tables.schema import TABLES

openpyxl = pytest.importorskip("openpyxl")


def book_of(path: Path) -> Any:
    return openpyxl.load_workbook(path)


def rows_of(sheet: Any) -> list[tuple[object, ...]]:
    return list(sheet.iter_rows(values_only=True))


def closes(count: int) -> pa.Table:
    ids = list(range(count))
    given = {
        "flow_id": ids,
        "ts": [10**18 + 1] * count,
        "evidence_frames": [[1, 2]] * count,
        "confidence": [0.5] * count,
    }
    return to_arrow("closes", {**given, "explanation": ["=1+1\x1b"] * count})


def test_a_sheet_per_table_and_what_columns_mean(tmp_path: Path) -> None:
    seen = []
    with TableSink(tmp_path, "xlsx", seen=lambda name, rows: seen.append((name, rows.num_rows))) as sink:
        sink.write("closes", closes(2))
        assert sink.close() == [tmp_path / "tables.xlsx"]
    book = book_of(tmp_path / "tables.xlsx")
    assert book.sheetnames == ["closes", "columns"]
    assert seen == [("closes", 2)]
    head, first, _ = rows_of(book["closes"])
    row = dict(zip(head, first, strict=True))
    assert head == TABLES["closes"].names
    assert row["flow_id"] == 0 and row["confidence"] == 0.5 and row["evidence_frames"] == "1 2"
    assert row["ts"] == "2001-09-09T01:46:40.000000001Z"
    assert row["close_kind"] is None
    meanings = {(table, column): meaning for table, column, _, _, meaning, _ in rows_of(book["columns"])}
    assert meanings["closes", "explanation"] == TABLES["closes"].column("explanation").doc


def test_nothing_from_the_wire_is_a_formula(tmp_path: Path) -> None:
    with Spool() as spool:
        spool.write("closes", closes(1))
        write_workbook(tmp_path / "x.xlsx", spool)
    book = book_of(tmp_path / "x.xlsx")
    cells = [cell for row in book["closes"].iter_rows() for cell in row]
    assert "f" not in {cell.data_type for cell in cells}
    assert "'=1+1\\x1b" in [cell.value for cell in cells]
    assert safe_cell("@SUM(A1)") == "'@SUM(A1)"
    assert len(safe_cell("x" * 40_000)) == 32_767


def test_rows_beyond_a_sheet_are_left_out_and_counted(tmp_path: Path) -> None:
    with Spool() as spool:
        for _ in range(3):
            spool.write("closes", closes(10))
        write_workbook(tmp_path / "x.xlsx", spool, max_rows=21)
    book = book_of(tmp_path / "x.xlsx")
    assert len(rows_of(book["closes"])) == 21
    assert rows_of(book["left out"])[1] == ("closes", 10)


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["_write_columns", "_save"])
def test_a_workbook_that_fails_leaves_nothing_behind(
    error: BaseException, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.setattr(workbook, where, fail)
    with Spool() as spool:
        spool.write("closes", closes(10))
        with pytest.raises(type(error)):
            write_workbook(tmp_path / "x.xlsx", spool)
    assert list(scratch.iterdir()) == []
    assert not (tmp_path / "x.xlsx").exists()
