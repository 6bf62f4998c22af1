"""TLS: full and abbreviated handshakes, KeyUpdate, early data, alerts, and ends with and without a goodbye.

Source  RFC 8446 (TLS 1.3), RFC 5246 (1.2), RFC 5077 (tickets).

Both ends are Python's `ssl`; `tls_openssl` has what that cannot do. Secrets are in NAME.keys (the format of
SSLKEYLOGFILE), except where it is the point to have none.
"""

from __future__ import annotations

import socket
import ssl
import time
from typing import Any

from captures.lab import Lab, closed, must_be, scenario
from captures.net import run

SUBJECT = "/CN=example.com"
CLIENT_FIRST = closed("graceful", "fin_client_first", "client fin, server fin", initiator="client")


def certificate(lab: Lab) -> tuple[str, str]:
    """Make a self-signed certificate for example.com; return the paths of key and certificate."""
    key, cert = str(lab.scratch / "key.pem"), str(lab.scratch / "cert.pem")
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650")
    names = ("-subj", SUBJECT, "-addext", "subjectAltName=DNS:example.com")
    run("openssl", "req", "-x509", *kind, *names, "-keyout", key, "-out", cert)
    return key, cert


class Contexts:
    """A server's and a client's `SSLContext` of one version."""

    def __init__(self, lab: Lab, version: ssl.TLSVersion, keys: bool = True) -> None:
        """Make a certificate and both contexts; the client writes its secrets down if `keys`."""
        key, cert = certificate(lab)
        self.server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_cert_chain(cert, key)
        self.client = ssl.create_default_context(cafile=cert)
        for context in (self.server, self.client):
            context.minimum_version = context.maximum_version = version
        if keys:
            self.client.keylog_filename = str(lab.keys)


def secure(
    lab: Lab, contexts: Contexts, port: int = 443, session: ssl.SSLSession | None = None
) -> tuple[ssl.SSLSocket, ssl.SSLSocket]:
    """Return both ends of a new connection after its handshake."""
    plain_client, plain_server = lab.pair(port)
    ends: list[ssl.SSLSocket] = []
    join = lab.thread(lambda: ends.append(contexts.server.wrap_socket(plain_server, server_side=True)))
    client = contexts.client.wrap_socket(plain_client, server_hostname="example.com", session=session)
    join()
    lab.hold(client, *ends)
    return client, ends[0]


def talk(client: ssl.SSLSocket, server: ssl.SSLSocket) -> None:
    """A request and a response; with TLS 1.3 this also brings the tickets to the client."""
    client.sendall(b"hello, server")
    must_be(server.recv(100), b"hello, server")
    server.sendall(b"hello, client")
    must_be(client.recv(100), b"hello, client")


def goodbye(lab: Lab, client: ssl.SSLSocket, server: ssl.SSLSocket) -> None:
    """The client says close_notify, then the server; the client's FIN comes first."""
    plain: list[socket.socket] = []
    join = lab.thread(lambda: plain.append(client.unwrap()))
    must_be(server.recv(1), b"")
    other = server.unwrap()
    join()
    plain[0].close()
    must_be(other.recv(1), b"")
    other.close()


def facts(
    version: str, resumed: bool | str = False, goodbyes: tuple[bool, bool] = (True, True), **more: Any
) -> dict[str, Any]:
    """Describe what TLS did on one connection."""
    sides = ("client", "server")
    return {
        "version": version,
        "resumed": resumed,
        "key_updates": dict.fromkeys(sides, 0),
        "close_notify": dict(zip(sides, goodbyes, strict=True)),
        **more,
    }


def full(lab: Lab, version: ssl.TLSVersion, name: str, keys: bool = True) -> None:
    """One connection with a full handshake and a proper end."""
    client, server = secure(lab, Contexts(lab, version, keys))
    talk(client, server)
    cipher = (client.cipher() or ("",))[0]
    goodbye(lab, client, server)
    lab.connection(40001, 443, CLIENT_FIRST, app="tls", idle_gaps=[], tls=facts(name, cipher=cipher, sni="example.com"))


@scenario("OpenSSL")
def tls12_full(lab: Lab) -> None:
    """TLS 1.2: a full handshake, one exchange, close_notify by both."""
    lab.look_for = (
        "certificate in clear, two round trips before data; an encrypted alert of known length before each FIN"
    )
    full(lab, ssl.TLSVersion.TLSv1_2, "1.2")


