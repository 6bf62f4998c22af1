"""Handshake messages out of records: they may share one, or be spread over several (RFC 8446 section 5.1)."""

from __future__ import annotations

from analyzer.protocols.tls.names import HANDSHAKE

# The longest message that is read. Certificate chains have some kB; a list of 800 authorities in a CertificateRequest
# has 100 kB. Lengths may claim 2**24: what is longer is stepped over.
MAX_MESSAGE = 1 << 17


class Messages:
    """One direction's handshake bytes. `odd` is set to an anomaly code when something cannot be."""

    __slots__ = ("buffer", "odd", "skip")

    def __init__(self) -> None:
        self.buffer = b""
        self.skip = 0  # bytes still to come of a message that is not read
        self.odd = ""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take a record's bytes; return (type, body) of each message that ends in it, but for skipped ones."""
        read: list[tuple[int, bytes]] = []
        if self.skip:
            stepped = min(self.skip, len(data))
            self.skip -= stepped
            data = data[stepped:]
        if self.buffer:
            data = self.buffer + data
        at, end = 0, len(data)
        while end - at >= 4:
            kind, length = data[at], int.from_bytes(data[at + 1 : at + 4], "big")
            if kind not in HANDSHAKE:
                self.odd = "tls.bad_handshake"
                at = end
            elif length > MAX_MESSAGE:
                self.odd = "tls.handshake_cap"
                self.skip = max(0, length - (end - at - 4))
                at = min(end, at + 4 + length)
            elif end - at - 4 < length:
                break
            else:
                read.append((kind, data[at + 4 : at + 4 + length]))
                at += 4 + length
        self.buffer = data[at:]
        return read

    def forget(self) -> None:
        """Bytes are missing: what came before them is no beginning any more."""
        self.buffer, self.skip = b"", 0


def plausible(data: bytes) -> bool:
    """True if a record's bytes can begin with a message in clear; encrypted ones look like anything, and are many."""
    if data[0] not in HANDSHAKE:
        return False
    if len(data) < 4:
        return True
    length = int.from_bytes(data[1:4], "big")
    if data[0] == 1:
        return length >= 38 and (len(data) == 4 or data[4] == 3)
    return length + 4 <= max(len(data), MAX_MESSAGE) and (length > 0 or data[0] in (0, 14))
