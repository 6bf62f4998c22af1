"""WebSocket: pings from either side, every way to say goodbye, and ways to leave without one.

Source  RFC 6455 (sections 5.5, 7.1, 7.4); Engine.IO protocol revision 4 for Socket.IO.

How many frames of each kind there were comes from the debug log of Python's `websockets`, or from the Node programs.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.sync.server import ServerConnection, serve

from captures.lab import Lab, closed, must_be, must_fail, scenario
from captures.scenarios.middlebox import haproxy

# RFC 6455 section 7.1.1: after the Close frames, the server closes TCP first
SERVER_FIRST = "server fin, client fin"
OPCODES = ("text", "binary", "cont", "ping", "pong", "close")
Handler = Callable[[ServerConnection], None]


class Frames(logging.Handler):
    """Counts the frames that one end of `websockets` says it sent ("> PING ...") and received ("< PONG ...")."""

    def __init__(self, side: str) -> None:
        """`side` is the end whose log this is."""
        super().__init__()
        self.sides = {">": side, "<": "server" if side == "client" else "client"}
        self.count: collections.Counter[tuple[str, str]] = collections.Counter()
        self.logger = logging.Logger(f"frames of the {side}", logging.DEBUG)
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Count a line if it is about a frame."""
        words = record.getMessage().split()
        if len(words) > 1 and words[0] in self.sides and words[1].lower() in OPCODES:
            self.count[self.sides[words[0]], words[1].lower()] += 1

    def messages(self) -> dict[str, dict[str, int]]:
        """Return frames by side and opcode, without Close."""
        return {side: {op: self.count[side, op] for op in OPCODES[:-1]} for side in ("client", "server")}


def echo(socket: ServerConnection) -> None:
    """Send every message back until the connection ends."""
    with contextlib.suppress(ConnectionClosed):
        for message in socket:
            socket.send(message)


@contextlib.contextmanager
def server(lab: Lab, handler: Handler = echo, **settings: Any) -> Iterator[Frames]:
    """Serve WebSockets at port 8765 with Python's `websockets`."""
    frames = Frames("server")
    settings = {"ping_interval": None, "compression": None, **settings}
    with serve(handler, sock=lab.listen(8765), logger=frames.logger, **settings) as serving:
        worker = threading.Thread(target=serving.serve_forever, daemon=True)
        worker.start()
        yield frames
        serving.shutdown()
        worker.join()


def client(lab: Lab, port: int = 8765, **settings: Any) -> tuple[ClientConnection, Frames]:
    """Open a WebSocket with Python's `websockets`; it neither pings nor compresses unless told to."""
    frames = Frames("client")
    settings = {"ping_interval": None, "compression": None, **settings}
    socket = connect(f"ws://{lab.server_ip}:{port}/chat", sock=lab.dial(port), logger=frames.logger, **settings)
    return socket, frames


def ended(initiator: str, code: int, kind: str = "graceful", **facts: Any) -> dict[str, Any]:
    """Describe an end by Close frames: `initiator` sent the first one."""
    return closed(
        kind,
        "fin_server_first",
        SERVER_FIRST,
        initiator="server",
        trigger="ws_close",
        initiator_ws=initiator,
        code=code,
        **facts,
    )


def ws(frames: Frames, close_frames: list[list[Any]], **facts: Any) -> dict[str, Any]:
    """Describe what WebSocket did on one connection."""
    return {"messages": frames.messages(), "close_frames": close_frames, **facts}


def beats(
    by: str, count: int, kind: str = "ws_ping", interval_s: float = 1.0, answered: int | None = None
) -> list[dict[str, Any]]:
    """Describe one series of heartbeats."""
    answers = count if answered is None else answered
    return [{"kind": kind, "by": by, "interval_s": interval_s, "count": count, "answered": answers}]


@scenario("websockets")
def ws_client_ping(lab: Lab) -> None:
    """A Python client pings every second (`ping_interval=1`), the server answers; after 4.5 s the client says 1000."""
    lab.look_for = (
        "PING with 4 random bytes by the client, PONG with the same bytes; Close both ways, then FIN by the server"
    )
    with server(lab):
        socket, frames = client(lab, ping_interval=1, ping_timeout=3)
        socket.send("hello")
        must_be(socket.recv(), "hello")
        time.sleep(4.5)
        socket.close(1000, "bye")
    pings = frames.count["client", "ping"]
    must_be(frames.count["server", "pong"], pings)
    lab.connection(
        40001,
        8765,
        ended("client", 1000),
        app="websocket",
        idle_gaps=[],
        heartbeats=beats("client", pings),
        ws=ws(frames, [["client", 1000], ["server", 1000]]),
    )


