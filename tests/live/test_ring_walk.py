"""The ring's kernels without a ring: where frames lie, what is left out, tags put back, and pcapng that reads back."""

from __future__ import annotations

import numpy as np

from analyzer.capture.batch import PACKET
from analyzer.capture.ring_walk import BATCH_FULL, BLOCK_DONE, NEW_INTERFACE, PORT, RING, pack_packets, walk_ring
from analyzer.capture.walk import WALK
from analyzer.kernel import U8, Records, records
from tests.live.blocks import Framed, block

T0 = 1_700_000_000 * 10**9
MACS = bytes(range(1, 13))
PLAIN = MACS + b"\x08\x00" + b"E" * 40


class Ring:
    """A block being walked."""

    def __init__(self, frames: list[Framed], ports: list[tuple[int, int, int, int]], room: int = 100) -> None:
        self.ring: U8 = block(frames)
        self.place, self.state = records(1, RING), records(1, WALK)
        self.place["left"] = len(frames)
        self.place["big"] = 0
        self.state["frame"] = 1
        self.ports: Records = records(len(ports), PORT)
        for row, port in enumerate(ports):
            self.ports[row] = port
        self.out = records(room, PACKET)

    def walk(self) -> int:
        walk_ring(self.ring, self.place, self.state, self.ports, self.out)
        return int(self.state["stop"][0])

    def frames(self) -> list[bytes]:
        packets = self.out[: int(self.state["out"][0])]
        return [self.ring[p["off"] : p["off"] + p["caplen"]].tobytes() for p in packets]


ETH0 = (3, 1, 0, 0)


def test_frames_stay_where_they_lie() -> None:
    ring = Ring([Framed(T0, PLAIN), Framed(T0 + 7, PLAIN + b"x", wirelen=9000)], [ETH0])
    assert ring.walk() == BLOCK_DONE
    assert ring.frames() == [PLAIN, PLAIN + b"x"]
    rows = ring.out[:2]
    assert rows["ts_ns"].tolist() == [T0, T0 + 7]
    assert rows["frame"].tolist() == [1, 2]
    assert rows["wirelen"].tolist() == [len(PLAIN), 9000]
    assert ring.state["clipped"][0] == 1


def test_the_tag_that_the_card_took_is_put_back() -> None:
    ring = Ring(
        [Framed(T0, PLAIN, tci=0x2005), Framed(T0, PLAIN, tci=7, tpid=0x88A8), Framed(T0, PLAIN, tci=0)], [ETH0]
    )
    ring.walk()
    assert ring.frames() == [
        MACS + b"\x81\x00\x20\x05" + PLAIN[12:],
        MACS + b"\x88\xa8\x00\x07" + PLAIN[12:],
        MACS + b"\x81\x00\x00\x00" + PLAIN[12:],
    ]
    assert ring.out["wirelen"][:3].tolist() == [len(PLAIN) + 4] * 3


def test_an_interface_is_described_before_its_first_packet() -> None:
    ring = Ring([Framed(T0, PLAIN), Framed(T0, PLAIN, ifindex=9)], [ETH0])
    assert ring.walk() == NEW_INTERFACE
    assert (int(ring.place["ifindex"][0]), int(ring.state["out"][0])) == (9, 1)
    more = records(2, PORT)
    more[0], more[1] = ETH0, (9, 101, 1, 0)
    ring.ports = more
    assert ring.walk() == BLOCK_DONE
    assert ring.out["iface"][:2].tolist() == [0, 1]
    assert ring.out["link"][:2].tolist() == [1, 101]


def test_a_full_batch_goes_on_later() -> None:
    ring = Ring([Framed(T0 + k, PLAIN + bytes([k])) for k in range(5)], [ETH0], room=3)
    assert ring.walk() == BATCH_FULL
    assert len(ring.frames()) == 3
    ring.state["out"] = 0
    assert ring.walk() == BLOCK_DONE
    assert ring.frames() == [PLAIN + b"\3", PLAIN + b"\4"]


def test_loopback_counts_once_and_unknown_links_are_counted() -> None:
    lo, odd = (1, 1, 0, 1), (5, -1, -1, 0)
    frames = [Framed(T0, PLAIN, ifindex=1, pkttype=4), Framed(T0, PLAIN, ifindex=1), Framed(T0, PLAIN, ifindex=5)]
    ring = Ring(frames, [lo, odd])
    ring.walk()
    assert len(ring.frames()) == 1
    assert ring.place["unknown"][0] == 1


def test_packing_stops_before_a_packet_that_does_not_fit() -> None:
    ring = Ring([Framed(T0 + k, PLAIN) for k in range(3)], [ETH0])
    ring.walk()
    packets, out = ring.out[:3], np.zeros(200, np.uint8)
    assert pack_packets(packets, ring.ring, 0, ring.place, out) == 2
    assert int(ring.place["out"][0]) == 2 * (32 + 56)
    assert pack_packets(packets, ring.ring, 2, ring.place, out) == 3
