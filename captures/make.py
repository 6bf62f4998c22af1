"""Make the sample captures: `sudo python captures/make.py [NAME...]`. Linux, root, tcpdump; Node.js for one of them.

Each scenario runs real sockets in two network namespaces joined by a virtual cable, while tcpdump listens beside the
client:

    client 10.77.0.1 ---- server 10.77.0.2

`NAME.pcap` is what tcpdump wrote. `NAME.json` is what the scenario did: it is written from the code, the clocks and the
errors of the sockets, and the kernels' counters, never from the capture. Timers are scaled down to seconds.

A socket belongs to the namespace its thread was in when it was made; that is all `at()` is for.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CLIENT, SERVER = "longwire-c", "longwire-s"
CLIENT_IP, SERVER_IP = "10.77.0.1", "10.77.0.2"
REQUEST = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
COUNTERS = ("TCPKeepAlive", "TCPWinProbe", "TCPAbortOnTimeout", "TCPFromZeroWindowAdv", "OutRsts", "RetransSegs")
SCENARIOS: dict[str, Callable[[Truth], None]] = {}


@dataclass
class Truth:
    """What a scenario knows about its own doing; becomes NAME.json."""

    name: str
    what: str = ""
    look_for: str = ""
    tools: list[str] = field(default_factory=lambda: ["plain sockets"])
    connections: list[dict[str, Any]] = field(default_factory=list)

    def connection(self, client_port: int, server_port: int, **facts: Any) -> None:
        """State what became of one connection; keys are those of `captures/README.md`."""
        ends = {"client": [CLIENT_IP, client_port], "server": [SERVER_IP, server_port]}
        self.connections.append({**ends, **facts})


def scenario(function: Callable[[Truth], None]) -> Callable[[Truth], None]:
    """Enter a function into the catalogue under its own name."""
    SCENARIOS[function.__name__] = function
    return function


# --- the scenarios, in the order of the catalogue


@scenario
def keepalive_answered(truth: Truth) -> None:
    """A quiet connection kept alive: TCP probes every 2 s, each answered, until the client says goodbye."""
    truth.look_for = "three keep-alive probes by the client, each with its answer; the gap is filled and survived"
    listener = listen(8001)
    client, server = connect(40001, listener)
    keep_alive(client, idle_s=2, interval_s=1, count=3)
    exchange(client, server)
    before = counters(CLIENT)["TCPKeepAlive"]
    gap = timed(lambda: time.sleep(7))
    probes = counters(CLIENT)["TCPKeepAlive"] - before
    exchange(client, server)
    client.close()
    read_to_end(server)
    server.close()
    truth.connection(
        40001, 8001, close_kind="fin_client_first", initiator="client", keepalive_probes_c=probes, keepalive_probes_s=0,
        keepalive_unanswered_c=0, keepidle_s=2, keepintvl_s=1, keepcnt=3,
        idle_gaps=[{"length_s": gap, "survived": True}],
    )  # fmt: skip


@scenario
def keepalive_dead_peer(truth: Truth) -> None:
    """The server's host vanishes without a word; three unanswered probes later the client's kernel gives up."""
    truth.look_for = "probes 1 s apart without answers, then RST,ACK by the prober"
    listener = listen(8002)
    client, server = connect(40002, listener)
    keep_alive(client, idle_s=2, interval_s=1, count=3)
    exchange(client, server)
    before = counters(CLIENT)
    vanish()
    try:
        gap = timed(lambda: must_fail(lambda: client.recv(1), TimeoutError))
        reset_on_close(server)  # while nothing of it can reach the cable
    finally:
        come_back()
    probes = counters(CLIENT)["TCPKeepAlive"] - before["TCPKeepAlive"]
    truth.connection(
        40002, 8002, close_kind="abort_keepalive", initiator="client", error_c="ETIMEDOUT", keepalive_probes_c=probes,
        keepalive_unanswered_c=probes, keepidle_s=2, keepintvl_s=1, keepcnt=3, idle_gaps=[{"length_s": gap}],
    )  # fmt: skip
    client.close()


@scenario
def idle_server_close(truth: Truth) -> None:
    """A Node.js server with its default settings closes a persistent connection that had no second request."""
    truth.look_for = "FIN by the server out of silence, a second later than the `Keep-Alive: timeout=5` it advertised"
    code = "require('http').createServer((q, a) => a.end('hello')).listen(8003, () => console.log('ready'))"
    command = ["ip", "netns", "exec", SERVER, "node", "-e", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
        try:
            assert node.stdout is not None
            node.stdout.readline()
            client = at(CLIENT, lambda: socket.create_connection((SERVER_IP, 8003), 10, (CLIENT_IP, 40003)))
            client.sendall(REQUEST)
            response = client.recv(4096)
            must_be(response[-9:], b"\r\n\r\nhello")
            advertised = int(response.partition(b"Keep-Alive: timeout=")[2].partition(b"\r\n")[0])
            gap = timed(lambda: must_be(client.recv(1), b""))
            client.close()
        finally:
            node.terminate()
    truth.tools = [f"Node.js {run('node', '--version').strip()}", "plain sockets"]
    truth.connection(
        40003, 8003, close_kind="fin_server_first", initiator="server", trigger="idle_timeout", requests=1,
        keepalive_timeout_s=advertised, idle_gaps=[{"length_s": gap}],
    )  # fmt: skip


@scenario
def idle_rst(truth: Truth) -> None:
    """The server drops a connection after 3 s of silence with RST instead of FIN, as some load balancers do."""
    truth.look_for = "RST,ACK by the server out of silence, nothing outstanding in either direction"
    listener = listen(8004)
    client, server = connect(40004, listener)
    exchange(client, server)
    gap = timed(lambda: time.sleep(3))
    reset_on_close(server)
    must_fail(lambda: client.recv(1), ConnectionResetError)
    client.close()
    truth.connection(
        40004, 8004, close_kind="rst_on_idle", initiator="server", error_c="ECONNRESET", rst_s=1,
        idle_gaps=[{"length_s": gap, "survived": False}],
    )  # fmt: skip


@scenario
def refused(truth: Truth) -> None:
    """Nobody listens on the port."""
    truth.look_for = "SYN answered by RST,ACK"
    client = at(CLIENT, socket.socket)
    client.bind((CLIENT_IP, 40005))
    must_fail(lambda: client.connect((SERVER_IP, 8005)), ConnectionRefusedError)
    client.close()
    truth.connection(40005, 8005, close_kind="refused", initiator="server", error_c="ECONNREFUSED", rst_s=1)


@scenario
def half_close(truth: Truth) -> None:
    """The client ends its side after the request; the server goes on sending for a second, then ends its own."""
    truth.look_for = "payload from the server after the client's FIN was acknowledged: a half-close, not a race"
    listener = listen(8006)
    client, server = connect(40006, listener)
    client.sendall(b"select * from everything\n")
    client.shutdown(socket.SHUT_WR)
    read_to_end(server)
    for _ in range(5):
        time.sleep(0.2)
        server.sendall(b"one row of many\n" * 20)
    server.close()
    received = read_to_end(client)
    client.close()
    truth.connection(
        40006, 8006, close_kind="fin_half_close", initiator="client", payload_bytes_c=25, payload_bytes_s=received,
        fin_c=1, fin_s=1, idle_gaps=[],
    )  # fmt: skip


@scenario
def zero_window(truth: Truth) -> None:
    """The server does not read for 3 s; its window closes and the client's kernel asks again and again."""
    truth.look_for = (
        "zero window, persist probes by the client at growing intervals (not keep-alives), then a window update"
    )
    listener = listen(8007, receive_buffer=8192)
    client, server = connect(40007, listener)
    client.setblocking(False)
    sent = 0
    data = b"x" * 4096
    end = time.monotonic() + 3
    before = counters(CLIENT)["TCPWinProbe"]
    while time.monotonic() < end:
        with contextlib.suppress(BlockingIOError):
            if sent < 100_000:
                sent += client.send(data)
        time.sleep(0.01)
    probes = counters(CLIENT)["TCPWinProbe"] - before
    client.setblocking(True)
    client.shutdown(socket.SHUT_WR)
    must_be(read_to_end(server), sent)
    server.close()
    client.close()
    truth.connection(
        40007, 8007, close_kind="fin_client_first", initiator="client", payload_bytes_c=sent, payload_bytes_s=0,
        zero_window_probes_c=probes, keepalive_probes_c=0,
    )  # fmt: skip


