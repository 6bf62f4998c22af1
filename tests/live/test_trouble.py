"""Live capture where something is short: time to read the ring, room on the disk; and the promiscuous mode."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from analyzer import api
from tests.live.nets import PATIENCE_S, Net, assert_same, net, netns, sh, tables_in
from tests.live.test_wire import CLIENT, PLAY, serve
from tests.talk import Talk

pytestmark = netns

FLOOD = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); s.bind(("eth1", 0))
frame = bytes.fromhex(sys.argv[1]) + bytes(1300)
for _ in range(120_000): s.send(frame)
"""


def test_packets_that_the_kernel_drops_are_told_and_counted_in_both_tables(tmp_path: Path) -> None:
    """The program is stopped for longer than its ring of 64 MiB lasts."""
    ((_, frame), *_) = Talk(("10.9.1.1", 5000), ("10.9.1.2", 80)).handshake().packets
    with net() as made:
        live = made.live("b", "eth1", "--out", str(tmp_path / "t"), "--write", str(tmp_path / "r.pcapng"))
        os.kill(live.process.pid, signal.SIGSTOP)
        made.finish(made.run("a", FLOOD, frame.hex()))
        os.kill(live.process.pid, signal.SIGCONT)
        time.sleep(1)
        assert "reported dropped by the capturing program" in live.end()
        tables = tables_in(tmp_path / "t")
        (dropped,) = tables["captures"]["dropped_reported"].to_pylist()
        assert 0 < dropped < 120_000
        assert api.analyze(tmp_path / "r.pcapng").captures["dropped_reported"].tolist() == [dropped]
        assert "capture.dropped" in tables["anomalies"]["code"].to_pylist()


def test_an_end_that_comes_at_once_is_in_order() -> None:
    """Whoever waits for "capturing on" may end it."""
    with net() as made:
        for _ in range(6):
            live = made.live("a", "eth1", "--json")
            live.process.send_signal(signal.SIGINT)
            said = live.process.communicate(timeout=PATIENCE_S)[1]
            assert (live.process.returncode, "live:eth1 (live)" in said) == (0, True), said


def test_an_interface_that_is_down_for_a_while_is_reported_and_waited_for() -> None:
    with net() as made:
        serve(made)
        live = made.live("a", "eth1", "tcp port 80", "--json")
        made.finish(made.run("a", CLIENT, "10.9.1.2", "fin"))
        time.sleep(0.5)
        made.ip("a", "link set eth1 down")
        time.sleep(1)
        made.ip("a", "link set eth1 up")
        time.sleep(0.5)
        made.finish(made.run("a", CLIENT, "10.9.1.2", "rst"))
        time.sleep(0.5)
        assert [row["flow_id"] for row in live.closes(code=1)] == [0, 1]
        assert "the interface is down" in live.said


def test_scapy_restores_tags_and_tells_of_an_interface_that_vanished(tmp_path: Path) -> None:
    pytest.importorskip("scapy")
    talk = Talk(("10.9.5.1", 40000), ("10.9.5.2", 80), vlan=5).handshake().orig(b"hi").resp(b"ho").orig_fin().resp_fin()
    with net() as made:
        live = made.live("b", "eth1", "--backend", "scapy", "--out", str(tmp_path / "t"), "--segments",
                         "--write", str(tmp_path / "r.pcapng"))  # fmt: skip
        made.finish(made.run("a", PLAY, *(frame.hex() for _, frame in talk.packets)))
        time.sleep(0.5)
        made.ip("b", "link del eth1")
        live.process.wait(timeout=30)
        live.end(code=1)
        assert "eth1: Network is down" in live.said
        tables = tables_in(tmp_path / "t")
        assert tables["flows"]["vlan"].to_pylist() == ["5"]
        assert_same(tables, [tmp_path / "r.pcapng"])


def promiscuity(made: Net) -> int:
    words = made.ip("b", "-d link show eth1").split()
    return int(words[words.index("promiscuity") + 1])


def test_promiscuous_only_when_asked_and_only_for_as_long() -> None:
    with net() as made:
        for interface, asked, wanted in (("eth1", "--promiscuous", 1), ("any", "--promiscuous", 1), ("eth1", "", 0)):
            live = made.live("b", interface, "--json", *asked.split())
            assert promiscuity(made) == wanted
            live.end()
            assert promiscuity(made) == 0


def test_a_full_disk_takes_the_tables_once_it_has_room_again(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    sh(f"mount -t tmpfs -o size=300k tmpfs {small}")
    try:
        with net() as made:
            serve(made)
            live = made.live("a", "eth1", "--out", str(small / "t"), "--out-every", "1s", "--segments",
                             "--write", str(tmp_path / "r.pcapng"), "--linger", "0.2")  # fmt: skip
            for _ in range(3):
                made.finish(made.run("a", CLIENT, "10.9.1.2", *["fin"] * 100))
                time.sleep(1.3)
            sh(f"mount -o remount,size=9m {small}")
            live.end(code=1)  # something went wrong, and says so; nothing is missing
            assert "No space left on device" in live.said
            assert "rows were not written" not in live.said
            assert not list((small / "t").rglob(".*"))
            tables = tables_in(small / "t")
            assert tables["flows"].num_rows == 300
            assert_same(tables, [tmp_path / "r.pcapng"])
    finally:
        sh(f"umount {small}")
