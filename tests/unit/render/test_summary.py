"""The one-screen summary: the same whatever the chunks, readable without colour, harmless whatever the names."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.render import summary as summary_module
from analyzer.render.summary import Beating, Summary, Trouble, merged, summarize
from analyzer.render.text import LOOKS, print_summary, ranked_looks
from analyzer.tables.build import Coded, to_arrow
from analyzer.tables.schema import TABLES

SECOND = 10**9
COUNT = 40


def capture() -> dict[str, pa.Table]:
    """Forty flows: every tenth reset on idle, two dead peers, one race, two probing."""
    kinds = ["fin_client_first"] * COUNT
    for flow in range(0, COUNT, 10):
        kinds[flow] = "rst_on_idle"
    kinds[7] = kinds[8] = "abort_keepalive"
    ids = np.arange(COUNT)
    flows = {
        "flow_id": ids,
        "client_ip": ["10.0.0.1"] * 39 + ["2001:db8::1"],
        "client_port": ids + 50_000,
        "server_ip": ["10.0.0.2"] * COUNT,
        "server_port": [443] * COUNT,
        "max_payload_gap_s": ids * 1.5,
        "keepalive_probes_c": [3 if flow in (7, 8) else 0 for flow in ids],
        "keepalive_unanswered_c": [3 if flow == 7 else 0 for flow in ids],
    }
    closes = {
        "flow_id": ids,
        "close_kind": kinds,
        "initiator": Coded(ids % 3 - 1, ["client", "server"]),
        "race": ["race" if flow == 3 else "none" for flow in ids],
        "evidence_frames": [[int(flow) + 100] for flow in ids],
        "explanation": [f"verdict of {flow} [bold]\x1b[31m" for flow in ids],
    }
    gaps = {
        "flow_id": ids,
        "start_ts": ids,
        "duration_s": ids * 1.5,
        "class": ["stalled_zero_window" if flow % 20 == 5 else "think_time" for flow in ids],
        "filled_by": ["none"] * COUNT,
        "ended_by": ["rst_server"] * COUNT,
        "censored": [flow == 38 for flow in ids],
        "start_frame": ids + 1,
        "end_frame": ids + 2,
    }
    beats = {
        "flow_id": ids % 3,
        "protocol": Coded(ids % 2, ["mqtt", "unknown"]),
        "missed": (ids % 8 == 0).astype(np.int8),
    }
    series = {
        "flow_id": ids[:3],
        "protocol": Coded(ids[:3] % 2, ["mqtt", "unknown"]),
        "beats": np.array([10, 20, 10]),
        "period_s": np.array([5.0, 30.0, 7.5]),
    }
    return {
        "heartbeats": to_arrow("heartbeats", beats),
        "heartbeat_series": to_arrow("heartbeat_series", series),
        "flows": to_arrow("flows", flows),
        "closes": to_arrow("closes", closes),
        "idle_gaps": to_arrow("idle_gaps", gaps),
        "captures": to_arrow(
            "captures",
            {
                "file": ["a\x1b]0;x\x07.pcap", "b.pcap"],
                "format": ["pcap", "pcapng.gz"],
                "packets": [1000, 234],
                "tcp_segments": [900, 200],
                "first_ts": [1_700_000_000 * SECOND, 1_700_000_100 * SECOND],
                "last_ts": [1_700_000_050 * SECOND, 1_700_000_512 * SECOND + 400_000_000],
                "snaplen_clipped": [0, 12],
                "dropped_reported": [None, 5],
                "duplicates": [15, 0],
                "truncated": [False, True],
                "error": [None, "ends inside packet 234"],
            },
        ),
        "anomalies": to_arrow("anomalies", {"code": ["capture.truncated"], "count": [1]}),
    }


def shown(summary: Summary, file: io.StringIO | None = None) -> str:
    file = file or io.StringIO()
    print_summary(summary, file)
    return file.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False), st.sampled_from([10_000, 20]))
def test_chunks_do_not_matter(random: object, address_rows: int) -> None:
    def chunks() -> Iterator[tuple[str, pa.Table]]:
        pieces = []
        for name, rows in capture().items():
            at = 0
            while at < rows.num_rows:
                size = random.randint(1, 20) if name != "captures" else 2  # type: ignore[attr-defined]
                pieces.append((name, rows.slice(at, size)))
                at += size
        random.shuffle(pieces)  # type: ignore[attr-defined]
        yield from pieces

    with pytest.MonkeyPatch.context() as patch:
        whole = summarize(capture().items())
        patch.setattr(summary_module, "ADDRESS_ROWS", 1000)
        cut = summarize(chunks())
    whole.troubles.sort(key=lambda trouble: trouble.kind)
    cut.troubles.sort(key=lambda trouble: trouble.kind)
    assert cut.as_dict() == {**whole.as_dict(), "rows": cut.rows}
    assert dict(sorted(cut.rows.items())) == dict(sorted(whole.rows.items()))


def test_addresses_of_the_quietest_flows_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary_module, "ADDRESS_ROWS", 45)
    tables = capture()
    more = to_arrow("flows", {"flow_id": np.arange(100, 140), "max_payload_gap_s": np.zeros(40)})
    summary = summarize([("flows", tables["flows"]), ("flows", more), ("idle_gaps", tables["idle_gaps"])])
    assert all(silence.client for silence in summary.silences)


def test_counts() -> None:
    summary = summarize(capture().items())
    assert (summary.packets, summary.tcp_segments, summary.flows) == (1234, 1100, COUNT)
    assert (summary.first_ts, summary.duration_s) == ("2023-11-14T22:13:20.000000000Z", 512.4)
    assert (summary.snaplen_clipped, summary.dropped_reported, summary.duplicates) == (12, 5, 15)
    assert summary.damaged
    assert (summary.probing_flows, summary.probes, summary.unanswered_flows, summary.unanswered) == (2, 6, 1, 3)
    assert sum(summary.closes["rst_on_idle"].values()) == 4
    assert [silence.flow_id for silence in summary.silences] == [39, 38, 37, 36, 35]
    assert summary.silences[0].client == "[2001:db8::1]:50039"
    troubles = {trouble.kind: trouble for trouble in summary.troubles}
    assert troubles["rst_on_idle"].flow_ids == [0, 10, 20, 30]
    assert troubles["rst_on_idle"].frames == [100]
    assert troubles["race.race"].flow_ids == [3]
    assert troubles["stalled_zero_window"].flow_ids == [5, 25]
    assert summary.heartbeats == {"mqtt": Beating(2, 20, 5, 5.0, 7.5), "unknown": Beating(1, 20, 0, 30.0, 30.0)}
    assert json.loads(json.dumps(summary.as_dict()))["silences"][1]["censored"] is True


def test_the_screen() -> None:
    text = shown(summarize(capture().items()))
    lines = text.splitlines()
    assert lines[0] == r"a\x1b]0;x\x07.pcap (pcap)"
    assert lines[1] == "b.pcap (pcapng.gz): ends inside packet 234"
    assert lines[2] == (
        "1,234 packets, 1,100 TCP segments, 40 connections in 512.4 s, from 2023-11-14T22:13:20.000000000Z"
    )
    assert "capture health: 5 reported dropped by the capturing program, 12 clipped, 15 duplicates set aside" in text
    assert "capture.truncated 1: the file ends inside a record" in text
    assert (
        "58.5 s  flow 39 [2001:db8::1]:50039 -> 10.0.0.2:443: think_time, filled by none, ended by rst_server" in text
    )
    assert "flow 38 10.0.0.1:50038 -> 10.0.0.2:443: think_time, filled by none, still open at the capture's end" in text
    assert "2 of 40 connections probed: 6 probes, 3 unanswered in 1 connection" in text
    assert "mqtt: 20 beats in 2 series, every 5.000 s to 7.500 s, 5 missed" in text
    assert "of an unknown protocol, by their timing: 20 beats in 1 series, every 30.0 s, none missed" in text
    looks = text[text.index("Worth a look") :]
    assert looks.index("abort_keepalive") < looks.index("race") < looks.index("rst_on_idle") < looks.index("silences")
    assert "(flow 0, 10, 20, 30). flow 0: verdict of 0 [bold]\\x1b[31m [frame 100]" in " ".join(looks.split())
    assert len(lines) < 45
    assert all(line == line.rstrip() for line in lines)


@pytest.mark.parametrize("plain", ["pipe", "NO_COLOR", "dumb"])
def test_plain_text_has_no_terminal_sequences(plain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "dumb" if plain == "dumb" else "xterm-256color")
    if plain == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    text = shown(summarize(capture().items()), io.StringIO() if plain == "pipe" else Terminal())
    assert "\x1b" not in text
    assert not set("─│┃━╭╮") & set(text)


def test_a_terminal_gets_emphasis_and_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "60")
    text = shown(summarize(capture().items()), Terminal())
    assert "\x1b[1m" in text
    monkeypatch.setenv("NO_COLOR", "1")
    assert max(len(line) for line in shown(summarize(capture().items()), Terminal()).splitlines()) <= 60


def test_findings_come_first_and_the_rest_is_counted() -> None:
    tables = capture()
    finding = {
        "finding_id": [0, 1],
        "code": ["http.keepalive_mismatch", "x.note"],
        "severity": ["error", "note"],
        "flow_ids": ["3 4", "5"],
        "title": ["server idles shorter than its client", "no"],
        "evidence_frames": [[1, 2], []],
    }
    kinds = [kind for kind in LOOKS if kind in TABLES["closes"].column("close_kind").values]
    many = to_arrow("closes", {"flow_id": np.arange(len(kinds)), "close_kind": kinds, "race": ["none"] * len(kinds)})
    tables = {"flows": tables["flows"], "closes": many, "findings": to_arrow("findings", finding)}
    text = shown(summarize(tables.items()))
    looks = text[text.index("Worth a look") :].splitlines()
    assert looks[1].startswith("  http.keepalive_mismatch (flow 3, 4). server idles")
    assert "x.note" not in text
    assert looks[-1] == f"  ... and {len(kinds) + 1 - 8} more: longwire findings and longwire closes list them"


def test_a_race_is_told_once() -> None:
    """The kind of close of the same connections says the same; of others it is told, and so is what else they have."""
    lost = Trouble("rst_to_data_stale", 2, [3, 4], [8], "a reset answered the request")
    raced, death = replace(lost, kind="race.stale_reuse"), replace(lost, kind="silent_death", flow_ids=[3, 5])
    advice = replace(lost, kind="finding.http.stale_reuse", text="check before use")
    stalled = replace(lost, kind="stalled_zero_window", text="stood still")
    looks = ranked_looks(Summary(troubles=[lost, raced, death, stalled, advice]))
    assert looks == [advice, death, raced, stalled]
    assert ranked_looks(Summary(troubles=[lost])) == [lost]
    more = replace(lost, count=3)
    assert ranked_looks(Summary(troubles=[raced, more, replace(lost, process=1)])) == [
        raced,
        more,
        replace(lost, process=1),
    ]


def test_looks_are_kinds_that_exist() -> None:
    closes = TABLES["closes"]
    races = {f"race.{word}" for word in closes.column("race").values}
    assert set(LOOKS) <= {*closes.column("close_kind").values, *races, "stalled_zero_window"}


def test_nothing_is_a_summary_too() -> None:
    assert shown(summarize([])) == "0 packets, 0 TCP segments, 0 connections\nno TCP connections\n"
    empty = {name: to_arrow(name, {}) for name in TABLES}
    assert "no TCP connections" in shown(summarize(empty.items()))


def _half(table: pa.Table, first: int) -> pa.Table:
    """Return the rows of twenty flows from `first` on, as a process numbers them that saw no others."""
    numbers = pc.subtract(table["flow_id"], first)
    at = table.column_names.index("flow_id")
    own = table.set_column(at, table.schema.field("flow_id"), numbers)
    return own.filter(pc.and_(pc.greater_equal(numbers, 0), pc.less(numbers, COUNT // 2)))


def test_summaries_of_several_processes_add_up() -> None:
    """Flows 0 to 19 were one process's, the others the other's, each with numbers of its own."""
    whole = summarize(capture().items())
    halves = {}
    for process, first in ((1, 0), (2, COUNT // 2)):
        rows = {
            name: _half(table, first) if "flow_id" in table.column_names else table for name, table in capture().items()
        }
        halves[process] = summarize(rows.items())
    both = merged(halves)
    assert both.closes == whole.closes
    assert both.rows["flows"] == whole.rows["flows"] == COUNT
    for name in ("probing_flows", "probes", "unanswered_flows", "unanswered"):
        assert getattr(both, name) == getattr(whole, name)
    assert [s.duration_s for s in both.silences] == [s.duration_s for s in whole.silences]
    assert [s.flow_id + 20 * (s.process == 2) for s in both.silences] == [s.flow_id for s in whole.silences]
    assert [(s.client, s.server) for s in both.silences] == [(s.client, s.server) for s in whole.silences]
    counts = {trouble.kind: trouble.count for trouble in both.troubles if not trouble.kind.startswith("finding.")}
    assert counts == {t.kind: t.count for t in whole.troubles if not t.kind.startswith("finding.")}
    assert {trouble.kind: trouble.process for trouble in both.troubles}["abort_keepalive"] == 1
    assert (both.first_ts, both.last_ts, both.duration_s) == (whole.first_ts, whole.last_ts, whole.duration_s)
    # of what both told in full there is twice as much, under one name
    assert both.packets == 2 * whole.packets
    assert [row["file"] for row in both.files] == [row["file"] for row in whole.files]
    page = io.StringIO()
    print_summary(both, page)
    assert "of process 1" in page.getvalue() and "of process 2" in page.getvalue()


def test_of_one_process_the_summary_stays_what_it_was() -> None:
    one = summarize(capture().items())
    same = merged({1: one})
    named = [*same.silences, *same.troubles]
    assert {made.process for made in named} == {1}
    for mine, theirs in ((same.silences, one.silences), (same.troubles, one.troubles)):
        assert [replace(made, process=None) for made in mine] == theirs
    same.silences, same.troubles = one.silences, one.troubles
    assert same == one
    assert merged({}) == Summary()
