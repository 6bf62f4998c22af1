"""Live capture of real sockets in network namespaces: the same tables as for the recording, whatever happens."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from analyzer.anomalies import Ledger
from analyzer.capture.reader import open_captures
from tests.live.nets import Net, assert_same, net, netns, self_signed, sh, tables_in
from tests.talk import Talk

pytestmark = netns

# A server that answers each line, and is told by it how to close: "fin", "rst", "keep".
SERVER = """
import socket, threading
def serve(c):
    f = c.makefile("rb")
    for line in f:
        c.sendall(b"y" * 5000)
        if line == b"fin\\n":
            break
        if line == b"rst\\n":
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
            break
    f.close(); c.close()
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("", 80)); s.listen(100)
print("ready", flush=True)
while True:
    threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
"""
CLIENT = """
import socket, sys, time
for how in sys.argv[2:]:
    c = socket.create_connection((sys.argv[1], 80), timeout=10)
    c.sendall(b"hello\\n"); got = 0
    while got < 5000: got += len(c.recv(9999))
    c.sendall(how.encode() + b"\\n"); got = 0
    try:
        while got < 5000: got += len(c.recv(9999)) or 10**9
        c.recv(1)
    except ConnectionResetError: pass
    c.close()
"""
PLAY = """
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0); s.bind(("eth1", 0))
for frame in sys.argv[1:]: s.send(bytes.fromhex(frame))
"""


def serve(made: Net) -> None:
    process = made.run("b", SERVER)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


def test_live_is_what_analyze_says_of_the_recording(tmp_path: Path) -> None:
    """Parts written every second, closed flows handed over after half a second, files rotated: the same rows."""
    with net() as made:
        serve(made)
        live = made.live(
            "b", "eth1", "--out", str(tmp_path / "t"), "--out-every", "1s", "--segments", "--linger", "0.5",
            "--write", str(tmp_path / "ring.pcapng"), "--rotate", "60kB",
        )  # fmt: skip
        for _ in range(4):
            made.finish(made.run("a", CLIENT, "10.9.1.2", *(["fin", "rst"] * 5)))
            time.sleep(0.7)
        live.end()
        parts = list((tmp_path / "t" / "flows").iterdir())
        recorded = sorted(tmp_path.glob("ring-*.pcapng"))
        assert len(parts) >= 3 and len(recorded) >= 3
        tables = tables_in(tmp_path / "t")
        assert tables["flows"].num_rows == 40
        assert_same(tables, recorded)


TLS_SERVER = """
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); context.load_cert_chain(sys.argv[1])
s = socket.socket(); s.bind(("", 443)); s.listen(9); print("ready", flush=True)
while True:
    c = context.wrap_socket(s.accept()[0], server_side=True)
    c.recv(9999); c.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok"); c.recv(9999); c.close()
"""
TLS_CLIENT = """
import socket, ssl, sys, time
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
context.keylog_filename = sys.argv[2]
for path in ("/a", "/b"):
    c = context.wrap_socket(socket.create_connection((sys.argv[1], 443)))
    time.sleep(0.2)
    c.sendall(b"GET " + path.encode() + b" HTTP/1.1\\r\\nHost: h\\r\\n\\r\\n"); c.recv(9999); c.close()
"""


def test_a_key_log_that_grows_opens_tls_while_it_runs(tmp_path: Path) -> None:
    """The file is not there when the capture begins; each handshake's secrets are written as it happens."""
    certificate = self_signed(tmp_path / "server.pem")
    with net() as made:
        server = made.run("b", TLS_SERVER, str(certificate))
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        live = made.live("b", "eth1", "--out", str(tmp_path / "t"), "--keys", str(tmp_path / "keys"))
        made.finish(made.run("a", TLS_CLIENT, "10.9.1.2", str(tmp_path / "keys")))
        live.end()
        requests = tables_in(tmp_path / "t")["http_requests"]
        assert requests["target"].to_pylist() == ["/a", "/b"]
        assert requests["decrypted"].to_pylist() == [True, True]


def test_closes_are_told_as_they_happen() -> None:
    with net() as made:
        serve(made)
        live = made.live("a", "eth1", "tcp port 80", "--json")
        made.finish(made.run("a", CLIENT, "10.9.1.2", "fin", "rst"))
        assert live.process.stdout is not None
        orderly, reset = (json.loads(live.process.stdout.readline()) for _ in range(2))  # while it runs
        assert orderly["close_kind"] == "fin_server_first"
        assert reset["rst_s"] >= 1
        assert reset["server"] == "10.9.1.2:80"
        assert live.end() == ""