@scenario
def stale_reuse(truth: Truth) -> None:
    """A client takes a connection out of its pool that the server closed 2 s ago, and writes a request on it."""
    truth.look_for = "FIN by the server, acknowledged; seconds later a request, answered by a bare RST"
    listener = listen(8008)
    client, server = connect(40008, listener)
    exchange(client, server)
    gap = timed(lambda: time.sleep(1.5))
    server.close()
    unnoticed = timed(lambda: time.sleep(2))
    client.sendall(REQUEST)
    time.sleep(0.1)
    must_fail(lambda: client.sendall(REQUEST), BrokenPipeError)
    client.close()
    truth.connection(
        40008, 8008, close_kind="rst_to_data_stale", initiator="server", race="stale_reuse", rst_s=1, fin_s=1, fin_c=0,
        idle_gaps=[{"length_s": round(gap, 2)}, {"length_s": round(unnoticed, 2)}],
    )  # fmt: skip


# --- sockets


def listen(port: int, receive_buffer: int = 0) -> socket.socket:
    """Return a listening socket in the server's namespace."""
    listener: socket.socket = at(SERVER, socket.socket)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if receive_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listener.bind((SERVER_IP, port))
    listener.listen()
    return listener


def connect(client_port: int, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a new connection; the listener is closed."""
    client = at(CLIENT, lambda: socket.create_connection(listener.getsockname(), 10, (CLIENT_IP, client_port)))
    client.settimeout(20)
    server, _ = listener.accept()
    listener.close()
    return client, server


def exchange(client: socket.socket, server: socket.socket) -> None:
    """One request, one response, both read."""
    client.sendall(REQUEST)
    must_be(server.recv(4096), REQUEST)
    server.sendall(RESPONSE)
    must_be(client.recv(4096), RESPONSE)


def keep_alive(end: socket.socket, idle_s: int, interval_s: int, count: int) -> None:
    """Turn TCP keep-alive on."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, idle_s)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, interval_s)
    end.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, count)