@scenario("OpenSSL")
def tls13_full(lab: Lab) -> None:
    """TLS 1.3: a full handshake, one exchange, close_notify by both; with the key log."""
    lab.look_for = "one round trip before data; with the keys, the certificate and the alerts inside application_data"
    full(lab, ssl.TLSVersion.TLSv1_3, "1.3")


@scenario("OpenSSL")
def tls13_no_keys(lab: Lab) -> None:
    """The same as `tls13_full`, without a key log."""
    lab.look_for = (
        "what remains without keys: versions, sizes, and a last record of 19 bytes that is probably close_notify"
    )
    full(lab, ssl.TLSVersion.TLSv1_3, "1.3", keys=False)


def resume(lab: Lab, contexts: Contexts, name: str, how: str) -> None:
    """Two connections; the second resumes the session of the first."""
    session = None
    for port in (40001, 40002):
        client, server = secure(lab, contexts, session=session)
        talk(client, server)
        must_be(client.session_reused, port == 40002)
        session = client.session
        goodbye(lab, client, server)
        resumed = how if port == 40002 else False
        lab.connection(port, 443, CLIENT_FIRST, app="tls", idle_gaps=[], tls=facts(name, resumed))
        time.sleep(0.1)


@scenario("OpenSSL")
def tls12_ticket(lab: Lab) -> None:
    """TLS 1.2: the second connection resumes the first's session with a ticket."""
    lab.look_for = "NewSessionTicket in the first handshake; in the second no certificate, one round trip"
    resume(lab, Contexts(lab, ssl.TLSVersion.TLSv1_2), "1.2", "ticket")


@scenario("OpenSSL")
def tls12_session_id(lab: Lab) -> None:
    """TLS 1.2 with tickets turned off: the second connection resumes by session id."""
    lab.look_for = "the server's session id in the first ServerHello, offered and echoed in the second handshake"
    contexts = Contexts(lab, ssl.TLSVersion.TLSv1_2)
    contexts.server.options |= ssl.OP_NO_TICKET
    resume(lab, contexts, "1.2", "session_id")


@scenario("OpenSSL")
def tls13_resumed(lab: Lab) -> None:
    """TLS 1.3: the second connection resumes with a pre-shared key from the first one's ticket."""
    lab.look_for = "pre_shared_key in both hellos of the second handshake, and no certificate"
    resume(lab, Contexts(lab, ssl.TLSVersion.TLSv1_3), "1.3", "psk")


@scenario("OpenSSL")
def tls13_hello_retry(lab: Lab) -> None:
    """TLS 1.3: the server wants P-384, the client had guessed another group; it must say hello twice."""
    lab.look_for = "HelloRetryRequest (a ServerHello with a known random), a second ClientHello, one round trip more"
    contexts = Contexts(lab, ssl.TLSVersion.TLSv1_3)
    contexts.server.set_ecdh_curve("secp384r1")
    client, server = secure(lab, contexts)
    talk(client, server)
    goodbye(lab, client, server)
    lab.connection(40001, 443, CLIENT_FIRST, app="tls", idle_gaps=[], tls=facts("1.3", hello_retry=True))


def truncated(lab: Lab, version: ssl.TLSVersion, name: str) -> None:
    """The server closes TCP after 2 s of silence without close_notify; the client complains, to a socket that is
    gone."""
    client, server = secure(lab, Contexts(lab, version))
    talk(client, server)
    gap = lab.gap(2, survived=False)
    socket.socket(fileno=server.detach()).close()
    must_be(client.recv(1), b"")  # Python hides what an attacker could have done here, OpenSSL 3 sends an alert
    time.sleep(0.1)
    socket.socket(fileno=client.detach()).close()
    must_be(lab.changes()["server"]["OutRsts"], 1)
    close = closed("abnormal", "rst_after_own_fin", "server fin, server rst", initiator="server")
    tls = facts(name, goodbyes=(False, False), truncated=True, alert="decode_error", alert_by="client")
    lab.connection(40001, 443, close, app="tls", idle_gaps=[gap], tls=tls)


@scenario("OpenSSL")
def tls12_truncated(lab: Lab) -> None:
    """TLS 1.2: the server closes TCP without close_notify."""
    lab.look_for = "FIN without an alert before it: truncated, for all anybody knows; the client's alert meets a RST"
    truncated(lab, ssl.TLSVersion.TLSv1_2, "1.2")