def test_findings_are_told_while_it_runs_and_are_in_the_tables_once(tmp_path: Path) -> None:
    with net() as made:
        live = made.live("a", "eth1", "--json", "--linger", "0.2", "--out", str(tmp_path / "t"), "--out-every", "1s")
        for _ in range(3):  # nobody listens
            client = made.run("a", CLIENT, "10.9.1.2", "fin")
            assert "refused" in client.communicate()[1]
        assert live.process.stdout is not None
        lines = (json.loads(line) for line in live.process.stdout)
        told = next(row for row in lines if row["event"] == "finding")
        assert (told["code"], told["endpoint"]) == ("connect.refused", "10.9.1.2:80")
        live.end()
        assert tables_in(tmp_path / "t")["findings"]["code"].to_pylist() == ["connect.refused"]
        summary = json.loads((tmp_path / "t" / "summary.json").read_text())
        assert [row["count"] for row in summary["troubles"] if row["kind"].startswith("finding.")] in ([], [3])


def test_a_dead_peer_is_found_by_keep_alives() -> None:
    """Probes every second after one second of silence; the peer's link goes down, and the client gives up."""
    script = """
import socket, time
c = socket.create_connection(("10.9.1.2", 80)); c.sendall(b"keep\\n"); c.recv(9999)
for name, value in (("SO_KEEPALIVE", 1),): c.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
for option, value in ((socket.TCP_KEEPIDLE, 1), (socket.TCP_KEEPINTVL, 1), (socket.TCP_KEEPCNT, 3)):
    c.setsockopt(socket.IPPROTO_TCP, option, value)
time.sleep(2.5); print("up", flush=True)
try:
    while c.recv(9999): pass
except OSError: print("gone", flush=True)
"""
    with net() as made:
        serve(made)
        live = made.live("a", "eth1", "tcp port 80", "--json")
        client = made.run("a", script)
        assert client.stdout is not None
        assert client.stdout.readline() == "up\n"
        sh(f"ip netns exec {made.ns('b')} ip route add blackhole 10.9.1.1")
        assert "gone" in made.finish(client)
        time.sleep(1.5)
        (close,) = live.closes()
        assert (close["close_kind"], close["initiator"]) == ("abort_keepalive", "client")


def test_vlan_tags_that_the_kernel_strips_are_in_the_tables_and_the_recording(tmp_path: Path) -> None:
    """A tagged conversation is played into the wire; the kernel keeps the tag apart from the frame."""
    talk = (
        Talk(("10.9.5.1", 40000), ("10.9.5.2", 80)).handshake().orig(b"hi").resp(b"ho").orig_fin().resp_fin().orig_ack()
    )
    frames = [frame[:12] + b"\x81\x00\x20\x05" + frame[12:] for _, frame in talk.packets]
    with net() as made:
        live = made.live("b", "eth1", "--out", str(tmp_path / "t"), "--segments", "--write", str(tmp_path / "r.pcapng"))
        made.finish(made.run("a", PLAY, *(frame.hex() for frame in frames)))
        live.end()
        tables = tables_in(tmp_path / "t")
        assert tables["flows"]["vlan"].to_pylist() == ["5"]
        assert_same(tables, [tmp_path / "r.pcapng"])
        recorded = [
            b.data[p["off"] : p["off"] + p["caplen"]].tobytes()
            for b in open_captures([tmp_path / "r.pcapng"], Ledger())
            for p in b.packets
        ]
        assert [frame for frame in recorded if frame[12:14] == b"\x81\x00"] == frames


@pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="needs /dev/net/tun")
def test_any_sees_every_interface_and_a_tunnel_without_ethernet(tmp_path: Path) -> None:
    """`any` with a filter: frames of lo, and raw IP packets of a tun device, each under its own link layer."""
    tun = """
import fcntl, os, struct, subprocess, sys
t = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(t, 0x400454CA, struct.pack("16sH22x", b"tun1", 0x1001))  # TUNSETIFF: IFF_TUN | IFF_NO_PI
subprocess.run(["ip", "link", "set", "tun1", "up"], check=True)
for frame in sys.argv[1:]: os.write(t, bytes.fromhex(frame))
"""
    talk = Talk(("10.9.7.1", 40000), ("10.9.7.2", 80)).handshake().orig(b"hi").resp_rst()
    with net() as made:
        serve(made)
        live = made.live("b", "any", "tcp", "port", "80", "--out", str(tmp_path / "t"), "--segments",
                         "--write", str(tmp_path / "r.pcapng"))  # fmt: skip
        made.finish(made.run("b", tun, *(frame[14:].hex() for _, frame in talk.packets)))
        made.finish(made.run("b", CLIENT, "127.0.0.1", "fin"))
        live.end()
        tables = tables_in(tmp_path / "t")
        assert tables["captures"]["link_types"].to_pylist() == ["raw,ethernet"]
        assert sorted(tables["flows"]["server_ip"].to_pylist()) == ["10.9.7.2", "127.0.0.1"]
        assert tables["captures"]["duplicates"].to_pylist() == [0]
        assert_same(tables, [tmp_path / "r.pcapng"])


