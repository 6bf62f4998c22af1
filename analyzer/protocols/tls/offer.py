"""What hellos say, without reading again what a program says in each of them.

A program's hellos differ in a few fields: the random, the session id, keys, tickets and names. What one hello means is
therefore kept beside its bytes, and the next one with the same bytes around those fields means the same: comparing
takes a fifth of the time that reading takes. Clients that say something else each time (GREASE, RFC 8701: Chrome, which
also shuffles its extensions) are read each time, and not remembered.

Source  RFC 8446 sections 4.1.2, 4.1.3; see `hello` for how they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from struct import Struct
from sys import intern
from typing import Any, Generic, NamedTuple, TypeVar

from analyzer.protocols.tls import hello as h
from analyzer.protocols.tls.fingerprint import ja3, ja3s, ja4, ja4s
from analyzer.protocols.tls.names import is_grease

COOKIE, ENCRYPTED_HELLO = 44, 0xFE0D  # RFC 8446 section 4.2.2, RFC 9849 section 5
_NEW_IN_EACH = (h.SERVER_NAME, h.TICKET, h.OLD_KEY_SHARE, h.PRE_SHARED_KEY, COOKIE, h.KEY_SHARE, ENCRYPTED_HELLO)
_RANDOM = (2, 34)  # from, to; then the session id behind its length

# Hellos that are remembered: enough for the programs of a large network. If all are hostile, 4 kB and a list of
# protocols that is four times as long as text, a side's have 7 MB.
_MOST_KEYS, _MOST_EACH, _LONGEST, _LONGEST_LIST = 256, 4, 4096, 512
_KEY_BYTES = 32

Place = tuple[int, int]
Said = TypeVar("Said")


class Offer(NamedTuple):
    """What a client offers (RFC 8446 section 4.1.2), whichever connection it is for."""

    damaged: bool
    tls13: bool
    alpn: str | None
    ja3: str | None
    ja4: str | None
    early_data: bool
    heartbeat: bool
    renegotiation: bool
    psk: bool
    extended_master: bool
    encrypt_then_mac: bool


class ClientHello(NamedTuple):
    """An offer, and what is new in this hello."""

    offer: Offer
    random: bytes
    session_id: bytes
    sni: str | None
    ticket: bytes
    psks: bytes


class Choice(NamedTuple):
    """What a server chose (RFC 8446 section 4.1.3).

    alpn  None = it did not say    psk  the place of the key among those offered
    """

    damaged: bool
    version: int
    tls13: bool
    cipher: int
    compression: int
    group: int | None
    alpn: str | None
    ja3s: str | None
    ja4s: str | None
    heartbeat: bool
    renegotiation: bool
    psk: int | None
    extended_master: bool
    encrypt_then_mac: bool


class ServerHello(NamedTuple):
    """A choice, and what is new in this hello."""

    choice: Choice
    random: bytes
    session_id: bytes

    @property
    def retry(self) -> bool:
        """True for a HelloRetryRequest."""
        return self.random == h.RETRY_RANDOM


# ------------------------------------------------------------------------------------------------ reading
def read_client(body: bytes) -> ClientHello:
    """Return the ClientHello in a handshake message's body."""
    key = _client_key(body)
    if (found := _clients.find(key, body)) is not None:
        (offer, name, ticket, psks), new = found
        sni = h.host_name(new[name]) if name else None
        return ClientHello(offer, new[0], new[1], sni, new[ticket] if ticket else b"", new[psks] if psks else b"")
    hello = h.read_client_hello(body)
    client = client_of(hello)
    if not hello.damaged and not any(map(is_grease, (*hello.ciphers[:1], *hello.kinds[:1]))):
        kinds = sorted((hello.places[kind], kind) for kind in _NEW_IN_EACH if kind in hello.places)
        order = {kind: 2 + k for k, (_, kind) in enumerate(kinds)}
        said = client.offer, order.get(h.SERVER_NAME, 0), order.get(h.TICKET, 0), order.get(h.PRE_SHARED_KEY, 0)
        places = [(at, at + len(hello.extensions[kind])) for at, kind in kinds]
        _clients.add(key, body, places, said, client.offer.alpn)
    return client


def client_of(hello: h.ClientHello) -> ClientHello:
    """Return what a hello means that was read."""
    offers = hello.extensions
    offer = Offer(
        damaged=hello.damaged,
        tls13=any(h.is_tls13(version) for version in hello.versions),
        alpn=protocols(hello.alpn),
        ja3=None if hello.damaged else ja3(hello),
        ja4=None if hello.damaged else ja4(hello),
        early_data=h.EARLY_DATA in offers,
        heartbeat=h.HEARTBEAT in offers,
        renegotiation=h.RENEGOTIATION in offers or h.RENEGOTIATION_SCSV in hello.ciphers,
        psk=h.PRE_SHARED_KEY in offers,
        extended_master=h.EXTENDED_MASTER in offers,
        encrypt_then_mac=h.ENCRYPT_THEN_MAC in offers,
    )
    sni = h.host_name(offers.get(h.SERVER_NAME, b""))
    tickets, psks = offers.get(h.TICKET, b""), offers.get(h.PRE_SHARED_KEY, b"")
    return ClientHello(offer, hello.random, hello.session_id, sni, tickets, psks)


