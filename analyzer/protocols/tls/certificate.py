"""The first certificate of a chain: whose it is, who signed it, until when.

Source  RFC 5280; RFC 8446 section 4.4.2 and RFC 5246 section 7.4.2 for the message.
Limits  Nothing is verified: a trust store is a matter of the machine, a capture has none.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from analyzer.protocols.tls.hello import Cursor

if TYPE_CHECKING:
    from datetime import datetime


class Certificate(NamedTuple):
    """Names as RFC 4514 writes them; times in UTC nanoseconds."""

    subject: str
    issuer: str
    not_before: int
    not_after: int


def first_of(body: bytes, *, tls13: bool) -> bytes | None:
    """Return the DER bytes of the sender's own certificate in a Certificate message; None if it sent none."""
    read = Cursor(body)
    if tls13:
        read.vector(1)  # certificate_request_context
    chain = Cursor(read.vector(3))
    return chain.vector(3) if chain else None


# The same server's certificate comes with every full handshake.
@lru_cache(maxsize=512)
def read_certificate(der: bytes) -> Certificate | None:
    """Return what a certificate says, None if it cannot be read."""
    from cryptography import x509

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of what is odd in certificates: not ours to mend
        try:
            certificate = x509.load_der_x509_certificate(der)
            return Certificate(
                certificate.subject.rfc4514_string(),
                certificate.issuer.rfc4514_string(),
                _ns(certificate.not_valid_before_utc),
                _ns(certificate.not_valid_after_utc),
            )
        except Exception:  # its errors have no common base, and the bytes are anybody's
            return None


def _ns(when: datetime) -> int:
    """Nanoseconds of a time; years that 64 bits cannot hold (9999 means "never") become the last that they can."""
    return max(-9_223_372_036, min(int(when.timestamp()), 9_223_372_036)) * 1_000_000_000
