"""Opens the records of connections whose secrets are known: `sealed.Opener` over a key log.

What    Finds the secrets of each connection, makes the keys of each direction and epoch, opens records in order.
Source  RFC 8446 section 7, RFC 5246 sections 6 to 8, RFC 7627, RFC 7366, RFC 5746 (renegotiation, whose hellos are
        encrypted).
Limits  A record that is not opened is counted: `tls.bad_record_mac` if its keys are known, else `tls.undecrypted`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from analyzer.anomalies import Ledger
from analyzer.kernel import I64, U8, Records
from analyzer.protocols.tls import keylog
from analyzer.protocols.tls.decrypt import DATA, UnsupportedError
from analyzer.protocols.tls.direction import Ciphered, Traffic
from analyzer.protocols.tls.hello import is_tls13
from analyzer.protocols.tls.keylog import KeyLog
from analyzer.protocols.tls.names import cipher_name
from analyzer.protocols.tls.schedule import extended_master_secret, key_block, master_secret
from analyzer.protocols.tls.sealed import Contents, Tally, Terms
from analyzer.protocols.tls.suites import Suite, suite_named

_TLS13_SUITES = (0x1301, 0x1302, 0x1303, 0x1304, 0x1305)
_HASH_BYTES = {"sha256": 32, "sha384": 48}
_COLUMNS = ("dir", "content_type", "version", "length", "epoch", "whole", "lost", "at")
_LABELS = (  # of EARLY, SHAKING and APPLICATION, by who sends
    (keylog.CLIENT_EARLY, keylog.CLIENT_HANDSHAKE, keylog.CLIENT_TRAFFIC),
    ("", keylog.SERVER_HANDSHAKE, keylog.SERVER_TRAFFIC),
)


@dataclass(slots=True)
class Side:
    """One direction of a connection."""

    epoch: int = 0
    ciphered: Ciphered | None = None
    traffic: Traffic | None = None
    end_offset: int = -1  # stream position just past the last record


@dataclass(slots=True)
class Connection:
    """What is held of one connection."""

    sides: tuple[Side, Side] = field(default_factory=lambda: (Side(), Side()))
    opened: int = 0
    failed: int = 0


@dataclass(slots=True)
class Count:
    """How often, and where first."""

    n: int = 0
    flow_id: int = -1
    frame: int = -1
    detail: str = ""


class Plaintext:
    """A `sealed.Opener` for the secrets of `log`, which may grow."""

    def __init__(self, log: KeyLog | None = None) -> None:
        self.log = KeyLog() if log is None else log
        self.connections: dict[int, Connection] = {}
        self.bad, self.undecrypted = Count(), Count()
        self.unknown = 0  # connections of which the log says nothing
        self.grows = False  # see sealed.Opener

    # -------------------------------------------------------------------------------------- sealed.Opener
    def wants(self, terms: Terms) -> bool:
        """True if the key log has, or may yet turn out to have, a secret of this connection."""
        log = self.log
        if terms.client_random is not None and log.knows(terms.client_random):
            return True
        if log.sessions and (not terms.session_id or terms.session_id in log.sessions):
            return True
        if log.encrypted and (terms.encrypted_premaster is None or terms.encrypted_premaster[:8] in log.encrypted):
            return True
        if terms.server_random is not None and not self.grows:  # else the question comes again
            self.forgo()
        return False

    def ready(self, terms: Terms) -> bool:
        """See `sealed`."""
        log, random = self.log, terms.client_random
        if random is None or not self.wants(terms):
            return False
        if not is_tls13(terms.version):
            return terms.server_random is not None
        return all(log.get(label, random) for labels in _LABELS for label in labels[1:])

    def forgo(self) -> None:
        """See `sealed`."""
        self.unknown += 1

    def open(self, channel: int, terms: Terms, rows: Records, kept: U8, room: U8, at: int) -> Contents:
        """Open records of one connection; see `sealed`."""
        c = self.connections.get(channel)
        if c is None:
            c = self.connections[channel] = Connection()
        n = rows.shape[0]
        types, sizes = [0] * n, [0] * n
        data, space, first = memoryview(kept.data), memoryview(room.data), at
        columns = [rows[name].tolist() for name in _COLUMNS]
        directions, kinds, versions, lengths, epochs, wholes, losts, places = columns
        plain = [  # records that make runs, by direction and epoch
            2 * epoch + direction if kind == DATA and whole and place >= 0 and not lost else -1
            for direction, kind, _, _, epoch, whole, lost, place in zip(*columns, strict=True)
        ]
        for direction, side in enumerate(c.sides):
            if side.traffic is not None:
                self._complete(side.traffic, terms, direction)
        row = 0
        while row < n:
            side = c.sides[directions[row]]
            if epochs[row] != side.epoch:  # in TLS 1.3 this means nothing (RFC 8446 appendix D.4)
                side.epoch, side.ciphered = epochs[row], None
            reader = side.ciphered or side.traffic or self._reader_of(side, terms, directions[row])
            end = row + 1
            while end < n and plain[end] == plain[row] >= 0:
                end += 1
            if reader is not None and end > row + 1:
                alike = slice(row, end)
                heads = list(zip(kinds[alike], versions[alike], places[alike], lengths[alike], strict=True))
                done = reader.run(heads, data, space, at)
                types[row : row + len(done)], sizes[row : row + len(done)] = [DATA] * len(done), done
                at += sum(done)
                row += len(done)
                if row == end:
                    continue
            seen = bool(wholes[row] and places[row] >= 0)
            opened = None
            if reader is not None:
                if losts[row]:
                    reader.lose(_missing(rows, row, side))
                if seen:
                    opened = reader.open(kinds[row], versions[row], data[places[row] : places[row] + lengths[row]])
                else:
                    reader.skip(lengths[row])
            if opened is not None:
                types[row], sizes[row] = opened[0], len(opened[1])
                space[at : at + sizes[row]] = opened[1]
                at += sizes[row]
            else:
                self._count(side, rows[row], terms, seen=seen)
            row += 1
        kind: I64 = np.array(types, np.int64)
        length: I64 = np.array(sizes, np.int64)
        opened_ones = int(np.count_nonzero(kind))
        c.opened += opened_ones
        c.failed += n - opened_ones
        for direction, side in enumerate(c.sides):
            if direction in directions:
                side.end_offset = int(rows["end_offset"][n - 1 - directions[::-1].index(direction)])
        return Contents(kind, first + np.cumsum(length) - length, length)

    def close(self, channel: int) -> Tally:
        """The connection is over: forget it."""
        c = self.connections.pop(channel, None)
        return Tally(0, 0) if c is None else Tally(c.opened, c.failed)

    def tell(self, ledger: Ledger) -> None:
        """Put what could not be read into the ledger."""
        for code, count in (("tls.bad_record_mac", self.bad), ("tls.undecrypted", self.undecrypted)):
            ledger.note(code, count.n, flow_id=count.flow_id, frame=count.frame, detail=count.detail)
        ledger.note("tls.no_secret", self.unknown)
        ledger.note("tls.bad_key_log", self.log.malformed + self.log.dropped)

    # -------------------------------------------------------------------------------------- keys
    def _reader_of(self, side: Side, terms: Terms, direction: int) -> Ciphered | Traffic | None:
        """Make the keys of a direction, None if they cannot be made (yet)."""
        if is_tls13(terms.version) or terms.version == 0:  # 0-RTT comes before the ServerHello
            side.traffic = self._traffic(terms, direction)
            return side.traffic
        if side.epoch > 0:
            side.ciphered = self._ciphered(terms, direction)
        return side.ciphered

    def _traffic(self, terms: Terms, direction: int) -> Traffic | None:
        if terms.client_random is None:
            return None
        secrets = [self.log.get(label, terms.client_random) for label in _LABELS[int(direction != terms.client_dir)]]
        sizes = {len(secret) for secret in secrets if secret}
        # Before the ServerHello, and for early data that it refused, the suite is not known: the first record tells.
        numbers = (terms.cipher, *(_TLS13_SUITES if not terms.cipher or secrets[0] else ()))
        suites = [s for number in dict.fromkeys(numbers) if (s := _suite(number)) and _HASH_BYTES[s.hash] in sizes]
        return Traffic(secrets, suites) if suites else None

    def _complete(self, traffic: Traffic, terms: Terms, direction: int) -> None:
        """Give a direction the secrets that came since its first record."""
        if terms.client_random is not None and not traffic.complete:
            labels = _LABELS[int(direction != terms.client_dir)]
            for phase, label in enumerate(labels):
                if traffic.secrets[phase] is None:
                    traffic.secrets[phase] = self.log.get(label, terms.client_random)

    def _ciphered(self, terms: Terms, direction: int) -> Ciphered | None:
        suite = _suite(terms.cipher)
        if suite is None or terms.client_random is None or terms.server_random is None:
            return None
        master = self._master(terms, suite)
        if master is None:
            return None
        keys = key_block(terms.version, suite, master, terms.client_random, terms.server_random)
        try:
            return Ciphered(
                terms.version, suite, keys[int(direction != terms.client_dir)],
                encrypt_then_mac=terms.encrypt_then_mac, compression=terms.compression,
            )  # fmt: skip
        except UnsupportedError:
            return None

    def _master(self, terms: Terms, suite: Suite) -> bytes | None:
        log = self.log
        if terms.client_random is None or terms.server_random is None:
            return None
        master = log.get(keylog.MASTER, terms.client_random)
        if master is None and terms.session_id:
            master = log.sessions.get(terms.session_id)
        if master is not None:
            return master
        premaster = log.premasters.get(terms.client_random)
        if premaster is None and terms.encrypted_premaster is not None:
            premaster = log.encrypted.get(terms.encrypted_premaster[:8])
        if premaster is None:
            return None
        if terms.extended_master:
            return extended_master_secret(terms.version, suite, premaster, terms.handshake())
        return master_secret(terms.version, suite, premaster, terms.client_random, terms.server_random)

    def _count(self, side: Side, row: Records, terms: Terms, *, seen: bool) -> None:
        known = side.ciphered is not None or (side.traffic is not None and side.traffic.complete)
        count = self.bad if seen and known else self.undecrypted
        count.n += 1
        if count.n == 1:
            count.flow_id, count.frame = int(row["flow_id"]), int(row["frame"])
            count.detail = cipher_name(terms.cipher) if terms.cipher else ""


def _suite(number: int) -> Suite | None:
    return suite_named(cipher_name(number))


def _missing(rows: Records, at: int, side: Side) -> int:
    """Return how many bytes of this direction lie between a record and the one before it."""
    earlier = np.flatnonzero(rows["dir"][:at] == rows["dir"][at])
    end = int(rows["end_offset"][earlier[-1]]) if earlier.size else side.end_offset
    return int(rows["end_offset"][at]) - int(rows["length"][at]) - 5 - end
