"""Following some connections gives what the whole analysis says of them, and a second look gives their segments."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from analyzer import api
from analyzer.classify import segments as chosen
from analyzer.tables.order import in_order
from analyzer.tables.schema import TABLES

FOLDER = Path(__file__).parents[2] / "captures"
NAMES = ("half_close", "idle_rst", "http_node_idle", "keepalive_answered", "keepalive_dead_peer", "refused",
         "stale_reuse", "zero_window")  # fmt: skip
CAPTURES = [FOLDER / f"{name}.pcap" for name in NAMES]
FLOWS = [1, 3, 6]


def of_flows(name: str, rows: pa.Table) -> pa.Table:
    return rows.filter(pc.is_in(rows["flow_id"], value_set=pa.array(FLOWS))) if "flow_id" in TABLES[name] else rows


@pytest.mark.parametrize("waiting", [1, 7, 50_000])
def test_followed_tables_are_those_of_the_whole(waiting: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "CHOSEN_ROWS", waiting)
    whole = api.analyze(CAPTURES, segments=True)
    parts: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
    for name, rows in api.follow(CAPTURES, FLOWS):
        parts[name].append(rows)
    for name in TABLES:
        assert in_order(name, parts[name]).equals(of_flows(name, whole.arrow(name))), name


def test_a_second_look_gives_the_same_segments() -> None:
    whole = of_flows("segments", api.analyze(CAPTURES, segments=True).arrow("segments"))
    assert in_order("segments", list(api.segments_of(CAPTURES, FLOWS))).equals(whole)
    assert whole.num_rows > 50


def test_a_connection_that_is_not_there_has_no_rows() -> None:
    assert [name for name, rows in api.follow(CAPTURES, [999]) if "flow_id" in TABLES[name] and rows.num_rows] == []
    assert list(api.segments_of(CAPTURES, [999])) == []
