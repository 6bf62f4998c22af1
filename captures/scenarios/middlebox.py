"""Boxes on the way: a NAT whose entries expire (Linux conntrack), a firewall, and HAProxy with each of its timeouts.

Timers that are minutes or days in the field (conntrack: 5 days, cloud NATs: 350 s) are seconds here.
"""

from __future__ import annotations

import socket
import time

from captures.lab import (
    REQUEST,
    Lab,
    closed,
    exchange,
    keep_alive,
    must_be,
    must_fail,
    read_to_end,
    read_until,
    scenario,
)

NAT = """
table ip nat {{
  chain post {{
    type nat hook postrouting priority 100
    oifname "out" masquerade
  }}
}}
table ip guard {{
  chain forwarded {{
    type filter hook forward priority 0
    ct state invalid {verdict}
  }}
}}
"""


def nat(lab: Lab, verdict: str, timeout_s: int = 3) -> None:
    """Turn the router into a NAT that forgets quiet connections and does `verdict` to what then comes of them."""
    lab.net.nft("router", NAT.format(verdict=verdict))
    # loose tracking would take a packet from the middle of a connection for a new one
    lab.net.sysctl(
        "router",
        f"net.netfilter.nf_conntrack_tcp_timeout_established={timeout_s}",
        "net.netfilter.nf_conntrack_tcp_loose=0",
    )


@scenario("nftables", topology="router", also_at="server")
def nat_silent(lab: Lab) -> None:
    """A NAT forgets a connection after 3 s of silence and drops the next request; the client retries until it
    gives up."""
    lab.look_for = "data after a silence, retransmitted without any answer: the shape of an expired NAT entry"
    lab.between = [["path_dead", "client"]]
    nat(lab, "drop")
    client, server = lab.pair(9001)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 3500)
    exchange(client, server)
    gap = lab.gap(5)
    client.sendall(REQUEST)
    must_fail(lambda: client.recv(1), TimeoutError)
    client.close()
    lab.connection(
        40001,
        9001,
        closed(
            "nat_timeout_silent", ["silent_death", "abort_retransmit"], "", initiator="none", race="silent_drop_reuse"
        ),
        app="http/1.1",
        idle_gaps=[gap],
        uncertain=["idle_gaps"],
        tcp_events={"retransmissions": lab.changes()["client"]["RetransSegs"]},
    )


@scenario("nftables", topology="router", also_at="server")
def nat_rst(lab: Lab) -> None:
    """A NAT forgets a connection after 3 s of silence and answers the next request with RST in the server's name."""
    lab.look_for = "data after a silence, answered by a RST: its TTL is not the server's"
    lab.between = [["rst_not_sent", "server"]]  # the request died there, too, but as the last segment of its capture
    nat(lab, "reject with tcp reset")
    client, server = lab.pair(9002)
    exchange(client, server)
    gap = lab.gap(5)
    client.sendall(REQUEST)
    must_fail(lambda: client.recv(1), ConnectionResetError)
    client.close()
    lab.connection(
        40001,
        9002,
        closed(
            "nat_timeout_rst",
            ["rst_to_data_stale", "rst_injected_suspected"],
            "server rst",
            initiator=["server", "middlebox"],
            race="silent_drop_reuse",
            really_by="router",
            error_c="ECONNRESET",
        ),
        app="http/1.1",
        idle_gaps=[gap],
    )


@scenario("nftables", topology="router")
def nat_kept_alive(lab: Lab) -> None:
    """The same NAT, and a client that sends a keep-alive probe every 2 s: the entry never expires."""
    lab.look_for = "a silence of 7 s through a NAT with a timeout of 3 s, survived because probes filled it"
    nat(lab, "drop")
    client, server = lab.pair(9003)
    keep_alive(client, idle_s=2, interval_s=1, count=3)
    exchange(client, server)
    gap = lab.gap(7, survived=True)
    exchange(client, server)
    client.close()
    must_be(read_to_end(server), b"")
    server.close()
    probes = lab.changes()["client"]["TCPKeepAlive"]
    lab.connection(
        40001,
        9003,
        closed("graceful", "fin_client_first", "client fin, server fin", initiator="client"),
        app="http/1.1",
        idle_gaps=[gap],
        tcp_keepalive={"client": {"probes": probes, "answered": probes}, "server": {"probes": 0}},
    )


@scenario("nftables", topology="router")
def nat_probe_too_late(lab: Lab) -> None:
    """The client probes after 5 s, the NAT has forgotten after 3: the probe itself is answered by RST."""
    lab.look_for = "a keep-alive probe answered by RST: keep-alive was on, and slower than the path"
    nat(lab, "reject with tcp reset")
    client, server = lab.pair(9004)
    keep_alive(client, idle_s=5, interval_s=1, count=3)
    exchange(client, server)
    gap = lab.gap(lambda: must_fail(lambda: client.recv(1), ConnectionResetError))
    client.close()
    lab.connection(
        40001,
        9004,
        closed(
            "nat_timeout_rst",
            ["rst_to_keepalive", "rst_injected_suspected"],
            "server rst",
            initiator=["server", "middlebox"],
            really_by="router",
            error_c="ECONNRESET",
        ),
        app="http/1.1",
        idle_gaps=[gap],
        tcp_keepalive={"client": {"probes": 1, "answered": 0}, "server": {"probes": 0}},
    )


