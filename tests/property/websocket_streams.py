"""Strategies for WebSocket connections made by an independent implementation (wsproto), with what it reads in them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Message,
    Ping,
    Pong,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate

from tests.talk import Talk
from tests.websocket import CLOSE, CONTINUATION, PING, frame

Chunk = tuple[bool, bytes]  # sent by the client?, bytes


@dataclass
class Conversation:
    """Bytes in the order in which they were sent, and what the receiving end made of them.

    messages   (dir, kind, length) of each message in the order of their ends
    controls   (dir, what, payload or code) of pings, pongs and closes
    """

    chunks: list[Chunk] = field(default_factory=list)
    messages: list[tuple[str, str, int]] = field(default_factory=list)
    controls: list[tuple[str, str, Any]] = field(default_factory=list)

    def talk(self, cuts: tuple[int, ...] = (), *, again: bool = False) -> Talk:
        """Return it as a trace: each chunk cut at the places named, every segment sent twice if `again`."""
        talk = Talk().handshake()
        for from_client, data in self.chunks:
            places = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
            for start, end in pairwise(places):
                if from_client:
                    talk.orig(data[start:end])
                    talk = talk.orig_retransmit() if again else talk
                else:
                    talk.resp(data[start:end])
                    talk = talk.resp_retransmit() if again else talk
        return talk


class _End:
    """One side, and what it is in the middle of receiving."""

    def __init__(self, kind: ConnectionType) -> None:
        self.connection = WSConnection(kind)
        self.length = 0


def _deliver(made: Conversation, from_client: bool, data: bytes, to: _End) -> list[Any]:
    """Send bytes, note what the other end reads in them, and return its events."""
    made.chunks.append((from_client, data))
    to.connection.receive_data(data)
    events = list(to.connection.events())
    way = "c2s" if from_client else "s2c"
    for event in events:
        if isinstance(event, Message):
            to.length += len(event.data.encode() if isinstance(event, TextMessage) else event.data)
            if event.message_finished:
                made.messages.append((way, "text" if isinstance(event, TextMessage) else "binary", to.length))
                to.length = 0
        elif isinstance(event, Ping):
            made.controls.append((way, "ping", bytes(event.payload)))
        elif isinstance(event, Pong):
            made.controls.append((way, "pong", bytes(event.payload)))
        elif isinstance(event, CloseConnection):
            made.controls.append((way, "close", int(event.code)))
    return events


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Draw a valid connection: handshake, messages whole and in fragments, pings answered, perhaps a close."""
    made = Conversation()
    client, server = _End(ConnectionType.CLIENT), _End(ConnectionType.SERVER)
    offered = []
    if draw(st.booleans()):
        bits = st.sampled_from([9, 12, 15])
        offered = [PerMessageDeflate(draw(st.booleans()), draw(bits), draw(st.booleans()), draw(bits))]
    _deliver(made, True, client.connection.send(Request(host="example.com", target="/", extensions=offered)), server)
    accept = AcceptConnection(extensions=[PerMessageDeflate()] if offered else [])
    _deliver(made, False, server.connection.send(accept), client)
    for _ in range(draw(st.integers(0, 8))):
        from_client = draw(st.booleans())
        me, peer = (client, server) if from_client else (server, client)
        if draw(st.integers(0, 3)) == 0:
            ping = me.connection.send(Ping(payload=draw(st.binary(max_size=125))))
            for event in _deliver(made, from_client, ping, peer):
                if isinstance(event, Ping) and draw(st.integers(0, 3)):
                    _deliver(made, not from_client, peer.connection.send(event.response()), me)
            continue
        # wsproto 1.3 forgets that a message is compressed when a control frame comes between its frames
        _send_message(draw, made, from_client, me, peer, between=not offered)
    if draw(st.booleans()):
        from_client = draw(st.booleans())
        me, peer = (client, server) if from_client else (server, client)
        code = draw(st.sampled_from([1000, 1001, 1011, 3000, 4999]))
        for event in _deliver(made, from_client, me.connection.send(CloseConnection(code=code, reason="ü")), peer):
            if isinstance(event, CloseConnection):
                _deliver(made, not from_client, peer.connection.send(event.response()), me)
    return made


def _send_message(
    draw: st.DrawFn, made: Conversation, from_client: bool, me: _End, peer: _End, *, between: bool
) -> None:
    size = draw(st.sampled_from([0, 1, 3, 40, 125, 126, 300, 70_000]))
    as_text = draw(st.booleans())
    letters = draw(st.text(max_size=12)) if as_text else ""
    whole: Any = (letters * (size // 4 + 1))[:size] if as_text else draw(st.binary(max_size=9)) * (size // 3)
    parts = draw(st.integers(1, 3))
    step = max(1, len(whole) // parts)
    pieces = [whole[k : k + step] for k in range(0, max(len(whole), 1), step)]
    for k, piece in enumerate(pieces):
        last = k == len(pieces) - 1
        event = TextMessage(piece, message_finished=last) if as_text else BytesMessage(piece, message_finished=last)
        _deliver(made, from_client, me.connection.send(event), peer)
        if between and not last and draw(st.booleans()):
            _deliver(made, from_client, me.connection.send(Ping(payload=b"between")), peer)


def broken_bytes() -> st.SearchStrategy[bytes]:
    """Draw what may follow a handshake when nobody keeps to the rules: frames with any bits, and noise between."""
    lengths = st.sampled_from([None, 7, 16, 64])
    odd = st.builds(
        lambda opcode, payload, mask, fin, rsv, size: frame(
            opcode, payload if size != 7 else payload[:125], mask=mask, fin=fin, rsv=rsv, size=size
        ),
        st.integers(0, 15) | st.sampled_from([CONTINUATION, CLOSE, PING]), st.binary(max_size=200),
        st.none() | st.just(b"mask"), st.booleans(), st.integers(0, 7), lengths,
    )  # fmt: skip
    torn = odd.flatmap(lambda whole: st.integers(0, len(whole)).map(lambda end: whole[:end]))
    return st.lists(odd | odd | torn | st.binary(max_size=30), max_size=8).map(b"".join)
