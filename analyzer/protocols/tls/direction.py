"""One direction of an encrypted connection: which keys hold for the next record.

Source  RFC 8446 sections 4.6.3 (KeyUpdate), 4.5 (EndOfEarlyData), 7.3, appendix A; RFC 5246 sections 7.1, 7.3
        (ChangeCipherSpec); RFC 3749 (compression).
Limits  After a hole of unknown size record numbers are tried, as many as the missing bytes could hold, up to
        MAX_GUESSES. RC4 cannot go on after one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from analyzer.protocols.tls.decrypt import Bytes, Head, Opened, Opener, Stream, opener
from analyzer.protocols.tls.schedule import TLS13, Keys, next_secret, traffic_keys
from analyzer.protocols.tls.suites import Suite

HANDSHAKE = 22
END_OF_EARLY_DATA, FINISHED, KEY_UPDATE = 5, 20, 24
EARLY, SHAKING, APPLICATION = range(3)  # the phases of a TLS 1.3 sender

_SMALLEST_RECORD = 5 + 17  # header, and one byte with its tag (RFC 8446)
MAX_GUESSES = 256  # record numbers tried after a hole; a wrong one costs one decryption
MAX_PLAIN = (1 << 14) + 1024  # RFC 5246 section 6.2.2: no record may expand beyond this


class Messages:
    """Tells which handshake messages end in a run of handshake content (RFC 8446 section 4); keeps no bytes of them
    but headers."""

    def __init__(self) -> None:
        self.head = b""
        self.left = 0

    def ended(self, content: Bytes) -> list[int]:
        """Return the types of the messages that end in these bytes."""
        kinds, at = [], 0
        while at < len(content):
            if len(self.head) < 4:
                part = bytes(content[at : at + 4 - len(self.head)])
                self.head += part
                at += len(part)
                if len(self.head) < 4:
                    break
                self.left = int.from_bytes(self.head[1:], "big")
            step = min(self.left, len(content) - at)
            at += step
            self.left -= step
            if self.left == 0:
                kinds.append(self.head[0])
                self.head = b""
        return kinds

    def forget(self) -> None:
        """Bytes are missing: what comes next begins a message."""
        self.head, self.left = b"", 0


class Ciphered:
    """A direction of SSL 3.0 to TLS 1.2, under the keys of one epoch."""

    def __init__(self, version: int, suite: Suite, keys: Keys, *, encrypt_then_mac: bool, compression: int) -> None:
        self.opener: Opener = opener(version, suite, keys, encrypt_then_mac=encrypt_then_mac)
        self.inflate = zlib.decompressobj() if compression == 1 else None
        self.dead = compression not in (0, 1)  # RFC 3943's LZS, or what only one vendor knows
        self.guesses = 0  # records that may have been lost before this one; 0 = its number is known

    def open(self, kind: int, version: int, body: Bytes) -> Opened | None:
        """Return type and plaintext of the next record, None if it cannot be read."""
        if self.dead:
            return None
        if self.guesses:
            opened = _guess(self.opener, kind, version, body, self.guesses)
        else:
            opened = self.opener.open(kind, version, body)
        if opened is None:
            return None
        self.guesses = 0
        if self.inflate is None:
            return opened
        try:
            return kind, self.inflate.decompress(opened[1], MAX_PLAIN)
        except zlib.error:
            self.dead = True
            return None

    def run(self, heads: list[Head], data: memoryview, room: memoryview, at: int) -> list[int]:
        """Open what follows without surprises; see `decrypt.Opener`."""
        if self.dead or self.guesses or self.inflate is not None:
            return []
        return self.opener.run(heads, data, room, at)

    def skip(self, length: int) -> None:
        """A record of known length passed unseen."""
        self.opener.skip(length)
        self.dead = self.dead or self.inflate is not None

    def lose(self, missing: int) -> None:
        """An unknown number of records, `missing` bytes of them, passed unseen."""
        self.guesses = _guesses(missing)
        self.dead = self.dead or self.inflate is not None or (isinstance(self.opener, Stream) and self.opener.keyed)


class Traffic:
    """A direction of TLS 1.3: early data, handshake, application, and one update of the keys after the other.

    secrets  of EARLY, SHAKING and APPLICATION, None where the key log has none
    suites   of early data: the ones it may have, as the ServerHello has not come; else the one that was agreed

    A phase ends with the message that ends it. Where that is not seen (a hole, early data that the server rejected,
    a secret that is not in the log) the next phase is recognised by its first record: that authenticates under its
    keys and number 0, and nothing else does.
    """

    def __init__(self, secrets: Iterable[bytes | None], suites: list[Suite]) -> None:
        self.secrets = list(secrets)
        self.suites = suites
        self.phase = next((k for k, secret in enumerate(self.secrets) if secret), APPLICATION)
        self.openers: dict[tuple[int, bytes], Opener] = {}
        self.current: Opener | None = None  # None: nothing of this phase was opened yet
        self.passed = 0  # records of this phase that went by unopened
        self.guesses = 0
        self.updates = 0
        self.messages = Messages()

    def open(self, kind: int, version: int, body: Bytes) -> Opened | None:
        """Return inner type and plaintext of the next record, None if it cannot be read."""
        opened = None
        if self.current is not None:
            if self.guesses:
                opened = _guess(self.current, kind, version, body, self.guesses)
            else:
                opened = self.current.open(kind, version, body)
        if opened is None:
            opened = self._first_of_a_phase(kind, version, body)
            if opened is None:
                if self.current is None:
                    self.passed += 1
                self.messages.forget()
                return None
        self.guesses = 0
        if opened[0] == HANDSHAKE:
            for message in self.messages.ended(opened[1]):
                self._after(message)
        return opened

    def run(self, heads: list[Head], data: memoryview, room: memoryview, at: int) -> list[int]:
        """Open what follows without surprises; see `decrypt.Opener`."""
        if self.current is None or self.guesses:
            return []
        return self.current.run(heads, data, room, at)

    def skip(self, length: int) -> None:
        """A record passed unseen."""
        if self.current is not None:
            self.current.skip(length)
        self.passed += 1
        self.messages.forget()

    def lose(self, missing: int) -> None:
        """An unknown number of records passed unseen."""
        self.guesses = _guesses(missing)
        self.messages.forget()

    @property
    def complete(self) -> bool:
        """True if no secret is missing (early data, which most connections do not send, aside)."""
        return all(self.secrets[SHAKING:])

    def _first_of_a_phase(self, kind: int, version: int, body: Bytes) -> Opened | None:
        """Try the record as the first that is seen of this phase, of a later one, or after a KeyUpdate."""
        last = len(self.secrets) - 1
        for phase in range(self.phase, last + 1):
            secret = self.secrets[phase]
            if secret is None:
                continue
            if phase == self.phase and self.current is not None:
                if phase != last:
                    continue  # only application keys are updated
            elif opened := self._try(phase, secret, kind, version, body):
                return opened
            if phase == last and self.phase == last and (self.current is not None or self.guesses):
                for suite in self.suites:
                    if opened := self._try(last, next_secret(suite, secret), kind, version, body):
                        return opened
        return None

    def _try(self, phase: int, secret: bytes, kind: int, version: int, body: Bytes) -> Opened | None:
        # records of this phase may have gone by, or of an earlier one whose secret is not known: then this is the first
        numbers = {0, self.passed} if phase == self.phase and self.current is None else {0}
        for suite in self.suites:
            for number in sorted(numbers):
                candidate = opener(TLS13, suite, traffic_keys(suite, secret))
                candidate.seq = number
                opened = _guess(candidate, kind, version, body, self.guesses)
                if opened is not None:
                    self._enter(phase, secret)
                    self.current = candidate
                    if phase != EARLY:
                        self.suites = [suite]
                    return opened
        return None

    def _enter(self, phase: int, secret: bytes | None) -> None:
        self.phase, self.secrets[phase] = phase, secret
        self.current, self.passed, self.guesses = None, 0, 0
        self.messages.forget()

    def _after(self, message: int) -> None:
        """Section 4 of RFC 8446: these three messages are the last under their keys."""
        if message == END_OF_EARLY_DATA and self.phase == EARLY:
            self._enter(SHAKING, self.secrets[SHAKING])
        elif message == FINISHED and self.phase == SHAKING:
            self._enter(APPLICATION, self.secrets[APPLICATION])
        elif message == KEY_UPDATE and self.phase == APPLICATION and (secret := self.secrets[APPLICATION]):
            self.updates += 1
            self._enter(APPLICATION, next_secret(self.suites[0], secret))


def _guesses(missing: int) -> int:
    return max(1, min(MAX_GUESSES, missing // _SMALLEST_RECORD))


def _guess(opener: Opener, kind: int, version: int, body: Bytes, guesses: int) -> Opened | None:
    """Open a record whose number may be up to `guesses` further on; the number moves on by one if none fits."""
    first = opener.seq
    for number in range(first, first + guesses + 1):
        opener.seq = number
        opened = opener.open(kind, version, body)
        if opened is not None:
            return opened
    opener.seq = first + 1
    return None
