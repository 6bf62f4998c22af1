"""Where the first decrypted bytes are missing, ALPN says what the rest is of (RFC 7301)."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from analyzer.anomalies import Ledger
from analyzer.engine import Engine
from analyzer.settings import Settings
from tests.http2 import OK, PREFACE, Side, data, request, settings
from tests.property.harness import batches
from tests.talk import Talk
from tests.unit.protocols.tls.wire import CLIENT, SERVER, contexts
from tests.unit.protocols.tls.wire import Talk as Tls

pytestmark = pytest.mark.usefixtures("compiled")


def conversation(folder: Path, version: ssl.TLSVersion, alpn: str | None) -> tuple[Talk, bytes]:
    """HTTP/2 on a connection whose preface and first exchange the capture does not have; and its key log."""
    client, server, log = contexts(folder, version)
    for context in (client, server):
        if alpn is not None:
            context.set_alpn_protocols([alpn])
    tls, caller, callee = Tls(client, server), Side(), Side()
    begun = len(tls.chunks)
    tls.say(CLIENT, PREFACE + settings() + caller.headers(1, request("/first"), end=True))
    tls.say(SERVER, settings() + callee.headers(1, OK) + data(1, b"x" * 100, end=True))
    lost = range(begun, len(tls.chunks))
    for stream in (3, 5):
        tls.say(CLIENT, caller.headers(stream, request(f"/{stream}"), end=True))
        tls.say(SERVER, callee.headers(stream, OK) + data(stream, b"y" * 100, end=True))
    talk = Talk().handshake()
    for number, (direction, chunk) in enumerate(tls.chunks):
        if number in lost:
            (talk.orig_drop if direction == CLIENT else talk.resp_drop)(len(chunk))
            continue
        (talk.orig if direction == CLIENT else talk.resp)(chunk)
        (talk.resp_ack if direction == CLIENT else talk.orig_ack)()
    return talk, log.read_bytes()


def streams(talk: Talk, keys: bytes) -> list[int]:
    engine = Engine(Settings(), Ledger())
    engine.learn(keys)
    chunks = [chunk for batch in batches(talk.packets) for chunk in engine.feed(batch)] + list(engine.finish())
    return [stream for name, rows in chunks if name == "http_requests" for stream in rows["stream_id"].to_pylist()]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_http2_after_a_hole_at_its_beginning(tmp_path: Path, version: ssl.TLSVersion) -> None:
    assert streams(*conversation(tmp_path, version, "h2")) == [3, 5]
