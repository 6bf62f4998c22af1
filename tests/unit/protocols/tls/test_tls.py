"""TLS connections as traces: what was agreed, resumed, said goodbye to, and what survives holes and lies."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from tests import tlswire as w
from tests.property.harness import Result, Row, run
from tests.talk import Talk, merge

pytestmark = pytest.mark.usefixtures("compiled")


def talk(*turns: bytes, port: int = 40000, **how: Any) -> Talk:
    """A connection on which client and server take turns."""
    made = Talk(("10.0.0.1", port), **how).handshake()
    for k, turn in enumerate(turns):
        made = made.resp(turn) if k % 2 else made.orig(turn)
    return made


def session(result: Result) -> Row:
    (row,) = result.rows("tls_sessions")
    return row


def of(trace: Talk) -> Row:
    return session(run(trace))


def shapes(result: Result) -> list[tuple[str, int, str | None]]:
    return [(r["content_type"], r["length"], r["handshake_types"]) for r in result.rows("tls_records")]


# ------------------------------------------------------------------------------------------------ handshakes
def test_a_full_tls12_handshake() -> None:
    trace = talk(*w.full12(alpn=b"http/1.1"), w.data(100)).orig(w.ALERT).orig_fin().resp(w.ALERT).resp_fin().orig_ack()
    result = run(trace)
    row = session(result)
    assert (row["version"], row["cipher"]) == ("TLS 1.2", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256")
    assert (row["group"], row["sni"], row["alpn"]) == ("secp256r1", "a.example", "http/1.1")
    assert (row["resumption"], row["resumption_offered"], row["early_data"]) == ("none", False, "no")
    assert (row["handshake_complete"], row["handshake_rtts"], row["secure_renegotiation"]) == (True, 2, True)
    assert (row["close_notify_c"], row["close_notify_s"], row["truncated"]) == ("inferred", "inferred", False)
    assert (result.flow["app_protocol"], result.flow["sni"], result.flow["alpn"]) == ("tls", "a.example", "http/1.1")
    assert result.close["graceful_tls"] == "yes"
    kinds = [names for _, _, names in shapes(result) if names]
    assert kinds == ["Client Hello", "Server Hello,Certificate,Server Key Exchange,Server Hello Done",
                     "Client Key Exchange"]  # fmt: skip
    assert result.anomalies == {"tls.bad_certificate": 1}  # three bytes are none


def test_a_certificate_that_may_have_been_missed() -> None:
    """Not to have seen one is no proof that none was sent."""
    a, b, c, d = w.full12()
    assert of(talk(a, b, c, d))["client_auth"] is False
    certificate = w.record(22, w.certificate(w.DER))
    assert of(talk(a, b, certificate + c, d))["client_auth"] is True
    assert of(Talk().handshake().orig(a).resp(b).orig_drop(len(certificate)).orig(c).resp(d))["client_auth"] is None
    one_way = [p for p in talk(a, b, c, d).packets if p[1][26:30] == bytes((10, 0, 0, 1))]
    assert session(run(one_way))["client_auth"] is None


def test_times_of_a_handshake() -> None:
    a, b, c, d = w.full12()
    row = of(Talk().handshake().orig(a, at="1s").resp(b, at="1.1s").orig(c, at="1.2s").resp(d, at="1.35s"))
    assert row["handshake_s"] == pytest.approx(0.35)


def test_tls13_says_little() -> None:
    result = run(talk(*w.full13(), w.data(50)).orig(w.data(80)).orig(w.data(19)).orig_fin().resp(w.data(19)).resp_fin())
    row = session(result)
    assert (row["version"], row["cipher"], row["group"]) == ("TLS 1.3", "TLS_AES_128_GCM_SHA256", "x25519")
    assert row["alpn"] == "h2,http/1.1"  # the offer: the answer is encrypted
    assert (row["resumption"], row["client_auth"], row["cert_expired"]) == ("none", None, "unknown")
    assert (row["close_notify_c"], row["close_notify_s"]) == ("inferred", "inferred")
    assert (row["handshake_complete"], row["handshake_rtts"]) == (True, 1)
    assert (row["key_updates_c"], row["key_update_basis"]) == (0, "inferred")


def test_a_record_of_an_alerts_length_is_none_unless_it_is_the_last() -> None:
    row = of(talk(*w.full13()).orig(w.data(19)).orig(w.data(80)).orig_fin().resp_fin())
    assert (row["close_notify_c"], row["close_notify_s"]) == ("no", "no")
    still_open = of(talk(*w.full13()).orig(w.data(19)))
    assert still_open["close_notify_c"] == "unknown"


def test_an_alert_that_answers_the_clients_finished_may_refuse_its_certificate() -> None:
    """TLS 1.3 hides which alert it is: certificate_required, or a goodbye."""
    refused = of(talk(*w.full13()).resp(w.data(19)).resp_fin().orig_fin())
    assert (refused["close_notify_s"], refused["handshake_complete"]) == ("unknown", False)
    assert (refused["handshake_s"], refused["handshake_rtts"]) == (None, None)
    ticket = talk(*w.full13()).resp(w.data(250)).resp(w.data(19)).resp_fin().orig_fin()
    resumed = (
        talk(*w.full13(w.client_hello(versions=[0x0304], psk=True), psk=True)).resp(w.data(19)).resp_fin().orig_fin()
    )
    answered = talk(*w.full13()).orig(w.data(19)).resp(w.data(19)).orig_fin().resp_fin()
    later = talk(*w.full13()).resp(w.data(19), at="9s").resp_fin().orig_fin()
    for one in map(of, (ticket, resumed, answered, later)):
        assert (one["close_notify_s"], one["handshake_complete"]) == ("inferred", True)


def test_hello_retry() -> None:
    first = w.client_hello(sni="a.example", versions=[0x0304], psk=True, early=True)
    retry = w.record(22, w.server_hello(cipher=0x1301, tls13=True, random=w.RETRY)) + w.CCS
    again = w.CCS + w.record(22, w.client_hello(sni="a.example", versions=[0x0304]))
    _, server, client = w.full13()
    result = run(talk(w.record(22, first), retry, again, server, client))
    row = session(result)
    assert (row["hello_retry"], row["early_data"], row["handshake_rtts"]) == (True, "rejected", 2)
    named = [names for _, _, names in shapes(result) if names]
    assert named == ["Client Hello", "Hello Retry Request", "Client Hello", "Server Hello"]


def test_early_data_without_keys() -> None:
    hello = w.client_hello(sni="a.example", versions=[0x0304], psk=True, early=True)
    assert of(talk(*w.full13(hello, psk=True)))["early_data"] == "unknown"
    assert of(talk(*w.full13(hello)))["early_data"] == "rejected"  # no PSK was selected
    assert of(talk(w.record(22, hello)))["early_data"] == "offered"


def test_old_clothes() -> None:
    suites = b"\0\0\x2f\0\0\x35\1\0\x80"
    body = b"\1\3\1" + len(suites).to_bytes(2, "big") + b"\0\0\0\x10" + suites + b"r" * 16
    old = (0x8000 | len(body)).to_bytes(2, "big") + body
    server = w.record(22, w.server_hello(cipher=0x2F) + w.certificate(w.DER) + w.message(14, b""))
    result = run(talk(old, server))
    assert session(result)["cipher"] == "TLS_RSA_WITH_AES_128_CBC_SHA"
    assert shapes(result)[0] == ("handshake", len(body), "Client Hello")
    assert session(result)["ja3"] is not None


# ------------------------------------------------------------------------------------------------ resumption
@pytest.mark.parametrize(
    ("first", "second", "how"),
    [
        (w.full12(), w.short12(), "session_id"),
        (w.full12(ticket=b"t" * 100), w.short12(ticket=b"t" * 100, session_id=b"x" * 32), "ticket"),
        (w.full12(ticket=b"t" * 100), w.short12(ticket=b"t" * 100, session_id=b""), "ticket"),
    ],
)
def test_resumption(first: list[bytes], second: list[bytes], how: str) -> None:
    result = run(merge(talk(*first), talk(*second, port=40001, t0=1_700_000_100)))
    before, after = result.rows("tls_sessions")
    assert (before["resumption"], before["resumed_from_flow"]) == ("none", None)
    assert (after["resumption"], after["resumption_offered"]) == (how, True)
    assert (after["resumed_from_flow"], after["resumption_basis"], after["handshake_rtts"]) == (0, "observed", 1)


def test_resumption_refused() -> None:
    refused = w.full12(session_id=b"n" * 32, hello=w.client_hello(session_id=b"i" * 32))
    row = of(talk(*refused))
    assert (row["resumption"], row["resumption_offered"]) == ("none", True)


def test_a_session_id_for_middleboxes_offers_nothing() -> None:
    """RFC 8446 section D.4: a client of 1.3 sends one, also to a server that then speaks 1.2."""
    hello = w.client_hello(sni="a.example", session_id=b"r" * 32, versions=[0x0304, 0x0303])
    row = of(talk(*w.full12(session_id=b"n" * 32, hello=hello)))
    assert (row["version"], row["resumption"], row["resumption_offered"]) == ("TLS 1.2", "none", False)


def test_psk() -> None:
    hello = w.client_hello(sni="a.example", versions=[0x0304], psk=True)
    trace = merge(talk(*w.full13()), talk(*w.full13(hello, psk=True), port=40001, t0=1_700_000_100))
    after = run(trace).rows("tls_sessions")[1]
    assert (after["resumption"], after["resumed_from_flow"], after["resumption_basis"]) == ("psk", 0, "inferred")


def test_a_key_agreed_on_outside_tls_resumes_nothing() -> None:
    """RFC 8446 section 4.2.11: its age is 0, also in a hello that is like one before but for that."""
    ticket, external = (w.client_hello(sni="a.example", versions=[0x0304], psk=True, psk_age=age) for age in (77, 0))
    trace = merge(talk(*w.full13(ticket, psk=True)), talk(*w.full13(external, psk=True), port=40001, t0=1_700_000_100))
    first, second = run(trace).rows("tls_sessions")
    assert (first["resumption"], first["resumption_offered"]) == ("psk", True)
    assert (second["resumption"], second["resumption_offered"], second["resumed_from_flow"]) == ("none", False, None)


def test_renegotiation() -> None:
    enc = w.record(22, b"\x9f" * 60)
    asked = talk(*w.full12()).resp(enc)
    assert of(asked)["renegotiations"] == 0  # a HelloRequest that nobody followed
    done = asked.orig(enc).resp(enc).orig(enc + w.record(20, b"\x9f" * 25) + enc).resp(w.record(20, b"\x9f" * 25) + enc)
    assert of(done)["renegotiations"] == 1
    refused = talk(*w.full12()).orig(enc).resp(w.record(21, b"\x9f" * 26)).orig(w.ALERT)
    assert of(refused)["renegotiations"] == 0  # a server that does not take part answers with an alert


# ------------------------------------------------------------------------------------------------ certificates
def der(days: float) -> bytes:
    """A certificate that ends so many days after 2023-11-14 22:13:20, where traces begin."""
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    start = datetime.fromtimestamp(1_700_000_000, UTC)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.example")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(7)
    made = made.not_valid_before(start - timedelta(days=100)).not_valid_after(start + timedelta(days=days))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


@pytest.mark.parametrize(("days", "word"), [(-1, "before"), (1, "during"), (30, "no")])
def test_expiry_is_compared_with_every_packet(days: float, word: str) -> None:
    row = of(talk(*w.full12(der(days)), t0=1_700_000_000).orig(w.data(9), at=2 * 86400.0))
    assert (row["cert_subject"], row["cert_issuer"], row["cert_expired"]) == ("CN=a.example", "CN=a.example", word)
    assert row["cert_not_after"] == (1_700_000_000 + int(days * 86400)) * 10**9


# ------------------------------------------------------------------------------------------------ records
def test_application_data_is_counted_and_listed_on_demand() -> None:
    trace = talk(*w.full12(), w.data(2000)).orig(w.data(30) + w.data(0)).orig(w.ALERT)
    short, long = run(trace).rows("tls_records"), run(trace, records_too=True).rows("tls_records")
    assert [r["length"] for r in long if r["content_type"] == "application_data"] == [2000, 30, 0]
    assert [r for r in long if r["content_type"] != "application_data"] == short
    assert [r["index"] for r in long] == list(range(len(long)))
    assert all(r["encrypted"] for r in long if r["content_type"] == "application_data")


def test_handshakes_over_records_and_segments() -> None:
    big = w.server_hello() + w.certificate(b"0" * 5000) + w.SERVER_KEY + w.message(14, b"")
    cut = b"".join(w.record(22, big[k : k + 700]) for k in range(0, len(big), 700))
    trace = Talk().handshake().orig(w.record(22, w.client_hello()))
    for k in range(0, len(cut), 311):
        trace = trace.resp(cut[k : k + 311])
    result = run(trace)
    assert session(result)["group"] == "secp256r1"
    named = ",".join(names for _, _, names in shapes(result) if names)
    assert named == "Client Hello,Server Hello,Certificate,Server Key Exchange,Server Hello Done"


@pytest.mark.parametrize("cuts", [(1,), (2,), (3,), (4,), (5,), (1, 2, 3), (1, 60)])
def test_a_hello_in_pieces_that_are_shorter_than_its_header(cuts: tuple[int, ...]) -> None:
    """A client that hides its server's name sends a record with the first byte, and one with the rest."""
    client, *rest = w.full12()
    edges = [0, *cuts, len(client) - 5]
    pieces = [w.record(22, client[5:][start:end]) for start, end in pairwise(edges)]
    row = of(talk(b"".join(pieces), *rest))
    assert (row["sni"], row["handshake_complete"]) == ("a.example", True)
    assert row["ja4"] == of(talk(*w.full12()))["ja4"]
    trickled = Talk().handshake()
    for piece in pieces:
        trickled.orig(piece)
    assert of(trickled.resp(rest[0]))["sni"] == "a.example"


