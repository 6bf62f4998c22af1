"""Network namespaces with cables between them, and what can happen to a cable.

direct    client 10.77.0.1 ------------------ 10.77.0.2 server
slow      the same, with a wire between that takes its time in both directions
router    client 10.77.1.2 --- 10.77.1.1 router 10.77.2.1 --- 10.77.2.2 server

A socket belongs to the namespace its thread was in when it was made; that is all `at` is for. Segmentation and checksum
offload are off, so that what is captured is what would be on a cable.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import fcntl
import itertools
import os
import re
import select
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

COUNTERS = (
    "TCPKeepAlive", "TCPWinProbe", "TCPAbortOnTimeout", "TCPAbortOnData", "TCPAbortOnClose", "TCPFromZeroWindowAdv",
    "TCPSynRetrans", "TCPTimeouts", "OutRsts", "RetransSegs",
)  # fmt: skip
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
PACKET_OUTGOING = 4
_serial = itertools.count()


def run(*command: str, stdin: str | None = None) -> str:
    """Run a command and return what it printed."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, input=stdin)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def at(namespace: str, action: Callable[[], Result]) -> Result:
    """Do `action` inside a network namespace; threads started there stay there."""
    libc = ctypes.CDLL(None, use_errno=True)
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    try:
        if libc.setns(there, 0):
            raise OSError(ctypes.get_errno(), "setns")
        return action()
    finally:
        libc.setns(home, 0)
        os.close(there)
        os.close(home)


def counters(namespace: str) -> dict[str, int]:
    """Return the kernel's TCP counters of one namespace."""

    def read() -> dict[str, int]:
        found: dict[str, int] = {}
        for name in ("netstat", "snmp"):
            lines = Path(f"/proc/thread-self/net/{name}").read_text().splitlines()
            for names, values in zip(lines[::2], lines[1::2], strict=True):
                found |= dict(zip(names.split()[1:], map(int, values.split()[1:]), strict=True))
        return {name: found[name] for name in COUNTERS}

    return at(namespace, read)


