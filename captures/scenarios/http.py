"""HTTP/1: persistence and its limits, pipelining, framings, tunnels; curl, nginx and Node.js.

Source  RFC 9112 (sections 6, 7, 9), RFC 9110 section 9.3.6 (CONNECT) and 10.1.1 (Expect); the SSE chapter of HTML.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from functools import partial
from typing import Any

from captures.lab import REQUEST, Lab, closed, must_be, read_to_end, read_until, scenario

CLIENT_FIRST = closed("graceful", "fin_client_first", "client fin, server fin", initiator="client")
SERVER_FIRST = closed("graceful", "fin_server_first", "server fin, client fin", initiator="server")
IDLE = closed("idle_timeout", "fin_server_first", "server fin, client fin", initiator="server", trigger="idle_timeout")


def node(lab: Lab) -> None:
    """Start `programs/http.js` at port 8080."""
    lab.node("server", "http.js", lab.server_ip, "8080")
    lab.wait_for(8080)


def nginx(lab: Lab, *settings: str) -> None:
    """Start nginx at port 80."""
    lines = "".join(f"    {setting};\n" for setting in settings)
    path = lab.write(
        "nginx.conf",
        f"user root;\ndaemon off;\npid {lab.scratch}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n"
        f"  access_log off;\n  default_type text/plain;\n  server {{\n    listen {lab.server_ip}:80;\n{lines}"
        '    location / { return 200 "hello"; }\n    location /204 { return 204; }\n    location /304 { return 304; }\n'
        "  }\n}\n",
    )
    lab.start("server", "nginx", "-e", "stderr", "-c", path, log="nginx.log")
    lab.wait_for(80)


def curl(lab: Lab, *arguments: str, ok: tuple[int, ...] = (0,)) -> list[list[str]]:
    """Run curl at the client; return [port, status, number of new connections] of each transfer."""
    lab.next_port()
    form = "\n@%{local_port} %{response_code} %{num_connects}\n"
    program = lab.start("client", "curl", "-sS", "--local-port", "40001-40009", "-w", form, *arguments)
    output, _ = program.communicate(timeout=30)
    if program.returncode not in ok:
        raise RuntimeError(f"curl ended with {program.returncode}")
    return [line[1:].split() for line in output.splitlines() if line.startswith("@")]


def facts(*statuses: int, methods: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    """Describe what HTTP did on one connection."""
    requests = len(methods or statuses)
    return {"requests": requests, "statuses": list(statuses), "methods": list(methods or ("GET",) * requests), **more}


@scenario("Node.js")
def http_node_idle(lab: Lab) -> None:
    """A Node.js server with its default settings closes a persistent connection that had no second request."""
    lab.look_for = "FIN by the server out of silence, a second later than the `Keep-Alive: timeout=5` it advertised"
    node(lab)
    client = lab.dial(8080)
    client.sendall(REQUEST)
    response = read_until(client, b"\r\n\r\nhello")
    advertised = int(response.partition(b"Keep-Alive: timeout=")[2].partition(b"\r\n")[0])
    gap = lab.gap(lambda: must_be(client.recv(1), b""), survived=False)
    client.close()
    lab.connection(40001, 8080, IDLE, app="http/1.1", idle_gaps=[gap], http=facts(200, advertised_timeout_s=advertised))


@scenario("nginx")
def http_nginx_idle(lab: Lab) -> None:
    """nginx with `keepalive_timeout 2s` closes an idle persistent connection after three requests."""
    lab.look_for = "FIN by the server 2 s after the last response; earlier pauses of 1.5 s were survived"
    nginx(lab, "keepalive_timeout 2s 2s")
    client = lab.dial(80)
    gaps = []
    for pause in (1.5, 1.5, 0):
        client.sendall(REQUEST)
        read_until(client, b"hello")
        gaps += [lab.gap(pause, survived=True)] if pause else []
    gaps.append(lab.gap(lambda: must_be(client.recv(1), b""), survived=False))
    client.close()
    lab.connection(40001, 80, IDLE, app="http/1.1", idle_gaps=gaps, http=facts(200, 200, 200, advertised_timeout_s=2))


@scenario("nginx")
def http_restart(lab: Lab) -> None:
    """nginx is told to quit while six persistent connections of different ages are idle, and ends them all at once."""
    lab.look_for = "six FINs by the server in the same instant, after silences of 2 to 11 s: no timer, a restart"
    nginx(lab)
    clients = []
    for _ in range(6):
        clients.append(lab.dial(80))
        clients[-1].sendall(REQUEST)
        read_until(clients[-1], b"hello")
        time.sleep(1.1)
    time.sleep(2.5)
    clients[1].sendall(REQUEST)
    read_until(clients[1], b"hello")
    time.sleep(2.5)
    os.kill(int((lab.scratch / "nginx.pid").read_text()), signal.SIGQUIT)
    for k, client in enumerate(clients):
        must_be(client.recv(1), b"")
        client.close()
        close = {**SERVER_FIRST, "trigger": "deploy_burst"}
        lab.connection(40001 + k, 80, close, app="http/1.1", http=facts(*[200] * (1 + (k == 1))))


@scenario("nginx", "curl")
def http_max_requests(lab: Lab) -> None:
    """nginx allows 3 requests a connection (`keepalive_requests 3`); curl asks for 5 pages and needs two
    connections."""
    lab.look_for = (
        "`Connection: close` in the third response, then FIN by the server; the rest goes over a new connection"
    )
    nginx(lab, "keepalive_requests 3")
    transfers = curl(lab, *[f"http://{lab.server_ip}/{n}" for n in range(5)])
    must_be([int(new) for _, _, new in transfers], [1, 0, 0, 1, 0])
    first, second = int(transfers[0][0]), int(transfers[3][0])
    limited = {**SERVER_FIRST, "trigger": ["keepalive_max_reached", "connection_close_header"]}
    limited["shape"] = ["fin_server_first", "fin_client_first", "fin_simultaneous"]
    limited["initiator"] = ["server", "client", "both"]
    lab.connection(
        first, 80, limited, app="http/1.1", idle_gaps=[], http=facts(200, 200, 200, close_header_by="server")
    )
    lab.connection(
        second, 80, CLIENT_FIRST, app="http/1.1", idle_gaps=[], http=facts(200, 200), reuse_index=int(first == second)
    )


@scenario("Node.js")
def http_pipelining(lab: Lab) -> None:
    """A client sends three requests at once; the first takes 1.5 s, and the others' responses wait behind it."""
    lab.look_for = "three requests in flight; two responses were ready and could not be sent (head-of-line blocking)"
    node(lab)
    client = lab.dial(8080)
    client.sendall(b"GET /slow HTTP/1.1\r\nHost: example.com\r\n\r\n" + REQUEST + REQUEST)
    answers = b""
    gap = lab.gap(lambda: client.recv(1, socket.MSG_PEEK))
    while answers.count(b"hello") < 2:
        answers += client.recv(4096)
    client.close()
    lab.connection(
        40001,
        8080,
        CLIENT_FIRST,
        app="http/1.1",
        idle_gaps=[gap],
        http=facts(200, 200, 200, pipelined_max=3, hol_wait_s=[0, 1.5, 1.5]),
    )