def test_clipped_packets_are_counted(tmp_path: Path) -> None:
    with net() as made:
        serve(made)
        live = made.live("a", "eth1", "--snaplen", "96", "--out", str(tmp_path / "t"), "--segments", "--write",
                         str(tmp_path / "r.pcapng"))  # fmt: skip
        made.finish(made.run("a", CLIENT, "10.9.1.2", "fin"))
        live.end()
        tables = tables_in(tmp_path / "t")
        assert tables["captures"]["snaplen_clipped"].to_pylist()[0] >= 2
        assert tables["flows"]["payload_bytes_s"].to_pylist() == [10000]
        assert_same(tables, [tmp_path / "r.pcapng"])


def test_sigterm_ends_with_whole_tables_and_a_summary(tmp_path: Path) -> None:
    with net() as made:
        serve(made)
        live = made.live("a", "eth1", "--out", str(tmp_path / "t"))
        made.finish(made.run("a", CLIENT, "10.9.1.2", "fin", "fin"))
        out = live.end(number=signal.SIGTERM)
        assert "How connections ended" in out
        assert tables_in(tmp_path / "t")["flows"].num_rows == 2
        assert (tmp_path / "t" / "summary.json").exists()


def test_kill_9_loses_the_open_rotation_at_most(tmp_path: Path) -> None:
    with net() as made:
        serve(made)
        live = made.live("a", "eth1", "--out", str(tmp_path / "t"), "--out-every", "1s", "--linger", "0.2",
                         "--write", str(tmp_path / "r.pcapng"))  # fmt: skip
        made.finish(made.run("a", CLIENT, "10.9.1.2", *["fin"] * 5))
        time.sleep(4)
        made.finish(made.run("a", CLIENT, "10.9.1.2", "fin"))
        live.end(number=signal.SIGKILL, code=-signal.SIGKILL)
        tables = tables_in(tmp_path / "t")
        assert tables["flows"].num_rows >= 5
        assert tables["captures"]["packets"].to_pylist()[0] > 30
        from analyzer import api

        assert api.analyze(tmp_path / "r.pcapng").flows.shape[0] == 6


def test_kill_9_keeps_what_lingers_and_what_is_open(tmp_path: Path) -> None:
    """Rows of connections are final a minute after their close; what a rotation knew of them is in its files."""
    with net() as made:
        serve(made)
        live = made.live("a", "eth1", "--out", str(tmp_path / "t"), "--out-every", "1s")
        made.finish(made.run("a", CLIENT, "10.9.1.2", "fin", "rst"))
        made.run("a", CLIENT.replace("c.recv(1)", "time.sleep(99)"), "10.9.1.2", "keep")
        time.sleep(4)
        live.end(number=signal.SIGKILL, code=-signal.SIGKILL)
        tables = tables_in(tmp_path / "t")
        ids = tables["flows"]["flow_id"].to_pylist()
        assert sorted(ids) == sorted(set(ids)) == tables["closes"]["flow_id"].to_pylist()
        kinds = tables["closes"]["close_kind"].to_pylist()
        assert len(kinds) == 3
        assert kinds[2].startswith("open")
        assert not any(kind.startswith("open") for kind in kinds[:2])


def test_an_interface_that_vanishes_is_reported(tmp_path: Path) -> None:
    with net() as made:
        serve(made)
        live = made.live("a", "eth1", "--out", str(tmp_path / "t"))
        made.finish(made.run("a", CLIENT, "10.9.1.2", "fin"))
        time.sleep(0.5)
        made.ip("a", "link del eth1")
        live.process.wait(timeout=30)  # it ends by itself: there is nothing left to capture
        live.end(code=1)
        assert "eth1 has gone" in live.said
        tables = tables_in(tmp_path / "t")
        assert tables["flows"].num_rows == 1
        assert "eth1 has gone" in tables["captures"]["error"].to_pylist()[0]


def test_of_several_interfaces_the_others_go_on() -> None:
    with net() as made:
        serve(made)
        live = made.live("a", "eth1,lo", "--json")
        made.ip("b", "link del eth1")
        time.sleep(0.6)
        made.processes[0].kill()
        made.run("a", SERVER).stdout.readline()  # type: ignore[union-attr]
        made.finish(made.run("a", CLIENT, "127.0.0.1", "fin"))
        (close,) = live.closes(code=1)
        assert close["server"] == "127.0.0.1:80"
        assert "eth1 has gone" in live.said


