"""Closed flows leave early, and nobody can tell from the tables when."""

from __future__ import annotations

import random
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from analyzer.anomalies import Ledger
from analyzer.engine import Engine
from analyzer.settings import NS, Settings
from analyzer.tables.order import in_order
from analyzer.tables.schema import TABLES
from tests.property.harness import Result, batches, fingerprint, run
from tests.talk import Packet, Talk

LIVE = Settings(linger_ns=60 * NS)
T0 = 1_700_000_000


def connection(k: int, kind: str, start: float) -> Talk:
    """Return one connection of a kind, from `start` on."""
    talk = Talk(("10.0.0.1", 10_000 + k), ("10.0.0.2", 443), t0=T0 + start)
    talk = talk.handshake().orig(b"request", at="1s").resp(b"response")
    if kind == "fin":
        return talk.orig_fin(at="2s").resp_fin().orig_ack()
    if kind == "late":  # a FIN sent again while the flow lingers
        return talk.orig_fin(at="2s").resp_fin().orig_ack().resp_fin(at="30s", seq=9).orig_ack()
    if kind == "rst":
        return talk.resp_rst(at="5s")
    if kind == "dead":
        return talk.orig_probe(at="61s").orig_probe(at="71s").orig_probe(at="81s").orig_rst(at="91s")
    return talk  # stays open


def mixed(kinds: list[str], seed: int) -> list[Packet]:
    spread = random.Random(seed)
    talks = [connection(k, kind, spread.uniform(0, 600)) for k, kind in enumerate(kinds)]
    return sorted((packet for talk in talks for packet in talk.packets), key=lambda packet: packet[0])


def live(packets: list[Packet], cuts: list[int], settings: Settings, told: list[pa.Table] | None = None) -> Result:
    """Analyse as `live.Watch` does: time advances after each batch."""
    engine = Engine(settings, Ledger(), segments=True)
    if told is not None:
        engine.on_close = told.append
    parts: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
    for batch in batches(packets, cuts):
        last = int(batch.packets["ts_ns"][-1])
        for name, rows in [*engine.feed(batch), *engine.advance(last, NS)]:
            parts[name].append(rows)
        list(engine.standing())  # a look that changes nothing
    for name, rows in engine.finish():
        parts[name].append(rows)
    return Result({name: in_order(name, rows) for name, rows in parts.items()})


KINDS = ["fin", "late", "rst", "dead", "open"]


@examples(max_examples=20)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=12), st.integers(0, 9), st.lists(st.integers(1, 150)))
def test_live_is_what_analyze_says(kinds: list[str], seed: int, cuts: list[int]) -> None:
    packets = mixed(kinds, seed)
    expected = run(packets).tables
    got = live(packets, cuts, LIVE).tables
    assert {name: fingerprint(rows) for name, rows in got.items()} == {
        name: fingerprint(rows) for name, rows in expected.items()
    }


def test_closed_flows_leave_and_open_ones_stay() -> None:
    engine = Engine(LIVE, Ledger())
    for k in range(200):
        for batch in batches(connection(k, "fin", 10.0 * k)):
            list(engine.feed(batch))
        list(engine.advance(engine.end_ns, NS))
        assert engine.tracker.live <= 8
    for batch in batches(connection(999, "open", 3000)):
        list(engine.feed(batch))
    list(engine.advance((T0 + 10**6) * NS, NS))
    assert engine.tracker.live == 1


@pytest.mark.parametrize("cuts", [[], list(range(1, 40))])
def test_a_segment_after_the_linger_begins_another_flow_whenever_the_first_left(cuts: list[int]) -> None:
    """With the same `linger_ns`, also what comes too late gives the same tables, handed over already or not."""
    talk = connection(1, "fin", 0).resp_fin(at="100s", seq=9).orig_ack()
    expected = run(talk, settings=LIVE)
    assert len(expected.rows("flows")) == 2
    assert live(list(talk.packets), cuts, LIVE).fingerprints() == expected.fingerprints()
    assert run(talk).fingerprints() == expected.fingerprints()  # a file says the same


def test_what_comes_long_after_a_reset_is_another_flow_live_and_the_same_in_a_file() -> None:
    talk = connection(1, "rst", 0).orig(b"not reset", at="100s")
    assert len(live(list(talk.packets), [5], LIVE).rows("flows")) == 2
    assert len(run(talk).rows("flows")) == 1


@examples(max_examples=20)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=12), st.integers(0, 9))
def test_connections_as_they_stand_are_what_an_end_would_say(kinds: list[str], seed: int) -> None:
    engine = Engine(replace(LIVE, linger_ns=10**6 * NS), Ledger())
    for batch in batches(mixed(kinds, seed)):
        list(engine.feed(batch))
    standing = dict(engine.standing())
    ended: dict[str, list[pa.Table]] = {}
    for name, rows in engine.finish():
        ended.setdefault(name, []).append(rows)
    for name in ("flows", "closes", "keepalives", "idle_gaps"):
        left, right = (
            in_order(name, parts).drop_columns([c for c in ("heartbeat_kinds",) if c in parts[0].column_names])
            for parts in ([standing[name]], ended[name])
        )
        assert left.to_pylist() == right.to_pylist()


def test_each_close_is_told_once_and_early() -> None:
    packets = mixed(["fin", "rst", "dead", "open", "late", "fin"], 3)
    told: list[pa.Table] = []
    result = live(packets, list(range(1, 200)), LIVE, told)
    rows = pa.concat_tables(told)
    assert sorted(rows["flow_id"].to_pylist()) == [
        row["flow_id"] for row in result.rows("closes") if row["close_kind"] != "open_idle"
    ]
    final = {row["flow_id"]: row for row in result.rows("closes")}
    for row in rows.select(["flow_id", "close_kind", "initiator", "explanation"]).to_pylist():
        assert row == {name: final[row["flow_id"]][name] for name in row}
    assert all(client.startswith("10.0.0.1:1000") for client in rows["client"].to_pylist())


def test_a_flow_given_up_early_is_told_too() -> None:
    told: list[pa.Table] = []
    packets = mixed(["fin"] * 40, 1)
    live(packets, list(range(1, 400, 3)), replace(LIVE, max_flows=4), told)
    ids = pa.concat_tables(told)["flow_id"].to_pylist()
    assert sorted(ids) == list(range(40))
