"""Plain sockets: keep-alive probes with every kind of answer, windows that close, peers that are gone.

Source  RFC 9293 section 3.8.4 (keep-alive) and 3.8.6.1 (zero-window probes); RFC 5482 (user timeout).
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

from captures.lab import Lab, closed, exchange, keep_alive, must_be, must_fail, read_to_end, reset, scenario

TIMERS = {"idle_s": 2, "interval_s": 1, "count": 3}


def probing(lab: Lab, answered: int | None = None, by: str = "client") -> dict[str, Any]:
    """Return what the kernels counted; where some were lost, the scenario knows how many were answered."""
    sent = {side: lab.changes()[side]["TCPKeepAlive"] for side in ("client", "server")}
    sides = {side: {"probes": n, "answered": n} for side, n in sent.items()}
    if answered is not None:
        sides[by]["answered"] = answered
    return {**sides, "timers": TIMERS, "by": by}


@scenario()
def keepalive_answered(lab: Lab) -> None:
    """A quiet connection kept alive: TCP probes every 2 s, each answered, until the client says goodbye."""
    lab.look_for = "three keep-alive probes by the client, each with its answer; the gap is filled and survived"
    client, server = lab.pair(8001)
    keep_alive(client, **{"idle_s": 2, "interval_s": 1, "count": 3})
    exchange(client, server)
    gap = lab.gap(7, survived=True)
    exchange(client, server)
    client.close()
    must_be(read_to_end(server), b"")
    server.close()
    lab.connection(
        40001,
        8001,
        closed("graceful", "fin_client_first", "client fin, server fin", initiator="client"),
        app="http/1.1",
        idle_gaps=[gap],
        tcp_keepalive=probing(lab),
        http={"requests": 2, "statuses": [200, 200], "methods": ["GET"] * 2},
    )


@scenario()
def keepalive_by_server(lab: Lab) -> None:
    """The server probes its quiet client every 2 s, as a server does that wants to know which clients are left."""
    lab.look_for = "probes from server to client; the client's timers say nothing"
    client, server = lab.pair(8001)
    keep_alive(server, idle_s=2, interval_s=1, count=3)
    exchange(client, server)
    gap = lab.gap(5, survived=False)
    server.close()
    must_be(read_to_end(client), b"")
    client.close()
    lab.connection(
        40001,
        8001,
        closed("idle_timeout", "fin_server_first", "server fin, client fin", initiator="server"),
        app="http/1.1",
        idle_gaps=[gap],
        tcp_keepalive=probing(lab, by="server"),
    )


@scenario()
def keepalive_dead_peer(lab: Lab) -> None:
    """The server's host vanishes without a word; three unanswered probes later the client's kernel gives up."""
    lab.look_for = "probes 1 s apart without answers, then RST,ACK by the prober"
    client, server = lab.pair(8002)
    keep_alive(client, idle_s=2, interval_s=1, count=3)
    exchange(client, server)
    lab.net.vanish()
    gap = lab.gap(lambda: must_fail(lambda: client.recv(1), TimeoutError), survived=False)
    reset(server)  # while nothing of it can reach the cable
    client.close()
    lab.connection(
        40001,
        8002,
        closed("keepalive_timeout", "abort_keepalive", "client rst", initiator="client", error_c="ETIMEDOUT"),
        app="http/1.1",
        idle_gaps=[gap],
        tcp_keepalive=probing(lab, answered=0),
    )


@scenario()
def keepalive_state_lost(lab: Lab) -> None:
    """The server's host restarts and knows nothing of its connections; the client's probe tells."""
    lab.look_for = "one probe, answered by a bare RST instead of an ACK"
    client, server = lab.pair(8003)
    keep_alive(client, idle_s=3, interval_s=1, count=3)
    exchange(client, server)
    lab.net.vanish()
    reset(server)  # what a restart does to state: forgotten, and nobody told
    lab.net.come_back()
    gap = lab.gap(lambda: must_fail(lambda: client.recv(1), ConnectionResetError), survived=False)
    client.close()
    lab.connection(
        40001,
        8003,
        closed("state_lost", "rst_to_keepalive", "server rst", initiator="server", error_c="ECONNRESET"),
        app="http/1.1",
        idle_gaps=[gap],
        tcp_keepalive={
            "client": {"probes": lab.changes()["client"]["TCPKeepAlive"], "answered": 0},
            "server": {"probes": 0},
        },
    )


@scenario()
def keepalive_one_lost(lab: Lab) -> None:
    """The path is interrupted for as long as one probe; the next is answered and the connection lives on."""
    lab.look_for = "one unanswered probe proves nothing: the following one is answered, and so is data"
    client, server = lab.pair(8004)
    keep_alive(client, idle_s=2, interval_s=1, count=3)
    exchange(client, server)

    def interruption() -> None:
        time.sleep(1.5)
        lab.net.vanish()
        time.sleep(1)  # the probe at 2 s is lost, the one at 3 s is not
        lab.net.come_back()
        time.sleep(1.5)

    gap = lab.gap(interruption, survived=True)
    exchange(client, server)
    client.close()
    must_be(read_to_end(server), b"")
    server.close()
    sent = lab.changes()["client"]["TCPKeepAlive"]
    lab.connection(
        40001,
        8004,
        closed("graceful", "fin_client_first", "client fin, server fin", initiator="client"),
        app="http/1.1",
        idle_gaps=[gap],
        tcp_keepalive=probing(lab, answered=sent - 1),
    )


@scenario()
def keepalive_too_slow(lab: Lab) -> None:
    """The client would probe after 6 s; the server gives up idle connections after 3 s, so no probe is ever sent."""
    lab.look_for = "no probe at all: SO_KEEPALIVE was on, with a longer time than the other side's patience"
    client, server = lab.pair(8005)
    keep_alive(client, idle_s=6, interval_s=1, count=3)
    exchange(client, server)
    gap = lab.gap(3, survived=False)
    server.close()
    must_be(read_to_end(client), b"")
    client.close()
    lab.connection(
        40001,
        8005,
        closed("idle_timeout", "fin_server_first", "server fin, client fin", initiator="server"),
        app="http/1.1",
        idle_gaps=[gap],
    )


@scenario()
def zero_window(lab: Lab) -> None:
    """The server does not read for 3 s; its window closes and the client's kernel asks again and again."""
    lab.look_for = (
        "zero window, persist probes by the client at growing intervals (not keep-alives), then a window update"
    )
    client, server = lab.pair(8007, receive_buffer=8192)
    client.setblocking(False)
    sent = 0
    end = time.monotonic() + 3
    while time.monotonic() < end:
        with contextlib.suppress(BlockingIOError):
            if sent < 100_000:
                sent += client.send(b"x" * 4096)
        time.sleep(0.01)
    client.setblocking(True)
    client.shutdown(socket.SHUT_WR)
    must_be(len(read_to_end(server)), sent)
    server.close()
    client.close()
    lab.connection(
        40001,
        8007,
        closed("graceful", "fin_client_first", "client fin, server fin", initiator="client"),
        payload_bytes={"client": sent, "server": 0},
        tcp_events={"zero_window_probes": lab.changes()["client"]["TCPWinProbe"]},
    )


