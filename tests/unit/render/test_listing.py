"""Lists: which rows and columns, in what order, and how they look on a terminal and in a pipe."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analyzer.errors import AnalyzerError
from analyzer.render import listing
from analyzer.render.listing import choose, pick_columns, sort_keys, write_list
from analyzer.render.plain import plain_rows
from analyzer.render.spool import Spool
from analyzer.tables.build import to_arrow
from analyzer.tables.schema import TABLES, arrow_type
from analyzer.tables.where import parse_where

GAPS = to_arrow(
    "idle_gaps",
    {
        "flow_id": [2, 0, 1, 0],
        "duration_s": [5.0, 60.0, None, 1.5],
        "start_ts": [3, 1, 2, 9],
        "start_frame": [1, 2, 3, 4],
    },
)


def listed(format: str, columns: str | None, width: int | None = None, rows: pa.Table = GAPS) -> tuple[str, list[str]]:
    out = io.BytesIO()
    _, hidden = write_list(out, format, pick_columns("idle_gaps", columns, format), iter([rows]), width)
    return out.getvalue().decode(), hidden


FLOWS = to_arrow(
    "flows",
    {
        "flow_id": [2, 1, 0],
        "client_ip": ["10.0.0.3", "10.0.0.2", "2001:db8::1"],
        "client_port": [3, 2, 1],
        "server_ip": ["10.0.0.9", "10.0.0.9", "2001:db8::9"],
        "server_port": [443, 80, 443],
        "duration_s": [100.0, 200.0, 300.0],
    },
)
CHUNKS = [("idle_gaps", GAPS.slice(0, 2)), ("flows", FLOWS), ("captures", GAPS), ("idle_gaps", GAPS.slice(2))]


def told(
    name: str, format: str, sort: str | None = None, where: str | None = None, limit: int | None = None
) -> Iterator[pa.Table]:
    condition = None if where is None else parse_where(where, name)
    return choose(pick_columns(name, None, format), CHUNKS, condition, sort_keys(name, sort), limit)


def chosen(
    sort: str | None = None, where: str | None = None, limit: int | None = None
) -> list[tuple[int, float | None]]:
    rows = pa.concat_tables(told("idle_gaps", "csv", sort, where, limit))
    return list(zip(rows["flow_id"].to_pylist(), rows["duration_s"].to_pylist(), strict=True))


def test_rows_come_in_the_tables_own_order() -> None:
    assert [flow_id for flow_id, _ in chosen()] == [0, 0, 1, 2]
    assert chosen(limit=3) == [(0, 60.0), (0, 1.5), (1, None)]


def test_sorting_down_puts_missing_last() -> None:
    assert chosen("-duration_s") == [(0, 60.0), (2, 5.0), (0, 1.5), (1, None)]
    assert chosen("flow_id,-duration_s")[:2] == [(0, 60.0), (0, 1.5)]


def test_where_reads_the_listed_table() -> None:
    assert chosen(where="duration_s > 2") == [(0, 60.0), (2, 5.0)]


def test_where_reads_the_columns_of_the_flows_too_and_the_tables_own_first() -> None:
    assert chosen(where="server_port == 443 and duration_s > 2") == [(0, 60.0), (2, 5.0)]
    assert chosen("-duration_s", "server_port == 443", 2) == [(0, 60.0), (2, 5.0)]
    assert chosen(where="client_ip == '10.0.0.2'") == [(1, None)]


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_flows_stand_beside_their_rows_however_these_come(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def in_pieces(spool: Spool, name: str) -> Iterator[pa.Table]:
        for part in whole(spool, name):
            yield from (part.slice(start, rows) for start in range(0, part.num_rows, rows))

    whole = Spool.read
    monkeypatch.setattr(Spool, "read", in_pieces)
    assert chosen(where="server_port == 443") == [(0, 60.0), (0, 1.5), (2, 5.0)]


@pytest.mark.parametrize("sort", [None, "-duration_s"])
@pytest.mark.parametrize("name", ["idle_gaps", "flows"])
def test_a_text_list_says_whose_connection_a_row_is_of(name: str, sort: str | None) -> None:
    rows = pa.concat_tables(told(name, "table", sort))
    seen = {row["flow_id"]: (row["client"], row["server"]) for row in plain_rows(rows)}
    assert seen == {
        0: ("[2001:db8::1]:1", "[2001:db8::9]:443"),
        1: ("10.0.0.2:2", "10.0.0.9:80"),
        2: ("10.0.0.3:3", "10.0.0.9:443"),
    }


@pytest.mark.parametrize("format", ["csv", "json", "parquet"])
@pytest.mark.parametrize("name", TABLES)
def test_files_have_the_columns_of_their_table_and_no_other(name: str, format: str) -> None:
    assert pick_columns(name, None, format) == TABLES[name]
    if "flow_id" in TABLES[name]:
        with pytest.raises(AnalyzerError, match="no column 'client'"):
            pick_columns(name, "client", format)


def test_a_sorted_list_with_a_limit_lets_the_worst_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "KEEP_ROWS", 0)
    assert chosen("-duration_s", limit=2) == [(0, 60.0), (2, 5.0)]


@pytest.mark.parametrize(
    "call", [lambda: sort_keys("idle_gaps", "duratoin_s"), lambda: pick_columns("idle_gaps", "duratoin_s", "csv")]
)
def test_an_unknown_column_is_named_with_a_hint(call: object) -> None:
    with pytest.raises(AnalyzerError, match="duratoin_s") as caught:
        call()  # type: ignore[operator]
    assert caught.value.hint == "did you mean duration_s?"


def test_a_list_column_has_no_order() -> None:
    with pytest.raises(AnalyzerError, match="no order"):
        sort_keys("closes", "evidence_frames")


def test_text_is_aligned_and_missing_is_a_dash() -> None:
    text, hidden = listed("table", "flow_id,duration_s,ended_by")
    assert text.splitlines() == [
        "flow_id  duration_s  ended_by",
        "      2    5.000000  -",
        "      0   60.000000  -",
        "      1           -  -",
        "      0    1.500000  -",
    ]
    assert hidden == []


def test_on_a_narrow_terminal_the_last_columns_give_way_and_are_named() -> None:
    text, hidden = listed("table", "flow_id,duration_s,ended_by", width=20)
    assert text.splitlines()[0] == "flow_id  duration_s"
    assert hidden == ["ended_by"]


@pytest.mark.parametrize(
    ("name", "width", "stays"),
    [
        ("findings", 80, {"severity", "code", "title"}),
        ("findings", 160, {"severity", "code", "title", "recommendation"}),
        ("flows", 80, {"flow_id", "client", "server", "close_kind"}),
        ("closes", 80, {"flow_id", "close_kind", "explanation"}),
    ],
)
def test_a_narrow_terminal_keeps_what_the_list_is_for(name: str, width: int, stays: set[str]) -> None:
    told = "1 request on a connection that the path had silently forgotten, " * 4
    rows = {
        "findings": {"code": ["http.silent_drop_reuse"], "severity": ["warning"], "endpoint": ["10.77.2.2:9001"],
                     "flow_ids": [" ".join(map(str, range(99)))], "title": [told], "recommendation": [told]},
        "flows": {"close_kind": ["implicit_port_reuse"], "client": ["192.168.17.12:40001"],
                  "server": ["10.77.2.2:9001"], "sni": ["www.example.com"]},
        "closes": {"close_kind": ["implicit_port_reuse"], "client": ["192.168.17.12:40001"],
                   "server": ["10.77.2.2:9001"], "explanation": [told]},
    }[name]  # fmt: skip
    table = pick_columns(name, None, "table")
    made = pa.table({c.name: pa.array(rows.get(c.name, [None]), arrow_type(c.type)) for c in table.columns})
    out = io.BytesIO()
    _, hidden = write_list(out, "table", table, iter([made]), width)
    text = out.getvalue().decode()
    assert stays.isdisjoint(hidden) and stays <= set(text.split())
    if name != "flows":  # a sentence goes on in the next line, and is whole
        at = text.index("title" if name == "findings" else "explanation")
        wide = text.find("recommendation") - at if "recommendation" in text else None
        told_lines = [line[at:][:wide].strip() for line in text.splitlines()[1:]]
        assert " ".join(filter(None, told_lines)) == told.strip()


def test_what_one_cell_leaves_of_the_line_is_the_others() -> None:
    rows = to_arrow(
        "http_requests", {"flow_id": [0], "method": ["GET"], "target": ["/" + "a" * 70], "host": ["b" * 50]}
    )
    out = io.BytesIO()
    write_list(out, "table", pick_columns("http_requests", "method,target,host", "table"), iter([rows]), 120)
    assert out.getvalue().decode().splitlines()[1] == f"GET     /{'a' * 58}…  {'b' * 50}"


def test_no_line_is_wider_than_the_terminal() -> None:
    closes = to_arrow("closes", {"flow_id": [0], "explanation": ["x" * 300], "close_kind": ["refused"]})
    for width in (20, 60, 80, 200):
        out = io.BytesIO()
        table = pick_columns("closes", None, "table")
        write_list(out, "table", table, choose(table, [("closes", closes), ("flows", FLOWS)], None, [], None), width)
        assert max(map(len, out.getvalue().decode().splitlines())) <= width


def test_machine_formats_have_all_columns_unless_asked() -> None:
    assert json.loads(listed("json", None)[0].splitlines()[0]).keys() == set(TABLES["idle_gaps"].names)
    assert listed("csv", "end_frame,flow_id")[0].splitlines()[:2] == ["end_frame,flow_id", ",2"]


def test_parquet_carries_the_meaning_of_its_columns() -> None:
    out = io.BytesIO()
    write_list(out, "parquet", pick_columns("idle_gaps", "duration_s", "parquet"), iter([GAPS]))
    rows = pq.read_table(io.BytesIO(out.getvalue()))
    assert rows.schema.field("duration_s").metadata[b"unit"] == b"s"
    assert rows["duration_s"].to_pylist() == [5.0, 60.0, None, 1.5]


def test_text_from_the_wire_cannot_command_the_terminal() -> None:
    rows = to_arrow("http_requests", {"flow_id": [0], "target": ["/\x1b[2J\u202e"]})
    out = io.BytesIO()
    write_list(out, "table", pick_columns("http_requests", "target", "table"), iter([rows]))
    assert out.getvalue() == b"target\n/\\x1b[2J\\u202e\n"


@pytest.mark.parametrize("name", listing.SHOWN)
def test_the_columns_shown_exist(name: str) -> None:
    assert pick_columns(name, None, "table").names == listing.SHOWN[name]