def test_a_hole_in_bulk_data_costs_nothing() -> None:
    bulk = w.data(16000)
    trace = talk(*w.full12()).orig(bulk[:1400]).orig(bulk[1400:2800], unseen=True).orig(bulk[2800:] + w.data(7))
    rows = run(trace.resp_ack(), records_too=True).rows("tls_records")
    assert [r["length"] for r in rows[-2:]] == [16000, 7]


def test_framing_is_found_again_after_a_hole() -> None:
    bulk = w.data(1200)
    trace = talk(*w.full12()).orig(bulk[:700]).orig(bulk[700:] + bulk[:800], unseen=True)
    trace = trace.orig(bulk[800:] + w.data(33) + w.data(34)).resp_ack().orig(w.data(35))
    result = run(trace, records_too=True)
    lengths = [r["length"] for r in result.rows("tls_records") if r["content_type"] == "application_data"]
    assert lengths == [34, 35]  # 33 only bears out that this is framing
    assert result.anomalies.get("tls.bad_header") is None
    assert session(run(trace.orig_fin()))["close_notify_c"] == "no"


def test_joined_in_mid_connection() -> None:
    trace = Talk().orig(w.data(100)[50:]).orig(w.data(70)).resp(w.data(80)).orig(w.record(21, b"\x9f" * 26))
    result = run(trace.packets, records_too=True)
    assert [r["length"] for r in result.rows("tls_records")] == [70, 80, 26]
    row = session(result)
    assert (row["version"], row["resumption"], row["alert"]) == (None, "unknown", None)