def test_a_full_disk_is_reported_and_survived(tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    sh(f"mount -t tmpfs -o size=128k tmpfs {small}")
    try:
        with net() as made:
            serve(made)
            live = made.live("a", "eth1", "--out", str(tmp_path / "t"), "--write", str(small / "r.pcapng"))
            made.finish(made.run("a", CLIENT, "10.9.1.2", *["fin"] * 60))
            time.sleep(0.5)
            live.end(code=1)
            assert "No space left on device" in live.said
            assert "packets were not recorded" in live.said
            assert tables_in(tmp_path / "t")["flows"].num_rows == 60
            from analyzer import api

            recorded = api.analyze(small / "r.pcapng")
            assert not recorded.captures["truncated"].any()
            assert 0 < recorded.flows.shape[0] < 60
    finally:
        sh(f"umount {small}")


def test_the_scapy_backend_gives_the_same_flows(tmp_path: Path) -> None:
    pytest.importorskip("scapy")
    with net() as made:
        serve(made)
        live = made.live("a", "eth1", "tcp port 80", "--backend", "scapy", "--out", str(tmp_path / "t"), "--segments",
                         "--write", str(tmp_path / "r.pcapng"))  # fmt: skip
        made.finish(made.run("a", CLIENT, "10.9.1.2", "fin", "rst"))
        time.sleep(0.5)
        live.end()
        tables = tables_in(tmp_path / "t")
        assert tables["flows"].num_rows == 2
        assert_same(tables, [tmp_path / "r.pcapng"])


def test_metrics_while_it_runs() -> None:
    with net() as made:
        serve(made)
        live = made.live("b", "eth1", "tcp port 80", "--metrics", "9464")
        made.finish(made.run("a", CLIENT, "10.9.1.2", "fin", "fin"))
        time.sleep(2.5)
        ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:9464/metrics', timeout=5).read().decode())"
        text = made.finish(made.run("b", ask))
        assert 'longwire_closes_total{kind="fin_server_first",endpoint="10.9.1.2:80"} 2' in text
        outside = made.run("a", ask.replace("127.0.0.1", "10.9.1.2"))
        outside.communicate(timeout=30)
        assert outside.returncode != 0  # loopback only
        live.end()


def test_privileges_are_dropped_once_the_capture_is_open() -> None:
    """Files then belong to that user, and the capture goes on."""
    with net() as made, tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        serve(made)
        live = made.live("a", "eth1", "--user", "nobody", "--write", f"{folder}/r.pcapng", "--out", f"{folder}/t")
        status = Path(f"/proc/{live.process.pid}/status").read_text().splitlines()
        (ids,) = [line.split()[1:] for line in status if line.startswith("Uid:")]
        assert "0" not in ids
        assert "as user nobody" in live.said
        assert (Path(folder) / "r.pcapng").stat().st_uid == int(ids[0])
        made.finish(made.run("a", CLIENT, "10.9.1.2", "fin"))
        live.end()
        assert tables_in(Path(folder) / "t")["flows"].num_rows == 1


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv (util-linux)")
def test_a_missing_privilege_is_explained() -> None:
    with net() as made:
        with pytest.raises(AssertionError) as said:
            made.live("a", "eth1", within="setpriv --bounding-set=-net_raw --inh-caps=-net_raw")
        assert made.processes[0].wait() == 2
        assert "CAP_NET_RAW" in str(said.value)
        assert "setcap" in str(said.value) and "AmbientCapabilities" in str(said.value)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_nginx_closes_an_idle_connection(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error.log; events {{}}\n"
        f"http {{ access_log off; keepalive_timeout 2s; server {{ listen 80; location / {{ return 200 ok; }} }} }}\n"
    )
    script = """
import http.client, time
c = http.client.HTTPConnection("10.9.1.2", timeout=10)
for attempt in range(50):
    try: c.connect(); break
    except OSError: time.sleep(0.1)
c.request("GET", "/"); c.getresponse().read(); c.sock.recv(1)
"""
    with net() as made:
        nginx = subprocess.Popen(["ip", "netns", "exec", made.ns("b"), "nginx", "-c", str(tmp_path / "nginx.conf")])
        try:
            live = made.live("a", "eth1", "tcp port 80", "--json")
            made.finish(made.run("a", script))
            time.sleep(1.5)
            close = live.closes()[-1]
            assert (close["close_kind"], close["initiator"]) == ("fin_server_first", "server")
            assert 1.8 < close["idle_payload_s"] < 4
        finally:
            nginx.terminate()
            nginx.wait()


def test_a_wrong_interface_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    from analyzer.cli.main import main

    assert main(["live", "nosuch0"]) == 2
    assert "there is no interface `nosuch0`" in capsys.readouterr().err
    assert main(["interfaces"]) == 0
    assert any(line.startswith("lo ") for line in capsys.readouterr().out.splitlines())
