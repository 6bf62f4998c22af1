"""What decryption needs of a connection, and what it gives back: the seam between framing and keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import starmap
from typing import NamedTuple, Protocol

import numpy as np

from analyzer.kernel import I64, U8, Records

I8, I4, I2, I1 = np.int64, np.int32, np.int16, np.int8

SEALED = np.dtype(
    [
        ("flow_id", I8), ("channel", I4), ("dir", I1),
        ("content_type", I1), ("version", np.uint16), ("length", I4),
        ("epoch", I2),  # ChangeCipherSpecs of this direction before it
        ("whole", I1),  # every byte of it was captured
        ("lost", I1),  # records of this direction before it were lost: how many is not known
        ("listed", I1), ("encrypted", I1), ("decrypted", I1), ("inner_type", I1),
        ("alert_level", I1), ("alert", I2),  # -1 = none that could be read
        ("messages", I4),  # handshake messages inside: row of the reader's word list, -1 = none that could be read
        ("at", I8),  # where its bytes are in `kept`, -1 = nowhere
        ("frame", I8), ("ts_ns", I8),  # its last segment
        ("start_ts", I8),  # its first
        ("end_offset", I8),  # stream position just past it
        ("index", I8),  # place on the connection
        ("answers", I8), ("rtt", I8),  # heartbeat response: index of the request, and time since; -1 = none
    ],
    align=True,
)  # fmt: skip
"""A record that ended, or whose end is lost."""


class Record(NamedTuple):
    """What the handshake's reader asks of a SEALED row and of its connection (SEALED.channel), as plain numbers."""

    flow_id: int
    channel: int
    dir: int
    content_type: int
    version: int
    epoch: int
    whole: int
    lost: int
    at: int
    length: int
    frame: int
    start_ts: int
    ts_ns: int
    slot: int
    client_hi: int
    client_lo: int


_OWN, _CLIENT = Record._fields[:-3], Record._fields[-2:]


def plain(rows: Records, chosen: I64, channels: Records, flows: Records) -> Iterator[Record]:
    """Yield rows[chosen]; to ask each row for each field would take as long as what is done with them."""
    slots = channels["slot"][rows["channel"][chosen]]
    columns = *(rows[name][chosen] for name in _OWN), slots, *(flows[name][slots] for name in _CLIENT)
    return starmap(Record, zip(*(column.tolist() for column in columns), strict=True))


@dataclass(slots=True)
class Terms:
    """What both sides agreed in one handshake; see the package's docstring."""

    client_random: bytes | None = None
    server_random: bytes | None = None
    version: int = 0
    cipher: int = 0
    compression: int = 0
    extended_master: bool = False
    encrypt_then_mac: bool = False
    session_id: bytes | None = None
    encrypted_premaster: bytes | None = None
    early_data: bool = False
    retry: bool = False
    client_dir: int = 0
    transcript: list[bytes] = field(default_factory=list)

    def handshake(self) -> bytes:
        """Return the messages up to and including ClientKeyExchange, headers included."""
        return b"".join(self.transcript)


class Contents(NamedTuple):
    """What was in n records: (n,) inner content type, 0 = it was not opened; (n,) place and length of the content."""

    kind: I64
    at: I64
    length: I64


class Tally(NamedTuple):
    """Records of a connection that were opened, and that were not."""

    opened: int
    failed: int


class Opener(Protocol):
    """Decrypts records. grows: secrets may still come for connections that have begun."""

    grows: bool

    def wants(self, terms: Terms) -> bool:
        """Say whether secrets for this connection are there."""

    def ready(self, terms: Terms) -> bool:
        """Say whether all secrets of this connection are there."""

    def forgo(self) -> None:
        """A connection goes by whose secrets did not come."""

    def open(self, channel: int, terms: Terms, rows: Records, kept: U8, room: U8, at: int) -> Contents:
        """Open the records that can be opened; their contents go into `room`, one after the other, from `at` on."""

    def close(self, channel: int) -> Tally:
        """Forget the connection."""
