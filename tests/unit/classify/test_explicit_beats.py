"""Beats that protocols read: how they are paired, numbered, timed, and when one counts as missed or late."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.classify.explicit_beats import explicit, longest_run
from analyzer.classify.facts import Facts
from analyzer.kernel import Records
from analyzer.knowledge.load import Knowledge
from analyzer.protocols.beats import BEAT, BUSY, CONTROL, MAX_HELD, MQTT_INSIDE, NATS_INSIDE, PAIRING, PROTOCOLS, Beats
from analyzer.protocols.messages.state import NAMES
from analyzer.tables.protocols import HEARTBEAT_PROTOCOLS

SECOND = 1_000_000_000
WEBSOCKET, ENGINEIO, STOMP = (PROTOCOLS.index(name) for name in ("websocket", "engineio", "stomp"))


def control(protocol: int, *rows: tuple[float, int, int, int, int], flow_id: int = 0) -> Records:
    """Return CONTROL rows of (second, direction, is an answer, number, number that is answered)."""
    out = np.zeros(len(rows), CONTROL)
    for row, (second, way, answer, index, answers) in zip(out, rows, strict=True):
        row["flow_id"], row["protocol"], row["frame"] = flow_id, protocol, int(second * 10)
        row["ts"], row["dir"], row["answer"] = int(second * SECOND), way, answer
        row["index"], row["answers"], row["size"] = index, answers, 2
    return out


def paired(*parts: Records, flows: tuple[int, ...] = (0,)) -> list[tuple[float, int, float | None, bool]]:
    """Return the beats of these flows: second, direction, second of the answer, whether one is due."""
    held = Beats()
    for part in parts:
        held.hold(part)
    rows = held.of(np.array(flows, np.int64))
    return sorted(
        (b["ts"] / SECOND, int(b["dir"]), b["answer_ts"] / SECOND if b["answer_ts"] else None, bool(b["paired"]))
        for b in rows
    )


# ------------------------------------------------------------------------------------------------ pairing
def test_a_number_finds_its_beat_whatever_came_between() -> None:
    rows = control(WEBSOCKET, (1, 0, 0, 5, -1), (2, 0, 0, 6, -1), (3, 1, 1, 7, 6), (4, 1, 1, 8, 5))
    assert paired(rows) == [(1, 0, 4, True), (2, 0, 3, True)]


def test_an_answer_to_nothing_is_a_beat_that_asks_for_none() -> None:
    assert paired(control(WEBSOCKET, (1, 0, 1, 5, -1))) == [(1, 0, None, False)]


def test_numbers_of_different_flows_are_apart() -> None:
    one, two = control(WEBSOCKET, (1, 0, 0, 5, -1)), control(WEBSOCKET, (2, 1, 1, 6, 5), flow_id=1)
    assert paired(one, two) == [(1, 0, None, True)]


def test_by_order_the_first_answer_before_the_next_beat() -> None:
    rows = control(
        ENGINEIO,
        (1, 1, 0, 0, 0),
        (1.1, 0, 1, 0, 0),
        (1.2, 0, 1, 0, 0),
        (2, 1, 0, 0, 0),
        (3, 1, 0, 0, 0),
        (3.1, 0, 1, 0, 0),
    )
    assert paired(rows) == [(1, 1, 1.1, True), (2, 1, None, True), (3, 1, 3.1, True)]


def test_by_order_a_peer_that_was_busy_answers_all() -> None:
    """A blocked event loop: three beats wait, then three answers come at once."""
    rows = control(
        ENGINEIO,
        (1, 0, 0, 0, 0), (1.1, 1, 1, 0, 0), (2, 0, 0, 0, 0), (3, 0, 0, 0, 0), (4, 0, 0, 0, 0),
        (4.5, 1, 1, 0, 0), (4.6, 1, 1, 0, 0), (4.7, 1, 1, 0, 0), (5, 0, 0, 0, 0), (5.1, 1, 1, 0, 0),
    )  # fmt: skip
    assert [answer for _, _, answer, _ in paired(rows)] == [1.1, 4.5, 4.6, 4.7, 5.1]


def test_by_order_every_answer_later_than_the_next_beat() -> None:
    beats = [(k, 0, 0, 0, 0) for k in range(1, 6)]
    rows = control(ENGINEIO, *sorted(beats + [(k + 1.4, 1, 1, 0, 0) for k in range(1, 6)]))
    assert [answer for _, _, answer, _ in paired(rows)] == [2.4, 3.4, 4.4, 5.4, 6.4]


def test_by_order_one_that_was_never_answered_leaves_the_next_their_own() -> None:
    rows = control(ENGINEIO, (1, 0, 0, 0, 0), (2, 0, 0, 0, 0), (2.1, 1, 1, 0, 0), (3, 0, 0, 0, 0), (3.1, 1, 1, 0, 0))
    assert [answer for _, _, answer, _ in paired(rows)] == [None, 2.1, 3.1]


def test_by_order_an_answer_that_nobody_asked_for() -> None:
    rows = control(ENGINEIO, (0.5, 1, 1, 0, 0), (1, 0, 0, 0, 0), (1.1, 1, 1, 0, 0), (1.2, 1, 1, 0, 0), (2, 0, 0, 0, 0))
    assert [answer for _, _, answer, _ in paired(rows)] == [1.1, None]


@given(st.lists(st.tuples(st.integers(0, 2), st.sampled_from([0, 1]), st.sampled_from([0, 1])), max_size=40))
def test_by_order_as_a_queue_does_it(said: list[tuple[int, int, int]]) -> None:
    """Of any flows, directions and order: as one that keeps a queue for each asker."""
    parts = [
        control(ENGINEIO, (1 + k, way, answer, 0, 0), flow_id=flow_id) for k, (flow_id, way, answer) in enumerate(said)
    ]
    expected = []
    for flow_id in range(3):
        for asker in (0, 1):
            mine = [
                (1 + k, answer) for k, (f, way, answer) in enumerate(said) if f == flow_id and way ^ answer == asker
            ]
            expected += [(ts, asker, answer) for ts, answer in by_queue(mine)]
    got = [(ts, way, answer) for ts, way, answer, _ in paired(*parts, flows=(0, 1, 2))]
    assert got == sorted(expected, key=lambda row: row[:2])


def by_queue(said: list[tuple[int, int]]) -> list[tuple[int, int | None]]:
    """Return (beat, its answer) of one asker's beats (0) and answers (1), plainly."""
    queue: list[int] = []
    drained, answers = 0, {}
    for k, (ts, answer) in enumerate(said):
        if not answer:
            queue.append(ts)
        elif queue:
            answers[queue.pop(0)] = ts
        if not queue:
            drained = k + 1
    rest = said[drained:]
    for (ts, answer), (after, answers_it) in zip(rest, [*rest[1:], (0, 0)], strict=False):
        if not answer:
            answers.pop(ts, None)
            if answers_it:
                answers[ts] = after
    return [(ts, answers.get(ts)) for ts, answer in said if not answer]


