"""Definition B12: timers found again in fleets that were made with them, and none where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analyzer.classify.timeout_evidence import CLOSE, GAP
from analyzer.classify.timeouts import Timeouts
from analyzer.knowledge.load import Knowledge
from tests.fleet import Timer, fleet, thinking
from tests.property.harness import run
from tests.talk import Talk, merge

Row = dict[str, Any]


def timeouts(*parts: Any, cuts: Any = ()) -> list[Row]:
    return run(merge(*parts), cuts).rows("timeouts")


def by(side: str, rows: list[Row]) -> Row:
    (row,) = [row for row in rows if row["side"] == side and row["value_s"] is not None]
    return row


FLEETS = {
    "alb 60": (Timer(60), {}),
    "alb 60, probes in the silence": (Timer(60), {"probing": 1.0, "probe_s": 20.0}),
    "nginx 75": (Timer(75, jitter_s=0.01), {"survivors": 0.6}),
    "node 5": (Timer(5, jitter_s=0.02), {}),
    "gunicorn 2, looked at each second": (Timer(2, sweep_s=1.0), {}),
    "sweep of 30 s": (Timer(60, sweep_s=30), {}),
    "sweep of 10 s": (Timer(120, sweep_s=10), {"survivors": 0.5}),
    "haproxy resets": (Timer(50, how="rst"), {}),
    "client pool 90": (Timer(90, by="client"), {"early": 0.0}),
    "nat 350 resets": (Timer(350, clock="wire", how="rst"), {"probing": 0.3}),
    "half of them leave early": (Timer(30), {"early": 0.5}),
    "jitter of 0.8 s": (Timer(60, jitter_s=0.8), {"loss": 0.2}),
}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", FLEETS)
def test_a_fleet_shows_its_timer(name: str, seed: int) -> None:
    timer, how = FLEETS[name]
    row = by(timer.by, timeouts(fleet(timer, 300, seed=seed, **how)))
    assert abs(row["value_s"] - timer.value_s) <= max(1.0, 0.02 * timer.value_s)
    assert row["confidence"] > (0.45 if timer.sweep_s else 0.6)
    assert row["endpoint"] == "10.0.0.2:443"
    assert row["closes"] >= 100
    assert len(row["flow_ids"].split()) == row["closes"]


@pytest.mark.parametrize("flows", [12, 30])
def test_small_fleets(flows: int) -> None:
    row = by("server", timeouts(fleet(Timer(60), flows)))
    assert abs(row["value_s"] - 60) <= 1.2


def test_the_clock_is_the_one_that_fits() -> None:
    payload = by("server", timeouts(fleet(Timer(60), 200, probing=0.7, probe_s=20.0)))
    assert payload["clock"] in ("payload", "response")
    wire = by("server", timeouts(fleet(Timer(350, clock="wire", how="rst"), 200, probing=0.5)))
    assert wire["clock"] == "wire"
    assert "AWS NLB" in wire["known_as"]
    age = by("server", timeouts(fleet(Timer(3600, clock="age"), 100, early=0.0)))
    assert (age["clock"], round(age["value_s"] / 10)) == ("age", 360)


def test_known_defaults_are_all_named() -> None:
    row = by("server", timeouts(fleet(Timer(60), 100)))
    assert "AWS ALB idle_timeout 60 s" in row["known_as"]
    assert "nginx proxy_read_timeout" in row["known_as"]
    assert "undici" not in row["known_as"]


def test_survivors_bound_it_from_below_and_contradict_from_above() -> None:
    row = by("server", timeouts(fleet(Timer(60), 200, survivors=0.9)))
    assert 45 < row["lower_bound_s"] < 60 <= row["upper_bound_s"]
    assert row["survived_above"] == 0
    outlived = [
        Talk((f"10.3.0.{k}", 999), ("10.0.0.2", 443)).handshake(at=k).orig(b"a", at=k + 1).resp(b"b").orig_ack()
        .orig(b"a", at=k + 200).resp(b"b").orig_ack()
        for k in range(1, 40)
    ]  # fmt: skip
    doubted = by("server", timeouts(fleet(Timer(60), 200, survivors=0.9), *outlived))
    assert doubted["survived_above"] == 78  # the silence of 199 s, and the one that still ran at the end
    assert doubted["confidence"] < row["confidence"]


def test_a_path_that_swallows_data_has_bounds_only() -> None:
    rows = timeouts(fleet(Timer(350, clock="wire", by="path", how="silent"), 60, early=0.0, survivors=1.0))
    (row,) = [row for row in rows if row["side"] == "path"]
    assert row["value_s"] is None
    assert 300 < row["lower_bound_s"] < 350 < row["upper_bound_s"] < 357
    assert row["closes"] == 60
    assert row["clock"] == "wire"


def test_two_timers_of_two_servers() -> None:
    rows = timeouts(
        fleet(Timer(60), 100), fleet(Timer(5), 100, server=("10.0.0.3", 80)),
        fleet(Timer(15, by="client"), 100, server=("10.0.0.4", 80), early=0.0),
    )  # fmt: skip
    found = {(row["endpoint"], row["side"]): row["value_s"] for row in rows if row["value_s"]}
    assert found[("10.0.0.2:443", "server")] == pytest.approx(60, abs=1)
    assert found[("10.0.0.3:80", "server")] == pytest.approx(5, abs=1)
    assert found[("10.0.0.4:80", "client")] == pytest.approx(15, abs=1)
    assert [row["timeout_id"] for row in rows] == list(range(len(rows)))


@pytest.mark.parametrize("mean_s", [0.3, 2.0, 10.0, 60.0, 300.0])
@pytest.mark.parametrize("seed", range(5))
def test_people_are_no_timer(mean_s: float, seed: int) -> None:
    rows = timeouts(*thinking(150, seed, mean_s))
    assert [row for row in rows if (row["value_s"] is not None and row["confidence"] > 0.2)] == []


def test_a_restart_is_no_timer() -> None:
    """All closed in the same second, all opened in the same second: one event, not two hundred."""
    talks = [
        Talk((f"10.1.0.{k}", 1000), ("10.0.0.2", 443)).handshake(at=1 + k / 1000)
        .orig(b"a", at=1.5 + k / 1000).resp(b"b").orig_ack().resp_fin(at=21.5 + k / 1000).orig_fin().resp_ack()
        for k in range(1, 100)
    ]  # fmt: skip
    assert all(row["confidence"] < 0.5 for row in timeouts(*talks))


def test_batching_is_invisible() -> None:
    trace = fleet(Timer(60), 50)
    assert timeouts(trace) == timeouts(trace, cuts=range(0, len(trace), 37))


def test_an_empty_capture_has_none() -> None:
    assert Timeouts(Knowledge.shipped(), 10**9).columns()["timeout_id"].size == 0


def test_a_million_flows_of_two_thousand_servers() -> None:
    """The whole-capture part, at a size at which it would not end if it looked at all rows for each server."""
    n, servers = 1_000_000, 2_000
    random = np.random.default_rng(1)
    closes = np.zeros(n, CLOSE)
    closes["hi"], closes["lo"], closes["port"], closes["version"] = 0, random.integers(0, servers, n), 443, 4
    closes["side"] = random.integers(0, 2, n)
    closes["answered"], closes["flow_id"] = 1, np.arange(n)
    closes["ts"] = random.integers(0, 10**13, n)
    silence = np.where(random.random(n) < 0.5, 60_000_000, random.exponential(5e6, n).astype(np.int64))
    closes["silence"] = silence[:, None] + random.integers(0, 50_000, (n, 4))
    gaps = np.zeros(200_000, GAP)
    gaps["lo"], gaps["port"], gaps["version"] = random.integers(0, servers, 200_000), 443, 4
    gaps["fate"], gaps["payload"] = 1, random.integers(10**6, 59 * 10**6, 200_000)
    collected = Timeouts(Knowledge.shipped(), 10**9)
    collected._closes.add(closes)
    collected._gaps = [gaps]
    columns = collected.columns()
    assert columns["timeout_id"].size == 2 * servers
    assert np.abs(columns["value_s"] - 60).max() < 1
