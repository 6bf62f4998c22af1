"""The sample captures that are shipped, held to what the script that made each of them wrote down."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pandas as pd
import pytest

from analyzer import Analysis, analyze, compare
from captures.catalogue import GROUPS, HERE, check
from tests.golden.captures_tables import APPS, COMPARE, DIRS, NEEDS, READ, TABLES, Rows, unsure

NAMES = sorted(path.stem for path in HERE.glob("*.json"))

# Timers fire late by scheduling, and the script's clock is not the capture's.
TOLERANCE_S = 0.3
Case = tuple[str, int]


@cache
def truth(name: str) -> dict[str, Any]:
    return json.loads((HERE / f"{name}.json").read_text())


ODD = {"tls13_early_data": "a request for HTTP that no HTTP server answers, then other bytes"}
"""Captures whose programs say something that is against a specification."""


@cache
def analysis(name: str) -> Analysis:
    keys = HERE / f"{name}.keys"
    return analyze(HERE / f"{name}.pcap", keys=keys if keys.exists() else None, segments=True)


def cases(*needs: str) -> list[Case]:
    """Every connection of every capture whose truth has all of some keys."""
    return [
        (name, index)
        for name in NAMES
        for index, connection in enumerate(truth(name)["connections"])
        if all(key in connection for key in needs)
    ]


def connection_of(name: str, index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a connection's truth, and our flow with its close."""
    wanted = truth(name)["connections"][index]
    result = analysis(name)
    rows = result.flows.merge(result.closes.drop(columns=["close_kind"]), on="flow_id")
    (client, port), (server, server_port) = wanted["client"], wanted["server"]
    mine = rows[(rows.client_ip == client) & (rows.client_port == port)]
    mine = mine[(mine.server_ip == server) & (mine.server_port == server_port)]
    assert len(mine) > wanted.get("reuse_index", 0)
    return wanted, mine.iloc[wanted.get("reuse_index", 0)].to_dict()


def one_or_more(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_the_catalogue_is_about_these_files() -> None:
    assert check() == []
    assert len(NAMES) >= 40
    assert {truth(name)["group"] for name in NAMES} == set(GROUPS)
    assert all(truth(name)["look_for"] and truth(name)["connections"] for name in NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_connection_is_one_flow(name: str) -> None:
    assert len(analysis(name).flows) == len(truth(name)["connections"])


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ODD])
def test_a_clean_capture_has_no_anomalies(name: str) -> None:
    assert analysis(name).anomalies.empty


@pytest.mark.parametrize(("name", "index"), cases())
def test_close_kind(name: str, index: int) -> None:
    wanted, flow = connection_of(name, index)
    assert flow["close_kind"] in one_or_more(wanted["close"]["shape"])


@pytest.mark.parametrize(("name", "index"), cases())
def test_who_closed(name: str, index: int) -> None:
    wanted, flow = connection_of(name, index)
    allowed = one_or_more(wanted["close"]["initiator"])
    if not wanted["close"]["signals"]:  # an end that nothing on the wire tells of
        allowed = [*allowed, "none"]
    assert flow["initiator"] in allowed


@pytest.mark.parametrize(("name", "index"), cases())
def test_which_sides_sent_fin_and_rst(name: str, index: int) -> None:
    wanted, flow = connection_of(name, index)
    if unsure(wanted, "close.signals"):
        assert "client" in one_or_more(wanted["close"]["initiator"])  # it is said who may have been first
        return
    seen = {(side, how) for side in DIRS for how in ("fin", "rst") if flow[f"{how}_{side[0]}"]}
    assert seen == {tuple(signal) for signal in wanted["close"]["signals"]}


@pytest.mark.parametrize(("name", "index"), cases("idle_gaps"))
def test_the_silences_are_as_long_as_the_script_waited(name: str, index: int) -> None:
    wanted, flow = connection_of(name, index)
    gaps = analysis(name).idle_gaps
    mine = gaps[gaps.flow_id == flow["flow_id"]]
    ours = [
        (start.timestamp(), length, bool(survived))
        for start, length, survived in zip(mine.start_ts, mine.duration_s, mine.survived.fillna(False), strict=True)
    ]
    for gap in wanted["idle_gaps"]:
        start, length = gap["start_epoch"], gap["length_s"]
        near = [o for o in ours if abs(o[0] - start) <= TOLERANCE_S and abs(o[1] - length) <= TOLERANCE_S]
        assert near, f"{gap} is not in {ours}"
        if "survived" in gap:
            assert near[0][2] == gap["survived"]
    if not unsure(wanted, "idle_gaps"):
        assert sum(length >= 1.8 for _, length, _ in ours) <= len(wanted["idle_gaps"])


def test_a_long_poll_is_waiting_for_the_server_and_nothing_else() -> None:
    """Each silence is the server's turn; a period of half a minute is no heartbeat, and nothing is amiss."""
    found = analysis("http_long_poll")
    assert found.idle_gaps["class"].tolist() == ["server_wait"] * 4
    assert found.flows.max_app_gap_s.tolist() == pytest.approx([30], abs=TOLERANCE_S)
    assert found.findings.empty and found.heartbeats.empty and found.timeouts.empty


