"""Keys from secrets: RFC 8448's trace of TLS 1.3, and P_hash vectors that the TLS working group published."""

from __future__ import annotations

import pytest

from analyzer.protocols.tls.decrypt import opener
from analyzer.protocols.tls.schedule import TLS12, TLS13, next_secret, prf, traffic_keys
from analyzer.protocols.tls.suites import suite_named

SUITE = suite_named("TLS_AES_128_GCM_SHA256")
assert SUITE is not None
h = bytes.fromhex

# RFC 8448 section 3: secret, key, iv
TRACE = {
    "server handshake": (
        "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38",
        "3fce516009c21727d0f2e4e86ee403bc",
        "5d313eb2671276ee13000b30",
    ),
    "client handshake": (
        "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21",
        "dbfaa693d1762c5b666af5d950258d01",
        "5bd3c71b836e0b76bb73265f",
    ),
    "server application": (
        "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643",
        "9f02283b6c9c07efc26bb9f2ac92e356",
        "cf782b88dd83549aadf1e984",
    ),
    "client application": (
        "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5",
        "17422dda596ed5d9acd890e3c63f5051",
        "5b78923dee08579033e523d9",
    ),
}


@pytest.mark.parametrize("which", TRACE)
def test_traffic_keys_are_those_of_rfc_8448(which: str) -> None:
    secret, key, iv = TRACE[which]
    keys = traffic_keys(SUITE, h(secret))
    assert (keys.key.hex(), keys.iv.hex()) == (key, iv)


def test_records_of_rfc_8448_open() -> None:
    client = opener(TLS13, SUITE, traffic_keys(SUITE, h(TRACE["client application"][0])))
    data = h(
        "a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e"
        "3deae63aeebb21694915e4"
    )
    alert = h("c9872760655666b74d7ff1153efd6db6d0b0e3")
    kind, content = client.open(23, 0x0303, data)
    assert (kind, bytes(content)) == (23, bytes(range(50)))
    kind, content = client.open(23, 0x0303, alert)
    assert (kind, bytes(content)) == (21, b"\x01\x00")  # close_notify, warning


def test_a_record_out_of_order_or_with_one_bit_changed_does_not_open() -> None:
    alert = h("c9872760655666b74d7ff1153efd6db6d0b0e3")
    client = opener(TLS13, SUITE, traffic_keys(SUITE, h(TRACE["client application"][0])))
    assert client.open(23, 0x0303, alert) is None  # it is the second
    assert client.open(23, 0x0303, alert) is not None
    client.seq = 1
    assert client.open(23, 0x0303, alert[:-1] + b"\xe2") is None
    client.seq = 1
    assert client.open(22, 0x0303, alert) is None  # the header is authenticated too


def test_prf_of_tls_12() -> None:
    # mailarchive.ietf.org/arch/msg/tls/fzVCzk-z3FShgGJ6DOXqM1ydxms
    secret, seed = h("9bbe436ba940f017b17652849a71db35"), h("a0ba9f936cda311827a6f796ffd5198c")
    expected = h(
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af0fa022f7077def17"
        "abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff70187347b66"
    )
    assert prf(TLS12, "sha256", secret, b"test label", seed, 100) == expected


def test_a_key_update_makes_another_secret_of_the_same_length() -> None:
    secret = h(TRACE["client application"][0])
    updated = next_secret(SUITE, secret)
    assert len(updated) == 32
    assert updated != secret
