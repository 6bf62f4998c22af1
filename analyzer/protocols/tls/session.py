"""What is known of one TLS connection, filled message by message.

Source  RFC 8446 (TLS 1.3), RFC 5246 (1.2 and older), RFC 5077 (tickets), RFC 5746 (renegotiation), RFC 6520
        (heartbeats), RFC 7627 and RFC 7366 (extended master secret, encrypt-then-MAC).
Limits  From the ServerHello on TLS 1.3 is encrypted: what follows is read only where records are opened.
"""

from __future__ import annotations

from collections.abc import Callable
from sys import intern

from analyzer.protocols.tls import hello as h
from analyzer.protocols.tls.certificate import Certificate, first_of, read_certificate
from analyzer.protocols.tls.fingerprint import ja3, ja3s, ja4, ja4s
from analyzer.protocols.tls.messages import Messages
from analyzer.protocols.tls.names import cipher_name, group_name
from analyzer.protocols.tls.sealed import Terms

Note = Callable[[str], None]

CLIENT_HELLO, SERVER_HELLO, NEW_TICKET, OLD_RETRY, ENCRYPTED_EXTENSIONS = 1, 2, 4, 6, 8
CERTIFICATE, SERVER_KEY, HELLO_DONE, CLIENT_KEY, FINISHED, KEY_UPDATE = 11, 12, 14, 16, 20, 24

# RFC 7627 needs the messages up to ClientKeyExchange, a few kB; a chain of certificates may make them long.
_MAX_TRANSCRIPT = 1 << 18


