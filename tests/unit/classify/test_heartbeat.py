"""Definition B8, "Inferred": beats found by timing and size, on made populations and on packets."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest

from analyzer.classify.heartbeat import UNIT, infer_series
from analyzer.classify.heartbeat_units import Units
from analyzer.kernel import records
from analyzer.streams.inorder import SPAN
from tests.calibration.beats import NEGATIVE, POSITIVE, Talking, beats, data, population, units_of
from tests.calibration.heartbeats import measure
from tests.property.harness import Result, run
from tests.talk import Talk
from tests.websocket import TEXT, frame, of_client, upgraded


# ------------------------------------------------------------------------------------------------ populations
def test_populations() -> None:
    """`python -m tests.calibration.heartbeats` reports the same with more flows."""
    found, alarms = measure(25, seed=7)
    assert min(found.values()) >= 0.9, found
    assert max(alarms.values()) <= 0.1, alarms
    assert sum(alarms.values()) / len(alarms) <= 0.02


@pytest.mark.parametrize("period", [1.0, 15.0, 30.0, 240.0])
def test_the_period_is_right(period: float) -> None:
    made = infer_series(units_of(beats(random.Random(3), period=period, n=40, missed=0.2, drift=False)))
    assert made.period_ns[0] / 1e9 == pytest.approx(period, rel=0.01)


def test_a_beat_between_data_keeps_its_members() -> None:
    pick = random.Random(5)
    truth = beats(pick, period=20, n=60, size=23)
    made = infer_series(units_of(truth + data(pick, 1200, 25)))
    assert made.flow_id.size == 1
    assert 0.6 * 60 <= made.beats[0] <= 60
    assert made.paired[0]


def test_both_ends_may_beat() -> None:
    pick = random.Random(1)
    both = beats(pick, period=20, n=30) + beats(pick, period=27, n=25, direction=1, size=40, answer=36)
    made = infer_series(units_of(both))
    assert sorted(made.dir.tolist()) == [0, 1]
    assert sorted(np.round(made.period_ns / 1e9).tolist()) == [20, 27]


def test_nothing_of_nothing() -> None:
    assert infer_series(records(0, UNIT)).flow_id.size == 0
    assert infer_series(units_of([(1.0, 0, 20)])).flow_id.size == 0


def test_order_of_units_does_not_matter() -> None:
    units, _ = population(POSITIVE, 3, seed=2)
    mixed = units[np.random.default_rng(1).permutation(units.size)]
    a, b = infer_series(units), infer_series(mixed)
    assert np.array_equal(a.flow_id, b.flow_id)
    assert np.array_equal(np.sort(units["frame"][a.unit]), np.sort(mixed["frame"][b.unit]))
    assert np.allclose(a.p_value, b.p_value)


# ------------------------------------------------------------------------------------------------ the kernel
def spans_of(talking: Talking) -> np.ndarray:
    """Spans as the tracker delivers them: long bursts in several pieces, a millisecond apart at most."""
    out = []
    for number, (at, way, size) in enumerate(sorted(talking), 1):
        for piece in range(min(max(size // 1448, 1), 3)):
            row = np.zeros(1, SPAN)
            row["ts_ns"], row["dir"], row["frame"] = round(at * 1e9) + piece * 1000, way, number
            row["length"] = size if piece == 0 else 1
            out.append(row)
    return np.concatenate(out)


@pytest.mark.parametrize("cuts", [1, 7, 1000])
@pytest.mark.parametrize("name", [*POSITIVE, *NEGATIVE])
def test_the_kernel_cuts_units_by_the_definition(name: str, cuts: int) -> None:
    talking = sorted((POSITIVE | NEGATIVE)[name](random.Random(11)))
    talking = [a for a, b in pairwise([*talking, (1e9, 0, 0)]) if b[0] - a[0] > 0.02][:400]
    spans = spans_of(talking)
    units = Units(4)
    nothing = np.zeros(3000, np.uint8)
    for start in range(0, spans.size, cuts):
        part = records(min(cuts, spans.size - start), SPAN)
        part[:] = spans[start : start + cuts]
        units.feed(part, part.size, nothing, nothing, 4)
        if start % 5 == 0:
            units.close(np.array([3], np.int32), np.array([9], np.int64))  # another flow ends: rows move
    made = units.close(np.zeros(1, np.int32), np.zeros(1, np.int64))
    truth = units_of(talking)
    assert np.abs(made["before"] - truth["before"]).max(initial=0) <= 2000  # the pieces of the burst before it
    for field in ("ts", "frame", "after", "answer_ts", "answer_frame", "dir"):
        assert np.array_equal(made[field], truth[field]), field


# ------------------------------------------------------------------------------------------------ on packets
def beating(n: int = 12, period: float = 30.0, *, answered: bool = True) -> Talk:
    talk = Talk().handshake().orig(b"\x00hello" * 9, at=1).resp(b"\x01welcome" * 90).orig_ack()
    for k in range(1, n + 1):
        talk.orig(b"\x02" * 23, at=1 + k * period)
        talk = talk.resp(b"\x03" * 19).orig_ack() if answered else talk.resp_ack()
    return talk


def series(talk: Talk, cuts: range | tuple[int, ...] = ()) -> Result:
    return run(talk, cuts)


def test_rows() -> None:
    result = series(beating())
    (row,) = result.rows("heartbeat_series")
    assert (row["protocol"], row["method"], row["dir"], row["beats"]) == ("unknown", "inferred", "c2s", 12)
    assert row["period_s"] == pytest.approx(30, abs=0.01)
    assert (row["answered_share"], row["longest_missed_run"]) == (1.0, 0)
    assert row["p_value"] < 1e-3
    assert row["known_as"] is None  # a Phoenix channel beats so, but it would have been read
    rows = result.rows("heartbeats")
    assert len(rows) == 12
    assert all(beat["size"] == 23 and beat["answered"] and beat["rtt_s"] < 0.1 for beat in rows)
    assert result.flow["heartbeat_kinds"] == "unknown"


def test_json_that_says_neither_in_a_websocket() -> None:
    """No protocol defines it, nor does a word tell: it is inferred like any other, from timing and size."""
    talk = upgraded()
    for second in range(2, 12):
        talk.orig(of_client(TEXT, b'{"op":1,"d":251}'), at=2 * second).resp(frame(TEXT, b'{"op":11}')).orig_ack()
    (row,) = run(talk).rows("heartbeat_series")
    assert (row["protocol"], row["method"], row["dir"], row["answered_share"]) == ("unknown", "inferred", "c2s", 1.0)
    assert row["period_s"] == pytest.approx(2, abs=0.01)


@pytest.mark.parametrize(("body", "found"), [(b"ok", 1), (b"x" * 400, 0)])
def test_a_health_check_is_a_heartbeat_if_its_answers_are_small(body: bytes, found: int) -> None:
    talk = Talk().handshake()
    for second in range(1, 11):
        talk.orig(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n", at=2 * second)
        talk.resp(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body).orig_ack()
    assert len(run(talk).rows("heartbeat_series")) == found


def test_a_one_way_heartbeat_expects_no_answer() -> None:
    result = series(beating(answered=False))
    (row,) = result.rows("heartbeat_series")
    assert (row["answered_share"], row["longest_missed_run"]) == (None, None)
    assert all(beat["answered"] is None and beat["missed"] is None for beat in result.rows("heartbeats"))


def test_missed_answers_are_counted() -> None:
    talk = beating()
    for k in range(3):
        talk.orig(b"\x02" * 23, at=391 + 30 * k).resp_ack()
    talk.orig(b"\x02" * 23, at=481).resp(b"\x03" * 19).orig_ack()
    talk.orig_fin(at=500).resp_fin().orig_ack()
    (row,) = series(talk).rows("heartbeat_series")
    assert (row["beats"], row["longest_missed_run"]) == (16, 3)
    assert row["answered_share"] == pytest.approx(13 / 16)


def test_batching_is_invisible() -> None:
    talk = beating()
    whole, cut = series(talk), series(talk, range(0, 60, 3))
    assert whole.rows("heartbeats") == cut.rows("heartbeats")
    assert whole.rows("heartbeat_series") == cut.rows("heartbeat_series")