@scenario("OpenSSL")
def tls13_truncated(lab: Lab) -> None:
    """TLS 1.3: the server closes TCP without close_notify."""
    lab.look_for = "FIN whose last record was no alert; only keys make that certain"
    truncated(lab, ssl.TLSVersion.TLSv1_3, "1.3")


def failed(lab: Lab, client: ssl.SSLContext, server: ssl.SSLContext) -> dict[str, str]:
    """A handshake that both ends give up; the client is the first to close. Return OpenSSL's reason for each end."""
    plain_client, plain_server = lab.pair(443)
    there = server.wrap_socket(plain_server, server_side=True, do_handshake_on_connect=False)
    here = client.wrap_socket(plain_client, server_hostname="example.com", do_handshake_on_connect=False)
    reasons: dict[str, str] = {}

    def shake(side: str, end: ssl.SSLSocket) -> None:
        try:
            end.do_handshake()
        except ssl.SSLError as error:
            reasons[side] = error.reason

    join = lab.thread(lambda: shake("server", there))
    shake("client", here)
    join()
    socket.socket(fileno=here.detach()).close()
    time.sleep(0.1)
    socket.socket(fileno=there.detach()).close()
    return reasons


@scenario("OpenSSL")
def tls_version_refused(lab: Lab) -> None:
    """The client speaks at most TLS 1.2, the server at least 1.3: alert protocol_version."""
    lab.look_for = "ClientHello, then a fatal alert in clear by the server; no session"
    old, new = Contexts(lab, ssl.TLSVersion.TLSv1_2, keys=False), Contexts(lab, ssl.TLSVersion.TLSv1_3, keys=False)
    must_be(failed(lab, old.client, new.server)["client"], "TLSV1_ALERT_PROTOCOL_VERSION")
    close = closed("tls_alert", "fin_client_first", "client fin, server fin", initiator="client")
    tls = {"handshake": "failed", "alert": "protocol_version", "alert_by": "server"}
    lab.connection(40001, 443, close, app="tls", idle_gaps=[], tls=tls)


@scenario("OpenSSL")
def tls_certificate_expired(lab: Lab) -> None:
    """TLS 1.2: the server's certificate expired in 2021; the client refuses it with an alert."""
    lab.look_for = (
        "notAfter in the certificate is earlier than the packets; certificate_expired by the client, then its "
        "RST: it read no further"
    )
    contexts = Contexts(lab, ssl.TLSVersion.TLSv1_2, keys=False)
    key, cert, request, config = (str(lab.scratch / name) for name in ("key.pem", "old.pem", "request.pem", "ca.conf"))
    run(
        "openssl",
        "req",
        "-new",
        "-key",
        key,
        "-subj",
        SUBJECT,
        "-addext",
        "subjectAltName=DNS:example.com",
        "-out",
        request,
    )
    for name in ("index", "rand"):
        lab.write(name, "")
    lab.write(
        "ca.conf",
        f"[ca]\ndefault_ca=one\n[one]\ndatabase={lab.scratch}/index\nnew_certs_dir={lab.scratch}\nrand_serial=yes\n"
        "default_md=sha256\npolicy=any\ncopy_extensions=copy\n[any]\ncommonName=supplied\n",
    )
    dates = ("-startdate", "20200101000000Z", "-enddate", "20210101000000Z")
    run(
        "openssl",
        "ca",
        "-batch",
        "-selfsign",
        "-config",
        config,
        "-keyfile",
        key,
        "-in",
        request,
        "-out",
        cert,
        "-notext",
        *dates,
    )
    contexts.server.load_cert_chain(cert, key)
    client = ssl.create_default_context(cafile=cert)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    reasons = failed(lab, client, contexts.server)
    must_be(reasons, {"client": "CERTIFICATE_VERIFY_FAILED", "server": "SSLV3_ALERT_CERTIFICATE_EXPIRED"})
    must_be(lab.changes()["client"]["TCPAbortOnClose"], 1)  # the rest of the server's messages was never read
    close = closed("tls_alert", ["rst_unread_data", "rst_abort"], "client rst", initiator="client")
    lab.connection(
        40001,
        443,
        close,
        app="tls",
        idle_gaps=[],
        tls={"handshake": "failed", "alert": "certificate_expired", "alert_by": "client", "cert_expired": "before"},
    )