def test_key_updates_inferred() -> None:
    updated = talk(*w.full13()).orig(w.data(300)).orig(w.data(22), at="5s").resp(w.data(22)).orig(w.data(400), at="6s")
    row = of(updated)
    assert (row["key_updates_c"], row["key_updates_s"], row["key_update_basis"]) == (1, 1, "inferred")
    late = talk(*w.full13()).orig(w.data(22), at="5s").resp(w.data(22), at="5.5s")
    assert of(late)["key_update_basis"] == "unknown"


# ------------------------------------------------------------------------------------------------ alerts, ends
def test_a_fatal_alert_is_why() -> None:
    alert = w.record(21, b"\2\x28")
    result = run(talk(w.record(22, w.client_hello()), alert).resp_fin().orig_fin().resp_ack())
    assert session(result)["alert"] == "handshake_failure"
    assert result.close["trigger"] == "tls_alert"
    last = result.rows("tls_records")[-1]
    assert (last["alert_level"], last["alert_description"], last["encrypted"]) == ("fatal", "handshake_failure", False)


def test_an_alert_after_the_close_did_not_cause_it() -> None:
    """OpenSSL answers a FIN without close_notify with decode_error."""
    trace = talk(w.record(22, w.client_hello(sni="a.example"))).resp_fin(at="1s").orig(w.record(21, b"\2\x32"))
    close = run(trace.orig_fin().resp_ack()).close
    assert close["trigger"] != "tls_alert"