def read_server(body: bytes) -> ServerHello:
    """Return the ServerHello (or HelloRetryRequest) in a handshake message's body."""
    key = _server_key(body)
    if (found := _servers.find(key, body)) is not None:
        choice, new = found
        return ServerHello(choice, new[0], new[1])
    hello = h.read_server_hello(body)
    choice = _choice_of(hello)
    if not hello.damaged and not hello.is_draft:
        at = hello.places.get(h.KEY_SHARE, 0)
        share = len(hello.extensions.get(h.KEY_SHARE, b""))
        places = [(at + 2, at + share)] if share > 2 else []  # the group is no new one
        _servers.add(key, body, places, choice, choice.alpn)
    return ServerHello(choice, hello.random, hello.session_id)


def _choice_of(hello: h.ServerHello) -> Choice:
    chosen = hello.extensions
    return Choice(
        damaged=hello.damaged,
        version=hello.chosen,
        tls13=h.is_tls13(hello.chosen),
        cipher=hello.cipher,
        compression=hello.compression,
        group=hello.group,
        alpn=protocols(h.alpn_names(chosen.get(h.ALPN, b""))[:1]),
        ja3s=None if hello.damaged else ja3s(hello),
        ja4s=None if hello.damaged else ja4s(hello),
        heartbeat=h.HEARTBEAT in chosen,
        renegotiation=h.RENEGOTIATION in chosen,
        psk=int.from_bytes(chosen[h.PRE_SHARED_KEY][:2], "big") if h.PRE_SHARED_KEY in chosen else None,
        extended_master=h.EXTENDED_MASTER in chosen,
        encrypt_then_mac=h.ENCRYPT_THEN_MAC in chosen,
    )


def protocols(names: tuple[bytes, ...]) -> str | None:
    """Return the names of application protocols as one text, None without any."""
    return intern(",".join(name.decode("utf-8", "backslashreplace") for name in names)) if names else None


# ------------------------------------------------------------------------------------------------ what is alike
class _Known(NamedTuple):
    """A hello's bytes around what is new in each; `said` is what they mean."""

    size: int
    unpack: Callable[[bytes], tuple[Any, ...]]  # old and new by turns
    old: tuple[bytes, ...]
    said: Any


class _Alike(Generic[Said]):
    """Hellos of one side by `key`, any of their bytes before the first extension's body that tell programs apart."""

    def __init__(self) -> None:
        self._known: dict[bytes, list[_Known]] = {}

    def find(self, key: bytes, body: bytes) -> tuple[Said, tuple[bytes, ...]] | None:
        """Return what was said in a hello that is alike, and what is new in this one: random, session id, ..."""
        for known in self._known.get(key, ()):
            if known.size == len(body):
                pieces = known.unpack(body)
                if pieces[::2] == known.old:
                    return known.said, pieces[1::2]
        return None

    def add(self, key: bytes, body: bytes, new: Iterable[Place], said: Said, alpn: str | None) -> None:
        """Remember a hello; `new` are the places, ascending, that the next one fills otherwise."""
        if len(body) > _LONGEST or (alpn is not None and len(alpn) > _LONGEST_LIST):
            return
        if key not in self._known and len(self._known) >= _MOST_KEYS:
            self._known.clear()
        code, at = ">", 0
        for begin, end in (_RANDOM, (35, 35 + body[34]), *new):
            code += f"{begin - at}s{end - begin}s"
            at = end
        unpack = Struct(f"{code}{len(body) - at}s").unpack
        same = self._known.setdefault(key, [])
        same.insert(0, _Known(len(body), unpack, unpack(body)[::2], said))
        del same[_MOST_EACH:]


_clients: _Alike[tuple[Offer, int, int, int]] = _Alike()
_servers: _Alike[Choice] = _Alike()


def _client_key(body: bytes) -> bytes:
    """What stands before the first extension's body: the last suites, how long that is, and all of them."""
    at = 35 + body[34] if len(body) > 34 else 0
    end = at + 10 + int.from_bytes(body[at : at + 2], "big")
    return body[max(at, end - _KEY_BYTES) : end]


def _server_key(body: bytes) -> bytes:
    at = 35 + body[34] if len(body) > 34 else 0
    return body[at : at + 9]
