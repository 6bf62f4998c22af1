"""A router that translates addresses and forgets: what each side of it sees of the same connection.

The router is a script of ours, so that the test needs no connection tracking in the kernel.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

from tests.live.nets import assert_same, net, netns, tables_in
from tests.live.test_wire import serve

pytestmark = netns

OUTSIDE = "10.9.2.77"  # the NAT's address; the router's own kernel does not know it, and so stays out of it
FORGETS_S = 2.0

# Packets of connections to 10.9.2.2 go out under its address; what was silent for too long is dropped in both
# directions. Checksums are made anew: over veth the kernel leaves them to a card that is not there.
NAT = """
import select, socket, struct, sys, time
outside, forgets, *macs = sys.argv[1:]
near_mac, near_peer, far_mac, far_peer = (bytes.fromhex(mac.replace(":", "")) for mac in macs)
here, inside, server = socket.inet_aton(outside), socket.inet_aton("10.9.1.1"), socket.inet_aton("10.9.2.2")
def opened(name):
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)); s.bind((name, 0x0800)); return s
def checksum(data):
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", bytes(data) + bytes(len(data) % 2)))
    while total >> 16: total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~total & 0xFFFF)
def forward(out, link, ip, source, target):
    head = (ip[0] & 15) * 4
    ip[8] -= 1; ip[12:16], ip[16:20], ip[10:12] = source, target, bytes(2); ip[10:12] = checksum(ip[:head])
    tcp = ip[head:]; tcp[16:18] = bytes(2)
    tcp[16:18] = checksum(source + target + struct.pack("!HH", 6, len(tcp)) + tcp)
    out.send(link + bytes((8, 0)) + ip[:head] + tcp)
near, far = opened("eth1"), opened("eth2")
seen = {}
print("ready", flush=True)
while True:
    for s in select.select([near, far], [], [])[0]:
        frame, address = s.recvfrom(65536)
        ip = bytearray(frame[14:]); del ip[int.from_bytes(ip[2:4], "big"):]
        if address[2] == socket.PACKET_OUTGOING or ip[9] != 6: continue
        head = (ip[0] & 15) * 4; now = time.monotonic()
        port = bytes(ip[head:head + 2] if s is near else ip[head + 2:head + 4])
        if ip[16:20] != (server if s is near else here): continue
        if now - seen.get(port, -1e9) > float(forgets) and not (s is near and ip[head + 13] & 2): continue
        seen[port] = now
        if s is near: forward(far, far_peer + far_mac, ip, here, server)
        else: forward(near, near_peer + near_mac, ip, server, inside)
"""
CLIENT = """
import socket, time
c = socket.create_connection(("10.9.2.2", 80)); c.sendall(b"keep\\n"); got = 0
while got < 5000: got += len(c.recv(9999))
time.sleep(4)
c.sendall(b"again\\n"); c.settimeout(4)
try: c.recv(1)
except TimeoutError: print("silence")
"""


def test_a_nat_that_forgets(tmp_path: Path) -> None:
    """It forgets a connection after two silent seconds: using it again is met by silence, the server never knows."""
    with net(router=True) as made:
        ends = (("m", "eth1"), ("a", "eth1"), ("m", "eth2"), ("b", "eth2"))
        for host, name in ends:
            made.ip(host, f"link set {name} mtu 9000")  # an answer is one packet: the script cuts none
        macs = [json.loads(made.ip(host, f"-j link show {name}"))[0]["address"] for host, name in ends]
        made.ip("b", f"neigh add {OUTSIDE} lladdr {macs[2]} dev eth2 nud permanent")
        made.finish(made.run("m", "open('/proc/sys/net/ipv4/ip_forward', 'w').write('0')"))
        nat = made.run("m", NAT, OUTSIDE, str(FORGETS_S), *macs)
        assert nat.stdout is not None and nat.stdout.readline() == "ready\n"
        serve(made)
        live = made.live("m", "eth1,eth2", "tcp port 80", "--out", str(tmp_path / "t"), "--segments", "--write",
                         str(tmp_path / "r.pcapng"))  # fmt: skip
        assert "silence" in made.finish(made.run("a", CLIENT))
        time.sleep(0.5)
        live.end()
        tables = tables_in(tmp_path / "t")
        kinds = dict(
            zip(tables["flows"]["client_ip"].to_pylist(), tables["flows"]["close_kind"].to_pylist(), strict=True)
        )
        assert kinds["10.9.1.1"] in ("abort_retransmit", "silent_death")
        assert kinds[OUTSIDE] == "open_idle"  # beyond the NAT nothing was ever sent again
        assert_same(tables, [tmp_path / "r.pcapng"])