def test_a_refused_certificate_of_tls13_ends_no_handshake() -> None:
    """Without keys: the client's only record is as long as an alert, too short for a Finished."""
    hello, answer, _ = w.full13()
    row = of(talk(hello, answer, w.CCS + w.data(19)).orig_fin().resp_fin().orig_ack())
    assert (row["handshake_complete"], row["handshake_rtts"], row["close_notify_c"]) == (False, None, "no")


@pytest.mark.parametrize(
    ("beats", "wait", "word"), [(0, 0.01, "inferred"), (0, 30, "inferred"), (3, 0.01, "inferred"), (3, 30, "unknown")]
)
def test_a_last_short_record_of_tls13_is_a_goodbye_near_the_end_or_if_it_is_the_only_one(
    beats: int, wait: float, word: str
) -> None:
    trace = talk(*w.full13()).resp(w.data(300)).orig_ack()
    for _ in range(beats):
        trace = trace.wait(2).resp(w.data(19)).orig_ack()
    row = of(trace.wait(2).resp(w.data(19)).orig_ack().wait(wait).resp_fin().orig_fin().resp_ack())
    assert row["close_notify_s"] == word


def test_long_alerts_are_encrypted_also_where_the_change_cipher_spec_was_missed() -> None:
    """Joined midstream: an alert in clear is two bytes long (RFC 5246 section 7.2)."""
    whole = (
        talk(*w.full12(), w.data(100)).resp(w.data(200)).orig(w.ALERT).orig_fin().resp(w.ALERT).resp_fin().orig_ack()
    )
    result = run(whole.packets[8:])
    row = session(result)
    assert (row["close_notify_c"], row["close_notify_s"]) == ("inferred", "inferred")
    assert result.close["graceful_tls"] == "yes"


