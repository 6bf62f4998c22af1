"""A hello that is like one before means what it says, whatever was remembered."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.protocols.tls import offer
from analyzer.protocols.tls.hello import RETRY_RANDOM, read_client_hello, read_server_hello
from analyzer.protocols.tls.offer import client_of, read_client, read_server
from tests import tlswire as w

NAMES = ("a.example", "b.example", "much.longer.example")
SHARES = (b"", b"\x00\x1d\x00\x20" + bytes(32), b"\x00\x1d\x00\x20" + b"k" * 32, b"\x00\x17\x00\x20" + b"k" * 32)


def client(name: str, share: bytes, ticket: bytes | None, random: bytes, session_id: bytes) -> bytes:
    hello = w.client_hello(
        sni=name, alpn=[b"h2"], versions=[0x0304], more=w.extension(51, w.vector(2, share)), ticket=ticket,
        random=random, session_id=session_id,
    )  # fmt: skip
    return hello[4:]


CLIENTS = [
    client(*parts)
    for parts in product(NAMES, SHARES, (None, b"t" * 8, b"u" * 8), (b"r" * 32, b"s" * 32), (b"", b"i" * 32))
]


def server(share: bytes, random: bytes, cipher: int, session_id: bytes) -> bytes:
    extensions = w.extension(43, b"\x03\x04") + (w.extension(51, share) if share else b"")
    fixed = b"\x03\x03" + random + w.vector(1, session_id) + cipher.to_bytes(2, "big") + b"\0"
    return fixed + w.vector(2, extensions)


SERVERS = [
    server(*parts)
    for parts in product((*SHARES, b"\x00", b"\x00\x1d"), (b"r" * 32, RETRY_RANDOM), (0x1301, 0x1302), (b"", b"i" * 32))
]

PLAIN, SERVED = CLIENTS[0], SERVERS[0]
TWICE = w.client_hello(sni="a.example", more=w.extension(0, w.vector(2, b"\0" + w.vector(2, b"b.example"))))[4:]
# What nobody sends, or no more: an extension twice, bytes behind the last, SSL 2.0's number, drafts, a long session id
ODD = [
    TWICE, PLAIN + b"behind", SERVED + b"behind", b"\x00\x02" + PLAIN[2:], b"\x00\x02" + SERVED[2:],
    b"\x7f\x12" + SERVED[2:34] + SERVED[35:37] + SERVED[38:], b"\x7f\x17" + SERVED[2:],
    client("a.example", SHARES[1], None, b"r" * 32, b"i" * 200), server(SHARES[1], b"r" * 32, 0x1301, b"i" * 200),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(offer, "_clients", offer._Alike())
    monkeypatch.setattr(offer, "_servers", offer._Alike())


def read_afresh(body: bytes) -> offer.ServerHello:
    hello = read_server_hello(body)
    return offer.ServerHello(offer._choice_of(hello), hello.random, hello.session_id)


def test_what_is_remembered_is_found() -> None:
    first, second = (client("a.example", SHARES[1], b"t", letter * 32, b"i" * 32) for letter in (b"r", b"s"))
    assert read_client(first).offer is read_client(second).offer
    one, two = (server(SHARES[1], letter * 32, 0x1301, b"") for letter in (b"r", b"s"))
    assert read_server(one).choice is read_server(two).choice


@given(st.lists(st.sampled_from(CLIENTS + ODD), min_size=1, max_size=40))
def test_clients(bodies: list[bytes]) -> None:
    for body in bodies:
        assert read_client(body) == client_of(read_client_hello(body))


@given(st.lists(st.sampled_from(SERVERS + ODD), min_size=1, max_size=40))
def test_servers(bodies: list[bytes]) -> None:
    for body in bodies:
        assert read_server(body) == read_afresh(body)


@given(
    st.sampled_from(CLIENTS + SERVERS + ODD), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=3)
)
def test_one_byte_makes_another_hello(body: bytes, changes: list[tuple[int, int]]) -> None:
    read_client(body), read_server(body)
    spoiled = bytearray(body)
    for at, value in changes:
        spoiled[at % len(body)] = value
    assert read_client(bytes(spoiled)) == client_of(read_client_hello(bytes(spoiled)))
    assert read_server(bytes(spoiled)) == read_afresh(bytes(spoiled))


@given(st.sampled_from(CLIENTS + SERVERS + ODD), st.integers(0, 400))
def test_a_hello_that_was_cut(body: bytes, length: int) -> None:
    read_client(body), read_server(body)
    assert read_client(body[:length]) == client_of(read_client_hello(body[:length]))
    assert read_server(body[:length]) == read_afresh(body[:length])


def test_what_is_remembered_is_bounded() -> None:
    for k in range(3 * offer._MOST_KEYS):
        suites = (0x1300 + k).to_bytes(2, "big")
        read_client(b"\x03\x03" + bytes(32) + b"\0" + w.vector(2, suites) + b"\1\0")
    for k in range(20):
        read_server(server(bytes((k, k)), bytes(32), 0x1301, b""))
    read_client(b"\x03\x03" + bytes(32) + b"\0" + w.vector(2, bytes(2 * offer._LONGEST)) + b"\1\0")
    assert len(offer._clients._known) <= offer._MOST_KEYS
    assert max(len(known) for known in offer._servers._known.values()) == offer._MOST_EACH
    assert all(known.size <= offer._LONGEST for each in offer._clients._known.values() for known in each)


def test_a_full_memory_forgets_nothing_for_what_it_knows() -> None:
    for k in range(offer._MOST_KEYS):
        read_client(b"\x03\x03" + bytes(32) + b"\0" + w.vector(2, (0x1300 + k).to_bytes(2, "big")) + b"\1\0")
    read_client(b"\x03\x03" + bytes(32) + b"\1i" + w.vector(2, b"\x13\x00") + b"\1\0")
    assert len(offer._clients._known) == offer._MOST_KEYS


@pytest.mark.parametrize(
    "hello",
    [
        w.client_hello(ciphers=(0x2A2A, 0x1301)),
        w.client_hello(alpn=[b"\xff" * 255]),
        w.client_hello(more=w.extension(21, bytes(5000))),
    ],
)
def test_what_will_not_come_again_or_is_too_long_is_not_remembered(hello: bytes) -> None:
    assert read_client(hello[4:]) == client_of(read_client_hello(hello[4:]))
    assert not offer._clients._known
