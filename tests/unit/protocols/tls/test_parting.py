"""Goodbyes of TLS around a close: they lose nothing, and a request that comes after one was sent too late."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import numpy as np
import pytest

from analyzer.anomalies import Ledger
from analyzer.engine import Engine
from analyzer.kernel import records
from analyzer.protocols.channel import APP, CUT_MESSAGE, CUT_RECORD, HTTP1
from analyzer.protocols.tls.closing import CLOSE_WORDS
from analyzer.protocols.tls.rows import note_cut_messages
from analyzer.settings import Settings
from tests import tlswire as w
from tests.fuzz.seeds import read_packets
from tests.property.harness import batches, run
from tests.talk import Packet, Talk
from tests.unit.protocols.tls.wire import CLIENT, SERVER, contexts
from tests.unit.protocols.tls.wire import Talk as Tls

pytestmark = pytest.mark.usefixtures("compiled")

GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def told(talk: Talk, direction: int, chunk: bytes, at: float | None = None) -> None:
    """Send bytes and acknowledge them."""
    say, ack = (talk.orig, talk.resp_ack) if direction == CLIENT else (talk.resp, talk.orig_ack)
    if at is None:
        say(chunk)
    else:
        say(chunk, at=at)
    ack()


def asked() -> Talk:
    """TLS 1.2 without keys: a handshake, a question and its answer by 1 s."""
    talk = Talk(server=("10.0.0.2", 443)).handshake()
    for number, turn in enumerate([*w.full12(), w.data(200), w.data(400)]):
        told(talk, number % 2, turn)
    return talk


@pytest.mark.parametrize(("last", "trigger"), [(w.ALERT, "idle_timeout"), (w.data(60), "data_after_close")])
def test_what_comes_after_the_fin(last: bytes, trigger: str) -> None:
    """The client says goodbye to a server that has closed without: its reset loses nothing."""
    talk = asked().resp_fin(at=66).orig_ack().orig(last).resp_rst(bare=True)
    row = run(talk).close
    assert (row["close_kind"], row["trigger"]) == ("rst_after_own_fin", trigger)
    assert ("no data was lost" in row["explanation"]) == (trigger == "idle_timeout")


@pytest.mark.parametrize(("in_record", "code"), [(False, CUT_MESSAGE), (True, CUT_RECORD)])
def test_a_message_that_ends_with_tcp_is_not_said_to_be_a_cut_record(in_record: bool, code: int) -> None:
    """A body until the close whose records are whole: without close_notify nobody knows whether it was all of it."""
    apps = records(1, APP)
    apps["reader"], apps["outstanding"], apps["answering"] = HTTP1, 1, 1
    no, yes = np.array([CLOSE_WORDS.index("no")]), np.array([True])
    columns = {"close_notify_c": no, "close_notify_s": no, "truncated": np.array([in_record])}
    note_cut_messages(apps, np.array([0]), columns, yes, yes)
    assert (apps["tls_truncated"][0], columns["truncated"][0]) == (code, True)


def test_a_record_that_is_cut_by_the_fin_is_lost() -> None:
    """A send timeout: the client says goodbye to a server that had more to say."""
    talk = asked().orig(w.data(60), at=2).resp(w.data(900)[:500]).orig_ack().resp_fin(at=5).orig_ack()
    row = run(talk.orig(w.ALERT).resp_rst(bare=True)).close
    assert row["close_kind"] == "rst_after_own_fin" and row["explanation"].endswith("was cut short.")


def test_a_request_and_a_goodbye_after_the_fin() -> None:
    talk = asked().resp_fin(at=66).orig_ack().orig(w.data(60)).orig(w.ALERT).resp_rst(bare=True)
    assert run(talk).close["trigger"] == "data_after_close"


def goodbye(tls: Tls) -> bytes:
    """Let the server say close_notify; return the record."""
    with contextlib.suppress(ssl.SSLWantReadError):
        tls.server.unwrap()
    return tls.outgoing[SERVER].read()


def race(folder: Path, version: ssl.TLSVersion, wait: float) -> str:
    """The server says close_notify and waits with its FIN for the client's (asyncio does); the client asks again."""
    client, server, log = contexts(folder, version)
    tls = Tls(client, server)
    tls.say(CLIENT, GET)
    tls.say(SERVER, OK)
    talk = Talk(server=("10.0.0.2", 443), capture="server").handshake()
    for direction, chunk in tls.chunks:
        told(talk, direction, chunk)
    tls.say(CLIENT, GET)
    talk.resp(goodbye(tls), at=10).orig_ack(at=10.021)
    talk.orig(tls.chunks[-1][1], at=10 + wait).orig_fin().resp_fin().orig_ack()
    engine = Engine(Settings(), Ledger())
    engine.learn(log.read_bytes())
    chunks = [chunk for batch in batches(talk.packets) for chunk in engine.feed(batch)] + list(engine.finish())
    (word,) = [word for name, rows in chunks if name == "closes" for word in rows["race"].to_pylist()]
    return str(word)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("wait", "word"), [(0.6, "stale_reuse"), (0.018, "race")])