@scenario("nftables", topology="router")
def firewall_reload(lab: Lab) -> None:
    """A firewall gets a rule that forbids a connection in use; its next request is rejected with a RST."""
    lab.look_for = "a RST in the middle of a conversation, with another TTL than the server's packets"
    client, server = lab.pair(9005)
    for _ in range(3):
        exchange(client, server)
        time.sleep(0.2)
    lab.net.nft(
        "router",
        "table ip guard {\n chain forwarded {\n  type filter hook forward priority 0\n"
        "  tcp dport 9005 reject with tcp reset\n }\n}\n",
    )
    client.sendall(REQUEST)
    must_fail(lambda: client.recv(1), ConnectionResetError)
    client.close()
    shapes = ["rst_injected_suspected", "rst_abort", "rst_to_data_stale", "rst_unread_data"]
    lab.connection(
        40001,
        9005,
        closed("middlebox_rst", shapes, "server rst", initiator=["server", "middlebox"], really_by="router"),
        app="http/1.1",
        idle_gaps=[],
    )


def haproxy(lab: Lab, mode: str, *timeouts: str) -> None:
    """Start HAProxy at port 8080 of the server, in front of a backend at 127.0.0.1:9000."""
    lines = "\n".join(f"  timeout {timeout}" for timeout in ("connect 2s", *timeouts))
    path = lab.write(
        "haproxy.cfg",
        f"defaults\n  mode {mode}\n{lines}\nlisten front\n  bind {lab.server_ip}:8080\n  server one 127.0.0.1:9000\n",
    )
    lab.start("server", "haproxy", "-db", "-f", path, log="haproxy.log")
    lab.wait_for(8080)


def by_haproxy(shape: str = "fin_server_first", kind: str = "idle_timeout", **facts: str) -> dict[str, object]:
    """Describe a close by HAProxy, followed by that of the client's script."""
    return closed(kind, shape, "server fin, client fin", initiator="server", **facts)


@scenario("HAProxy", "Node.js")
def haproxy_keepalive_timeout(lab: Lab) -> None:
    """HAProxy closes a client's persistent connection after `timeout http-keep-alive 2s`; its other timeouts are
    longer."""
    lab.look_for = "FIN by the proxy 2 s after the last response; nothing in the response announces it"
    lab.node("server", "http.js", "127.0.0.1", "9000")
    lab.wait_for(9000)
    haproxy(lab, "http", "client 10s", "server 10s", "http-keep-alive 2s")
    client = lab.dial(8080)
    for _ in range(2):
        client.sendall(REQUEST)
        read_until(client, b"hello")
        time.sleep(0.5)
    gap = lab.gap(lambda: must_be(client.recv(1), b""))
    client.close()
    gap["length_s"] = round(gap["length_s"] + 0.5, 3)
    gap["start_epoch"] = round(gap["start_epoch"] - 0.5, 3)
    lab.connection(
        40001,
        8080,
        by_haproxy(trigger="idle_timeout", reason="timeout http-keep-alive 2s"),
        app="http/1.1",
        idle_gaps=[gap],
        http={"requests": 2, "statuses": [200, 200], "methods": ["GET", "GET"]},
    )


@scenario("HAProxy", "Node.js")
def haproxy_server_timeout(lab: Lab) -> None:
    """The backend takes 1.5 s, HAProxy waits only 1 s for it (`timeout server 1s`): 504, and the connection is
    closed."""
    lab.look_for = "silence whose turn is the server's, then 504: the proxy answers for a backend that did not"
    lab.node("server", "http.js", "127.0.0.1", "9000")
    lab.wait_for(9000)
    haproxy(lab, "http", "client 10s", "server 1s", "http-keep-alive 1s")
    client = lab.dial(8080)
    client.sendall(b"GET /slow HTTP/1.1\r\nHost: example.com\r\n\r\n")
    waiting = lab.gap(lambda: must_be(client.recv(4096)[:12], b"HTTP/1.1 504"))
    idle = lab.gap(lambda: read_to_end(client))
    client.close()
    lab.connection(
        40001,
        8080,
        by_haproxy(),
        app="http/1.1",
        idle_gaps=[waiting, idle],
        http={"requests": 1, "statuses": [504], "methods": ["GET"]},
    )


@scenario("HAProxy")
def haproxy_request_timeout(lab: Lab) -> None:
    """A client sends half a request head and no more: `timeout http-request 2s`, 408, close."""
    lab.look_for = "408 to a request that never ended: the client's fault, told by the proxy"
    haproxy(lab, "http", "client 10s", "server 10s", "http-request 2s")
    client = lab.dial(8080)
    client.sendall(b"GET / HTTP/1.1\r\nHost: exam")
    gap = lab.gap(lambda: must_be(client.recv(12), b"HTTP/1.1 408"))
    read_to_end(client)
    client.close()
    lab.connection(40001, 8080, by_haproxy(kind="request_timeout"), app="http/1.1", idle_gaps=[gap])


@scenario("HAProxy")
def haproxy_tcp_idle(lab: Lab) -> None:
    """HAProxy in TCP mode closes both sides after `timeout client 2s`; it had no idea what was carried."""
    lab.look_for = "FIN by the proxy after 2 s without payload, although keep-alive probes went to and fro"
    haproxy(lab, "tcp", "client 2s", "server 2s")

    def backend() -> socket.socket:
        return socket.create_server(("127.0.0.1", 9000))

    with lab.net.at("server", backend) as listener:
        client = lab.dial(8080)
        keep_alive(client, idle_s=1, interval_s=1, count=3)
        server, _ = listener.accept()
        client.sendall(b"ping\n")
        must_be(server.recv(100), b"ping\n")
        server.sendall(b"pong\n")
        must_be(client.recv(100), b"pong\n")
        gap = lab.gap(lambda: must_be(client.recv(1), b""), survived=False)
        client.close()
        server.close()
    probes = lab.changes()["client"]["TCPKeepAlive"]
    lab.connection(
        40001,
        8080,
        by_haproxy(reason="timeout client 2s"),
        idle_gaps=[gap],
        tcp_keepalive={"client": {"probes": probes, "answered": probes}, "server": {"probes": 0}},
    )
