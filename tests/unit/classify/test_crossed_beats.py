"""Both sides beat by timers of their own: neither's beats are the other's answers, though they come after them."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.property.harness import run
from tests.talk import Talk

pytestmark = pytest.mark.usefixtures("compiled")


def both(client: float, server: float, *, until: float = 30.0, late: float = 0.002) -> Talk:
    pick = random.Random(8)
    talk = Talk().handshake().orig(b"hello", at=0.2).resp(b"welcome").orig_ack()
    due = [(k * client, 0) for k in range(1, int(until / client))] + [
        (k * server, 1) for k in range(1, int(until / server))
    ]
    for at, way in sorted(due):
        moment = 1 + at + pick.uniform(0, late) + way * 0.004
        (talk.orig(b"C" * 10, at=moment).resp_ack if way == 0 else talk.resp(b"S" * 12, at=moment).orig_ack)()
    return talk


@pytest.mark.parametrize(("client", "server"), [(1.0, 1.7), (1.7, 1.0), (2.0, 2.9), (3.0, 7.0)])
def test_two_timers_are_two_series(client: float, server: float) -> None:
    result = run(both(client, server, until=12 * max(client, server)))
    rows = {row["dir"]: row for row in result.rows("heartbeat_series")}
    assert rows["c2s"]["period_s"] == pytest.approx(client, rel=0.01)
    assert rows["s2c"]["period_s"] == pytest.approx(server, rel=0.01)
    assert {row["answered_share"] for row in rows.values()} == {None}
    beats = [row["frame"] for row in result.rows("heartbeats")]
    assert len(set(beats)) == len(beats)
    cut = run(both(client, server, until=12 * max(client, server)), range(0, 60, 7))
    assert cut.fingerprints() == result.fingerprints()


def test_equal_timers_are_one_series_that_is_answered() -> None:
    (row,) = run(both(2.0, 2.0)).rows("heartbeat_series")
    assert (row["dir"], row["answered_share"]) == ("c2s", 1.0)


@pytest.mark.parametrize("wait", [0.4, 0.9])
def test_late_answers_are_no_beats(wait: float) -> None:
    """Small ones of a server that takes its time, and which are too large now and then for a heartbeat."""
    pick = np.random.default_rng(3)
    for sizes in ([20] * 30, [20, 900] * 15):
        talk = Talk().handshake()
        for k, size in enumerate(sizes):
            talk.orig(b"ask", at=1 + 5 * k).resp(b"a" * size, at=1 + 5 * k + wait * pick.uniform(0.8, 1.3)).orig_ack()
        assert not [row for row in run(talk).rows("heartbeat_series") if row["dir"] == "s2c"]
