"""The sample captures that are shipped, held to what the script that made each of them wrote down."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from analyzer import Analysis, analyze

CAPTURES = Path(__file__).parents[2] / "captures"
NAMES = sorted(path.stem for path in CAPTURES.glob("*.json"))

# Timers fire late by scheduling, and the script's clock is not the capture's.
TOLERANCE_S = 0.15
MEASURED = ("keepidle_s", "keepintvl_s")
COUNTED = (
    "close_kind", "initiator", "keepcnt", "payload_bytes_c", "payload_bytes_s", "keepalive_probes_c",
    "keepalive_probes_s", "keepalive_unanswered_c", "keepalive_unanswered_s",
)  # fmt: skip


@cache
def truth(name: str) -> dict[str, Any]:
    return json.loads((CAPTURES / f"{name}.json").read_text())


@cache
def analysis(name: str) -> Analysis:
    return analyze(CAPTURES / f"{name}.pcap", segments=True)


def flow_of(name: str, connection: dict[str, Any]) -> dict[str, Any]:
    result = analysis(name)
    rows = result.flows.merge(result.closes.drop(columns=["close_kind"]), on="flow_id")
    (client, port), (server, server_port) = connection["client"], connection["server"]
    mine = rows[(rows.client_ip == client) & (rows.client_port == port)]
    mine = mine[(mine.server_ip == server) & (mine.server_port == server_port)]
    assert len(mine) == 1
    return mine.iloc[0].to_dict()


def test_there_are_captures() -> None:
    assert len(NAMES) >= 8
    assert {path.stem for path in CAPTURES.glob("*.pcap")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_truth_is_about_this_file(name: str) -> None:
    assert hashlib.sha256((CAPTURES / f"{name}.pcap").read_bytes()).hexdigest() == truth(name)["sha256"]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_script_did_is_what_we_say(name: str) -> None:
    for connection in truth(name)["connections"]:
        flow = flow_of(name, connection)
        never_ran = () if connection.get("keepalive_unanswered_c") else ("keepcnt", "keepintvl_s")
        for key in COUNTED:
            if key in connection and key not in never_ran:
                assert flow[key] == connection[key], key
        for key in MEASURED:
            if key in connection and key not in never_ran:
                assert flow[key] == pytest.approx(connection[key], abs=TOLERANCE_S), key


@pytest.mark.parametrize("name", NAMES)
def test_the_silences_are_as_long_as_the_script_waited(name: str) -> None:
    for connection in truth(name)["connections"]:
        flow = flow_of(name, connection)
        gaps = analysis(name).idle_gaps
        lengths = gaps[gaps.flow_id == flow["flow_id"]].duration_s.tolist()
        for gap in connection.get("idle_gaps", []):
            assert any(abs(length - gap["length_s"]) <= TOLERANCE_S for length in lengths), (gap, lengths)


@pytest.mark.parametrize("name", NAMES)
def test_window_probes_are_no_keepalives(name: str) -> None:
    for connection in truth(name)["connections"]:
        wanted = connection.get("zero_window_probes_c")
        if wanted is not None:
            labels = analysis(name).segments.analysis.fillna("")
            assert labels.str.contains("zero_window_probe").sum() == wanted


@pytest.mark.parametrize("name", NAMES)
def test_a_clean_capture_has_no_anomalies(name: str) -> None:
    assert analysis(name).anomalies.empty