class Net:
    """The namespaces of one scenario, by role: client, server, and perhaps router or wire."""

    def __init__(self, topology: str) -> None:
        """Choose names that no other run and no other scenario uses."""
        prefix = f"longwire{os.getpid()}-{next(_serial)}-"
        between = {"direct": (), "slow": ("wire",), "router": ("router",)}[topology]
        self.topology = topology
        self.names = {role: prefix + role for role in ("client", "server", *between)}
        middle = topology == "router"
        self.client_ip, self.server_ip = ("10.77.1.2", "10.77.2.2") if middle else ("10.77.0.1", "10.77.0.2")
        self._stop = threading.Event()

    def up(self) -> None:
        """Make the namespaces and their cables."""
        for namespace in self.names.values():
            run("ip", "netns", "add", namespace)
            run("ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
            run("ip", "-n", namespace, "link", "set", "lo", "up")
        macs = {"client": "02:00:00:00:00:01", "server": "02:00:00:00:00:02"}
        if self.topology == "router":
            for side, port, net in (("client", "in", 1), ("server", "out", 2)):
                self._cable(side, "eth0", "router", port)
                self._address("router", port, f"10.77.{net}.1", f"02:00:00:00:01:0{net}")
                self._address(side, "eth0", f"10.77.{net}.2", macs[side])
                self._neighbour(side, "eth0", f"10.77.{net}.1", f"02:00:00:00:01:0{net}")
                self._neighbour("router", port, f"10.77.{net}.2", macs[side])
                run("ip", "-n", self.names[side], "route", "add", "default", "via", f"10.77.{net}.1")
            self.sysctl("router", "net.ipv4.ip_forward=1")
            return
        if self.topology == "slow":
            for side in ("client", "server"):
                self._cable(side, "eth0", "wire", side)
                run("ip", "-n", self.names["wire"], "link", "set", side, "up")
        else:
            self._cable("client", "eth0", "server", "eth0")
        for side, ip, peer, peer_ip in (
            ("client", self.client_ip, "server", self.server_ip),
            ("server", self.server_ip, "client", self.client_ip),
        ):
            self._address(side, "eth0", ip, macs[side])
            # fixed neighbours: no ARP, so that a vanished peer is met with silence and not with "no route"
            self._neighbour(side, "eth0", peer_ip, macs[peer])

    def down(self) -> None:
        """Remove everything, whatever state it is in."""
        self._stop.set()
        for namespace in self.names.values():
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)

    def at(self, role: str, action: Callable[[], Result]) -> Result:
        """Do `action` in the namespace of `role`."""
        return at(self.names[role], action)

    def counters(self) -> dict[str, dict[str, int]]:
        """Return the TCP counters of all ends, by role."""
        return {role: counters(name) for role, name in self.names.items() if role != "wire"}

    def sysctl(self, role: str, *settings: str) -> None:
        """Set kernel parameters of one namespace."""
        run("ip", "netns", "exec", self.names[role], "sysctl", "-qw", *settings)

    def nft(self, role: str, rules: str) -> None:
        """Load nftables rules into one namespace."""
        run("ip", "netns", "exec", self.names[role], "nft", "-f", "-", stdin=rules)

    def vanish(self) -> None:
        """Take the server's address away: its kernel drops what comes, as a host without power would."""
        run("ip", "-n", self.names["server"], "address", "delete", f"{self.server_ip}/24", "dev", "eth0")

    def come_back(self) -> None:
        """Give the server its address again."""
        run("ip", "-n", self.names["server"], "address", "add", f"{self.server_ip}/24", "dev", "eth0")

    def delay(self, seconds: float) -> None:
        """Let the wire of a slow topology carry frames, each direction with a delay."""

        def open_ports() -> list[socket.socket]:
            ports = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) for _ in range(2)]
            for port, name in zip(ports, ("client", "server"), strict=True):
                port.bind((name, 0))
            return ports

        left, right = self.at("wire", open_ports)
        for source, target in ((left, right), (right, left)):
            threading.Thread(target=_carry, args=(source, target, seconds, self._stop), daemon=True).start()

    @contextlib.contextmanager
    def capturing(self, role: str, path: Path) -> Iterator[None]:
        """Capture the TCP packets that `role` sees into `path`; raises if one was lost."""
        # no frame has 2000 bytes, and a slot of the ring takes what the snap length allows: more of them, fewer drops
        tcpdump = ("tcpdump", "-i", "eth0", "-s", "2000", "-B", "4096", "-U", "--immediate-mode", "-Z", "root", "-w")
        command = ["ip", "netns", "exec", self.names[role], *tcpdump, str(path), "tcp"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            if not any("listening on" in line for line in process.stderr):  # reads up to that line, or to the end
                raise RuntimeError("tcpdump did not start")
            try:
                yield
                _wait_until_quiet(path)
            finally:
                process.send_signal(signal.SIGINT)
                said = process.stderr.read()
                process.wait()
        captured, received, dropped = (int(n) for n in re.findall(r"^(\d+) packets? ", said, re.MULTILINE)[:3])
        if captured != received or dropped:
            raise RuntimeError(f"tcpdump lost packets: {' '.join(said.split())}")

    def _cable(self, a: str, a_port: str, b: str, b_port: str) -> None:
        ends = ("netns", self.names[a], "type", "veth", "peer", "name", b_port, "netns", self.names[b])
        run("ip", "link", "add", a_port, *ends)
        for role, port in ((a, a_port), (b, b_port)):
            self.at(role, lambda port=port: _no_offload(port))  # type: ignore[misc]

    def _address(self, role: str, port: str, ip: str, mac: str) -> None:
        run("ip", "-n", self.names[role], "link", "set", port, "address", mac, "up")
        run("ip", "-n", self.names[role], "address", "add", f"{ip}/24", "dev", port)

    def _neighbour(self, role: str, port: str, ip: str, mac: str) -> None:
        run("ip", "-n", self.names[role], "neighbour", "add", ip, "lladdr", mac, "dev", port, "nud", "permanent")


def _wait_until_quiet(path: Path) -> None:
    """Wait until a file has not grown for 0.4 s: the last acknowledgments, and a tcpdump that is behind."""
    size = -1
    while size != (now := path.stat().st_size):
        size = now
        time.sleep(0.4)


def _no_offload(port: str) -> None:
    """Have checksums computed and segments cut before the cable, as `ethtool -K PORT tx off` does."""
    value = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_STXCSUM, 0))
    request = struct.pack("16sP", port.encode(), ctypes.addressof(value))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCETHTOOL, request)


def _carry(source: socket.socket, target: socket.socket, delay_s: float, stop: threading.Event) -> None:
    """Move frames from one port to another until told to stop, or until the ports are gone."""
    waiting: collections.deque[tuple[float, bytes]] = collections.deque()
    while not stop.is_set():
        wait = max(waiting[0][0] - time.monotonic(), 0) if waiting else 0.2
        try:
            if select.select([source], [], [], min(wait, 0.2))[0]:
                frame, address = source.recvfrom(2048)
                if address[2] != PACKET_OUTGOING:
                    waiting.append((time.monotonic() + delay_s, frame))
            while waiting and waiting[0][0] <= time.monotonic():
                target.send(waiting.popleft()[1])
        except OSError:
            return
