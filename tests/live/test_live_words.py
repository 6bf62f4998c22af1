"""What a running capture says: JSON that parses, lines and labels that the wire cannot misuse, sizes and ports."""

from __future__ import annotations

import io
import json
import socket
import urllib.request
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analyzer.classify.finding_codes import SEVERITIES
from analyzer.classify.watching import OpenFlow, Snapshot
from analyzer.cli.live_request import LiveRequest, address, size_or_span
from analyzer.cli.live_session import check
from analyzer.errors import AnalyzerError
from analyzer.render.live import Firm, Now, Screen, close_json, close_lines, finding_json, finding_lines, status_line
from analyzer.render.live_metrics import MAX_ENDPOINTS, Metrics, MetricsServer
from analyzer.tables.build import Coded, to_arrow
from analyzer.tables.tcp import CLOSE_KINDS, INITIATORS


def closes(servers: list[str], explanation: str = "because") -> pa.Table:
    n = len(servers)
    rows = to_arrow(
        "closes",
        {
            "flow_id": list(range(n)),
            "ts": [1_700_000_000_123_456_789] * n,
            "close_kind": Coded(pa.array([CLOSE_KINDS.index("rst_on_idle")] * n).to_numpy(), CLOSE_KINDS),
            "initiator": Coded(pa.array([1] * n).to_numpy(), INITIATORS),
            "age_s": [60.25] * n,
            "explanation": [explanation] * n,
        },
    )
    return rows.append_column("client", pa.array(["10.0.0.1:4000"] * n)).append_column("server", pa.array(servers))


def now() -> Now:
    flow = OpenFlow(7, "10.0.0.1:4000", "10.0.0.2:443", 90 * 10**9, 2)
    return Now(
        "eth0", 12.0, 1000, 50.0, 3, 900, "", "", Snapshot({"active": 2, "silent": 1, "closed": 4}, [flow], [flow])
    )


def test_json_is_a_line_per_close() -> None:
    lines = close_json(closes(["10.0.0.2:443", "[fd00::1]:80"], 'say "no"\n')).decode().splitlines()
    made = [json.loads(line) for line in lines]
    assert [row["server"] for row in made] == ["10.0.0.2:443", "[fd00::1]:80"]
    assert made[0]["event"] == "close"
    assert made[0]["close_kind"] == "rst_on_idle"
    assert made[0]["ts"] == "2023-11-14T22:13:20.123456789Z"
    assert made[0]["explanation"] == 'say "no"\n'


def test_lines_hold_nothing_a_terminal_obeys() -> None:
    (line,) = close_lines(closes(["10.0.0.2:443"], "a\x1b[2Jb"))
    assert line == "22:13:20.123Z rst_on_idle by server  10.0.0.1:4000 -> 10.0.0.2:443 after 60.2 s. a\\x1b[2Jb"


def findings(*severities: str, title: str = "it hangs") -> pa.Table:
    n = len(severities)
    codes = np.array([SEVERITIES.index(word) for word in severities], np.int8)
    made = {"code": [f"a.b{k}" for k in range(n)], "severity": Coded(codes, SEVERITIES), "title": [title] * n}
    return to_arrow("findings", {"finding_id": list(range(n)), "endpoint": ["10.0.0.2:443"] * n} | made)


def test_a_finding_is_told_once_and_again_when_it_is_worse() -> None:
    firm = Firm()
    assert firm.new(findings())["code"].to_pylist() == []
    assert firm.new(findings("note", "error"))["code"].to_pylist() == ["a.b0", "a.b1"]
    assert firm.new(findings("warning", "error"))["code"].to_pylist() == ["a.b0"]
    assert firm.new(findings("note", "note"))["code"].to_pylist() == []
    assert firm.all == ["note: it hangs at 10.0.0.2:443"] * 2


def test_json_is_a_line_per_finding() -> None:
    (line,) = finding_json(findings("error")).decode().splitlines()
    row = json.loads(line)
    assert (row["event"], row["severity"], row["code"]) == ("finding", "error", "a.b0")


def test_the_screen_shows_findings_and_missed_heartbeats() -> None:
    out = io.StringIO()
    with Screen(out) as screen:
        told = Coded(np.array([0, 0, 1], np.int8), ("websocket", "redis"))
        missed = np.array([1, 1, 0], np.int8)
        screen.beaten(to_arrow("heartbeats", {"flow_id": [1, 1, 2], "protocol": told, "missed": missed}))
        from rich.console import Console

        page = screen._page(replace(now(), findings=finding_lines(findings("error", title="it \x1b hangs"))))
        Console(file=out, width=120).print(page)
    shown = out.getvalue()
    assert "error: it \\x1b hangs at 10.0.0.2:443" in shown
    assert "websocket 2" in shown
    assert "redis" not in shown


def test_the_status_counts() -> None:
    assert status_line(now()) == "1,000 packets (50/s), 3 dropped; connections: 2 active, 1 silent, 4 closed"


def test_the_screen_shows_closes_silences_and_probes() -> None:
    page = io.StringIO()
    with Screen(page) as screen:
        screen.closed(closes(["10.0.0.2:443"]))
        from rich.console import Console

        Console(file=page, width=120).print(screen._page(now()))
    text = page.getvalue()
    assert "rst_on_idle 1" in text
    assert "flow 7  10.0.0.1:4000 -> 10.0.0.2:443" in text
    assert "Keep-alive probes without answer" in text


