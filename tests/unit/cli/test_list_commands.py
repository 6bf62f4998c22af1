"""The list commands on real captures: stdout has the data and nothing else."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from analyzer.cli.listing import COMMANDS
from analyzer.cli.main import main

CAPTURES = Path(__file__).parents[3] / "captures"
STALE = str(CAPTURES / "stale_reuse.pcap")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("format", ["table", "csv", "json"])
def test_every_list_runs(command: str, format: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main([command, STALE, "--format", format]) == 0
    out, err = capfdbinary.readouterr()
    rows = out.splitlines()[0 if format == "json" else 1 :]
    assert (err == b"") == (bool(rows) or format != "table")  # an empty list says so


def test_a_list_is_sorted_filtered_and_cut(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    files = sorted(map(str, CAPTURES.glob("*.pcap")))
    words = ["--sort", "-age_s", "--limit", "2", "--where", "rst_s > 0", "--columns", "flow_id,age_s,initiator"]
    assert main(["closes", *files, "--format", "json", *words]) == 0
    rows = [json.loads(line) for line in capfdbinary.readouterr()[0].splitlines()]
    assert len(rows) == 2
    assert rows[0]["age_s"] >= rows[1]["age_s"]
    assert list(rows[0]) == ["flow_id", "age_s", "initiator"]


def test_a_list_says_whose_rows_it_has_and_picks_them_by_it(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    files = [STALE, str(CAPTURES / "keepalive_dead_peer.pcap")]
    assert main(["closes", *files, "--where", "server_port == 8002 and initiator == 'client'"]) == 0
    header, row = capfdbinary.readouterr()[0].decode().splitlines()
    assert header.split()[:3] == ["flow_id", "client", "server"]
    assert row.split()[1:3] == ["10.77.0.1:40001", "10.77.0.2:8002"]


def test_parquet_goes_down_a_pipe() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", "flows", STALE, "--format", "parquet"], capture_output=True, check=True
    )
    assert pq.read_table(io.BytesIO(done.stdout))["close_kind"].to_pylist() == ["rst_to_data_stale"]
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--limit", "0"], "lists nothing"),
        (["--sort", "nothing"], "has no column 'nothing'"),
        (["--columns", ","], "names no column"),
        (["--where", "port == 1"], "has no column port"),
        (["--idle-min", "nan"], "no span of time"),
    ],
)
def test_wrong_usage_is_found_before_reading(words: list[str], error: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["flows", "/no/such/file.pcap", *words]) == 2
    out, err = capfd.readouterr()
    assert out == "" and error in err and "hint: " in err


def test_a_damaged_capture_is_listed_and_exits_with_1(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cut = tmp_path / "cut.pcap"
    cut.write_bytes(Path(STALE).read_bytes()[:-5])
    assert main(["flows", str(cut)]) == 1
    out, err = capfd.readouterr()
    assert len(out.splitlines()) == 2 and "damaged" in err