@scenario("ws", "websockets")
def ws_server_ping(lab: Lab) -> None:
    """A Node server (`ws`) pings every second, as its documentation advises; a Python client answers, and leaves
    with 1000."""
    lab.look_for = "unmasked PINGs by the server, masked PONGs by the client"
    lab.node("server", "ws_server.js", lab.server_ip, "8765", "1000", "0")
    lab.wait_for(8765)
    socket, frames = client(lab)
    time.sleep(4.5)
    socket.close(1000)
    lab.connection(
        40001,
        8765,
        ended("client", 1000),
        app="websocket",
        idle_gaps=[],
        heartbeats=beats("server", frames.count["server", "ping"]),
        ws=ws(frames, [["client", 1000], ["server", 1000]]),
    )


@scenario("websockets")
def ws_close_codes(lab: Lab) -> None:
    """Five goodbyes: 1000 and 4000 by the client; 1001, 1008 and 1011 by the server, each with a reason."""
    lab.look_for = "the code in each side's Close frame; the other side echoes it, and the server sends the first FIN"
    goodbyes = (("client", 1000), ("client", 4000), ("server", 1001), ("server", 1008), ("server", 1011))

    def farewell(socket: ServerConnection) -> None:
        code = int(socket.recv())
        if code:
            socket.close(code, "as you wish")
        else:
            must_fail(socket.recv, ConnectionClosed)

    with server(lab, farewell):
        for number, (side, code) in enumerate(goodbyes, start=40001):
            socket, frames = client(lab)
            socket.send(str(code if side == "server" else 0))
            if side == "client":
                socket.close(code, "done here")
            must_fail(socket.recv, ConnectionClosed)
            other = "server" if side == "client" else "client"
            lab.connection(
                number,
                8765,
                ended(side, code),
                app="websocket",
                idle_gaps=[],
                ws=ws(frames, [[side, code], [other, code]]),
            )
            time.sleep(0.1)


@scenario("ws", "websockets")
def ws_killed_client(lab: Lab) -> None:
    """A Node client is killed; the server learns 1006 from a FIN without a Close frame."""
    lab.look_for = "FIN with no Close before it: 1006 never is on the wire, it is what the other side is told"
    codes: list[int] = []

    def note(socket: ServerConnection) -> None:
        echo(socket)
        socket.close()
        codes.append(socket.close_code or 0)

    with server(lab, note) as frames:
        port = lab.next_port()
        program = lab.node("client", "ws_client.js", f"ws://{lab.server_ip}:8765/")
        assert program.stdout is not None
        must_be(program.stdout.readline(), "open\n")
        gap = lab.gap(2, survived=False)
        program.kill()
        time.sleep(0.3)
    must_be(codes, [1006])
    close = closed("abnormal", "fin_client_first", "client fin, server fin", initiator="client", code=1006)
    lab.connection(port, 8765, close, app="websocket", idle_gaps=[gap], ws=ws(frames, []))


@scenario("ws", "websockets")
def ws_terminated(lab: Lab) -> None:
    """A Node server gives a client up with `terminate()` after 2 s: no Close frame, just a FIN."""
    lab.look_for = "FIN by the server without a Close frame; the client reports 1006"
    lab.node("server", "ws_server.js", lab.server_ip, "8765", "0", "2000")
    lab.wait_for(8765)
    socket, frames = client(lab)
    gap = lab.gap(lambda: must_fail(socket.recv, ConnectionClosed), survived=False)
    must_be(socket.close_code, 1006)
    close = closed("abnormal", "fin_server_first", SERVER_FIRST, initiator="server", code=1006)
    lab.connection(40001, 8765, close, app="websocket", idle_gaps=[gap], ws=ws(frames, []))


@scenario("websockets", "ws")
def ws_ping_timeout(lab: Lab) -> None:
    """A client program hangs (SIGSTOP); its kernel acknowledges pings that nobody answers; the server says 1011
    and leaves."""
    lab.look_for = "PINGs acknowledged by TCP and unanswered by WebSocket: the host lives, the program does not"
    stopped = threading.Event()

    def wait(socket: ServerConnection) -> None:
        socket.recv()
        with contextlib.suppress(ConnectionClosed):
            socket.recv()
        stopped.set()

    with server(lab, wait, ping_interval=1, ping_timeout=1.5, close_timeout=1) as frames:
        port = lab.next_port()
        program = lab.node("client", "ws_client.js", f"ws://{lab.server_ip}:8765/")
        assert program.stdout is not None
        must_be(program.stdout.readline(), "open\n")
        program.send_signal(signal.SIGSTOP)
        must_be(stopped.wait(10), True)
        time.sleep(1.3)  # close_timeout: the server waits for the other Close in vain
        program.kill()  # with unread data, so its kernel sends a RST
        time.sleep(0.2)
    close = closed(
        "heartbeat_timeout",
        ["fin_server_first", "rst_after_peer_fin"],
        "server fin, client rst",
        initiator="server",
        code=1011,
    )
    sent = frames.count["server", "ping"]
    lab.connection(
        port,
        8765,
        close,
        app="websocket",
        heartbeats=beats("server", sent, answered=0),
        ws=ws(frames, [["server", 1011]]),
    )


