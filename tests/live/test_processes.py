"""`--processes`: two processes share an interface, each a whole capture of its share, and one tells what both find."""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from analyzer import api
from analyzer.cli.main import main
from tests.live.nets import PATIENCE_S, Live, assert_same, net, netns, sh, tables_in
from tests.live.test_wire import CLIENT, PLAY, serve
from tests.talk import Talk, checksum

pytestmark = netns

TWO = ("--processes", "2")
SEEN = ["client_ip", "client_port", "server_ip", "server_port", "close_kind", "payload_bytes_c", "payload_bytes_s"]


def workers(live: Live) -> list[int]:
    """Return the processes that a capture has started, by their numbers."""
    children = Path(f"/proc/{live.process.pid}/task/{live.process.pid}/children").read_text().split()
    return sorted(map(int, children))


def connections(flows: pa.Table) -> Counter[tuple[object, ...]]:
    """Return what connections there were, whoever numbered them."""
    return Counter(zip(*(flows[name].to_pylist() for name in SEEN), strict=True))


def quoting(frame: bytes) -> bytes:
    """Return the ICMP error `port unreachable` of a router that answers a frame."""
    icmp = bytes([3, 3, 0, 0, 0, 0, 0, 0]) + frame[14 : 14 + 28]
    icmp = icmp[:2] + checksum(icmp).to_bytes(2, "big") + icmp[4:]
    head = bytes([0x45, 0, 0, 20 + len(icmp), 0, 0, 0, 0, 64, 1, 0, 0]) + bytes([203, 0, 113, 9]) + frame[26:30]
    head = head[:10] + checksum(head).to_bytes(2, "big") + head[12:]
    return frame[:14] + head + icmp


def test_both_shares_together_are_the_capture_and_each_is_its_recording(tmp_path: Path) -> None:
    """Some hundred connections, and syns that a router refuses from afar: ICMP follows what it quotes."""
    folder = tmp_path / "t"
    refused = []
    for k in range(20):
        talk = Talk((f"10.9.1.{k + 10}", 5000 + k), ("10.9.8.8", 80)).syn()
        refused += [talk.packets[0][1], quoting(talk.packets[0][1])]
    with net() as made:
        serve(made)
        live = made.live(
            "b", "eth1", *TWO, "--out", str(folder), "--out-every", "1s", "--segments", "--linger", "0.5",
            "--write", str(tmp_path / "ring.pcapng"), "--json",
        )  # fmt: skip
        alone = made.live("b", "eth1", "--write", str(tmp_path / "whole.pcapng"), quiet=True)
        for _ in range(3):
            made.finish(made.run("a", CLIENT, "10.9.1.2", *(["fin", "rst"] * 25)))
            time.sleep(0.5)
        made.finish(made.run("a", PLAY, *(frame.hex() for frame in refused)))
        alone.end()
        closes = live.closes()
    shares = [tables_in(folder, process) for process in (1, 2)]
    whole = api.analyze(tmp_path / "whole.pcapng")
    assert connections(whole.arrow("flows")).total() == 170
    assert connections(shares[0]["flows"]) + connections(shares[1]["flows"]) == connections(whole.arrow("flows"))
    assert all(share["flows"].num_rows > 40 for share in shares)
    for process, share in enumerate(shares, 1):
        assert share["flows"]["close_kind"].to_pylist().count("icmp_abort") > 0
        assert_same(share, [tmp_path / f"ring-{process}.pcapng"])
    # what was told, and what is in the files, has the same key
    frame = pd.read_parquet(folder / "flows")
    over = frame[frame["close_kind"] != "icmp_abort"]  # a SYN may still be repeated
    assert {(row["process"], row["flow_id"]) for row in closes} == set(
        zip(over["process"], over["flow_id"], strict=True)
    )
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["rows"]["flows"] == 170
    assert summary["closes"]["icmp_abort"] == {"server": 20} or sum(summary["closes"]["icmp_abort"].values()) == 20
    assert (summary["packets"], len(summary["files"])) == (sum(s["captures"]["packets"][0].as_py() for s in shares), 1)
    assert "170 connections" in live.said