@scenario("Node.js", "curl")
def http_100_continue(lab: Lab) -> None:
    """curl asks before it sends a body (`Expect: 100-continue`); Node says 100, then 200."""
    lab.look_for = "an interim response 100 between head and body: no response to count, no pipelining"
    node(lab)
    body = lab.write("body", "x" * 3000)
    transfers = curl(
        lab, "-H", "Expect: 100-continue", "--data-binary", f"@{body}", f"http://{lab.server_ip}:8080/form"
    )
    lab.connection(
        int(transfers[0][0]),
        8080,
        CLIENT_FIRST,
        app="http/1.1",
        idle_gaps=[],
        http=facts(200, methods=("POST",), interim=[100], request_bytes=[3000]),
    )


@scenario("Node.js", "curl")
def http_chunked(lab: Lab) -> None:
    """A response in three chunks over 0.6 s, with a trailer field; then a second request on the same connection."""
    lab.look_for = "chunk sizes, the last chunk of length 0, a trailer, and a connection that is reused after it"
    node(lab)
    url = f"http://{lab.server_ip}:8080"
    transfers = curl(lab, f"{url}/chunked", f"{url}/")
    lab.connection(
        int(transfers[0][0]),
        8080,
        CLIENT_FIRST,
        app="http/1.1",
        idle_gaps=[],
        http=facts(200, 200, chunked=[True, False], trailers=True),
    )


@scenario("Node.js", "curl")
def http_sse(lab: Lab) -> None:
    """Server-sent events: a comment `: ping` every second, an event every 2.5 s; curl leaves after 5.8 s."""
    lab.look_for = "a response that never ends; comment lines keep it alive, one way and without answers"
    node(lab)
    transfers = curl(lab, "-N", "--max-time", "5.8", f"http://{lab.server_ip}:8080/sse", ok=(28,))
    beats = {"kind": "sse_comment", "by": "server", "interval_s": 1.0, "count": 5, "answered": None}
    lab.connection(
        int(transfers[0][0]),
        8080,
        CLIENT_FIRST,
        app="http/1.1",
        idle_gaps=[],
        heartbeats=[beats],
        http=facts(200, sse=True, incomplete=1),
    )


@scenario("Node.js")
def http_long_poll(lab: Lab) -> None:
    """A client that always has one question open: answered after 25 and 28 s with an event, after 30 s with nothing
    (204), and asked again at once."""
    lab.look_for = "silences of half a minute whose turn is the server's; a question follows each answer at once"
    node(lab)
    client, gaps = lab.dial(8080), []
    client.settimeout(40)
    for wait in (25, 30, 28, 30):
        client.sendall(b"GET /wait/%d HTTP/1.1\r\nHost: example.com\r\n\r\n" % wait)
        end = b"\r\n\r\n" if wait == 30 else b'"}'
        gaps.append(lab.gap(partial(read_until, client, end), survived=True))
    client.close()
    lab.connection(
        40001,
        8080,
        CLIENT_FIRST,
        app="http/1.1",
        idle_gaps=gaps,
        heartbeats=[],
        not_heartbeat="a question that waits for its answer",
        http=facts(200, 204, 200, 204, long_poll=True, ttfb_s=[25, 30, 28, 30]),
    )