@scenario()
def zero_window_abort(lab: Lab) -> None:
    """The server does not read; the client has TCP_USER_TIMEOUT and gives up on the closed window, silently."""
    lab.look_for = (
        "probes of a zero window, all answered; the reader comes back too late, and its window update meets a RST"
    )
    client, server = lab.pair(8008, receive_buffer=8192)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 3000)

    def fill() -> None:
        while True:
            client.sendall(b"x" * 4096)

    must_fail(fill, TimeoutError)
    client.close()
    time.sleep(0.5)
    must_fail(lambda: read_to_end(server), ConnectionResetError)
    server.close()
    lab.connection(
        40001,
        8008,
        closed("user_timeout", "abort_zero_window", "client rst", initiator="client", error_c="ETIMEDOUT"),
        tcp_events={"zero_window_probes": lab.changes()["client"]["TCPWinProbe"]},
    )


@scenario()
def retransmit_abort(lab: Lab) -> None:
    """The server's host is gone when a request is sent; retransmitted for 4 s (TCP_USER_TIMEOUT), then given up."""
    lab.look_for = (
        "the same bytes at doubling intervals, never acknowledged; then silence: the kernel gives up without a RST"
    )
    client, server = lab.pair(8009)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 4000)
    exchange(client, server)
    lab.net.vanish()
    client.sendall(b"GET /gone HTTP/1.1\r\nHost: example.com\r\n\r\n")
    must_fail(lambda: client.recv(1), TimeoutError)
    reset(server)
    client.close()
    lab.connection(
        40001,
        8009,
        closed("user_timeout", ["abort_retransmit", "silent_death"], "", initiator="client", error_c="ETIMEDOUT"),
        app="http/1.1",
        tcp_events={"retransmissions": lab.changes()["client"]["RetransSegs"]},
    )


@scenario()
def syn_timeout(lab: Lab) -> None:
    """Nobody is there: the SYN is sent again after 1 and 2 s, then connect() gives up."""
    lab.look_for = "three SYNs, no answer of any kind"
    lab.net.sysctl("client", "net.ipv4.tcp_syn_retries=2")
    lab.net.vanish()
    client = lab.net.at("client", socket.socket)
    client.bind((lab.client_ip, lab.next_port()))
    must_fail(lambda: client.connect((lab.server_ip, 8010)), TimeoutError)
    client.close()
    lab.connection(
        40001,
        8010,
        closed("syn_timeout", "syn_timeout", "", initiator="none", error_c="ETIMEDOUT"),
        handshake="timeout",
        syn_count=1 + lab.changes()["client"]["TCPSynRetrans"],
        app="none",
    )


@scenario(topology="slow")
def slow_path(lab: Lab) -> None:
    """A path of 200 ms round trip: three exchanges with pauses of 2 s, nothing wrong anywhere."""
    lab.look_for = "a handshake of 0.2 s, and silences that are thinking, not waiting"
    lab.net.delay(0.1)
    client, server = lab.pair(8011)
    gaps = []
    for pause in (2, 2, 0):
        exchange(client, server)
        gaps += [lab.gap(pause, survived=True)] if pause else []
    client.close()
    must_be(read_to_end(server), b"")
    server.close()
    lab.connection(
        40001,
        8011,
        closed("graceful", "fin_client_first", "client fin, server fin", initiator="client"),
        app="http/1.1",
        idle_gaps=gaps,
        handshake_rtt_s=0.2,
        http={"requests": 3, "statuses": [200] * 3, "methods": ["GET"] * 3},
    )
