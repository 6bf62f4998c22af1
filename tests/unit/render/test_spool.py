"""Rows come back sorted, whatever the order they came in and however little memory there was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.render import spool as spool_module
from analyzer.render.merge import merge, sorted_rows
from analyzer.render.spool import Spool
from analyzer.tables.build import to_arrow
from analyzer.tables.schema import TABLES
from analyzer.tables.where import parse_where

Row = tuple[int, int | None, int]
# Few distinct values, so that keys are equal often: `len` counts the rows as they come and shows that order is kept.
IDS = st.integers(0, 4) | st.sampled_from([70_000, 1 << 40])  # near each other and far apart: two ways to sort
ROWS = st.lists(st.tuples(IDS, st.none() | st.integers(0, 3), st.integers(0, 2)), max_size=60)


def keepalives(rows: list[Row], first: int) -> pa.Table:
    flow_ids, times, frames = (list(column) for column in zip(*rows, strict=True)) if rows else ([], [], [])
    return to_arrow(
        "keepalives",
        {"flow_id": flow_ids, "ts": times, "frame": frames, "len": np.arange(first, first + len(rows))},
    )


def in_chunks(rows: list[Row], sizes: list[int]) -> list[pa.Table]:
    chunks, at = [], 0
    for size in [*sizes, len(rows)]:
        chunks.append(keepalives(rows[at : at + size], at))
        at += size
    return chunks


def expected(rows: list[Row]) -> list[tuple[int, int]]:
    order = sorted(range(len(rows)), key=lambda i: (rows[i][0], rows[i][1] is None, rows[i][1] or 0, rows[i][2]))
    return [(rows[i][0], i) for i in order]


def result(chunks: list[pa.Table]) -> list[tuple[int, int]]:
    return [pair for rows in chunks for pair in zip(rows["flow_id"].to_pylist(), rows["len"].to_pylist(), strict=True)]


@settings(deadline=None)
@given(ROWS, st.lists(st.integers(0, 9), max_size=12), st.sampled_from([1, 4000, 20_000, 1 << 20]))
def test_spilling_does_not_change_the_order(rows: list[Row], sizes: list[int], memory_bytes: int) -> None:
    with Spool(memory_bytes=memory_bytes) as spool:
        for chunk in in_chunks(rows, sizes):
            spool.write("keepalives", chunk)
        assert result(list(spool.read("keepalives"))) == expected(rows)
        assert result(list(spool.read("keepalives"))) == expected(rows), "reading twice gives the same"


@settings(deadline=None)
@given(ROWS, st.lists(st.integers(0, 9), max_size=12), st.lists(st.integers(1, 4), min_size=1, max_size=12))
def test_merging_batches_of_any_size_is_a_stable_sort(rows: list[Row], sizes: list[int], batches: list[int]) -> None:
    key = TABLES["keepalives"].sort_key
    runs = [
        pa.Table.from_batches(sorted_rows([chunk], key).to_batches(max_chunksize=size), chunk.schema)
        for chunk, size in zip(in_chunks(rows, sizes), batches * 13, strict=False)
    ]
    streams = [iter([pa.Table.from_batches([batch]) for batch in run.to_batches()]) for run in runs]
    assert result(list(merge(streams, key))) == expected(rows)


def test_many_runs_are_merged_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "MAX_RUNS", 3)
    rng = np.random.default_rng(7)
    rows: list[Row] = [(int(flow), int(ts), 0) for flow, ts in rng.integers(0, 50, (500, 2))]
    with Spool(tmp_path, memory_bytes=1) as spool:
        for chunk in in_chunks(rows, [20] * 25):
            spool.write("keepalives", chunk)
        (folder,) = tmp_path.iterdir()
        assert len(list(folder.iterdir())) <= 3, "merged runs are removed"
        assert result(list(spool.read("keepalives"))) == expected(rows)
    assert not list(tmp_path.iterdir()), "nothing stays behind"


def test_memory_is_shared_and_the_largest_table_goes_first(tmp_path: Path) -> None:
    with Spool(tmp_path, memory_bytes=60_000) as spool:
        spool.write("closes", to_arrow("closes", {"flow_id": np.arange(5)}))
        assert not list(tmp_path.iterdir()), "nothing is written before it is needed"
        spool.write("segments", to_arrow("segments", {"flow_id": np.arange(2000)}))
        (folder,) = tmp_path.iterdir()
        assert [path.name.split(".")[0] for path in folder.iterdir()] == ["segments"]
        assert sum(rows.num_rows for rows in spool.read("closes")) == 5
        assert sum(rows.num_rows for rows in spool.read("segments")) == 2000


def test_conclusions_keep_or_get_their_order() -> None:
    with Spool(memory_bytes=1) as spool:
        spool.write("captures", to_arrow("captures", {"file": ["b", "a"]}))
        spool.write("anomalies", to_arrow("anomalies", {"code": ["z.z", "a.a"]}))
        assert [rows["file"].to_pylist() for rows in spool.read("captures")] == [["b", "a"]]
        assert [rows["code"].to_pylist() for rows in spool.read("anomalies")] == [["a.a", "z.z"]]


@pytest.mark.parametrize("memory_bytes", [1, 1 << 20])
def test_where_keeps_the_rows_of_the_flows_that_satisfy_it(memory_bytes: int) -> None:
    with Spool(memory_bytes=memory_bytes) as spool:
        spool.write("keepalives", keepalives([(3, 1, 1), (1, 1, 2), (0, 2, 3), (9, 0, 0)], 0))  # before its flows
        spool.write("flows", to_arrow("flows", {"flow_id": [3, 1], "server_port": [443, 80]}))
        spool.write("flows", to_arrow("flows", {"flow_id": [0], "server_port": [443]}))
        spool.write("endpoints", to_arrow("endpoints", {"endpoint": ["10.0.0.1:80"]}))
        kept = {name: list(chunks) for name, chunks in spool.tables(parse_where("server_port == 443"))}
    assert list(kept) == list(TABLES)
    assert [row for rows in kept["flows"] for row in rows["flow_id"].to_pylist()] == [0, 3]
    assert [flow for flow, _ in result(kept["keepalives"])] == [0, 3]
    assert sum(rows.num_rows for rows in kept["endpoints"]) == 1, "what is about the whole capture stays"
    assert kept["closes"] == []


def test_rows_of_another_schema_are_our_bug() -> None:
    with Spool() as spool, pytest.raises(ValueError, match="flows do not have its schema"):
        spool.write("flows", to_arrow("closes", {}))
