"""What is written reads back the same, in every format, and appears whole or not at all."""

from __future__ import annotations

import csv
import json
import stat
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.errors import AnalyzerError
from analyzer.render import files as files_module
from analyzer.render.files import FORMATS, TableSink, write_summary, write_table
from analyzer.render.rows import csv_lines, json_lines
from analyzer.tables.build import to_arrow
from analyzer.tables.schema import TABLES, Column, arrow_schema, empty_table
from analyzer.tables.where import parse_where

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029"), max_size=8).filter(
    lambda text: not text.startswith(("=", "+", "-", "@"))
)
BIG = st.integers(-(2**63) + 1, 2**63 - 1)


def cells(column: Column) -> st.SearchStrategy[Any]:
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "n": BIG,
        "ts": BIG,
        "s": st.floats(allow_nan=False, allow_infinity=False),
        "bool": st.booleans(),
        "str": TEXT,
        "enum": st.sampled_from(column.values or ("",)),
        "frames": st.lists(st.integers(1, 10**9), max_size=3),
    }
    return st.none() | kinds[column.type]


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, pa.Table]:
    name = draw(st.sampled_from(["closes", "idle_gaps", "captures", "findings", "http2_frames"]))
    size = draw(st.integers(0, 4))
    columns = {c.name: draw(st.lists(cells(c), min_size=size, max_size=size)) for c in TABLES[name].columns}
    arrays = [
        pa.array(columns[c.name], pa.int64()).view(arrow_schema(name).field(c.name).type)
        if c.type == "ts"
        else pa.array(columns[c.name], arrow_schema(name).field(c.name).type)
        for c in TABLES[name].columns
    ]
    return name, pa.Table.from_arrays(arrays, schema=arrow_schema(name))


def nanoseconds(text: str) -> int:
    whole, rest = text.removesuffix("Z").split(".")
    assert len(rest) == 9
    return int(np.datetime64(whole, "s").astype(np.int64)) * 10**9 + int(rest)


def from_csv(column: Column, cell: str) -> Any:
    if column.type == "frames":
        return [int(word) for word in cell.split()]
    readers = {"n": int, "ts": nanoseconds, "s": float, "bool": {"true": True, "false": False}.__getitem__}
    return readers.get(column.type, str)(cell)


def plain(name: str, rows: pa.Table) -> list[dict[str, Any]]:
    times = {c.name for c in TABLES[name].columns if c.type == "ts"}
    columns = {n: (rows[n].cast(pa.int64()) if n in times else rows[n]).to_pylist() for n in rows.column_names}
    return [{n: values[i] for n, values in columns.items()} for i in range(rows.num_rows)]


@settings(deadline=None)
@given(tables())
def test_text_formats_read_back_what_was_written(made: tuple[str, pa.Table]) -> None:
    name, rows = made
    if not rows.num_rows:
        return
    wanted = plain(name, rows)
    declared = TABLES[name]
    lines = json_lines(declared, rows).to_pybytes().decode().splitlines()
    for line, row in zip(lines, wanted, strict=True):
        read = json.loads(line)
        assert list(read) == list(declared.names)
        for column in declared.columns:
            value = read[column.name]
            value = nanoseconds(value) if column.type == "ts" and value is not None else value
            assert value == row[column.name], column.name
    records = list(csv.reader(csv_lines(declared, rows).to_pybytes().decode().splitlines()))
    for record, row in zip(records, wanted, strict=True):
        for column, cell in zip(declared.columns, record, strict=True):
            nothing = {"str": "", "enum": "", "frames": []}.get(column.type)
            if row[column.name] in (None, nothing):
                assert cell == ""
            else:
                assert from_csv(column, cell) == row[column.name]


def closes(flow_ids: list[int]) -> pa.Table:
    return to_arrow(
        "closes",
        {
            "flow_id": flow_ids,
            "ts": [1_700_000_000_123_456_789] * len(flow_ids),
            "age_s": [0.1] * len(flow_ids),
            "evidence_frames": [[3, 4]] * len(flow_ids),
            "explanation": ["=cmd \x1b[2J"] * len(flow_ids),
        },
    )


@pytest.mark.parametrize("format", FORMATS)
def test_a_sink_writes_every_table_in_order(tmp_path: Path, format: str) -> None:
    seen: list[str] = []
    with TableSink(tmp_path / "new" / "folder", format, seen=lambda name, rows: seen.append(name)) as sink:
        sink.write("closes", closes([2, 0]))
        sink.write("closes", closes([1]))
        paths = sink.close()
    assert [path.name for path in paths] == [f"{name}.{format}" for name in TABLES]
    assert sorted((tmp_path / "new" / "folder").iterdir()) == sorted(paths)
    assert seen == ["closes"]
    path = tmp_path / "new" / "folder" / f"closes.{format}"
    if format == "parquet":
        rows = pq.read_table(path)
        assert rows["flow_id"].to_pylist() == [0, 1, 2]
        assert rows.schema.equals(arrow_schema("closes"))
        assert b"doc" in rows.schema.field("flow_id").metadata
    elif format == "json":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert [row["flow_id"] for row in rows] == [0, 1, 2]
        assert rows[0]["ts"] == "2023-11-14T22:13:20.123456789Z"
        assert rows[0]["evidence_frames"] == [3, 4]
        assert rows[0]["explanation"] == "=cmd \x1b[2J"
        assert rows[0]["initiator"] is None
    else:
        lines = path.read_text().splitlines()
        assert lines[0] == ",".join(TABLES["closes"].names)
        assert [line.split(",")[0] for line in lines[1:]] == ["0", "1", "2"]
        assert lines[1].endswith(",3 4,'=cmd \\x1b[2J")
    assert stat.S_IMODE(path.stat().st_mode) & 0o400


