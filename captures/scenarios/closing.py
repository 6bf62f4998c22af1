"""Plain sockets: every way in which a connection ends, and some in which it does not.

Source  RFC 9293 section 3.6 (closing), section 3.10.7 (when a RST is sent).
"""

from __future__ import annotations

import socket
import time
from typing import Any

from captures.lab import REQUEST, Lab, closed, exchange, must_be, must_fail, read_to_end, reset, scenario

GRACEFUL = closed("graceful", "fin_client_first", "client fin, server fin", initiator="client")


@scenario()
def idle_rst(lab: Lab) -> None:
    """The server drops a connection after 3 s of silence with RST instead of FIN, as some load balancers do."""
    lab.look_for = "RST,ACK by the server out of silence, nothing outstanding in either direction"
    client, server = lab.pair(8004)
    exchange(client, server)
    gap = lab.gap(3, survived=False)
    reset(server)
    must_fail(lambda: client.recv(1), ConnectionResetError)
    client.close()
    lab.connection(
        40001,
        8004,
        closed("idle_timeout", "rst_on_idle", "server rst", initiator="server", error_c="ECONNRESET"),
        app="http/1.1",
        idle_gaps=[gap],
    )


@scenario()
def abort_linger_zero(lab: Lab) -> None:
    """The server has answered and closes with SO_LINGER and a time of 0 right after it, to avoid TIME-WAIT."""
    lab.look_for = "RST,ACK by the server with nothing outstanding and no silence before it: thrown away, not timed out"
    client, server = lab.pair(8001)
    exchange(client, server)
    time.sleep(0.1)
    reset(server)
    must_fail(lambda: client.recv(1), ConnectionResetError)
    client.close()
    lab.connection(
        40001,
        8001,
        closed("abort", "rst_abort", "server rst", initiator="server", error_c="ECONNRESET"),
        app="http/1.1",
        idle_gaps=[],
    )


@scenario()
def abort_unread_data(lab: Lab) -> None:
    """The client closes without having read the response; the kernel turns the close into a RST."""
    lab.look_for = "RST,ACK by the side that had just acknowledged data it never read"
    client, server = lab.pair(8002)
    client.sendall(REQUEST)
    must_be(server.recv(4096), REQUEST)
    server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n" + b"x" * 4000)
    time.sleep(0.3)
    client.close()
    must_fail(lambda: server.recv(1), ConnectionResetError)
    server.close()
    must_be(lab.changes()["client"]["TCPAbortOnClose"], 1)
    lab.connection(
        40001,
        8002,
        closed("abort", "rst_unread_data", "client rst", initiator="client", error_s="ECONNRESET"),
        app="http/1.1",
        idle_gaps=[],
    )


@scenario()
def refused(lab: Lab) -> None:
    """Nobody listens on the port."""
    lab.look_for = "SYN answered by RST,ACK"
    client = lab.net.at("client", socket.socket)
    client.bind((lab.client_ip, lab.next_port()))
    must_fail(lambda: client.connect((lab.server_ip, 8005)), ConnectionRefusedError)
    client.close()
    close = closed("refused", "refused", "server rst", initiator="server", error_c="ECONNREFUSED")
    lab.connection(40001, 8005, close, handshake="refused", app="none", idle_gaps=[])


@scenario()
def half_close(lab: Lab) -> None:
    """The client ends its side after the request; the server goes on sending for a second, then ends its own."""
    lab.look_for = "payload from the server after the client's FIN was acknowledged: a half-close, not a race"
    client, server = lab.pair(8006)
    client.sendall(b"select * from everything\n")
    client.shutdown(socket.SHUT_WR)
    read_to_end(server)
    for _ in range(5):
        time.sleep(0.2)
        server.sendall(b"one row of many\n" * 20)
    server.close()
    received = len(read_to_end(client))
    client.close()
    lab.connection(
        40001,
        8006,
        closed("half_close_then_fin", "fin_half_close", "client fin, server fin", initiator="client"),
        payload_bytes={"client": 25, "server": received},
        idle_gaps=[],
        half_close={"by": "client", "lasted_s": 1.0},
    )


@scenario()
def close_wait_leak(lab: Lab) -> None:
    """The client closes; the server forgets to. Its socket stays in CLOSE_WAIT for as long as the program runs."""
    lab.look_for = "a FIN that is acknowledged and never answered by one"
    client, server = lab.pair(8007)
    exchange(client, server)
    client.close()
    must_be(read_to_end(server), b"")
    time.sleep(3)
    close = closed(
        "open", "half_closed_open", "client fin", initiator="client", reason="the server's program never closes"
    )
    lab.connection(40001, 8007, close, app="http/1.1")


@scenario(topology="slow")
def simultaneous_close(lab: Lab) -> None:
    """Both ends close at the same moment on a path of 200 ms: the FINs cross."""
    lab.look_for = "two FINs that do not acknowledge each other: nobody was first"
    lab.net.delay(0.1)
    client, server = lab.pair(8008)
    exchange(client, server)
    time.sleep(0.5)
    client.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    must_be(read_to_end(client) + read_to_end(server), b"")
    client.close()
    server.close()
    lab.connection(
        40001,
        8008,
        closed("simultaneous", "fin_simultaneous", "client fin, server fin", initiator="both"),
        app="http/1.1",
        idle_gaps=[],
    )


