"""Connections that end together (definitions B5, deploy_burst): a restart, and no timer that looks at many at once."""

from __future__ import annotations

import random

import pytest

from analyzer.settings import Settings
from tests.fleet import Timer, fleet
from tests.property.harness import Result, run
from tests.talk import Talk, merge
from tests.websocket import CLOSE, code, frame, of_client, upgraded

REQUEST = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def pooled(k: int, *, first: float, last: float, end: float, by: str = "fin", server: str = "10.0.0.2") -> Talk:
    """A connection of a pool, used twice, that the server ends."""
    talk = Talk((f"10.0.1.{k + 1}", 40000), (server, 80)).handshake(at=first)
    for at in (first + 0.1, last):
        talk.orig(REQUEST, at=at).resp(RESPONSE).orig_ack()
    return talk.resp_rst(at=end) if by == "rst" else talk.resp_fin(at=end).orig_fin().resp_ack()


def pool(n: int = 8, by: str = "fin") -> list[Talk]:
    """Connections that were begun and last used at different times, and end at once."""
    return [pooled(k, first=1 + 3 * k, last=30 + 3.5 * k, end=60 + 0.05 * k, by=by) for k in range(n)]


def triggers(result: Result) -> list[str]:
    return [row["trigger"] for row in result.rows("closes")]


@pytest.mark.parametrize("by", ["fin", "rst"])
def test_a_restart_is_no_idle_timeout(by: str) -> None:
    result = run(merge(*pool(by=by)))
    assert triggers(result) == ["deploy_burst"] * 8
    assert result.rows("closes")[3]["explanation"].endswith(
        "7 other connections of this server ended within 0.35 s of it, after other silences: a restart or a "
        "deployment rather than a timer."
    )
    assert result.rows("timeouts") == []
    assert [row["code"] for row in result.rows("findings")] == ["close.burst"]


def test_younger_ones_go_with_it() -> None:
    young, busy = pooled(20, first=56, last=57, end=61), pooled(21, first=56, last=60.05, end=60.1)
    result = run(merge(*pool(), young, busy))
    assert triggers(result) == ["deploy_burst"] * 9 + ["response_complete"]
    assert "8 other connections" in result.rows("closes")[8]["explanation"]


def test_any_batches_tell_the_same() -> None:
    packets = merge(*pool(), fleet(Timer(20), 20))
    whole = run(packets).rows("closes")
    assert [row["trigger"] for row in whole].count("deploy_burst") == 8
    assert run(packets, cuts=range(7, len(packets), 7)).rows("closes") == whole


def test_each_burst_has_its_own_connections() -> None:
    """Two servers restart at the same time, and one of them again; others of them are ended alone, before and after."""
    talks, wanted = [], []
    for server, ends in (("10.0.0.2", (60, 160)), ("10.0.0.3", (60,))):
        for end in ends:
            for k in range(6):
                number = len(talks)
                talks.append(pooled(number, first=end - 40 + k, last=end - 3 - 5 * k, end=end + 0.1 * k, server=server))
                wanted.append("5 other")
        for end in (40, 110, 190):
            talks.append(pooled(len(talks), first=end - 30, last=end - 15, end=end, server=server))
            wanted.append("")
    result = run(merge(*talks))
    closes = {row["flow_id"]: row for row in result.rows("closes")}
    for flow in result.rows("flows"):
        told, words = closes[flow["flow_id"]], wanted[int(flow["client_ip"].split(".")[-1]) - 1]
        assert (told["trigger"] == "deploy_burst") == bool(words) and words in told["explanation"]


def test_four_are_no_burst() -> None:
    assert "deploy_burst" not in triggers(run(merge(*pool(4))))


def test_equal_silences_are_a_timers() -> None:
    assert "deploy_burst" not in triggers(run(merge(*(pooled(k, first=3 * k, last=40, end=60) for k in range(8)))))


@pytest.mark.parametrize("timeout_s", [10, 60])
def test_a_timer_is_no_restart(timeout_s: float) -> None:
    assert "deploy_burst" not in triggers(run(merge(fleet(Timer(timeout_s), 300))))


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("sweep_s", [5, 15])
def test_a_timer_that_looks_at_all_at_once_is_no_restart(sweep_s: int, seed: int) -> None:
    pick, talks = random.Random(seed), []
    for k in range(120):
        last = pick.uniform(10, 130)
        end = (last + 20) // sweep_s * sweep_s + sweep_s
        talks.append(pooled(k, first=last - pick.uniform(0, 10), last=last, end=end + pick.uniform(0, 0.01)))
    assert "deploy_burst" not in triggers(run(merge(*talks)))


@pytest.mark.parametrize(("timeout_s", "sweep_s"), [(60, 30), (20, 15), (300, 60)])
def test_a_single_sweep_is_no_restart(timeout_s: int, sweep_s: int) -> None:
    """All that the server ever ended: what was silent for its time or up to a sweep longer."""
    end = timeout_s + sweep_s + 10
    talks = [pooled(k, first=1 + k, last=9.9 + k * (sweep_s - 1) / 6, end=end + 0.01 * k) for k in range(6)]
    assert triggers(run(merge(*talks))) == ["idle_timeout"] * 6


def test_other_connections_that_end_meanwhile_change_nothing() -> None:
    """More than are handed over at once, in between; and the server's timer ends others later."""
    short = [Talk((f"10.2.{k >> 8}.{k & 255}", 5000)).handshake(at=62 + k / 50).orig_rst(at=62.01 + k / 50)
             for k in range(1100)]  # fmt: skip
    later = [pooled(100 + k, first=70 + k, last=75 + k, end=95 + k) for k in range(100)]
    packets = merge(*pool(), *short, *later)
    whole = run(packets)
    assert triggers(whole).count("deploy_burst") == 8
    for linger_s in (0, 30):
        settings = Settings(linger_ns=linger_s * 10**9)
        cut = run(packets, cuts=range(500, len(packets), 500), settings=settings)
        assert triggers(cut).count("deploy_burst") == 8


def test_what_was_said_is_the_reason() -> None:
    talks, goodbye = [], code(1001)
    for k in range(6):
        talk = upgraded(client=(f"10.0.1.{k + 1}", 40000), t0=1_700_000_000 + 3 * k)
        talk.resp(frame(1, b"hi"), at=10 + 1.5 * k).orig_ack()
        talk.resp(frame(CLOSE, goodbye), at=50 - 3 * k).orig(of_client(CLOSE, goodbye))
        talk.resp_fin().orig_fin().resp_ack()
        talks.append(talk)
    result = run(merge(*talks))
    assert triggers(result) == ["ws_close"] * 6
    assert all("5 other connections of this server ended" in row["explanation"] for row in result.rows("closes"))