def test_metrics_count_by_kind_and_endpoint() -> None:
    metrics = Metrics()
    metrics.closed(closes(["10.0.0.2:443"] * 3))
    metrics.closed(closes(["10.0.0.2:443", "10.0.0.3:80"]))
    metrics.heartbeats(pa.table({"missed": [True, False, None, True]}))
    metrics.update(now())
    lines = metrics.text().decode().splitlines()
    assert 'longwire_closes_total{kind="rst_on_idle",endpoint="10.0.0.2:443"} 4' in lines
    assert 'longwire_closes_total{kind="rst_on_idle",endpoint="10.0.0.3:80"} 1' in lines
    assert 'longwire_open_connections{state="silent"} 1' in lines
    assert "longwire_dropped_packets_total 3" in lines
    assert "longwire_heartbeat_misses_total 2" in lines
    assert not any('state="closed"' in line for line in lines)


def test_a_scan_cannot_fill_the_labels() -> None:
    metrics = Metrics()
    for k in range(5):
        metrics.closed(closes([f"10.0.{k}.{j}:80" for j in range(200)]))
    metrics.update(now())
    lines = [line for line in metrics.text().decode().splitlines() if line.startswith("longwire_closes_total{")]
    assert len(lines) == MAX_ENDPOINTS + 1
    assert sum(int(line.rsplit(" ", 1)[1]) for line in lines) == 1000
    assert f'longwire_closes_total{{kind="rst_on_idle",endpoint="other"}} {1000 - MAX_ENDPOINTS}' in lines


def test_metrics_are_served() -> None:
    metrics = Metrics()
    server = MetricsServer(metrics, "127.0.0.1", 0)
    try:
        with urllib.request.urlopen("http://{}:{}/metrics".format(*server.address), timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert answer.read() == metrics.text()
        with pytest.raises(AnalyzerError, match="metrics cannot be served"):
            MetricsServer(metrics, *server.address)
    finally:
        server.close()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("100MB", (100_000_000, 0)), ("1GiB", (1 << 30, 0)), ("512 b", (512, 0)), ("1.5kB", (1500, 0)),
        ("30s", (0, 30)), ("10min", (0, 600)), ("1h", (0, 3600)), ("2d", (0, 172800)),
    ],
)  # fmt: skip
def test_sizes_and_spans(words: str, expected: tuple[int, float]) -> None:
    assert size_or_span(words) == expected


@pytest.mark.parametrize("words", ["", "100", "MB", "0s", "-1h", "10 apples", "1e9s", "100M"])
def test_no_size_and_no_span(words: str) -> None:
    with pytest.raises(AnalyzerError):
        size_or_span(words)


def test_ports() -> None:
    assert address("9464") == ("127.0.0.1", 9464)
    assert address("0.0.0.0:80") == ("0.0.0.0", 80)
    assert address("[::1]:80") == ("::1", 80)
    for wrong in ("", "x", "70000", "host"):
        with pytest.raises(AnalyzerError):
            address(wrong)


def test_json_names_the_process_where_there_are_several() -> None:
    (line,) = close_json(closes(["10.0.0.2:443"]), 2).decode().splitlines()
    assert (json.loads(line)["process"], json.loads(line)["flow_id"]) == (2, 0)
    assert "process" not in json.loads(close_json(closes(["10.0.0.2:443"])))
    (line,) = finding_json(findings("error"), 3).decode().splitlines()
    assert json.loads(line)["process"] == 3


def test_a_finding_of_several_processes_is_told_once() -> None:
    firm = Firm()
    assert firm.new(findings("note"), 1).num_rows == 1
    assert firm.new(findings("note"), 2).num_rows == 0
    assert firm.new(findings("warning"), 2).num_rows == 1
    assert firm.all == ["note: it hangs at 10.0.0.2:443", "warning: it hangs at 10.0.0.2:443"]
    firm.new(findings("note"), 2)
    assert firm.all == ["note: it hangs at 10.0.0.2:443"]


def test_numbers_of_several_processes_add_up() -> None:
    others = [
        replace(flow, for_ns=flow.for_ns + k, unanswered=k, process=2)
        for k in range(9)
        for flow in now().snapshot.silent
    ]
    other = replace(now(), running_s=13.0, recorded="recording b", problem="eth0 has gone",
                    snapshot=Snapshot({"active": 1, "closed": 1, "opening": 5}, others, others))  # fmt: skip
    both = Now.merged([replace(now(), recorded="recording a"), other])
    assert (both.packets, both.packets_per_s, both.dropped, both.segments) == (2000, 100.0, 6, 1800)
    assert (both.running_s, both.recorded, both.problem) == (13.0, "recording a, b", "eth0 has gone")
    assert both.snapshot.states == {"active": 3, "silent": 1, "closed": 5, "opening": 5}
    assert [flow.for_ns - 90 * 10**9 for flow in both.snapshot.silent] == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [flow.unanswered for flow in both.snapshot.probing] == [8, 7, 6, 5, 4, 3, 2, 2]
    page = io.StringIO()
    with Screen(page) as screen:
        from rich.console import Console

        Console(file=page, width=120).print(screen._page(both))
    assert "flow 7 of process 2  10.0.0.1:4000 -> 10.0.0.2:443" in page.getvalue()
    assert Now.merged([]).packets == 0


@pytest.mark.parametrize("over", [{"rotate": "100MB"}, {"keep": 3}, {"out_every": "60s"}, {"segments": True}])
def test_what_needs_another_option_says_so(over: dict[str, Any]) -> None:
    with pytest.raises(AnalyzerError) as told:
        check(LiveRequest(("lo",), **over))
    assert told.value.hint.startswith("add --")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
def test_metrics_are_served_on_ipv6_too() -> None:
    server = MetricsServer(Metrics(), "::1", 0)
    try:
        with urllib.request.urlopen(f"http://[::1]:{server.address[1]}/metrics", timeout=10) as answer:
            assert answer.status == 200
    finally:
        server.close()
