"""What is known of one TLS connection, filled message by message.

Source  RFC 8446 (TLS 1.3), RFC 5246 (1.2 and older), RFC 5077 (tickets), RFC 5746 (renegotiation), RFC 6520
        (heartbeats), RFC 7627 and RFC 7366 (extended master secret, encrypt-then-MAC).
Limits  From the ServerHello on TLS 1.3 is encrypted: what follows is read only where records are opened.
"""

from __future__ import annotations

from collections.abc import Callable

from analyzer.protocols.tls import hello as h
from analyzer.protocols.tls.certificate import Certificate, first_of, read_certificate
from analyzer.protocols.tls.messages import Messages
from analyzer.protocols.tls.names import cipher_name, group_name
from analyzer.protocols.tls.offer import Choice, ClientHello, Offer, ServerHello, protocols, read_client, read_server
from analyzer.protocols.tls.sealed import Terms

Tell = Callable[[str, int, int], None]  # anomaly code, flow_id, frame

CLIENT_HELLO, SERVER_HELLO, NEW_TICKET, OLD_RETRY, ENCRYPTED_EXTENSIONS = 1, 2, 4, 6, 8
CERTIFICATE, SERVER_KEY, HELLO_DONE, CLIENT_KEY, FINISHED, KEY_UPDATE = 11, 12, 14, 16, 20, 24

# RFC 7627 needs the messages up to ClientKeyExchange, a few kB; a chain of certificates may make them long.
_MAX_TRANSCRIPT = 1 << 18
_ASKED, _AGREED = 1, 2  # how far a renegotiation is