@scenario("Node.js", "curl")
def http_connect_tunnel(lab: Lab) -> None:
    """curl opens a tunnel through a proxy with CONNECT, and speaks HTTP to the server behind it."""
    lab.look_for = "CONNECT and 200; from then on the connection's bytes belong to somebody else's conversation"
    lab.node("server", "http.js", "127.0.0.1", "9000")
    lab.node("server", "proxy.js", lab.server_ip, "3128", "9000")
    lab.wait_for(9000)
    lab.wait_for(3128)
    transfers = curl(lab, "-p", "-x", f"http://{lab.server_ip}:3128", "http://example.com/")
    lab.connection(
        int(transfers[0][0]),
        3128,
        CLIENT_FIRST,
        app="http/1.1",
        idle_gaps=[],
        http={"tunnel": True, "methods_first": "CONNECT"},
    )


@scenario("nginx")
def http_lingering_close(lab: Lab) -> None:
    """nginx refuses a body of 60 kB (413) but reads on, so as not to reset a client that sends; it closes 2 s after
    the last byte (`lingering_timeout 2s`), before the body is complete."""
    lab.look_for = (
        "413 in the middle of the request; FIN, no RST, 2 s after the last byte, so the client can read the 413"
    )
    nginx(lab, "client_max_body_size 1k", "lingering_timeout 2s")
    client = lab.dial(80)
    client.sendall(b"POST /upload HTTP/1.1\r\nHost: example.com\r\nContent-Length: 60000\r\n\r\n" + b"x" * 10000)
    for _ in range(3):
        time.sleep(0.3)
        client.sendall(b"x" * 10000)
    answers: list[bytes] = []
    gap = lab.gap(lambda: answers.append(read_to_end(client)), survived=False)
    must_be(answers[0][:12], b"HTTP/1.1 413")
    client.close()
    close = closed("request_timeout", "fin_server_first", "server fin, client fin", initiator="server")
    http = facts(413, methods=("POST",), close_header_by="server", incomplete=1)
    lab.connection(40001, 80, close, app="http/1.1", idle_gaps=[gap], http=http)


@scenario("Node.js", "curl")
def http10_until_close(lab: Lab) -> None:
    """curl speaks HTTP/1.0 to Node: a body without a length, ended by the end of the connection."""
    lab.look_for = "a response that is complete because a FIN came, and would be cut short had it been a RST"
    node(lab)
    transfers = curl(lab, "-0", f"http://{lab.server_ip}:8080/lines")
    close = {**SERVER_FIRST, "trigger": ["response_complete", "connection_close_header"]}
    lab.connection(int(transfers[0][0]), 8080, close, app="http/1.0", idle_gaps=[], http=facts(200, framing=["close"]))


@scenario("Node.js", "curl")
def http_cut_short(lab: Lab) -> None:
    """A server promises 1000 bytes, sends 300, and is gone: a FIN like any other."""
    lab.look_for = "graceful for TCP, not for HTTP: the body ends before its Content-Length"
    node(lab)
    transfers = curl(lab, f"http://{lab.server_ip}:8080/cut", ok=(18,))
    close = closed("abnormal", "fin_server_first", "server fin, client fin", initiator="server")
    lab.connection(int(transfers[0][0]), 8080, close, app="http/1.1", idle_gaps=[], http=facts(200, incomplete=1))


@scenario("Node.js", "curl")
def http_client_gives_up(lab: Lab) -> None:
    """curl has a limit of 1 s, the response would take 1.5 s."""
    lab.look_for = "FIN by the client while the server owes a response: a client's timeout, not an idle connection"
    node(lab)
    transfers = curl(lab, "--max-time", "1", f"http://{lab.server_ip}:8080/slow", ok=(28,))
    close = closed("response_timeout", "fin_client_first", "client fin, server fin", initiator="client")
    lab.connection(int(transfers[0][0]), 8080, close, app="http/1.1", http=facts(methods=("GET",), unanswered=1))


@scenario("nginx")
def http_no_body(lab: Lab) -> None:
    """HEAD, 204 and 304: responses without a body, whatever their headers say; all on one connection."""
    lab.look_for = "Content-Length: 5 in the response to HEAD, with no body: the next response follows at once"
    nginx(lab)
    client = lab.dial(80)
    for request in (b"HEAD / ", b"GET /204 ", b"GET /304 ", b"GET / "):
        client.sendall(request + b"HTTP/1.1\r\nHost: example.com\r\n\r\n")
        read_until(client, b"hello" if request == b"GET / " else b"\r\n\r\n")
    client.close()
    lab.connection(
        40001,
        80,
        CLIENT_FIRST,
        app="http/1.1",
        idle_gaps=[],
        http=facts(200, 204, 304, 200, methods=("HEAD", "GET", "GET", "GET")),
    )
