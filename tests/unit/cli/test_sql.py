"""`longwire sql`: tables of every format answer, and a query reaches nothing but them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analyzer.api import analyze
from analyzer.cli.main import main
from analyzer.render.files import write_table

pytest.importorskip("duckdb")

FOLDER = Path(__file__).parents[3] / "captures"
NAMES = ("half_close", "idle_rst", "http_node_idle", "keepalive_answered", "keepalive_dead_peer", "refused")
CAPTURES = [str(FOLDER / f"{name}.pcap") for name in NAMES]
ORDERED = (
    "select close_kind, count(*) n, min(age_s) age, max(ts) latest from closes group by all order by n desc, close_kind"
)


@pytest.fixture(scope="module", params=["parquet", "csv", "json"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param)
    assert main(["analyze", *CAPTURES, "--out", str(out), "--format", request.param]) == 0
    return out


def test_every_format_gives_the_same_answer(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", str(folder), ORDERED, "--format", "json"]) == 0
    rows = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    whole = analyze(CAPTURES).closes
    assert {row["close_kind"]: row["n"] for row in rows} == whole.close_kind.value_counts().to_dict()
    assert [row["n"] for row in rows] == sorted((row["n"] for row in rows), reverse=True)
    first = whole[whole.close_kind == rows[0]["close_kind"]]
    assert rows[0]["age"] == first.age_s.min()
    assert rows[0]["latest"].startswith(first.ts.max().strftime("%Y-%m-%dT%H:%M:%S"))


def test_tables_join(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    query = "select f.server_port, c.evidence_frames from flows f join closes c using (flow_id) order by 1 limit 1"
    assert main(["sql", str(folder), query, "--format", "csv"]) == 0
    head, row = capfd.readouterr().out.splitlines()
    assert head == "server_port,evidence_frames" and row.startswith(f"{analyze(CAPTURES).flows.server_port.min()},")


def test_answers_of_any_type_are_shown(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    query = "select 1 a, 2 a, {'x': 1} s, date '2020-01-02' d, 1.5::decimal(4, 1) e, null z, [1, 2] l"
    assert main(["sql", str(folder), query]) == 0
    assert capfd.readouterr().out.splitlines()[1].split()[:2] == ["1", "2"]


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_csv('/etc/passwd')",
        "copy (select 1) to '/tmp/longwire-out.csv'",
        "select * from 'https://example.com/x.parquet'",
        "attach '/tmp/longwire.db'",
        "install httpfs",
        "set enable_external_access = true",
        "selec",
    ],
)
def test_what_a_query_may_not_do_is_an_error(folder: Path, query: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", str(folder), query]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("error: ") and "hint: " in err


def test_a_folder_without_tables(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", str(tmp_path), "select 1"]) == 2
    assert "has no tables" in capfd.readouterr().err
    assert main(["sql", str(tmp_path / "nowhere"), "select 1"]) == 2


def test_a_moment_without_nanoseconds_is_shown(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", str(folder), "select timestamp '3000-01-01' t", "--format", "csv"]) == 0
    assert capfd.readouterr().out.splitlines() == ["t", "3000-01-01 00:00:00"]


def test_a_table_that_was_cut_off_is_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", CAPTURES[0], "--out", str(tmp_path)]) == 0
    path = tmp_path / "closes.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    capfd.readouterr()
    assert main(["sql", str(tmp_path), "select 1"]) == 2
    assert f"error: {path} cannot be read" in capfd.readouterr().err


def test_parts_of_a_live_capture_are_tables(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With one process and with several (folders of their own)."""
    analysis = analyze(CAPTURES)
    for name in ("flows", "closes"):
        rows = analysis.arrow(name)
        for part, place in enumerate((tmp_path / name, tmp_path / name / "process=1")):
            place.mkdir()
            write_table(place / f"part-0000{part}.parquet", "parquet", name, rows.slice(3 * part, 3))
    assert (
        main(["sql", str(tmp_path), "select count(*) n from flows join closes using (flow_id)", "--format", "csv"]) == 0
    )
    assert capfd.readouterr().out.splitlines() == ["n", "6"]