@scenario()
def fin_then_rst(lab: Lab) -> None:
    """The client closes while the server is still sending: its FIN is followed by a RST for what came after."""
    lab.look_for = "FIN by the client, data by the server, RST by the client: it used close(), not shutdown()"
    client, server = lab.pair(8009)
    client.sendall(REQUEST)
    must_be(server.recv(4096), REQUEST)
    client.close()
    time.sleep(0.2)
    server.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
    time.sleep(0.2)
    must_fail(lambda: server.sendall(b"more"), BrokenPipeError)
    server.close()
    lab.connection(
        40001,
        8009,
        closed("fin_then_rst", "rst_after_own_fin", "client fin, client rst", initiator="client", error_s="EPIPE"),
        app="http/1.1",
        idle_gaps=[],
    )


@scenario()
def stale_reuse(lab: Lab) -> None:
    """A client takes a connection out of its pool that the server closed 2 s ago, and writes a request on it."""
    lab.look_for = "FIN by the server, acknowledged; seconds later a request, answered by a bare RST"
    client, server = lab.pair(8008)
    exchange(client, server)
    gap = lab.gap(1.5)
    server.close()
    unnoticed = lab.gap(2)
    client.sendall(REQUEST)
    time.sleep(0.1)
    must_fail(lambda: client.sendall(REQUEST), BrokenPipeError)
    client.close()
    lab.connection(
        40001,
        8008,
        closed("idle_timeout", "rst_to_data_stale", "server fin, server rst", initiator="server", race="stale_reuse"),
        app="http/1.1",
        idle_gaps=[gap, unnoticed],
    )


@scenario(topology="slow", captured_at="server")
def keepalive_race(lab: Lab) -> None:
    """A server closes an idle persistent connection just as the next request is on its way (path of 200 ms)."""
    lab.look_for = "FIN by the server, then a request that does not acknowledge it, then RST: nobody did anything wrong"
    lab.net.delay(0.1)
    client, server = lab.pair(8010)
    exchange(client, server)
    gap = lab.gap(2)
    server.close()
    client.sendall(b"POST /order HTTP/1.1\r\nHost: example.com\r\nContent-Length: 2\r\n\r\n{}")
    time.sleep(0.5)
    # the FIN was received first, so recv() says end of stream; the RST shows at the next write
    must_fail(lambda: client.sendall(b"more"), (BrokenPipeError, ConnectionResetError))  # type: ignore[arg-type]
    client.close()
    lab.connection(
        40001,
        8010,
        closed(
            "idle_timeout",
            ["rst_to_data_stale", "rst_after_own_fin"],
            "server fin, server rst",
            initiator="server",
            race="race",
        ),
        app="http/1.1",
        idle_gaps=[gap],
        http={"requests": 2, "statuses": [200], "methods": ["GET", "POST"], "unanswered": 1},
    )


@scenario()
def port_reused(lab: Lab) -> None:
    """The client opens a second connection from the same port, a second after it had thrown the first away."""
    lab.look_for = "one 4-tuple, two connections with two ends: the second SYN has another initial sequence number"
    ends: list[dict[str, Any]] = []
    with lab.listen(8011) as listener:
        for _ in range(2):
            client = lab.net.at("client", socket.socket)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            client.bind((lab.client_ip, 40001))
            client.connect((lab.server_ip, 8011))
            server, _ = listener.accept()
            exchange(client, server)
            time.sleep(0.1)
            if not ends:
                reset(client)
                must_fail(lambda end=server: end.recv(1), ConnectionResetError)  # type: ignore[misc]
                # thrown away after reading looks like thrown away without reading
                ends.append(closed("abort", ["rst_abort", "rst_unread_data"], "client rst", initiator="client"))
                server.close()
                time.sleep(1)
            else:
                client.close()
                must_be(read_to_end(server), b"")
                server.close()
                ends.append(GRACEFUL)
    for index, end in enumerate(ends):
        lab.connection(40001, 8011, end, app="http/1.1", idle_gaps=[], reuse_index=index)


@scenario()
def killed_client(lab: Lab) -> None:
    """The client program is killed while it waits; its kernel closes for it, politely."""
    lab.look_for = "a FIN that no goodbye came before: TCP is graceful even where the program had no say"
    listener = lab.listen(8012)
    port = lab.next_port()
    code = "import socket, time; s = socket.create_connection(('10.77.0.2', 8012)); s.send(b'hello\\n'); time.sleep(60)"
    program = lab.start("client", "python3", "-c", code)
    server, _ = listener.accept()
    must_be(server.recv(100), b"hello\n")
    gap = lab.gap(2, survived=False)
    program.kill()
    must_be(read_to_end(server), b"")
    server.close()
    listener.close()
    lab.connection(
        port,
        8012,
        closed("abnormal", "fin_client_first", "client fin, server fin", initiator="client"),
        idle_gaps=[gap],
    )