def test_by_order_both_sides_may_beat_at_once() -> None:
    rows = control(ENGINEIO, (1, 1, 0, 0, 0), (1.01, 0, 0, 0, 0), (1.1, 0, 1, 0, 0), (1.2, 1, 1, 0, 0))
    assert paired(rows) == [(1, 1, 1.1, True), (1.01, 0, 1.2, True)]


def test_one_way_beats_have_no_answer() -> None:
    rows = control(STOMP, (1, 0, 0, 0, 0), (1.1, 1, 0, 0, 0), (2, 0, 0, 0, 0))
    assert paired(rows) == [(1, 0, None, False), (1.1, 1, None, False), (2, 0, None, False)]


def test_only_the_flows_asked_for_are_forgotten() -> None:
    held = Beats()
    held.hold(np.concatenate([control(STOMP, (1, 0, 0, 0, 0)), control(STOMP, (2, 0, 0, 0, 0), flow_id=7)]))
    assert held.of(np.array([7], np.int64))["ts"].tolist() == [2 * SECOND]
    assert held.of(np.array([0, 7], np.int64))["ts"].tolist() == [SECOND]
    assert held.of(np.array([0], np.int64)).size == 0


def test_past_the_cap_the_oldest_half_is_forgotten() -> None:
    held = Beats()
    rows = np.zeros(MAX_HELD + 2, CONTROL)
    rows["ts"] = np.arange(rows.size)
    rows["protocol"] = STOMP
    held.hold(rows)
    assert held.of(np.array([0], np.int64))["ts"].min() == rows.size // 2


