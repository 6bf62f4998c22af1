"""What a WebSocket handshake agreed on, whichever protocol carried it.

Source  RFC 6455 section 4.2.2 (Sec-WebSocket-Accept); RFC 7692 section 7.1 (permessage-deflate);
        RFC 8441 section 5 (extended CONNECT: no key, nothing to accept).
"""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from typing import NamedTuple

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


class Deflate(NamedTuple):
    """permessage-deflate of one direction: size of the window in bits, and whether it is kept between messages."""

    bits: int = 15
    takeover: bool = True


class Handshake(NamedTuple):
    """An opening handshake that was accepted.

    channel  whose bytes are WebSocket from here on    frame  of the response
    key, accept  header values, None = there was none    extensions  of the response
    keyed  False if there was no key to see: in HTTP/2, and where the request came before the capture
    """

    channel: int
    frame: int
    key: bytes | None
    accept: bytes | None
    extensions: bytes | None
    keyed: bool = True

    @property
    def is_old(self) -> bool:
        """True for a draft before RFC 6455, which had two keys or none, and frames of another kind."""
        return self.keyed and self.key is None and self.accept is None

    @property
    def is_accepted(self) -> bool:
        """True if the accept value is the one that belongs to the key."""
        return not self.keyed or (self.key is not None and self.accept == accept_of(self.key))

    def agreed(self) -> tuple[Deflate | None, Deflate | None, bool]:
        """Return permessage-deflate of (client, server), None without, and whether something else was agreed on."""
        return read_extensions(self.extensions)


def accept_of(key: bytes) -> bytes:
    """Return the Sec-WebSocket-Accept that answers a Sec-WebSocket-Key."""
    return base64.b64encode(hashlib.sha1(key + GUID, usedforsecurity=False).digest())


@lru_cache(256)  # servers grant the same to all their clients; a hostile value has 8 kB at most, the longest line
def read_extensions(value: bytes | None) -> tuple[Deflate | None, Deflate | None, bool]:
    """Read the Sec-WebSocket-Extensions of a response; returns as `Handshake.agreed`."""
    client = server = None
    foreign = False
    for extension in (value or b"").lower().split(b","):
        name, *parameters = (part.strip() for part in extension.split(b";"))
        if name == b"permessage-deflate" and client is None:
            told = dict(_pair(parameter) for parameter in parameters)
            client = _deflate(told, b"client")
            server = _deflate(told, b"server")
        elif name:
            foreign = True
    return client, server, foreign


def _pair(parameter: bytes) -> tuple[bytes, bytes]:
    name, _, value = parameter.partition(b"=")
    return name.strip(), value.strip().strip(b'"')


def _deflate(told: dict[bytes, bytes], who: bytes) -> Deflate:
    bits = told.get(who + b"_max_window_bits", b"")
    chosen = int(bits) if bits.isdigit() and len(bits) <= 2 else 15
    # zlib has no raw window of 8 bits: its compressor uses 9 where 8 were agreed on
    return Deflate(min(max(chosen, 9), 15), who + b"_no_context_takeover" not in told)
