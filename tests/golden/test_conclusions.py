"""Conclusions about real captures: those that were reviewed, no more and no fewer; the lab's against its labels."""

from __future__ import annotations

import pytest

from analyzer import analyze
from tests.corpus import CORPUS, LAB, catalogue, lab_scenarios, needs_corpus
from tests.golden.conclusions import STORED, conclusions

pytestmark = [needs_corpus, pytest.mark.corpus]

REVIEWED = STORED.read_text().splitlines()


def files() -> list[str]:
    if not CORPUS.is_dir():
        return []
    return sorted({row["file"] for row in catalogue()} | {f"lab/{path.name}" for path in LAB.glob("*.pcap")})


@pytest.mark.parametrize("file", files())
def test_conclusions_are_those_reviewed(file: str) -> None:
    assert conclusions(file) == [line for line in REVIEWED if line.startswith(f"{file}  ")]


def test_no_capture_of_the_review_is_gone() -> None:
    assert {line.split("  ")[0] for line in REVIEWED} <= set(files())


# ------------------------------------------------------------------------------------------------ the lab's labels
# Beats that pass through where nothing is read: a protocol of bytes, or TLS without keys
OPAQUE = ("hb_binary_echo", "tls13_binary_heartbeat_nokeys", "tls12_heartbeat_rfc6520", "wss_server_ping")


@pytest.mark.parametrize("name", OPAQUE)
def test_labelled_heartbeats_are_found(name: str) -> None:
    (scenario,) = [s for s in lab_scenarios() if s["name"] == name]
    (label,) = [beat for c in scenario["connections"] for beat in c["heartbeats"]]
    result = analyze(LAB / scenario["captures"]["client"])
    (row,) = result.arrow("heartbeat_series").to_pylist()
    assert row["dir"] == {"client": "c2s", "server": "s2c"}[label["by"]]
    assert abs(row["beats"] - label["count"]) <= 1
    assert row["period_s"] == pytest.approx(label["interval_s"], rel=0.02)


def quiet() -> list[tuple[str, str]]:
    """Captures in which no connection has a heartbeat of any kind."""
    return [
        (s["name"], point)
        for s in (lab_scenarios() if LAB.is_dir() else [])
        if not any(c.get("heartbeats") for c in s["connections"])
        for point in s["captures"]
    ]


@pytest.mark.parametrize(("name", "point"), quiet())
def test_no_heartbeat_where_there_is_none(name: str, point: str) -> None:
    (scenario,) = [s for s in lab_scenarios() if s["name"] == name]
    assert analyze(LAB / scenario["captures"][point]).arrow("heartbeat_series").num_rows == 0


def test_only_the_middlebox_of_the_lab_is_suspected() -> None:
    suspected = [line.split("  ")[0] for line in REVIEWED if "reset.middlebox" in line]
    assert suspected == ["lab/mbox_rst_client_only.pcap"]