def reset_on_close(end: socket.socket) -> None:
    """Close with RST: SO_LINGER with a time of zero."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def read_to_end(end: socket.socket) -> int:
    """Read until the peer's FIN; return how many bytes there were."""
    total = 0
    while data := end.recv(65536):
        total += len(data)
    return total


def timed(action: Callable[[], object]) -> float:
    """Return how long `action` took, in seconds to the hundredth."""
    began = time.monotonic()
    action()
    return round(time.monotonic() - began, 2)


def must_be(value: object, wanted: object) -> None:
    """Stop unless the scenario goes as it claims."""
    if value != wanted:
        raise RuntimeError(f"expected {wanted!r}, got {value!r}")


def must_fail(action: Callable[[], object], error: type[OSError]) -> None:
    """Stop unless `action` raises `error`."""
    try:
        action()
    except error:
        return
    raise RuntimeError(f"expected {error.__name__}")


# --- namespaces


def run(*command: str) -> str:
    """Run a command and return what it printed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def at(namespace: str, action: Callable[[], Any]) -> Any:
    """Do `action` inside a network namespace."""
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

    result: dict[str, int] = at(namespace, read)
    return result


@contextlib.contextmanager
def namespaces() -> Iterator[None]:
    """Set up two namespaces with a cable between them; take them down whatever happens."""
    macs = {CLIENT: "02:00:00:00:00:01", SERVER: "02:00:00:00:00:02"}
    try:
        for namespace in (CLIENT, SERVER):
            run("ip", "netns", "add", namespace)
            run("ip", "netns", "exec", namespace, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        run("ip", "link", "add", "eth0", "netns", CLIENT, "type", "veth", "peer", "name", "eth0", "netns", SERVER)
        for namespace, ip, peer, peer_ip in (
            (CLIENT, CLIENT_IP, SERVER, SERVER_IP),
            (SERVER, SERVER_IP, CLIENT, CLIENT_IP),
        ):
            ip_n = ("ip", "-n", namespace)
            run(*ip_n, "link", "set", "eth0", "address", macs[namespace], "up")
            run(*ip_n, "address", "add", f"{ip}/24", "dev", "eth0")
            # fixed neighbours: no ARP, so that a vanished peer is met with silence and not with "no route"
            run(*ip_n, "neighbour", "add", peer_ip, "lladdr", macs[peer], "dev", "eth0", "nud", "permanent")
        yield
    finally:
        for namespace in (CLIENT, SERVER):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


def vanish() -> None:
    """Take the server's address away: its kernel drops what comes, as a host without power would."""
    run("ip", "-n", SERVER, "address", "delete", f"{SERVER_IP}/24", "dev", "eth0")