class Session:
    """One connection. Times are UTC nanoseconds, 0 = never; `dir` is the direction as in every table."""

    __slots__ = (
        "alert",
        "alpn",
        "alpn_offered",
        "alpn_server",
        "alpn_sure",
        "cert_seen",
        "certificate",
        "cipher",
        "client_auth",
        "client_dir",
        "close_read",
        "closed_flights",
        "done_epoch",
        "early_offered",
        "end_ts",
        "fatal",
        "finished",
        "flights",
        "flow_id",
        "group",
        "heartbeat",
        "hello_seen",
        "id_offered",
        "ja3",
        "ja3s",
        "ja4",
        "ja4s",
        "key_exchange_seen",
        "key_updates",
        "last_dir",
        "messages",
        "note",
        "opened",
        "psk_offered",
        "psk_selected",
        "renegotiating",
        "renegotiations",
        "resumed_from",
        "resumed_sure",
        "resumption",
        "retry",
        "secure_client",
        "secure_server",
        "server_seen",
        "slot",
        "sni",
        "start_ts",
        "terms",
        "ticket_offered",
        "tickets",
        "tls13_offered",
        "uncertain",
        "version",
    )  # fmt: skip

    def __init__(self, flow_id: int, slot: int, note: Note) -> None:
        self.flow_id, self.slot, self.note = flow_id, slot, note
        self.messages = (Messages(), Messages())
        self.terms = Terms()
        self.client_dir = 0
        self.hello_seen = self.server_seen = self.retry = self.uncertain = False
        self.version = self.cipher = 0
        self.group: int | None = None
        self.sni: str | None = None
        self.alpn: str | None = None
        self.alpn_offered: tuple[bytes, ...] = ()
        self.alpn_sure = self.alpn_server = False
        self.ja3: str | None = None
        self.ja3s: str | None = None
        self.ja4: str | None = None
        self.ja4s: str | None = None
        self.id_offered = self.ticket_offered = b""
        self.tls13_offered = self.psk_offered = self.psk_selected = self.early_offered = False
        self.resumption = "unknown"
        self.resumed_from: int | None = None
        self.resumed_sure = False
        self.tickets: list[bytes] = []  # issued in clear
        self.cert_seen = self.key_exchange_seen = False
        self.certificate: Certificate | None = None
        self.client_auth = self.secure_client = self.secure_server = False
        self.heartbeat = [False, False]
        self.alert: str | None = None
        self.fatal = False
        self.close_read = [False, False]  # close_notify, by direction
        self.key_updates = [0, 0]  # read, by direction
        self.opened = False  # records were decrypted
        self.start_ts = self.end_ts = 0
        self.finished = [0, 0]  # ChangeCipherSpecs behind which each side's Finished was seen
        self.done_epoch, self.renegotiating, self.renegotiations = 0, False, 0
        self.flights, self.last_dir, self.closed_flights = 0, -1, False

    @property
    def tls13(self) -> bool:
        """True once TLS 1.3 was agreed, or asked for by a HelloRetryRequest."""
        return h.is_tls13(self.version)

    # -------------------------------------------------------------------------------------- handshake messages
    def take(self, kind: int, body: bytes, direction: int, ts_ns: int, *, keep: bool) -> None:
        """Read one handshake message; `keep`: add it to the transcript."""
        if keep and not self.terms.encrypted_premaster and kind != 0:
            self._keep(kind, body)
        if kind == CLIENT_HELLO:
            self.take_client_hello(h.read_client_hello(body), direction, ts_ns)
        elif kind == SERVER_HELLO:
            self._take_server_hello(h.read_server_hello(body))
        elif kind == OLD_RETRY:
            self.retry = self.terms.retry = True
        elif kind == CERTIFICATE:
            self._take_certificate(body, direction)
        elif kind == SERVER_KEY:
            self.key_exchange_seen = True
            if self.group is None and len(body) >= 3 and body[0] == 3 and "ECDH" in cipher_name(self.cipher):
                self.group = int.from_bytes(body[1:3], "big")  # RFC 8422 section 5.4: named_curve
        elif kind == HELLO_DONE:
            self.key_exchange_seen = True
        elif kind == CLIENT_KEY:
            self._take_client_key(body)
        elif kind == NEW_TICKET:
            if not self.tls13 and len(body) > 6:
                self.tickets.append(body[6:])
        elif kind == ENCRYPTED_EXTENSIONS:
            self._take_encrypted_extensions(body)
        elif kind == KEY_UPDATE:
            self.key_updates[direction] += 1
        elif kind == FINISHED and self.tls13 and direction == self.client_dir and self.end_ts == 0:
            self.end_ts = ts_ns

    def _keep(self, kind: int, body: bytes) -> None:
        terms = self.terms
        if sum(map(len, terms.transcript)) + len(body) <= _MAX_TRANSCRIPT:
            terms.transcript.append(bytes((kind,)) + len(body).to_bytes(3, "big") + body)

    def take_client_hello(self, hello: h.ClientHello, direction: int, ts_ns: int) -> None:
        """Read what the client offers."""
        if hello.damaged:
            self.note("tls.bad_handshake")
        offers = hello.extensions
        if not self.hello_seen:
            self.hello_seen, self.start_ts, self.client_dir = True, ts_ns, direction
            self.sni = hello.sni
            if not hello.damaged:
                self.ja3, self.ja4 = ja3(hello), ja4(hello)
            self.early_offered = h.EARLY_DATA in offers
            self.heartbeat[0] = h.HEARTBEAT in offers
            self.secure_client = h.RENEGOTIATION in offers or h.RENEGOTIATION_SCSV in hello.ciphers
        self.alpn_offered = hello.alpn
        self.tls13_offered = any(h.is_tls13(v) for v in hello.versions)
        self.id_offered, self.ticket_offered = hello.session_id, offers.get(h.TICKET, b"")
        self.psk_offered = h.PRE_SHARED_KEY in offers
        terms = self.terms
        terms.client_random, terms.client_dir = hello.random, direction
        terms.early_data = self.early_offered
        terms.extended_master, terms.encrypt_then_mac = h.EXTENDED_MASTER in offers, h.ENCRYPT_THEN_MAC in offers

    def _take_server_hello(self, hello: h.ServerHello) -> None:
        if hello.damaged:
            self.note("tls.bad_handshake")
            if not hello.cipher:
                return
        chosen = hello.extensions
        self.version = self.terms.version = hello.chosen
        self.cipher = self.terms.cipher = hello.cipher
        self.group = hello.group if hello.group is not None else self.group
        if hello.retry:
            self.retry = self.terms.retry = True
            return
        self.server_seen = True
        if not hello.damaged:
            self.ja3s, self.ja4s = ja3s(hello), ja4s(hello)
        if names := h.alpn_names(chosen.get(h.ALPN, b"")):
            self.alpn, self.alpn_sure = _protocols(names[:1]), True
        self.heartbeat[1] = h.HEARTBEAT in chosen
        self.secure_server = h.RENEGOTIATION in chosen
        terms = self.terms
        terms.server_random, terms.session_id = hello.random, hello.session_id
        terms.compression = hello.compression
        terms.extended_master &= h.EXTENDED_MASTER in chosen
        terms.encrypt_then_mac &= h.ENCRYPT_THEN_MAC in chosen
        self.cert_seen = self.key_exchange_seen = False
        if self.tls13:
            self.psk_selected = h.PRE_SHARED_KEY in chosen
            self.resumption = "psk" if self.psk_selected else "none"

    def _take_certificate(self, body: bytes, direction: int) -> None:
        try:
            der = first_of(body, tls13=self.tls13)
        except h.MalformedError:
            self.note("tls.bad_handshake")
            der = None
        if direction == self.client_dir:
            self.client_auth = self.client_auth or der is not None
            return
        self.cert_seen = True
        if der is not None and self.certificate is None:
            self.certificate = read_certificate(der)
            if self.certificate is None:
                self.note("tls.bad_certificate")

    def _take_client_key(self, body: bytes) -> None:
        if cipher_name(self.cipher).startswith("TLS_RSA_"):
            has_length = len(body) > 2 and int.from_bytes(body[:2], "big") == len(body) - 2  # SSL 3.0 has none
            self.terms.encrypted_premaster = body[2:] if has_length else body
        else:
            self.terms.encrypted_premaster = b""

    def _take_encrypted_extensions(self, body: bytes) -> None:
        hello = h.Hello(version=self.version)
        try:
            h._read_extensions(h.Cursor(body), hello)
        except h.MalformedError:
            self.note("tls.bad_handshake")
        names = h.alpn_names(hello.extensions.get(h.ALPN, b""))
        self.alpn, self.alpn_sure = _protocols(names[:1]), True
        self.terms.early_data = self.terms.early_data and h.EARLY_DATA in hello.extensions

    # -------------------------------------------------------------------------------------- other records
    def take_alert(self, level: int, description: int, name: str, direction: int) -> None:
        """An alert that could be read."""
        if description == 0:
            self.close_read[direction] = True
        elif self.alert is None:
            self.alert = name
        self.fatal = self.fatal or (level == 2 and description != 0)

    def take_ccs(self, direction: int) -> None:
        """ChangeCipherSpec: of a server, it ends the part of a handshake that tells a resumption (definitions B9)."""
        if direction == self.client_dir or self.tls13 or not self.server_seen or self.resumption != "unknown":
            return
        if self.cert_seen or self.key_exchange_seen:
            self.resumption = "none"
        elif self.uncertain:
            return
        elif self.ticket_offered:
            self.resumption = "ticket"
        elif self.id_offered and self.terms.session_id == self.id_offered:
            self.resumption = "session_id"

    def take_encrypted(self, direction: int, epoch: int, ts_ns: int) -> None:
        """An encrypted handshake record, TLS 1.2 and older: Finished, or what comes after both."""
        if self.done_epoch and epoch == self.done_epoch and direction == self.client_dir and not self.renegotiating:
            self.renegotiating = True
            self.renegotiations += 1
        if epoch > self.finished[direction]:
            self.finished[direction] = epoch
            both = min(self.finished)
            if both > self.done_epoch:
                self.done_epoch, self.renegotiating = both, False
                if self.end_ts == 0:
                    self.end_ts = ts_ns

    def take_turn(self, direction: int) -> None:
        """Count the flights of the server until the handshake is complete: each is a round trip."""
        if not self.closed_flights and direction != self.last_dir:
            if direction != self.client_dir and self.last_dir >= 0:
                self.flights += 1
            self.last_dir = direction

    # -------------------------------------------------------------------------------------- conclusions
    @property
    def alpn_text(self) -> str | None:
        """The protocol agreed, or what the client offered where the answer cannot be read."""
        if self.alpn_sure or (self.server_seen and not self.tls13):
            return self.alpn
        return _protocols(self.alpn_offered)

    @property
    def offered(self) -> bool | None:
        """Whether the client offered to resume; a session id beside TLS 1.3 is there for middleboxes only."""
        if not self.hello_seen:
            return None
        return bool(self.psk_offered or self.ticket_offered or (self.id_offered and not self.tls13_offered))

    @property
    def resumed(self) -> str:
        """How a session was resumed: an enum word."""
        if self.resumption == "unknown" and (self.cert_seen or self.key_exchange_seen):
            return "none"
        return self.resumption

    @property
    def early_data(self) -> str:
        """What became of 0-RTT data: an enum word (definitions B9)."""
        if not self.hello_seen:
            return "unknown"
        if not self.early_offered:
            return "no"
        if self.retry or (self.server_seen and not self.psk_selected):
            return "rejected"
        if self.opened and self.alpn_sure:
            return "accepted" if self.terms.early_data else "rejected"
        return "unknown" if self.server_seen else "offered"

    @property
    def group_text(self) -> str | None:
        """The key exchange group's name."""
        return None if self.group is None else group_name(self.group)


def _protocols(names: tuple[bytes, ...]) -> str | None:
    return intern(",".join(name.decode("utf-8", "backslashreplace") for name in names)) if names else None
