"""Two points of the sample captures' connections: random losses, delays and clocks; what is told is what was lost."""

from __future__ import annotations

import random
import struct
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer import analyze
from tests.talk import Packet
from tests.twopoint import compared

CAPTURES = Path(__file__).parents[2] / "captures"
SAMPLES = sorted(path.stem for path in CAPTURES.glob("*.pcap"))
Segment = tuple[int, int, int, str]  # flow, side, number of its last byte, what it is

pytestmark = pytest.mark.usefixtures("compiled")


@cache
def sample(name: str) -> tuple[list[Packet], int, dict[int, Segment]]:
    """Return the packets of a sample, its link type, and what each TCP frame of it is."""
    path = CAPTURES / f"{name}.pcap"
    data = path.read_bytes()
    magic, link = struct.unpack("<I", data[:4])[0], struct.unpack("<I", data[20:24])[0]
    tick = 1 if magic == 0xA1B23C4D else 1000
    packets, at = [], 24
    while at < len(data):
        seconds, part, length, _ = struct.unpack("<IIII", data[at : at + 16])
        packets.append((seconds * 10**9 + part * tick, data[at + 16 : at + 16 + length]))
        at += 16 + length
    segments = {}
    for row in analyze(path, segments=True).arrow("segments").to_pylist():
        probe = any(word in (row["analysis"] or "") for word in ("keepalive_probe", "zero_window_probe"))
        flags = row["flags"] or ""
        kind = (
            "probe" if probe else next((name for letter, name in (("S", "syn"), ("R", "rst")) if letter in flags), "")
        )
        segments[row["frame"]] = (row["flow_id"], int(row["dir"] == "s2c"), row["seq_rel"] + row["len"], kind)
    return packets, link, segments


@given(name=st.sampled_from(SAMPLES), seed=st.integers(0, 2**32), share=st.sampled_from([0, 0.02, 0.1, 0.5]))
def test_what_is_named_is_what_was_lost(
    tmp_path_factory: pytest.TempPathFactory, name: str, seed: int, share: float
) -> None:
    packets, link, segments = sample(name)
    chance = random.Random(seed)
    points: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])  # (time, frame of the sample)
    lost: set[int] = set()
    ahead = chance.randrange(-(10**12), 10**12)
    for frame, (ts, _) in enumerate(packets, 1):
        side = segments[frame][1] if frame in segments else 0
        points[side].append((ts + side * ahead, frame))
        # Without its SYN, a port's second connection would be the first's continuation
        if frame in segments and segments[frame][3] != "syn" and chance.random() < share:
            lost.add(frame)
        else:
            after = packets[frame][0] - ts if frame < len(packets) else 0  # nobody answers what has not arrived
            late = int(chance.random() * min(max(after, 0) // 2, 20_000_000))
            points[1 - side].append((ts + late + (1 - side) * ahead, frame))
    for point in points:
        point.sort()
    made = compared(
        tmp_path_factory.mktemp("points"), *([(ts, packets[frame - 1][1]) for ts, frame in point] for point in points),
        link=link,
    )  # fmt: skip
    told: Counter[Segment] = Counter()
    for row in made.arrow("differences").to_pylist():
        assert not row["code"].endswith("_not_sent"), row
        for point, column in zip(points, ("frames_1", "frames_2"), strict=True):
            told.update(segments[point[frame - 1][1]] for frame in row[column])
    was_lost = Counter(segments[frame] for frame in lost)
    assert not told - was_lost
    if share == 0:
        assert not made.arrow("differences").num_rows