# ------------------------------------------------------------------------------------------------ rows and series
def tables(
    rows: Records, *, end: float = 1000, closed: float = 0, ids: tuple[int, ...] = (0,)
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns of both tables for BEAT rows of flows that closed at `closed` (0: never)."""
    flow = np.zeros(len(ids), [("flow_id", np.int64), ("close_ts", np.int64)])
    flow["flow_id"], flow["close_ts"] = ids, int(closed * SECOND)
    rtt = np.full(len(ids), SECOND // 50)
    order = np.argsort(flow["flow_id"])
    side = np.zeros(len(ids), [("fin_ts", np.int64), ("rst_ts", np.int64)])
    facts = SimpleNamespace(
        beats=rows, capture_end_ns=int(end * SECOND), flow=flow, path_rtt=rtt, client=side, server=side,
        _by_id=(order, flow["flow_id"][order]),
    )  # fmt: skip
    facts.rows_of = partial(Facts.rows_of, cast(Facts, facts))
    return explicit(cast(Facts, facts), cast(Knowledge, SimpleNamespace(beats=lambda *_, **__: [])))


def made(
    *rows: tuple[float, float | None], way: int = 0, protocol: int = WEBSOCKET, flow_id: int = 0, due: int = 1
) -> Records:
    """Return BEAT rows of (second, second of the answer)."""
    out = np.zeros(len(rows), BEAT)
    for row, (second, answer) in zip(out, rows, strict=True):
        row["flow_id"], row["ts"], row["frame"], row["dir"] = flow_id, int(second * SECOND), int(second * 10), way
        row["protocol"], row["paired"] = protocol, due
        if answer is not None:
            row["answer_ts"], row["answer_frame"] = int(answer * SECOND), int(answer * 10)
    return out


def test_each_flow_protocol_and_direction_is_a_series() -> None:
    rows = [
        made((1, 2)),
        made((3, None), way=1, due=0),
        made((4, None), protocol=STOMP, due=0),
        made((5, None), flow_id=9),
    ]
    beats, series = tables(np.concatenate(rows[::-1]), ids=(0, 9))
    assert list(zip(series["flow_id"].tolist(), series["series_id"].tolist(), strict=True)) == [
        (0, 0),
        (0, 1),
        (0, 2),
        (9, 0),
    ]
    assert [series["protocol"].names[code] for code in series["protocol"].codes] == [
        "websocket",
        "websocket",
        "stomp",
        "websocket",
    ]
    assert beats["series_id"].tolist() == [0, 1, 2, 0]


def test_the_period_is_the_median_and_one_beat_has_none() -> None:
    _, series = tables(made(*((second, second + 0.1) for second in (10, 20, 30, 41, 71))))
    assert series["period_s"].tolist() == [10.0]
    assert np.isnan(tables(made((1, 2)))[1]["period_s"]).all()


def test_late_is_an_answer_after_the_next_beat_was_due() -> None:
    beats, series = tables(made((10, 10.1), (20, 31), (30, 31.1), (40, 40.1)))
    assert beats["late"].tolist() == [0, 1, 0, 0]
    assert (series["answered_share"].tolist(), series["longest_missed_run"].tolist()) == ([1.0], [0])


def test_what_nobody_waits_for_any_more_is_missed() -> None:
    beats, series = tables(made((10, 10.1), (20, None), (30, None), (40, 40.1), (50, None)))
    assert beats["missed"].tolist() == [0, 1, 1, 0, 1]
    assert (series["answered_share"].tolist(), series["longest_missed_run"].tolist()) == ([0.4], [2])


def test_an_answer_may_still_come_when_the_capture_ends() -> None:
    beats, _ = tables(made((10, 10.1), (20, None)), end=20.01)
    assert (beats["answered"].tolist(), beats["missed"].tolist()) == ([1, -1], [0, -1])


def test_a_beat_just_before_the_close_is_not_missed() -> None:
    assert tables(made((10, 10.1), (20, None)), end=20.6, closed=20.5)[0]["missed"].tolist() == [0, -1]
    assert tables(made((10, 10.1), (20, None)), end=21.6, closed=21.5)[0]["missed"].tolist() == [0, 1]


def test_of_one_way_beats_nothing_is_missed() -> None:
    beats, series = tables(made((1, None), (2, None), (3, None), due=0))
    assert (beats["missed"].tolist(), beats["answered"].tolist(), beats["late"].tolist()) == ([-1] * 3,) * 3
    assert np.isnan(series["answered_share"]).all()


def test_without_beats_there_is_nothing() -> None:
    beats, series = tables(np.zeros(0, BEAT))
    assert {len(column) for column in beats.values() if isinstance(column, np.ndarray)} == {0}
    assert series["flow_id"].size == 0


@pytest.mark.parametrize(("missed", "longest"), [
    ([], []), ([0], [0]), ([1], [1]), ([1, 1, 0, 1], [2]), ([0, 1, 1, 1], [3]),
])  # fmt: skip
def test_the_longest_run(missed: list[int], longest: list[int]) -> None:
    series = np.zeros(len(missed), np.int64)
    assert longest_run(np.array(missed, np.bool_), series, len(longest)).tolist() == longest


def test_a_run_ends_with_its_series() -> None:
    missed, series = np.ones(5, np.bool_), np.array([0, 0, 1, 2, 2])
    assert longest_run(missed, series, 3).tolist() == [2, 1, 2]


# ------------------------------------------------------------------------------------------------ names
def test_every_protocol_is_one_of_the_table() -> None:
    known = HEARTBEAT_PROTOCOLS.split(", ")
    until_judged = {BUSY, MQTT_INSIDE, NATS_INSIDE}  # only told apart so long
    assert (set(PAIRING) | set(NAMES)) - until_judged <= set(known)