@scenario("websockets")
def ws_deflate_fragments(lab: Lab) -> None:
    """Messages with permessage-deflate: one compressed, one in four fragments, one binary."""
    lab.look_for = (
        "RSV1 on the first frame of a compressed message; continuation frames; sizes before and after inflating"
    )
    with server(lab, compression="deflate"):
        socket, frames = client(lab, compression="deflate")
        socket.send("the same words again and again " * 40)
        socket.recv()
        socket.send(["one ", "message ", "in ", "parts"])
        must_be(socket.recv(), "one message in parts")
        socket.send(bytes(range(256)))
        socket.recv()
        socket.close(1000)
    must_be(frames.count["client", "text"], 2)
    lab.connection(
        40001,
        8765,
        ended("client", 1000),
        app="websocket",
        idle_gaps=[],
        ws=ws(frames, [["client", 1000], ["server", 1000]], permessage_deflate=True, fragmented=True),
    )


@scenario("HAProxy", "websockets")
def ws_proxy_timeout(lab: Lab) -> None:
    """HAProxy ends a quiet WebSocket after `timeout tunnel 2s`; neither end had said goodbye."""
    lab.look_for = (
        "upgrade, 2 s of silence, FIN by the proxy without a Close frame: a heartbeat shorter than that was missing"
    )
    haproxy(lab, "http", "client 10s", "server 10s", "tunnel 2s")
    with lab.net.at("server", lambda: serve(echo, "127.0.0.1", 9000, ping_interval=None, compression=None)) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        socket, frames = client(lab, 8080)
        socket.send("hello")
        must_be(socket.recv(), "hello")
        gap = lab.gap(lambda: must_fail(socket.recv, ConnectionClosed), survived=False)
        must_be(socket.close_code, 1006)
        serving.shutdown()
    close = closed(
        "idle_timeout", "fin_server_first", SERVER_FIRST, initiator="server", code=1006, trigger="idle_timeout"
    )
    lab.connection(40001, 8080, close, app="websocket", idle_gaps=[gap], ws=ws(frames, []))


@scenario("websockets")
def ws_rejected(lab: Lab) -> None:
    """The server refuses the upgrade with 403; the connection never becomes a WebSocket."""
    lab.look_for = "a request with `Upgrade: websocket` answered by 403: HTTP to the end"
    with server(lab, process_request=lambda socket, _request: socket.respond(403, "no\n")):
        must_fail(lambda: client(lab), InvalidStatus)
        time.sleep(0.2)
    close = closed(
        "graceful",
        ["fin_server_first", "fin_client_first", "fin_simultaneous"],
        SERVER_FIRST,
        initiator=["server", "client", "both"],
    )
    lab.connection(
        40001, 8765, close, app="http/1.1", idle_gaps=[], http={"requests": 1, "statuses": [403], "methods": ["GET"]}
    )


@scenario("socket.io", "socket.io-client")
def socketio_ping(lab: Lab) -> None:
    """Socket.IO over WebSocket: the server sends Engine.IO pings every second, the client answers; 4.5 s, then
    it leaves."""
    lab.look_for = (
        "text messages `2` and `3`: heartbeats of the application inside WebSocket, which has its own and "
        "does not use it"
    )
    lab.node("server", "socketio_server.js", lab.server_ip, "3000")
    lab.wait_for(3000)
    port = lab.next_port()
    program = lab.node("client", "socketio_client.js", f"http://{lab.server_ip}:3000", "4.5")
    output, _ = program.communicate(timeout=15)
    lab.connection(
        port,
        3000,
        closed(
            "graceful", "fin_server_first", SERVER_FIRST, initiator="server", trigger="ws_close", initiator_ws="client"
        ),
        app="websocket",
        subprotocol="socket.io",
        idle_gaps=[],
        heartbeats=beats("server", int(output), kind="engineio_ping"),
        ws={"close_frames": [["client", None], ["server", None]]},
    )
