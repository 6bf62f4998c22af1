"""`longwire show`: one connection of a capture on stdout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from analyzer.cli.main import main

STALE = str(Path(__file__).parents[3] / "captures" / "stale_reuse.pcap")


def test_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", STALE, "--flow", "0"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("flow 0  10.77.0.1:40001 -> 10.77.0.2:8008\n")
    assert "rst_to_data_stale" in out and "[frames 6 8 10 11]" in out
    assert err == ""


def test_one_connection_needs_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", STALE]) == 0
    assert capsys.readouterr().out.startswith("flow 0  ")
    assert main(["show", STALE.replace("stale_reuse", "port_reused")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "hint: --flow N shows one" in err


def test_a_ladder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", STALE, "--flow", "0", "--ladder"]) == 0
    assert sum("|" in line for line in capsys.readouterr().out.splitlines()) == 11


@pytest.mark.parametrize("ladder", [[], ["--ladder"]])
def test_json(ladder: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", STALE, "--flow", "0", "--format", "json", *ladder]) == 0
    assert json.loads(capsys.readouterr().out)["client"] == "10.77.0.1:40001"


@pytest.mark.parametrize("flow", ["1", "-1", "99999999999"])
def test_a_connection_that_is_not_there(flow: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", STALE, "--flow", flow]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "hint: longwire flows FILE lists them" in err