def test_a_request_after_the_servers_goodbye(tmp_path: Path, version: ssl.TLSVersion, wait: float, word: str) -> None:
    assert race(tmp_path, version, wait) == word


@pytest.mark.parametrize("records", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_record_of_which_a_part_is_missing_has_its_number(
    tmp_path: Path, version: ssl.TLSVersion, records: bool
) -> None:
    """What comes after it is opened, whether records are asked for or not."""
    client, server, log = contexts(tmp_path, version)
    tls = Tls(client, server)
    talk = Talk(server=("10.0.0.2", 443)).handshake()
    for _ in range(3):
        tls.say(CLIENT, GET)
        tls.say(SERVER, OK)
    answers = [number for number, (direction, _) in enumerate(tls.chunks) if direction == SERVER]
    for number, (direction, chunk) in enumerate(tls.chunks):
        if number == answers[-2]:
            talk.resp(chunk[:10]).resp(chunk[10:], unseen=True).orig_ack()
        else:
            told(talk, direction, chunk)
    engine = Engine(Settings(), Ledger(), records=records)
    engine.learn(log.read_bytes())
    chunks = [chunk for batch in batches(talk.packets) for chunk in engine.feed(batch)] + list(engine.finish())
    rows = [row for name, table in chunks if name == "http_requests" for row in table.to_pylist()]
    assert [row["status"] for row in rows] == [200, None, 200]


FOLDER = Path(__file__).parents[4] / "captures"


def said(packets: list[Packet], keys: bytes) -> list[tuple[str, str]]:
    """Return close_notify of client and server of each connection, none of which was cut."""
    engine = Engine(Settings(), Ledger())
    engine.learn(keys)
    chunks = [chunk for batch in batches(packets) for chunk in engine.feed(batch)] + list(engine.finish())
    rows = [row for name, table in chunks if name == "tls_sessions" for row in table.to_pylist()]
    assert not any(row["truncated"] for row in rows)
    return [(row["close_notify_c"], row["close_notify_s"]) for row in sorted(rows, key=lambda row: row["flow_id"])]


@pytest.mark.parametrize("name", ["tls12_full", "tls12_ticket", "tls13_full", "tls13_key_update", "tls13_resumed"])
def test_a_lost_frame_leaves_no_goodbye_unsaid(name: str) -> None:
    """With keys, of the whole capture; whichever segment is missing, "no" would be a claim that nothing supports."""
    keys = (FOLDER / f"{name}.keys").read_bytes()
    packets = [(packet.ts_ns, packet.data) for packet in read_packets(FOLDER / f"{name}.pcap")]
    whole = said(packets, keys)
    assert whole and "yes" in whole[0]
    for number, (_, frame) in enumerate(packets):
        if len(frame) < 80:
            continue  # no payload
        for before, after in zip(whole, said(packets[:number] + packets[number + 1 :], keys), strict=True):
            for then, now in zip(before, after, strict=True):
                assert then == now or now in ("inferred", "unknown"), (number + 1, before, after)