@pytest.mark.parametrize(("name", "silence_s"), [("h2_ping", 6.0), ("h2_events", 7.0)])
def test_records_of_tls_are_no_words_of_the_application(name: str, silence_s: float) -> None:
    """Pings under encryption are heartbeats like others, once keys show them."""
    (flow,) = analysis(name).flows.itertuples()
    assert flow.max_payload_gap_s == pytest.approx(1, abs=0.02)
    assert flow.max_app_gap_s == pytest.approx(silence_s, abs=0.05)


@pytest.mark.parametrize(("name", "index"), cases("tcp_keepalive"))
def test_keepalive_probes(name: str, index: int) -> None:
    wanted, flow = connection_of(name, index)
    probes = analysis(name).keepalives
    for side, direction in DIRS.items():
        said = wanted["tcp_keepalive"].get(side, {})
        mine = probes[(probes.flow_id == flow["flow_id"]) & (probes.dir == direction)]
        if "probes" in said:
            assert len(mine) == said["probes"]
        if "answered" in said:
            assert mine.answered.isin(["ack", "data"]).sum() == said["answered"]
    timers = wanted["tcp_keepalive"].get("timers")
    if timers and wanted["tcp_keepalive"]["by"] == "client":
        assert flow["keepidle_s"] == pytest.approx(timers["idle_s"], abs=TOLERANCE_S)
        if wanted["tcp_keepalive"]["client"]["answered"] == 0:  # then the interval ran, and the count to its end
            assert flow["keepintvl_s"] == pytest.approx(timers["interval_s"], abs=TOLERANCE_S)
            assert flow["keepcnt"] == timers["count"]


@pytest.mark.parametrize(("name", "index"), cases("tcp_events"))
def test_window_probes_and_retransmissions(name: str, index: int) -> None:
    events = connection_of(name, index)[0]["tcp_events"]
    labels = analysis(name).segments.analysis.fillna("").str.split(",")
    if "zero_window_probes" in events:
        assert labels.map(lambda these: "zero_window_probe" in these).sum() == events["zero_window_probes"]
    if "retransmissions" in events:  # the kernel counts a tail loss probe among them
        again = {"retransmission", "fast_retransmission", "spurious_retransmission", "tail_loss_probe"}
        assert labels.map(lambda these: bool(again & set(these))).sum() == events["retransmissions"]


@pytest.mark.parametrize(("name", "index"), cases("payload_bytes"))
def test_payload_bytes(name: str, index: int) -> None:
    wanted, flow = connection_of(name, index)
    assert {side: flow[f"payload_bytes_{side[0]}"] for side in DIRS} == wanted["payload_bytes"]


@pytest.mark.parametrize(("name", "index"), cases("handshake_rtt_s"))
def test_the_round_trip_is_that_of_the_wire(name: str, index: int) -> None:
    wanted, flow = connection_of(name, index)
    assert flow["handshake_rtt_s"] == pytest.approx(wanted["handshake_rtt_s"], abs=0.05)


@pytest.mark.parametrize(("name", "index"), cases() if "race" in READ else [])
def test_races(name: str, index: int) -> None:
    """Every race that there was, and none that there was not."""
    wanted, flow = connection_of(name, index)
    race = "none" if pd.isna(flow["race"]) else flow["race"]
    assert race in one_or_more(wanted["close"].get("race", "none"))


@pytest.mark.parametrize(("name", "index"), cases() if "trigger" in READ else [])
def test_triggers(name: str, index: int) -> None:
    wanted, flow = connection_of(name, index)
    if "trigger" in wanted["close"]:
        triggers = one_or_more(wanted["close"]["trigger"])
        needs = {APPS.get(wanted["app"], wanted["app"]), *(NEEDS.get(trigger, "http") for trigger in triggers)}
        if needs <= READ:
            assert flow["trigger"] in triggers


def rows_of(name: str, flow_id: int) -> Rows:
    """Return one flow's rows of the protocol tables."""
    tables = [table for names in TABLES.values() for table in names]
    whole = {table: getattr(analysis(name), table) for table in tables}
    return {table: rows[rows.flow_id == flow_id].reset_index(drop=True) for table, rows in whole.items()}


@pytest.mark.parametrize(
    ("what", "name", "index"), [(w, *case) for w in sorted(READ & set(COMPARE)) for case in cases(w)]
)
def test_protocol_tables(what: str, name: str, index: int) -> None:
    wanted, flow = connection_of(name, index)
    assert COMPARE[what](wanted, rows_of(name, flow["flow_id"])) == []


@pytest.mark.parametrize("what", sorted(set(TABLES) - READ))
def test_what_is_not_compared_is_empty(what: str) -> None:
    for table in TABLES[what]:
        rows = {name: getattr(analysis(name), table) for name in NAMES}
        if what == "heartbeats":  # those inferred from timing need no protocol; the lab's labels hold them
            rows = {name: found[found.method == "explicit"] for name, found in rows.items()}
        filled = [name for name, found in rows.items() if len(found)]
        assert not filled, f"{table} has rows: add {what!r} to READ in captures_tables.py"


@pytest.mark.parametrize("name", [name for name in NAMES if "second" in truth(name)])
def test_what_happened_between_two_points(name: str) -> None:
    second = truth(name)["second"]
    found = compare(HERE / f"{name}.pcap", HERE / f"{name}.{second['captured_at']}.pcap")
    codes = zip(found.differences["code"], found.differences["sent_by"], strict=True)
    assert (len(found.pairs), sorted(map(list, codes))) == (1, sorted(second["differences"]))