def test_truncation() -> None:
    cut = talk(*w.full12()).orig(w.data(900)[:100]).orig_fin().resp_ack().resp_fin().orig_ack()
    result = run(cut)
    row = session(result)
    assert (row["truncated"], row["close_notify_c"]) == (True, "no")
    assert result.close["graceful_tls"] == "no"
    whole = of(talk(*w.full12()).orig(w.data(900)).orig_fin().resp_ack())
    assert (whole["truncated"], whole["close_notify_c"]) == (False, "no")


def test_heartbeats() -> None:
    beat = w.record(24, b"\x9f" * 61)
    trace = talk(*w.full12(hello=w.client_hello(heartbeat=True))).orig(beat, at="5s").resp(beat, at="5.25s")
    result = run(trace)
    request, answer = result.rows("tls_records")[-2:]
    assert (answer["heartbeat_of"], answer["rtt_s"]) == (request["index"], pytest.approx(0.25))
    row = session(result)
    assert (row["heartbeats_c"], row["heartbeats_s"], row["heartbleed_suspected"]) == (1, 1, False)


def test_heartbleed() -> None:
    request, answer = w.record(24, b"\1\x40\0"), w.record(24, b"\2\x40\0" + b"m" * 16381)
    row = of(talk(w.record(22, w.client_hello(heartbeat=True)), w.record(22, w.server_hello(heartbeat=True)),
                  request, answer))  # fmt: skip
    assert (row["heartbleed_suspected"], row["heartbeat_negotiated"]) == (True, True)


