"""The tape: bounded, however long the connection and however its rows are cut."""

from __future__ import annotations

import random

import pyarrow as pa
import pytest

from analyzer.render.tape import BINS, FIRST, LAST, TELLING, Tape
from analyzer.tables.build import to_arrow


def segments(count: int, *, every_ns: int = 1_000, quiet_at: int | None = None, label_every: int = 0) -> pa.Table:
    jump = [5_000_000_000 if quiet_at is not None and n >= quiet_at else 0 for n in range(count)]
    return to_arrow(
        "segments",
        {
            "flow_id": [0] * count,
            "frame": list(range(1, count + 1)),
            "ts": [n * every_ns + jump[n] for n in range(count)],
            "dir": ["s2c" if n % 3 else "c2s" for n in range(count)],
            "seq": [0] * count,
            "seq_rel": list(range(count)),
            "len": [10] * count,
            "flags": ["A"] * count,
            "ttl": [64] * count,
            "analysis": ["retransmission" if label_every and n % label_every == 0 else None for n in range(count)],
        },
    )


def taped(rows: pa.Table, cuts: list[int]) -> Tape:
    tape = Tape()
    for begin, end in zip([0, *cuts], [*cuts, rows.num_rows], strict=True):
        tape.add(rows.slice(begin, end - begin))
    return tape


def test_a_short_connection_is_kept_whole() -> None:
    tape = taped(segments(50), [])
    assert [segment.n for segment in tape.segments()] == list(range(50))


def test_a_long_one_keeps_its_ends_and_counts_the_rest() -> None:
    tape = taped(segments(100_000), list(range(1000, 100_000, 1000)))
    kept = [segment.n for segment in tape.segments()]
    assert kept[:FIRST] == list(range(FIRST))
    assert kept[-LAST:] == list(range(100_000 - LAST, 100_000))
    assert tape.count == 100_000
    assert sum(tape.bytes) == 1_000_000
    assert len(kept) < 2000


def test_both_ends_of_a_silence_are_kept_wherever_the_rows_are_cut() -> None:
    rows = segments(10_000, quiet_at=5_000)
    for cuts in ([], [5_000], [4_999], [5_001], [4_999, 5_000, 5_001]):
        kept = {segment.n for segment in taped(rows, cuts).segments()}
        assert {4_999, 5_000} <= kept, cuts


def test_many_telling_segments_do_not_fill_the_memory() -> None:
    tape = taped(segments(200_000, label_every=2), list(range(500, 200_000, 500)))
    kept = tape.segments()
    assert len(kept) <= FIRST + 2 * LAST * 9 + TELLING * 6
    labelled = [segment.n for segment in kept if segment.labels and segment.n >= FIRST]
    assert labelled[0] == FIRST


@pytest.mark.parametrize("seed", range(5))
def test_cuts_do_not_matter_for_counts_and_bytes_before(seed: int) -> None:
    rows = segments(3_000, quiet_at=777, label_every=100)
    rng = random.Random(seed)
    cuts = sorted(rng.sample(range(1, 3_000), 12))
    whole, cut = taped(rows, []), taped(rows, cuts)
    one = {segment.n: segment for segment in whole.segments()}
    for segment in cut.segments():
        assert one.get(segment.n, segment) == segment
    assert cut.histogram(96, 0, 6_000_000_000) == whole.histogram(96, 0, 6_000_000_000)


def test_the_histogram_holds_all_bytes_however_long_it_takes() -> None:
    tape = taped(segments(4_000, every_ns=3_600_000_000_000), [100, 2_000])  # an hour between segments
    client, server = tape.histogram(BINS, 0, 4_000 * 3_600_000_000_000)
    assert sum(client) + sum(server) == 40_000
    assert sum(count > 0 for count in server) > BINS // 3
