"""Kernels compiled, interpreted and with checked bounds: the same tables, bit for bit.

python -m tests.property.test_run_modes FILE...   prints the fingerprint of every table of every capture
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from pathlib import Path
from random import Random

import pytest

from tests.messages import CHATS
from tests.talk import Talk, merge, write_pcap
from tests.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Deflater,
    code,
    frame,
    of_client,
    upgraded,
)

ROOT = Path(__file__).parents[2]


def conversation(**make: object) -> Talk:
    """Return one of everything: requests, loss, reordering, probes, a stall, a half-close."""
    talk = Talk(**make).handshake().orig(b"request", at="1s").resp(b"r" * 5000).orig_ack()  # type: ignore[arg-type]
    talk.resp_drop(200).resp(b"s" * 100).orig_ack().orig(b"lost", at="2s", lost=True).orig_retransmit(at="2.3s")
    talk.resp_ack(win=0).orig_probe(at="3s").resp_ack(win=0).resp_ack(win=300, at="4s").orig(b"more").resp_ack()
    for second in (64, 124):
        talk.orig_probe(at=second).resp_ack()
    talk.resp(b"t" * 3000, whole=True, at="130s").orig(b"u", seq=3).orig_fin().resp_ack().resp(b"late", at="131s")
    return talk.orig_ack().resp_fin().orig_ack()


def chat() -> Talk:
    """Return a WebSocket connection with most of what one can do wrong."""
    server = Deflater()
    talk = upgraded(b"permessage-deflate").orig(of_client(TEXT, "grüße".encode() * 30, fin=False), at="2s")
    talk.orig(of_client(PING, b"p")).resp(frame(PONG, b"p")).orig(of_client(CONTINUATION, b"\xf0\x9f\x98\x80"))
    talk.resp(frame(TEXT, server.message(b"x" * 3000), rsv=4)).resp(frame(TEXT, server.message(b"\xff" * 99), rsv=4))
    talk.resp(frame(3, b"?") + frame(BINARY, b"b" * 70_000) + frame(PONG, b"nobody asked")).orig_ack()
    talk.orig(
        of_client(TEXT, b"\xed\xa0\x80") + frame(BINARY, b"bare") + of_client(CONTINUATION, b"of nothing", size=64)
    )
    talk.resp_drop(40).resp(frame(TEXT, b"no")).orig_ack().resp(frame(TEXT, b"yes") * 2).orig_ack()
    talk.orig(of_client(CLOSE, code(1005, "bye"))).resp(frame(CLOSE, b"1")).orig(b"\x82\xff" + b"\xff" * 20)
    return talk.resp(frame(BINARY, b"cut")[:3]).resp_fin().orig_rst()


def write_captures(folder: Path) -> list[Path]:
    """Write a fixed set of captures and return their paths."""
    near = (2**32 - 100, 2**32 - 3000)
    many = [Talk(("10.1.0.1", 1024 + k), t0=1_700_000_000 + k / 100).handshake().orig(b"x" * k) for k in range(60)]
    made = {
        "v4": conversation().packets,
        "v6": conversation(ipv6=True, isn=near, vlan=7).packets,
        "bare": conversation(timestamps=False, wscale=None, capture="server").packets[4:],
        "many": merge(conversation(), Talk(isn=(5, 5)).handshake(at="200s").resp_rst(), *many),
    }
    made["chat"] = chat().packets
    pick = Random(1)
    talks = [one.talk(port=2000 + k) for k, one in enumerate(CHATS)]
    for k in range(150):
        where = tuple(pick.randrange(200) for _ in range(pick.randrange(4)))
        talks.append(pick.choice(CHATS).spoiled(pick).talk(where, midstream=k % 5 == 0, port=3000 + k))
    made["messages"] = merge(*talks)
    made["swapped"] = [*made["v4"][:4], made["v4"][5], made["v4"][4], *made["v4"][6:]]
    paths = []
    for name, packets in made.items():
        paths.append(folder / f"{name}.pcap")
        paths[-1].write_bytes(write_pcap(packets, snaplen=1000 if name == "many" else 1 << 18))
    return paths


def fingerprints(paths: list[Path]) -> dict[str, str]:
    """Return the fingerprint of each table of each capture."""
    from analyzer import analyze
    from tests.property.harness import fingerprint

    found: dict[str, str] = {}
    for path in paths:
        result = analyze(path, segments=True)
        found.update({f"{path.stem}.{name}": fingerprint(result.arrow(name)) for name in result})
    return found


def in_a_process(paths: list[Path], **env: str) -> dict[str, str]:
    """Return the same, from a process with these environment variables."""
    command = [sys.executable, "-m", "tests.property.test_run_modes", *map(str, paths)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told: dict[str, str] = json.loads(done.stdout)
    return told


def test_interpreted_kernels_give_the_same_tables(tmp_path: Path) -> None:
    paths = write_captures(tmp_path)
    assert in_a_process(paths, NUMBA_DISABLE_JIT="1") == fingerprints(paths)


@pytest.mark.slow
def test_kernels_with_checked_bounds_give_the_same_tables(tmp_path: Path) -> None:
    paths = write_captures(tmp_path)
    cache = tmp_path / "cache"
    cache.mkdir()
    assert in_a_process(paths, NUMBA_BOUNDSCHECK="1", LONGWIRE_CACHE_DIR=str(cache)) == fingerprints(paths)


HOSTILE = """
from hypothesis import HealthCheck, given, settings
from tests.property.harness import run, spans_of
from tests.property.traces import captures, hostile_packets
from tests.talk import Talk

quick = settings(
    max_examples=40, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)

@quick
@given(hostile_packets(most=20))
def hostile(packets):
    run(packets, [7])
    spans_of(packets)

@quick
@given(captures(2))
def ordinary(packets):
    run(packets, [7])

hostile()
ordinary()
last = 2**32 - 1  # seconds that a pcap file can say
run(Talk(t0=0).handshake().orig(b"x", at=1).orig_retransmit(at=last, tsval=9).orig_retransmit(at=2).packets)
"""


def test_no_arithmetic_overflows() -> None:
    """Compiled code wraps silently, numpy's scalars warn: interpreted with warnings as errors, hostile numbers pass."""
    env = {**os.environ, "NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "error", "-c", HOSTILE]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


if __name__ == "__main__":
    warnings.simplefilter("error")
    print(json.dumps(fingerprints([Path(name) for name in sys.argv[1:]])))
