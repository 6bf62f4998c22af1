"""TLS records, however they are cut: by segments, by batches, by holes."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import tlswire as w
from tests.property.harness import Result, run
from tests.talk import Packet, Talk

pytestmark = pytest.mark.usefixtures("compiled")

_BULK = st.builds(w.data, st.sampled_from([0, 1, 19, 22, 22, 100, 1400, 9000]))
_OTHER = st.sampled_from([w.FINISHED, w.ALERT, w.CCS, w.record(24, b"\x9f" * 61), w.record(21, b"\1\0")])
_TURN = st.lists(st.one_of(_BULK, _BULK, _OTHER), max_size=5).map(b"".join)
_OPENINGS = st.sampled_from([w.full12(), w.short12(), w.full13(), w.full12(ticket=b"t" * 40)])
Turns = list[bytes]


@st.composite
def conversations(draw: st.DrawFn) -> Turns:
    """Draw what client and server say by turns."""
    return draw(_OPENINGS) + draw(st.lists(_TURN, max_size=5))


def segmented(turns: Turns, sizes: list[int], *, port: int = 40000) -> Talk:
    """Send turns in segments of these sizes, over and over."""
    trace = Talk(("10.0.0.1", port)).handshake()
    k = 0
    for side, turn in enumerate(turns):
        at = 0
        while at < len(turn):
            size = sizes[k % len(sizes)]
            part = turn[at : at + size]
            trace = trace.resp(part) if side % 2 else trace.orig(part)
            at, k = at + size, k + 1
    return trace


def records_of(result: Result) -> list[tuple[object, ...]]:
    """Return the records without what depends on segments."""
    names = ("flow_id", "index", "dir", "content_type", "length", "handshake_types", "alert_description", "encrypted")
    return [tuple(row[name] for name in names) for row in sorted(result.rows("tls_records"), key=lambda r: r["index"])]


_SIZES = st.lists(st.sampled_from([1, 2, 4, 5, 6, 9, 43, 300, 1448, 20_000]), min_size=1, max_size=8).filter(
    lambda sizes: sum(sizes) >= 100 * len(sizes) or len(sizes) > 6
)


@given(conversations(), _SIZES)
def test_segments_are_invisible(turns: Turns, sizes: list[int]) -> None:
    whole, cut = run(segmented(turns, [60_000]), records_too=True), run(segmented(turns, sizes), records_too=True)
    assert records_of(cut) == records_of(whole)
    timing = {"handshake_s", "key_updates_c", "key_updates_s", "key_update_basis"}  # what is alone in a segment counts
    (one,), (other,) = whole.rows("tls_sessions"), cut.rows("tls_sessions")
    assert {k: v for k, v in one.items() if k not in timing} == {k: v for k, v in other.items() if k not in timing}


@given(st.lists(conversations(), min_size=1, max_size=3), _SIZES, st.lists(st.integers(0, 200), max_size=6))
def test_batches_are_invisible(talks: list[Turns], sizes: list[int], where: list[int]) -> None:
    packets: list[Packet] = sorted(
        packet for k, turns in enumerate(talks) for packet in segmented(turns, sizes, port=40000 + k).packets
    )
    assert run(packets, where, records_too=True).fingerprints() == run(packets, records_too=True).fingerprints()


@given(conversations(), st.sampled_from([300, 700, 1448]), st.data())
def test_holes_cost_what_they_hold_and_what_cannot_be_told(turns: Turns, size: int, data: st.DataObject) -> None:
    packets = segmented(turns, [size]).packets
    gone = data.draw(st.sets(st.integers(3, len(packets) - 1), max_size=3))
    left = [packet for k, packet in enumerate(packets) if k not in gone]
    whole, holed = run(packets, records_too=True), run(left, records_too=True)
    there, found = (
        Counter((row["dir"], row["content_type"], row["length"]) for row in result.rows("tls_records"))
        for result in (whole, holed)
    )
    assert found <= there  # nothing is made up
    (session,) = holed.rows("tls_sessions") or [None]
    if session is not None and session["cipher"] is not None:
        assert session["cipher"] == whole.rows("tls_sessions")[0]["cipher"]


@given(conversations(), _SIZES, st.binary(max_size=400), st.data())
def test_any_bytes_survive(turns: Turns, sizes: list[int], junk: bytes, data: st.DataObject) -> None:
    spoiled = list(turns)
    k = data.draw(st.integers(0, len(turns) - 1))
    at = data.draw(st.integers(0, len(turns[k])))
    spoiled[k] = turns[k][:at] + junk + turns[k][at + len(junk) // 2 :]
    result = run(segmented(spoiled, sizes), records_too=True)
    indexes = [row["index"] for row in result.rows("tls_records")]
    assert sorted(indexes) == list(range(len(indexes)))
