"""What a scenario works with: sockets, programs, clocks, and the truth it writes down.

A scenario is a function of a `Lab`, entered by `@scenario`. What it states with `lab.connection` comes from its own
code, from its sockets' errors, from the programs' logs and from the kernels' counters, never from the capture.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import re
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from captures.net import Net, Result, run

PROGRAMS = Path(__file__).parent / "programs"
REQUEST = b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"

# program -> how to ask it for its version
ASK = {
    "nginx": "nginx -v", "HAProxy": "haproxy -v", "Node.js": "node --version", "OpenSSL": "openssl version",
    "curl": "curl --version", "Redis": "redis-server --version", "mosquitto": "mosquitto -h",
    "nftables": "nft --version",
}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """One entry of the catalogue."""

    action: Callable[[Lab], None]
    group: str
    topology: str
    captured_at: str
    uses: tuple[str, ...]
    also_at: str | None = None  # a second capture is taken there

    @property
    def name(self) -> str:
        """Return the name of the function, which is that of the capture."""
        return self.action.__name__

    @property
    def what(self) -> str:
        """Return what happens, in words."""
        return " ".join((self.action.__doc__ or "").split())


SCENARIOS: dict[str, Scenario] = {}


def scenario(
    *uses: str, topology: str = "direct", captured_at: str = "client", also_at: str | None = None
) -> Callable[[Callable[[Lab], None]], Callable[[Lab], None]]:
    """Enter a function into the catalogue under its own name; `uses` are the programs that take part."""

    def enter(action: Callable[[Lab], None]) -> Callable[[Lab], None]:
        group = action.__module__.rpartition(".")[2].partition("_")[0]  # tls_openssl is of the group tls
        SCENARIOS[action.__name__] = Scenario(action, group, topology, captured_at, uses, also_at)
        return action

    return enter


def closed(kind: str, shape: str | list[str], signals: str, **facts: Any) -> dict[str, Any]:
    """Describe an end: the cause, its `close_kind` (several where nobody decided), and "client fin, server fin"."""
    state = {"open": "open", "silent": "silent", "nat_timeout_silent": "silent"}.get(kind, "closed")
    sent = [signal.split() for signal in signals.split(", ")] if signals else []
    return {"state": state, "kind": kind, "shape": shape, "signals": sent, **facts}


class Lab:
    """The place where one scenario happens."""

    def __init__(self, entry: Scenario, net: Net, scratch: Path) -> None:
        """Start with nothing but namespaces and an empty directory."""
        self.entry, self.net, self.scratch = entry, net, scratch
        self.look_for = ""
        self.notes: list[str] = []
        self.connections: list[dict[str, Any]] = []
        self.between: list[list[str]] = []  # what happened between two points: codes of `differences`, and whose
        self.client_ip, self.server_ip = net.client_ip, net.server_ip
        self.keys = scratch / "keys"
        self._port = 40000
        self._programs: list[subprocess.Popen[str]] = []
        self._sockets: list[socket.socket] = []
        self._before = net.counters()

    # --- what is written down

    def connection(self, client: int, server: int, close: dict[str, Any], **facts: Any) -> dict[str, Any]:
        """State what became of one connection; keys are those of `captures/README.md`."""
        ends = {"client": [self.client_ip, client], "server": [self.server_ip, server]}
        self.connections.append({**ends, "handshake": "complete", "app": "raw", **facts, "close": close})
        return self.connections[-1]

    def changes(self) -> dict[str, dict[str, int]]:
        """Return how the kernels' counters changed since the beginning, by role."""
        now = self.net.counters()
        return {
            role: {key: now[role][key] - was for key, was in before.items()} for role, before in self._before.items()
        }

    # --- clocks

    def gap(self, wait: float | Callable[[], object], **facts: Any) -> dict[str, Any]:
        """Wait (or do what ends a silence) and return the silence, by this script's clock."""
        start, began = time.time(), time.monotonic()
        if callable(wait):
            wait()
        else:
            time.sleep(wait)
        return {"start_epoch": round(start, 3), "length_s": round(time.monotonic() - began, 3), **facts}

    # --- sockets

    def next_port(self) -> int:
        """Return a port of the client's, and let the kernel give that one to whoever connects next."""
        self._port += 1
        self.net.sysctl("client", f"net.ipv4.ip_local_port_range={self._port} {self._port}")
        return self._port

    def listen(self, port: int, receive_buffer: int = 0) -> socket.socket:
        """Listen at the server; connections it accepts time out after 20 s."""
        listener = self.net.at("server", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive_buffer:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        listener.bind((self.server_ip, port))
        listener.listen()
        listener.settimeout(20)
        return listener

    def dial(self, port: int) -> socket.socket:
        """Connect from the client to whatever serves a port."""
        client = self.net.at("client", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        client.settimeout(20)
        client.bind((self.client_ip, self.next_port()))
        client.connect((self.server_ip, port))
        self.hold(client)
        return client

    def pair(self, port: int, receive_buffer: int = 0) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a new connection."""
        with self.listen(port, receive_buffer) as listener:
            client = self.dial(port)
            server, _ = listener.accept()
        server.settimeout(20)
        self.hold(server)
        return client, server

    def hold(self, *sockets: socket.socket) -> None:
        """Keep sockets open until the capture has ended, whether or not anybody refers to them."""
        self._sockets += sockets

    # --- programs

    def command(self, role: str, *command: str) -> list[str]:
        """Return the command line that runs a command at one end."""
        return ["ip", "netns", "exec", self.net.names[role], *command]

    def run(self, role: str, *command: str, stdin: str | None = None) -> str:
        """Run a command at one end to its end."""
        return run(*self.command(role, *command), stdin=stdin)

    def start(
        self, role: str, *command: str, env: dict[str, str] | None = None, log: str = ""
    ) -> subprocess.Popen[str]:
        """Start a program at one end; it is terminated with the scenario. What it prints goes to a file `log`,
        or to pipes."""
        out: IO[str] | int = (self.scratch / log).open("w") if log else subprocess.PIPE
        error = subprocess.STDOUT if log else subprocess.DEVNULL
        program = subprocess.Popen(
            self.command(role, *command), stdin=subprocess.PIPE, stdout=out, stderr=error, text=True, bufsize=1,
            env={**os.environ, "HOME": str(self.scratch), **(env or {})}, cwd=self.scratch,
        )  # fmt: skip
        self._programs.append(program)
        return program

    def node(self, role: str, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Start one of `programs/*.js`."""
        return self.start(role, "node", str(PROGRAMS / script), *arguments)

    def write(self, name: str, text: str) -> str:
        """Write a file (a configuration) for a program and return its path."""
        path = self.scratch / name
        path.write_text(text)
        return str(path)

    def wait_for(self, port: int, role: str = "server") -> None:
        """Wait until a program listens; asked of the kernel, because a trial connection would be captured."""
        wanted = re.compile(rf"^ *\d+: [0-9A-F]+:{port:04X} [0-9A-F]+:0000 0A ", re.MULTILINE)
        end = time.monotonic() + 10
        while not self.net.at(role, lambda: wanted.search(Path("/proc/thread-self/net/tcp").read_text())):
            if time.monotonic() > end:
                raise RuntimeError(f"nothing listens at port {port}")
            time.sleep(0.02)

    def thread(self, action: Callable[[], object]) -> Callable[[], None]:
        """Do something at the same time; the function returned waits for it and raises what it raised."""
        errors: list[BaseException] = []

        def body() -> None:
            try:
                action()
            except BaseException as error:
                errors.append(error)

        worker = threading.Thread(target=body, daemon=True)
        worker.start()

        def join() -> None:
            worker.join(40)
            if errors:
                raise errors[0]

        return join

    def end(self) -> None:
        """Terminate the programs and close what the scenario left open, after the capture."""
        for end in self._sockets:
            end.close()
        for program in self._programs:
            program.terminate()
        for program in self._programs:
            try:
                program.wait(5)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
            for pipe in (program.stdin, program.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()


def tool(name: str) -> str:
    """Return a program or package with its version."""
    if name in ASK:
        done = subprocess.run(ASK[name].split(), capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
        return f"{name} {found[0] if found else '?'}"
    package = PROGRAMS / "node_modules" / name / "package.json"
    if package.exists():
        return f"{name} {json.loads(package.read_text())['version']} (npm)"
    return f"{name} {importlib.metadata.version(name)} (Python)"


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


def reset(end: socket.socket) -> None:
    """Close with RST: SO_LINGER with a time of zero."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.close()


def read_to_end(end: socket.socket) -> bytes:
    """Read until the peer's FIN."""
    parts = []
    while data := end.recv(65536):
        parts.append(data)
    return b"".join(parts)


def read_until(end: socket.socket, mark: bytes) -> bytes:
    """Read until the bytes read end with `mark`."""
    data = b""
    while not data.endswith(mark):
        more = end.recv(65536)
        if not more:
            raise RuntimeError(f"ended before {mark!r}: {data[-80:]!r}")
        data += more
    return data


def must_be(value: object, wanted: object) -> None:
    """Stop unless the scenario goes as it claims."""
    if value != wanted:
        raise RuntimeError(f"expected {wanted!r}, got {value!r}")


def must_fail(action: Callable[[], object], error: type[BaseException]) -> None:
    """Stop unless `action` raises `error`."""
    try:
        action()
    except error:
        return
    raise RuntimeError(f"expected {error.__name__}")


__all__ = [
    "PROGRAMS", "REQUEST", "RESPONSE", "SCENARIOS", "Lab", "Result", "Scenario", "closed", "exchange", "keep_alive",
    "must_be", "must_fail", "read_to_end", "read_until", "reset", "scenario", "tool",
]  # fmt: skip
