"""Names of flows and addresses that other tools must agree with."""

from __future__ import annotations

import hashlib
import ipaddress
import socket

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.classify.community import address_text, sha1
from tests.property.harness import run
from tests.talk import Talk


@pytest.mark.parametrize("swap", [False, True])
def test_community_id_of_the_specifications_example(swap: bool) -> None:
    """github.com/corelight/community-id-spec, baseline of TCP with seed 0; the same from either side."""
    ends = [("128.232.110.120", 34855), ("66.35.250.204", 80)]
    first, second = ends[::-1] if swap else ends
    assert run(Talk(first, second).syn()).flow["community_id"] == "1:LQU9qZlK+B5F3KDmev6m5PMibrg="


def test_addresses_as_text() -> None:
    flow = run(Talk(("2001:db8::1", 1), ("2001:db8:0:1::2", 2)).syn()).flow
    assert (flow["client_ip"], flow["server_ip"]) == ("2001:db8::1", "2001:db8:0:1::2")


ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6), st.just(ipaddress.ip_address("::ffff:1.2.3.4")))


@given(st.lists(ADDRESSES, max_size=20))
def test_addresses_are_written_as_the_system_writes_them(addresses: list[ipaddress.IPv4Address]) -> None:
    raw = b"".join(address.packed.rjust(16, b"\0") for address in addresses)
    words = np.frombuffer(raw, ">i8").astype(np.int64).reshape(-1, 2)
    version = np.array([address.version for address in addresses], np.int8)
    family = {4: socket.AF_INET, 6: socket.AF_INET6}
    expected = [socket.inet_ntop(family[address.version], address.packed) for address in addresses]
    assert address_text(words[:, 0], words[:, 1], version).to_pylist() == expected


@given(st.lists(st.binary(max_size=55), max_size=20))
def test_sha1_is_that_of_the_library(messages: list[bytes]) -> None:
    blocks = np.frombuffer(b"".join(m.ljust(64, b"\0") for m in messages), np.uint8).reshape(-1, 64).copy()
    lengths = np.array([len(m) for m in messages], np.int64)
    assert [row.tobytes() for row in sha1(blocks, lengths)] == [hashlib.sha1(m).digest() for m in messages]
