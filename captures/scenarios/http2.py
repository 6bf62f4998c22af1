"""HTTP/2: PING, GOAWAY, cancelled streams; and gRPC, whose keep-alive is HTTP/2's PING.

Source  RFC 9113 (sections 3.3, 6.4, 6.7, 6.8, 7); gRPC's guide on keepalive (too_many_pings).
"""

from __future__ import annotations

import json
import sys
from typing import Any

import h2.config
import h2.connection
import h2.events

from captures.lab import PROGRAMS, Lab, closed, must_be, read_to_end, scenario
from captures.scenarios.http import nginx
from captures.scenarios.tls import certificate, facts

# both ends say GOAWAY and close at about the same time; one may still write when the other's FIN is there
ANY = [
    "fin_client_first",
    "fin_server_first",
    "fin_simultaneous",
    "fin_half_close",
    "rst_after_peer_fin",
    "rst_after_own_fin",
]
WHO = ["client", "server", "both"]


def node_client(
    lab: Lab, url: str, action: str, *arguments: str, flags: tuple[str, ...] = ()
) -> tuple[int, dict[str, Any]]:
    """Run `programs/h2_client.js`; return its port and what it saw."""
    port = lab.next_port()
    program = lab.start("client", "node", *flags, str(PROGRAMS / "h2_client.js"), url, action, *arguments)
    output, _ = program.communicate(timeout=20)
    return port, json.loads(output)


def node_over_tls(lab: Lab, action: str) -> tuple[int, dict[str, Any]]:
    """Run the client against `programs/h2_server.js` over TLS, keep its secrets, and return as `node_client` does."""
    key, cert = certificate(lab)
    lab.node("server", "h2_server.js", lab.server_ip, "443", key, cert)
    lab.wait_for(443)
    return node_client(lab, f"https://{lab.server_ip}", action, cert, flags=(f"--tls-keylog={lab.keys}",))


def pings(client: int | None = 0, server: int | None = 0) -> dict[str, int | None]:
    """Return PINGs without ACK by side; None where nobody counted."""
    return {"client": client, "server": server}


@scenario("Node.js", "OpenSSL")
def h2_ping(lab: Lab) -> None:
    """Node's HTTP/2 over TLS 1.3: a request, five PINGs a second apart, a request, GOAWAY by the client; with keys."""
    lab.look_for = "PING of 8 bytes and its ACK with the same bytes, invisible without keys but for records of 34 bytes"
    port, seen = node_over_tls(lab, "ping")
    must_be((seen["requests"], seen["acks"]), (2, 5))
    beats = [{"kind": "h2_ping", "by": "client", "interval_s": 1.0, "count": 5, "answered": 5}]
    lab.connection(
        port,
        443,
        closed("graceful", ANY, "client fin, server fin", initiator=WHO, trigger="goaway"),
        app="h2",
        heartbeats=beats,
        uncertain=["h2.goaway", "tls.close_notify.server"],
        tls=facts("1.3", alpn="h2"),
        h2={"requests": 2, "pings": pings(5), "goaway": [["client", 0]]},
    )


@scenario("Node.js", "OpenSSL")
def h2_events(lab: Lab) -> None:
    """A language model answers in server-sent events over HTTP/2; thinking, it sends `event: ping` each second."""
    lab.look_for = "DATA frames of a few bytes each second: without them an idle timeout would cut the answer in two"
    port, seen = node_over_tls(lab, "events")
    must_be(seen["requests"], 1)
    beats = [{"kind": "sse_ping", "by": "server", "interval_s": 1.0, "count": 6, "answered": None}]
    lab.connection(
        port,
        443,
        closed("graceful", ANY, "client fin, server fin", initiator=WHO, trigger="goaway"),
        app="h2",
        heartbeats=beats,
        uncertain=["h2.goaway", "tls.close_notify.server"],
        tls=facts("1.3", alpn="h2"),
        h2={"requests": 1, "pings": pings(), "goaway": [["client", 0]]},
    )


@scenario("Node.js")
def h2c_goaway(lab: Lab) -> None:
    """A Node server in clear text says GOAWAY and lets the connection end, as servers do before a restart."""
    lab.look_for = "the preface at the start, GOAWAY NO_ERROR with the last stream's number, then FIN"
    lab.node("server", "h2_server.js", lab.server_ip, "8080")
    lab.wait_for(8080)
    port, seen = node_client(lab, f"http://{lab.server_ip}:8080", "leave")
    must_be((seen["requests"], set(seen["goaway"])), (1, {0}))
    close = closed("graceful", ANY, "", initiator=WHO, trigger="goaway")
    lab.connection(
        port,
        8080,
        close,
        app="h2",
        uncertain=["close.signals", "h2.goaway"],
        h2={
            "requests": 1,
            "pings": pings(),
            "goaway": [["server", code] for code in seen["goaway"]],
            "prior_knowledge": True,
        },
    )


@scenario("Node.js")
def h2c_cancel(lab: Lab) -> None:
    """A client cancels a stream that has answered only with headers, makes another request, and leaves."""
    lab.look_for = "RST_STREAM CANCEL on one stream; the connection and its next stream go on"
    lab.node("server", "h2_server.js", lab.server_ip, "8080")
    lab.wait_for(8080)
    port, seen = node_client(lab, f"http://{lab.server_ip}:8080", "cancel")
    must_be(seen["requests"], 2)
    close = closed("graceful", ANY, "", initiator=WHO, trigger="goaway")
    lab.connection(
        port,
        8080,
        close,
        app="h2",
        uncertain=["close.signals", "h2.goaway"],
        h2={
            "requests": 2,
            "pings": pings(),
            "goaway": [["client", 0]],
            "rst_stream": [["client", 8]],
            "prior_knowledge": True,
        },
    )


