"""Part files: whole at any moment, nothing twice, nothing lost, also while the disk is full."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.errors import AnalyzerError
from analyzer.render import rotate
from analyzer.render.files import write_table
from analyzer.render.rotate import PartSink
from analyzer.tables.build import to_arrow
from analyzer.tables.schema import TABLES


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def gaps(*flow_ids: int) -> pa.Table:
    n = len(flow_ids)
    return to_arrow("idle_gaps", {"flow_id": list(flow_ids), "start_ts": [10**18] * n, "end_ts": [10**18 + 5] * n})


def anomalies(count: int) -> pa.Table:
    return to_arrow("anomalies", {"code": ["capture.dropped"], "count": [count]})


def ids(folder: Path) -> list[int]:
    found: list[int] = pq.read_table(folder / "idle_gaps")["flow_id"].to_pylist()
    return found


def test_every_table_can_be_read_from_the_start(tmp_path: Path) -> None:
    PartSink(tmp_path)
    for name in TABLES:
        assert list(pd.read_parquet(tmp_path / name).columns) == list(TABLES[name].names)


def test_parts_come_by_time_and_by_size(tmp_path: Path) -> None:
    clock = Clock()
    sink = PartSink(tmp_path, 60.0, 10_000, clock)
    sink.write("idle_gaps", gaps(3, 1))
    assert not sink.due
    clock.now = 60.0
    assert sink.due
    sink.rotate()
    assert not sink.due
    assert ids(tmp_path) == [1, 3]
    sink.write("idle_gaps", gaps(*range(100, 300)))
    assert sink.due
    sink.close({"done": True})
    assert ids(tmp_path) == [1, 3, *range(100, 300)]
    assert (tmp_path / "summary.json").exists()


def test_rows_wait_for_their_part_and_are_in_it_once(tmp_path: Path) -> None:
    sink = PartSink(tmp_path)
    sink.write("idle_gaps", gaps(5))
    assert ids(tmp_path) == []
    sink.rotate()
    sink.rotate()
    assert ids(tmp_path) == [5]


def test_tables_about_the_whole_are_replaced(tmp_path: Path) -> None:
    sink = PartSink(tmp_path)
    for count in (1, 2):
        sink.write("anomalies", anomalies(count))
        sink.rotate()
    assert pq.read_table(tmp_path / "anomalies")["count"].to_pylist() == [2]


def test_a_full_disk_keeps_rows_for_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = PartSink(tmp_path)
    sink.write("idle_gaps", gaps(1))

    def full(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as at:
        at.setattr(rotate, "write_table", full)
        sink.rotate()
    assert "No space left on device" in sink.trouble
    assert ids(tmp_path) == []
    sink.write("idle_gaps", gaps(2))
    sink.close({})
    assert (ids(tmp_path), sink.lost) == ([1, 2], 0)


def test_what_stood_while_the_disk_was_full_is_not_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then those connections may be over, and their rows final."""
    sink = PartSink(tmp_path)
    sink.write("idle_gaps", gaps(1))
    with monkeypatch.context() as at:
        at.setattr(rotate, "write_table", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
        sink.rotate(standing=[("idle_gaps", gaps(2))])
    sink.write("idle_gaps", gaps(2))
    sink.close({})
    assert ids(tmp_path) == [1, 2]


def test_memory_is_bounded_while_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rotate, "HELD_BYTES", 3000)
    sink = PartSink(tmp_path)
    monkeypatch.setattr(rotate, "write_table", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    for k in range(100):
        sink.write("idle_gaps", gaps(k))
        sink.rotate()
    assert sink._bytes <= 3000
    kept = sum(part.num_rows for part in sink._held["idle_gaps"])
    assert sink.lost == 100 - kept
    sink.close({})
    assert sink.lost == 100


@pytest.mark.parametrize("full", [False, True])
def test_rows_that_come_while_parts_are_written_are_in_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow(path: Path, format: str, name: str, rows: pa.Table) -> None:
        begun.set()
        assert go_on.wait(30)
        if full:
            raise OSError(28, "No space left on device")
        write_table(path, format, name, rows)

    sink = PartSink(tmp_path)
    sink.write("idle_gaps", gaps(1, 2))
    monkeypatch.setattr(rotate, "write_table", slow)
    sink.begin()
    assert begun.wait(30)
    sink.write("idle_gaps", gaps(3))
    sink.settle(wait=False)
    assert (sink.due, sink.trouble) == (False, "")
    go_on.set()
    sink.settle()
    assert bool(sink.trouble) == full
    assert ids(tmp_path) == ([] if full else [1, 2])
    monkeypatch.undo()
    sink.close({})
    assert ids(tmp_path) == [1, 2, 3]
    assert sink.lost == 0


def test_tables_of_another_capture_are_not_mixed_in(tmp_path: Path) -> None:
    PartSink(tmp_path)
    with pytest.raises(AnalyzerError, match="already holds tables"):
        PartSink(tmp_path)


def test_rows_that_are_not_final_are_replaced_and_gone_in_the_end(tmp_path: Path) -> None:
    sink = PartSink(tmp_path)
    sink.write("idle_gaps", gaps(1))
    sink.rotate(standing=[("idle_gaps", gaps(2, 3))])
    assert sorted(ids(tmp_path)) == [1, 2, 3]
    sink.write("idle_gaps", gaps(2))
    sink.rotate(standing=[("idle_gaps", gaps(3))])
    assert sorted(ids(tmp_path)) == [1, 2, 3]
    sink.write("idle_gaps", gaps(3))
    sink.close({})
    assert sorted(ids(tmp_path)) == [1, 2, 3]


def test_parts_of_several_processes_lie_side_by_side(tmp_path: Path) -> None:
    """Hive's way to name folders: who reads them gets the process as a column."""
    sinks = [PartSink(tmp_path, process=process) for process in (1, 2)]
    for process, sink in enumerate(sinks, 1):
        sink.write("idle_gaps", gaps(7, process))
        sink.close(None)
    read = pd.read_parquet(tmp_path / "idle_gaps")
    assert sorted(zip(read["process"], read["flow_id"], strict=True)) == [(1, 1), (1, 7), (2, 2), (2, 7)]
    assert not (tmp_path / "summary.json").exists()
    for process in (0, 1, 2):
        with pytest.raises(AnalyzerError, match="already holds tables"):
            PartSink(tmp_path, process=process)