def test_a_terminals_ctrl_c_ends_all_in_order_once(tmp_path: Path) -> None:
    """It reaches every process of the terminal's group."""
    with net() as made:
        serve(made)
        live = made.live("b", "eth1", *TWO, "--out", str(tmp_path / "t"), within="setsid")
        both = workers(live)
        assert len(both) == 2
        made.finish(made.run("a", CLIENT, "10.9.1.2", *["fin"] * 20))
        time.sleep(1)
        os.killpg(live.process.pid, signal.SIGINT)
        live.process.wait(timeout=PATIENCE_S)
        out = live.end()
        assert "20 connections in" in out
        assert out.count("fin_server_first by server") == 20
        assert "Traceback" not in live.said
        assert not any(Path(f"/proc/{pid}").exists() for pid in both)
        assert sum(tables_in(tmp_path / "t", process)["flows"].num_rows for process in (1, 2)) == 20


def test_a_sigterm_to_one_ends_all_in_order(tmp_path: Path) -> None:
    with net() as made:
        serve(made)
        live = made.live("b", "eth1", *TWO)
        made.finish(made.run("a", CLIENT, "10.9.1.2", *["fin"] * 20))
        time.sleep(0.5)
        os.kill(workers(live)[1], signal.SIGTERM)
        live.process.wait(timeout=PATIENCE_S)
        assert "20 connections in" in live.end()


def test_a_killed_process_is_reported_and_the_other_goes_on(tmp_path: Path) -> None:
    with net() as made:
        serve(made)
        live = made.live("b", "eth1", *TWO, "--out", str(tmp_path / "t"), "--out-every", "1s", "--linger", "0.2",
                         "--metrics", "9464")  # fmt: skip
        made.finish(made.run("a", CLIENT, "10.9.1.2", *["fin"] * 40))
        time.sleep(2.5)
        ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/metrics', timeout=5).read().decode())"
        text = made.finish(made.run("b", ask))
        assert 'longwire_closes_total{kind="fin_server_first",endpoint="10.9.1.2:80"} 40' in text
        os.kill(workers(live)[0], signal.SIGKILL)
        time.sleep(0.5)
        made.finish(made.run("a", CLIENT, "10.9.1.2", *["fin"] * 40))
        time.sleep(0.5)
        out = live.end(code=1)
        assert live.said.count("warning: process 1 was killed by signal 9") == 1
        assert "its connections go on in the other" in live.said
        shares = [tables_in(tmp_path / "t", process)["flows"].num_rows for process in (1, 2)]
        assert sum(shares) == 80
        assert shares[1] > 40 > shares[0] > 0
        assert "80 connections" in out


def test_when_the_first_process_is_killed_the_others_end_in_order(tmp_path: Path) -> None:
    with net() as made:
        serve(made)
        live = made.live("b", "eth1", *TWO, "--out", str(tmp_path / "t"))
        both = workers(live)
        made.finish(made.run("a", CLIENT, "10.9.1.2", *["fin"] * 30))
        time.sleep(0.5)
        live.process.kill()
        deadline = time.monotonic() + PATIENCE_S
        while any(Path(f"/proc/{pid}").exists() for pid in both) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert "Traceback" not in live.process.communicate(timeout=PATIENCE_S)[1]
        assert sum(tables_in(tmp_path / "t", process)["flows"].num_rows for process in (1, 2)) == 30


def test_a_reader_that_goes_away_ends_all_and_files_are_whole(tmp_path: Path) -> None:
    with net() as made:
        serve(made)
        live = made.live("b", "eth1", *TWO, "--json", "--out", str(tmp_path / "t"))
        assert live.process.stdout is not None
        live.process.stdout.close()
        made.finish(made.run("a", CLIENT, "10.9.1.2", *["fin"] * 30))
        assert live.process.wait(timeout=PATIENCE_S) == 141
        assert sum(tables_in(tmp_path / "t", process)["flows"].num_rows for process in (1, 2)) == 30
        assert json.loads((tmp_path / "t" / "summary.json").read_text())["rows"]["flows"] == 30