def come_back() -> None:
    """Give the server its address again."""
    run("ip", "-n", SERVER, "address", "add", f"{SERVER_IP}/24", "dev", "eth0")


@contextlib.contextmanager
def capturing(path: Path) -> Iterator[None]:
    """Capture the client's TCP packets into `path`."""
    tcpdump = ("tcpdump", "-i", "eth0", "-s", "0", "-U", "--immediate-mode", "-Z", "root", "-w", str(path), "tcp")
    with subprocess.Popen(["ip", "netns", "exec", CLIENT, *tcpdump], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        if not any("listening on" in line for line in process.stderr):  # reads up to that line, or to the end
            raise RuntimeError("tcpdump did not start")
        try:
            yield
            time.sleep(0.3)  # the last acknowledgments
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


# --- the catalogue


def make(name: str) -> None:
    """Run one scenario and write its capture and its truth."""
    action = SCENARIOS[name]
    truth = Truth(name, what=(action.__doc__ or "").strip())
    path = HERE / f"{name}.pcap"
    before = {side: counters(side) for side in (CLIENT, SERVER)}
    with capturing(path):
        action(truth)
    changes = {
        side: {key: value - before[namespace][key] for key, value in counters(namespace).items()}
        for side, namespace in (("client", CLIENT), ("server", SERVER))
    }
    document = {
        "name": name,
        "what": truth.what,
        "look_for": truth.look_for,
        "tools": truth.tools,
        "captured_at": "client",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "connections": truth.connections,
        "kernel_counters": {side: {key: n for key, n in change.items() if n} for side, change in changes.items()},
    }
    (HERE / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def table() -> str:
    """Return the catalogue as a Markdown table, from the JSON files present."""
    rows = ["| file | what happened | what to look for |", "| --- | --- | --- |"]
    for name in SCENARIOS:
        path = HERE / f"{name}.json"
        if path.exists():
            truth = json.loads(path.read_text())
            rows.append(f"| `{name}.pcap` | {truth['what']} | {truth['look_for']} |")
    return "\n".join(rows)


def write_readme() -> None:
    """Put the table between the two marks of README.md."""
    path = HERE / "README.md"
    head, _, rest = path.read_text().partition("<!-- catalogue -->\n")
    _, _, tail = rest.partition("<!-- end of catalogue -->")
    path.write_text(f"{head}<!-- catalogue -->\n{table()}\n<!-- end of catalogue -->{tail}")


def main() -> None:
    """Make the captures named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Make the sample captures (Linux, root).")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SCENARIOS)}; default: all")
    names = parser.parse_args().names or list(SCENARIOS)
    if unknown := set(names) - set(SCENARIOS):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    with namespaces():
        for name in names:
            print(name, file=sys.stderr)
            make(name)
    write_readme()


if __name__ == "__main__":
    main()
