"""Hostile bytes: nothing raises, nothing outside a packet is read, and compiled and plain Python agree.

Run also with NUMBA_BOUNDSCHECK=1 and with NUMBA_DISABLE_JIT=1: there an index out of bounds raises.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from decode_cases import CASES
from decode_frames import Frame, batch_of, decode
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.anomalies import Ledger
from analyzer.decode.decoder import Decoder
from analyzer.decode.link import FIRST_HEADER
from analyzer.decode.rebase import READERS
from analyzer.decode.segment import TUNNELS
from analyzer.decode.walk import (
    IN_AH,
    IN_ERSPAN,
    IN_GENEVE,
    IN_GRE,
    IN_GTP,
    IN_IPIP,
    IN_L2TP,
    IN_MPLS,
    IN_OTHER,
    IN_PPPOE,
    IN_TEREDO,
    IN_VXLAN,
)
from analyzer.settings import Settings

LINKS = sorted({*FIRST_HEADER, *READERS, 147, 999999, -1})
SEEDS = [(link, bytes(packet)) for _, link, packet, _ in CASES]


def harmless(link: int, data: bytes, wire: int | None = None) -> None:
    """Decode; `readable` checks the payload's place. What stands around the packet must not matter."""
    frame = Frame(data, link, wire)
    a, b = (decode(frame, frame, filler=filler) for filler in (0x00, 0x45))
    assert a.slots == b.slots
    assert a.codes == b.codes


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(LINKS), st.binary(max_size=200))
def test_any_bytes_of_any_link_type(link: int, data: bytes) -> None:
    harmless(link, data)


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(SEEDS), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6), st.data())
def test_any_change_to_a_packet(seed: tuple[int, bytes], changes: list[tuple[int, int]], data: st.DataObject) -> None:
    link, packet = seed
    hurt = bytearray(packet)
    for at, value in changes:
        hurt[at % len(hurt)] = value
    size = data.draw(st.integers(0, len(hurt)))
    harmless(link, bytes(hurt[:size]), data.draw(st.sampled_from([None, 0, len(hurt), 2**31 - 1, -5])))


@pytest.mark.parametrize(("link", "packet"), SEEDS, ids=[case[0] for case in CASES])
def test_every_cut_of_a_packet(link: int, packet: bytes) -> None:
    """A cut packet is nothing, or the same segment with less of its payload and options."""
    whole = decode(Frame(packet, link)).only
    frames = [Frame(packet[:size], link, len(packet)) for size in range(len(packet))]
    around = [decode(*frames, filler=filler).slots for filler in (0x00, 0x45)]
    assert around[0] == around[1]
    for slot in around[0]:
        if slot["kind"] == 1 and slot["src"] == whole["src"]:
            same = ("dst", "sport", "dport", "seq", "ack", "flags", "window", "payload_len", "tunnel", "ttl")
            assert {name: slot[name] for name in same} == {name: whole[name] for name in same}
            assert whole["payload"].startswith(slot["payload"])


def test_tunnel_digits_are_the_contract() -> None:
    digits = [IN_GRE, IN_IPIP, IN_VXLAN, IN_GENEVE, IN_GTP, IN_TEREDO, IN_MPLS, IN_PPPOE, IN_ERSPAN, IN_AH, IN_L2TP]
    assert [*digits, IN_OTHER] == sorted(TUNNELS)
    names = ["gre", "ipip", "vxlan", "geneve", "gtp", "teredo", "mpls", "pppoe", "erspan", "ah", "l2tp", "other"]
    assert [TUNNELS[digit] for digit in [*digits, IN_OTHER]] == names


def fingerprint() -> str:
    """Decode a fixed mix of whole and damaged packets; return a hash of all that comes out."""
    chance = random.Random(4)
    frames = [Frame(packet, link) for link, packet in SEEDS]
    for _ in range(300):
        link, packet = chance.choice(SEEDS)
        hurt = bytearray(packet)
        for _ in range(chance.randrange(4)):
            hurt[chance.randrange(len(hurt))] = chance.randrange(256)
        frames.append(Frame(bytes(hurt[: chance.randrange(20, len(hurt) + 1)]), link, len(hurt)))
    ledger = Ledger()
    decoder = Decoder(Settings(), ledger)
    segments, data = decoder.decode(batch_of(frames))
    decoder.finish()
    seen = [segments[segments["kind"] != 0].tobytes(), segments["kind"].tobytes(), data.tobytes()]
    return hashlib.sha256(b"".join(seen) + repr(sorted(ledger.by_code.items())).encode()).hexdigest()


def test_compiled_and_plain_python_agree(tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_decode_hostile as t; print(t.fingerprint())"
    other = "0" if os.environ.get("NUMBA_DISABLE_JIT") == "1" else "1"
    child = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        env={**os.environ, "NUMBA_DISABLE_JIT": other, "LONGWIRE_CACHE_DIR": str(tmp_path)},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stdout.strip() == fingerprint()