def test_a_full_disk_is_told_of_both(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    sh(f"mount -t tmpfs -o size=100k tmpfs {small}")
    try:
        with net() as made:
            serve(made)
            live = made.live("b", "eth1", *TWO, "--out", str(tmp_path / "t"), "--write", str(small / "r.pcapng"))
            made.finish(made.run("a", CLIENT, "10.9.1.2", *["fin"] * 80))
            time.sleep(0.5)
            live.end(code=1)
            assert live.said.count("No space left on device") == 2
            assert live.said.count("packets were not recorded") == 1
            assert sum(tables_in(tmp_path / "t", process)["flows"].num_rows for process in (1, 2)) == 80
    finally:
        sh(f"umount {small}")


def test_a_second_ctrl_c_ends_what_does_not_end() -> None:
    with net() as made:
        live = made.live("b", "eth1", *TWO)
        both = workers(live)
        for pid in both:
            os.kill(pid, signal.SIGSTOP)
        live.process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        live.end(code=130)
        assert not any(Path(f"/proc/{pid}").exists() for pid in both)


def test_an_interface_that_vanishes_is_reported_once(tmp_path: Path) -> None:
    with net() as made:
        live = made.live("b", "eth1", *TWO)
        time.sleep(0.5)
        made.ip("b", "link del eth1")
        live.process.wait(timeout=30)
        live.end(code=1)
        assert live.said.count("eth1 has gone") == 1
        assert "was killed" not in live.said and "ended with" not in live.said


def test_a_connection_keeps_its_process_when_the_link_was_down(tmp_path: Path) -> None:
    """The kernel takes both out of the group and puts them in again."""
    script = CLIENT.replace("c.sendall(how.encode()", "time.sleep(2); c.sendall(how.encode()")
    with net() as made:
        serve(made)
        live = made.live("b", "eth1", *TWO, "--out", str(tmp_path / "t"))
        clients = [made.run("a", script, "10.9.1.2", "fin") for _ in range(12)]
        time.sleep(1)
        made.ip("b", "link set eth1 down")
        time.sleep(0.2)
        made.ip("b", "link set eth1 up")
        for client in clients:
            made.finish(client)
        live.end(code=1)
        shares = [tables_in(tmp_path / "t", process)["flows"] for process in (1, 2)]
        assert sum(share.num_rows for share in shares) == 12
        assert all(share.num_rows for share in shares)


def test_every_process_drops_its_privileges() -> None:
    with net() as made, tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        serve(made)
        live = made.live("b", "any", "tcp port 80", *TWO, "--user", "nobody", "--out", f"{folder}/t", "--for", "2")
        assert "as user nobody" in live.said
        for pid in [live.process.pid, *workers(live)]:
            status = Path(f"/proc/{pid}/status").read_text().splitlines()
            (ids,) = [line.split()[1:] for line in status if line.startswith("Uid:")]
            assert "0" not in ids
        made.finish(made.run("b", CLIENT, "127.0.0.1", *["fin"] * 8))
        live.process.wait(timeout=PATIENCE_S)  # --for
        assert "8 connections" in live.end()
        assert (Path(folder) / "t" / "summary.json").stat().st_uid == int(ids[0])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch0", *TWO], "there is no interface `nosuch0`"),
        (["lo", "--processes", "257"], "256 is the kernel's limit"),
        (["lo", *TWO, "--backend", "scapy"], "only Linux's packet ring shares packets"),
        (["lo", *TWO, "--filter-that", "x"], "No such option"),
    ],
)
def test_what_cannot_be_is_explained(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["live", *arguments]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("error:") == 1