class Session:
    """One connection. Times are UTC nanoseconds, 0 = never; `dir` is the direction as in every table.

    first  what the first ClientHello offered    client  the latest    choice  of the latest ServerHello, no retry
    """

    __slots__ = (
        "alert",
        "alpn",
        "alpn_sure",
        "cert_seen",
        "certificate",
        "choice",
        "cipher",
        "client",
        "client_auth",
        "client_dir",
        "close_ts",
        "closed_flights",
        "done_epoch",
        "end_ts",
        "fatal",
        "fatal_ts",
        "finished",
        "first",
        "flights",
        "flow_id",
        "frame",
        "group",
        "ja3s",
        "ja4s",
        "key_exchange_seen",
        "key_updates",
        "last_dir",
        "messages",
        "opened",
        "renegotiating",
        "renegotiations",
        "resumed_from",
        "resumed_sure",
        "resumption",
        "retry",
        "sealed",
        "slot",
        "sni",
        "start_ts",
        "tell",
        "terms",
        "tickets",
        "tls13",
        "uncertain",
        "version",
    )  # fmt: skip

    def __init__(self, flow_id: int, slot: int, frame: int, tell: Tell) -> None:
        self.flow_id, self.slot, self.frame, self.tell = flow_id, slot, frame, tell
        self.messages = (Messages(), Messages())
        self.terms = Terms()
        self.client_dir = 0
        self.first: Offer | None = None
        self.client: ClientHello | None = None
        self.choice: Choice | None = None
        self.retry = self.uncertain = False
        self.version = self.cipher = 0
        self.tls13 = False  # True once it was agreed, or asked for by a HelloRetryRequest
        self.group: int | None = None
        self.sni: str | None = None
        self.alpn: str | None = None
        self.alpn_sure = False
        self.ja3s: str | None = None
        self.ja4s: str | None = None
        self.resumption = "unknown"
        self.resumed_from: int | None = None
        self.resumed_sure = False
        self.tickets: list[bytes] = []  # issued in clear
        self.cert_seen = self.key_exchange_seen = False
        self.certificate: Certificate | None = None
        self.client_auth = False
        self.alert: str | None = None
        self.fatal, self.fatal_ts = False, 0
        self.close_ts = [0, 0]  # of the close_notify that was read, by direction; 0 = none was
        self.key_updates = [0, 0]  # read, by direction
        self.opened = False  # records were decrypted
        self.sealed = [False, False]  # but not the last one of a direction
        self.start_ts = self.end_ts = 0
        self.finished = [0, 0]  # ChangeCipherSpecs behind which each side's Finished was seen
        self.done_epoch, self.renegotiating, self.renegotiations = 0, 0, 0
        self.flights, self.last_dir, self.closed_flights = 0, -1, False

    @property
    def hello_seen(self) -> bool:
        """True once a ClientHello was read."""
        return self.client is not None

    @property
    def server_seen(self) -> bool:
        """True once a ServerHello was read that was no HelloRetryRequest."""
        return self.choice is not None

    @property
    def client_sent_certificate(self) -> bool | None:
        """None if it is encrypted, or if records were missed that may have had it."""
        if self.client_auth:
            return True
        missed = self.uncertain or not (self.hello_seen and self.server_seen)
        return None if missed or (self.tls13 and not self.opened) else False

    def note(self, code: str) -> None:
        """Count something odd, at the connection's first record."""
        self.tell(code, self.flow_id, self.frame)

    # -------------------------------------------------------------------------------------- handshake messages
    def take(self, kind: int, body: bytes, direction: int, ts_ns: int, *, keep: bool) -> None:
        """Read one handshake message; `keep`: add it to the transcript."""
        if keep and not self.terms.encrypted_premaster and kind != 0:
            self._keep(kind, body)
        if kind == CLIENT_HELLO:
            self.take_client_hello(read_client(body), direction, ts_ns)
        elif kind == SERVER_HELLO:
            self._take_server_hello(read_server(body))
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

    def take_client_hello(self, client: ClientHello, direction: int, ts_ns: int) -> None:
        """Read what the client offers."""
        offer = client.offer
        if offer.damaged:
            self.note("tls.bad_handshake")
        if self.first is None:
            self.first, self.start_ts, self.client_dir, self.sni = offer, ts_ns, direction, client.sni
        self.client = client
        terms = self.terms
        terms.client_random, terms.client_dir = client.random, direction
        terms.early_data = self.first.early_data
        terms.extended_master, terms.encrypt_then_mac = offer.extended_master, offer.encrypt_then_mac

    def _take_server_hello(self, hello: ServerHello) -> None:
        choice, terms = hello.choice, self.terms
        if choice.damaged:
            self.note("tls.bad_handshake")
            if not choice.cipher:
                return
        self.version = terms.version = choice.version
        self.cipher = terms.cipher = choice.cipher
        self.tls13 = choice.tls13
        if choice.group is not None:
            self.group = choice.group
        if hello.retry:
            self.retry = terms.retry = True
            return
        self.choice = choice
        if not choice.damaged:
            self.ja3s, self.ja4s = choice.ja3s, choice.ja4s
        if choice.alpn is not None:
            self.alpn, self.alpn_sure = choice.alpn, True
        terms.server_random, terms.session_id = hello.random, hello.session_id
        terms.compression = choice.compression
        terms.extended_master &= choice.extended_master
        terms.encrypt_then_mac &= choice.encrypt_then_mac
        self.cert_seen = self.key_exchange_seen = False
        if choice.tls13:
            self.resumption = "psk" if choice.psk is not None and not self._external(choice.psk) else "none"

    def _external(self, place: int) -> bool:
        """Whether the key at that place of those offered was agreed on elsewhere: no session is resumed with it."""
        external = () if self.client is None else h.external_psks(self.client.psks)
        return place < len(external) and external[place]

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
            h.read_extensions(h.Cursor(body), hello)
        except h.MalformedError:
            self.note("tls.bad_handshake")
        names = h.alpn_names(hello.extensions.get(h.ALPN, b""))
        self.alpn, self.alpn_sure = protocols(names[:1]), True
        self.terms.early_data = self.terms.early_data and h.EARLY_DATA in hello.extensions

    # -------------------------------------------------------------------------------------- other records
    def take_alert(self, level: int, description: int, name: str, direction: int, ts_ns: int) -> None:
        """An alert that could be read."""
        if description == 0:
            self.close_ts[direction] = self.close_ts[direction] or ts_ns
        elif self.alert is None:
            self.alert = name
        if level == 2 and description != 0 and not self.fatal:
            self.fatal, self.fatal_ts = True, ts_ns

    def take_ccs(self, direction: int) -> None:
        """ChangeCipherSpec: of a server, it ends the part of a handshake that tells a resumption (definitions B9)."""
        if direction == self.client_dir or self.tls13 or not self.server_seen or self.resumption != "unknown":
            return
        if self.cert_seen or self.key_exchange_seen:
            self.resumption = "none"
        elif self.uncertain:
            return
        elif self.client is not None and self.client.ticket:
            self.resumption = "ticket"
        elif self.client is not None and self.client.session_id and self.terms.session_id == self.client.session_id:
            self.resumption = "session_id"

    def take_encrypted(self, direction: int, epoch: int, ts_ns: int) -> None:
        """An encrypted handshake record, TLS 1.2 and older: Finished, or what comes after both.

        After both a client's is a hello; that a server takes part says its next one (who refuses sends an alert).
        """
        if self.done_epoch and epoch == self.done_epoch:
            if direction == self.client_dir:
                self.renegotiating = self.renegotiating or _ASKED
            elif self.renegotiating == _ASKED:
                self.renegotiating = _AGREED
                self.renegotiations += 1
        if epoch > self.finished[direction]:
            self.finished[direction] = epoch
            both = min(self.finished)
            if both > self.done_epoch:
                self.done_epoch, self.renegotiating = both, 0
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
        if self.alpn_sure or (self.choice is not None and not self.tls13):
            return self.alpn
        return None if self.client is None else self.client.offer.alpn

    @property
    def offered(self) -> bool | None:
        """Whether the client offered to resume; a session id beside TLS 1.3 is there for middleboxes only.

        Section D.4 of RFC 8446 has every client of 1.3 send one, also to a server that turns out to speak 1.2.
        """
        client = self.client
        if client is None:
            return None
        if client.offer.psk:
            return not all(h.external_psks(client.psks) or (False,))
        resumed = self.resumption in ("session_id", "ticket")
        return bool(client.ticket or (client.session_id and (not client.offer.tls13 or resumed)))

    @property
    def resumed(self) -> str:
        """How a session was resumed: an enum word."""
        if self.resumption == "unknown" and (self.cert_seen or self.key_exchange_seen):
            return "none"
        return self.resumption

    @property
    def early_data(self) -> str:
        """What became of 0-RTT data: an enum word (definitions B9)."""
        if self.first is None:
            return "unknown"
        if not self.first.early_data:
            return "no"
        if self.retry or (self.choice is not None and not (self.tls13 and self.choice.psk is not None)):
            return "rejected"
        if self.opened and self.alpn_sure:
            return "accepted" if self.terms.early_data else "rejected"
        return "unknown" if self.choice is not None else "offered"

    @property
    def heartbeat(self) -> bool:
        """True if both sides may send heartbeats (RFC 6520)."""
        return self.first is not None and self.first.heartbeat and self.choice is not None and self.choice.heartbeat

    @property
    def secure(self) -> bool | None:
        """Whether both sides know RFC 5746; None in TLS 1.3, which has no renegotiation, and without a ServerHello."""
        if self.choice is None or self.tls13:
            return None
        return self.first is not None and self.first.renegotiation and self.choice.renegotiation

    @property
    def group_text(self) -> str | None:
        """The key exchange group's name."""
        return None if self.group is None else group_name(self.group)