@pytest.mark.parametrize("name", TABLES)
def test_an_empty_table_has_its_header(tmp_path: Path, name: str) -> None:
    for format in FORMATS:
        write_table(tmp_path / f"{name}.{format}", format, name, empty_table(name))
    assert pq.read_schema(tmp_path / f"{name}.parquet").names == list(TABLES[name].names)
    assert (tmp_path / f"{name}.csv").read_text() == ",".join(TABLES[name].names) + "\n"
    assert (tmp_path / f"{name}.json").read_text() == ""


@pytest.mark.parametrize("format", FORMATS)
def test_a_large_table_crosses_slices_and_row_groups(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "ROW_GROUP_ROWS", 1000)
    count = 20_000
    with TableSink(tmp_path, format, where=parse_where("flow_id >= 100"), memory_bytes=300_000) as sink:
        for start in range(0, count, 3000):
            ids = np.arange(start, min(start + 3000, count))[::-1]
            sink.write("segments", to_arrow("segments", {"flow_id": ids, "ts": ids, "frame": ids}))
            sink.write("flows", to_arrow("flows", {"flow_id": ids}))
        sink.close()
    path = tmp_path / f"segments.{format}"
    if format == "parquet":
        frames = pq.read_table(path)["frame"].to_pylist()
    elif format == "json":
        frames = [json.loads(line)["frame"] for line in path.read_text().splitlines()]
    else:
        frames = [int(row["frame"]) for row in csv.DictReader(path.read_text().splitlines())]
    assert frames == list(range(100, count))


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_complete_is_written_while_others_get_rows(tmp_path: Path, format: str) -> None:
    seen: list[str] = []
    written = threading.Event()

    def note(name: str, rows: pa.Table) -> None:
        seen.append(name)
        written.set()

    with TableSink(tmp_path, format, seen=note) as sink:
        sink.write("closes", closes([2, 0]))
        sink.write("idle_gaps", to_arrow("idle_gaps", {"flow_id": [1], "start_ts": [1], "end_ts": [2]}))
        sink.complete(["closes", "segments"])
        assert written.wait(60)
        assert seen == ["closes"]
        assert not list(tmp_path.glob("[!.]*"))  # all or none
        sink.write("idle_gaps", to_arrow("idle_gaps", {"flow_id": [0], "start_ts": [1], "end_ts": [2]}))
        paths = sink.close()
    assert sorted(path.name for path in paths) == sorted(f"{name}.{format}" for name in TABLES)
    assert seen == ["closes", "idle_gaps"]
    if format == "parquet":
        assert pq.read_table(tmp_path / "closes.parquet")["flow_id"].to_pylist() == [0, 2]
        assert pq.read_table(tmp_path / "idle_gaps.parquet")["flow_id"].to_pylist() == [0, 1]


@pytest.mark.parametrize("early", [True, False])
def test_an_error_of_either_thread_is_raised(tmp_path: Path, early: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, format: str, name: str, chunks: object) -> None:
        if name == ("closes" if early else "anomalies"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(files_module, "write_rows", full)
    with pytest.raises(OSError, match="No space left"), TableSink(tmp_path, "parquet") as sink:
        sink.write("closes", closes([1]))
        sink.complete(["closes"])
        sink.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("format", FORMATS)
def test_a_failure_leaves_what_was_there(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"closes.{format}"
    path.write_text("before")

    def fail(name: str, rows: pa.Table) -> None:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"), TableSink(tmp_path, format, seen=fail, memory_bytes=1) as sink:
        sink.write("closes", closes([1]))
        sink.close()
    with TableSink(tmp_path, format, memory_bytes=1) as abandoned:
        abandoned.write("closes", closes([1]))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "before"


def test_infinity_is_missing_in_text() -> None:
    rows = pa.Table.from_pydict({"flow_id": [1], "age_s": [float("inf")]})
    made = to_arrow("closes", {"flow_id": rows["flow_id"], "age_s": rows["age_s"]})
    assert json.loads(json_lines(TABLES["closes"], made).to_pybytes())["age_s"] is None


def test_summary_is_plain_json(tmp_path: Path) -> None:
    write_summary(tmp_path, {"packets": 3, "file": "\x1b[2J\u202e"})
    text = (tmp_path / "summary.json").read_text()
    assert json.loads(text) == {"packets": 3, "file": "\x1b[2J\u202e"}
    assert text.isascii() and "\x1b" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["summary.json"]


def test_a_folder_that_cannot_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(AnalyzerError, match="is a file, not a folder"):
            TableSink(place, "csv")
    with pytest.raises(AnalyzerError, match="no format xml"):
        TableSink(tmp_path, "xml")