def by_hand(lab: Lab, port: int) -> tuple[Any, h2.connection.H2Connection]:
    """Connect with Python's `h2` and make one request; return the socket and the protocol's state."""
    client = lab.dial(port)
    state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    state.initiate_connection()
    request = [(":method", "GET"), (":path", "/"), (":authority", "example.com"), (":scheme", "http")]
    state.send_headers(1, request, end_stream=True)
    client.sendall(state.data_to_send())
    ended = False
    while not ended:
        for event in state.receive_data(client.recv(4096)):
            ended = ended or isinstance(event, h2.events.StreamEnded)
        client.sendall(state.data_to_send())
    return client, state


def said(state: h2.connection.H2Connection, data: bytes) -> list[int]:
    """Return the codes of the GOAWAYs in what was received last."""
    return [int(e.error_code or 0) for e in state.receive_data(data) if isinstance(e, h2.events.ConnectionTerminated)]


@scenario("nginx", "h2")
def h2c_nginx_idle(lab: Lab) -> None:
    """nginx with `keepalive_timeout 2s` ends an idle HTTP/2 connection: GOAWAY, then FIN."""
    lab.look_for = "2 s of silence, GOAWAY NO_ERROR, FIN: the same timeout as with HTTP/1, but announced"
    nginx(lab, "keepalive_timeout 2s", f"listen {lab.server_ip}:8080 http2")
    client, state = by_hand(lab, 8080)
    last: list[bytes] = []
    gap = lab.gap(lambda: last.append(client.recv(4096)))
    must_be(said(state, last[0] + read_to_end(client)), [0])
    client.close()
    close = closed("idle_timeout", "fin_server_first", "server fin, client fin", initiator="server", trigger="goaway")
    lab.connection(
        40001,
        8080,
        close,
        app="h2",
        idle_gaps=[gap],
        h2={"requests": 1, "pings": pings(), "goaway": [["server", 0]], "prior_knowledge": True},
    )


@scenario("nginx", "h2")
def h2c_protocol_error(lab: Lab) -> None:
    """A client sends a WINDOW_UPDATE of zero; nginx ends the connection with GOAWAY PROTOCOL_ERROR."""
    lab.look_for = "an increment of 0 (RFC 9113 section 6.9: an error), GOAWAY with code 1"
    nginx(lab, f"listen {lab.server_ip}:8080 http2")
    client, state = by_hand(lab, 8080)
    client.sendall(bytes.fromhex("000004 08 00 00000000 00000000"))
    must_be(said(state, read_to_end(client)), [1])
    client.close()
    close = closed("graceful", "fin_server_first", "server fin, client fin", initiator="server", trigger="goaway")
    lab.connection(
        40001,
        8080,
        close,
        app="h2",
        idle_gaps=[],
        h2={"requests": 1, "pings": pings(), "goaway": [["server", 1]], "prior_knowledge": True},
    )


def grpc(lab: Lab, pings_are: str, seconds: str) -> tuple[int, list[str]]:
    """Run `programs/grpc_peer.py` at both ends; return the client's port and the channel's states."""
    address = f"{lab.server_ip}:50051"
    peer = (sys.executable, str(PROGRAMS / "grpc_peer.py"))
    lab.start("server", *peer, "server", address, "0", pings_are)
    lab.wait_for(50051)
    port = lab.next_port()
    output, _ = lab.start("client", *peer, "client", address, seconds, pings_are).communicate(timeout=30)
    return port, output.strip().split(",")


@scenario("grpcio")
def grpc_too_many_pings(lab: Lab) -> None:
    """A gRPC client pings every second, the server allows that only every five minutes: GOAWAY ENHANCE_YOUR_CALM."""
    lab.look_for = "a few PINGs, then GOAWAY with code 11 and the text `too_many_pings`: keep-alive was what killed it"
    port, states = grpc(lab, "forbidden", "6")
    must_be(states[-1], "IDLE")  # the channel has lost its connection and has no reason to make another
    shapes = [*ANY, "rst_abort", "rst_unread_data"]
    lab.connection(
        port,
        50051,
        closed("graceful", shapes, "", initiator=WHO, trigger="goaway", reason="too_many_pings"),
        app="h2",
        subprotocol="grpc",
        uncertain=["close.signals", "h2.pings"],
        h2={"requests": 1, "pings": pings(None, None), "goaway": [["server", 11]], "prior_knowledge": True},
    )


@scenario("grpcio")
def grpc_keepalive(lab: Lab) -> None:
    """The same client, and a server that allows pings every half second: the channel stays ready for 6 s."""
    lab.look_for = "a PING a second by the client, each acknowledged, on a connection without calls"
    port, states = grpc(lab, "allowed", "6")
    must_be(states[-1], "READY")
    beats = [{"kind": "h2_ping", "by": "client", "interval_s": 1.0, "count": None, "answered": None}]
    shapes = [*ANY, "rst_abort", "rst_unread_data"]
    lab.connection(
        port,
        50051,
        closed("graceful", shapes, "", initiator=WHO),
        app="h2",
        subprotocol="grpc",
        uncertain=["close.signals", "h2.pings", "h2.goaway", "heartbeats.count"],
        heartbeats=beats,
        h2={"requests": 1, "pings": pings(None, None), "goaway": None, "prior_knowledge": True},
    )