# ------------------------------------------------------------------------------------------------ other ports
LDAP = bytes.fromhex("301d02010177188016312e332e362e312e342e312e313436362e3230303337")
UPGRADES = {
    "smtp": ["", "220 m ESMTP\r\n", "EHLO a\r\n", "250-m\r\n250 STARTTLS\r\n", "STARTTLS\r\n", "220 go\r\n"],
    "imap": ["", "* OK ready\r\n", "a STARTTLS\r\n", "a OK begin\r\n"],
    "pop3": ["", "+OK\r\n", "STLS\r\n", "+OK\r\n"],
    "ftp": ["", "220 ftp\r\n", "AUTH TLS\r\n", "234 go\r\n"],
    "xmpp": ["<?xml version='1.0'?><stream:stream to='a'>", "<?xml version='1.0'?><stream:stream>",
             "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed/>"],
    "postgresql": ["\0\0\0\x08\x04\xd2\x16\x2f", "S"],
    "ldap": [LDAP.decode("latin-1"), "0\x0c\2\1\1x\7\x0a\1\0\4\0\4\0"],
    "mysql": ["", "\x4a\0\0\0\x0a8.0.30\0" + "x" * 60, "\x20\0\0\1\x85\xae\xff\x19\0\0\0\1\x21" + "\0" * 23],
    "socks5": ["\5\1\0", "\5\0", "\5\1\0\3\x09a.example\1\xbb", "\5\0\0\1\0\0\0\0\0\0"],
    "connect": ["CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"],
}  # fmt: skip


@pytest.mark.parametrize("name", UPGRADES)
def test_behind_other_protocols(name: str) -> None:
    trace = Talk(server=("10.0.0.2", 9999)).handshake()
    side = 0
    for text in UPGRADES[name]:
        if text:
            trace = trace.resp(text.encode("latin-1")) if side else trace.orig(text.encode("latin-1"))
        side = 1 - side
    for k, turn in enumerate(w.full12()):
        trace = trace.resp(turn) if k % 2 else trace.orig(turn)
    result = run(trace.orig(w.ALERT).orig_fin())
    row = session(result)
    assert (row["version"], row["sni"], row["handshake_complete"]) == ("TLS 1.2", "a.example", True)
    assert result.flow["app_protocol"] == "tls"
    assert row["close_notify_c"] == "inferred"
    assert set(result.anomalies) == {"tls.bad_certificate"}


@pytest.mark.parametrize(
    "text", [b"\x16\x03\x01\x00", b"\x17\x03\x03\x00\x20" + b"x" * 40, b"\x16\x03\x09" + b"x" * 40]
)
def test_what_is_no_tls(text: bytes) -> None:
    assert run(talk(text, text)).rows("tls_sessions") == []
