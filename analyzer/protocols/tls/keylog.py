"""TLS key logs: the secrets by which a capture can be read.

Source  draft-ietf-tls-keylogfile (NSS key log format); its older lines RSA and `RSA Session-ID:.. Master-Key:..`, and
        PMS_CLIENT_RANDOM, are Wireshark's and OpenSSL's.
Gives   For a connection, by its client random: the master secret (SSL 3.0 to TLS 1.2) or traffic secrets (TLS 1.3).
Limits  Exporter secrets, and the updated traffic secrets that some programs log as `.._N`, are not needed: those of
        a KeyUpdate follow from the ones before. Encrypted ClientHello secrets (ECH_*) are not used.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

CLIENT_EARLY = "CLIENT_EARLY_TRAFFIC_SECRET"
CLIENT_HANDSHAKE, SERVER_HANDSHAKE = "CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET"
CLIENT_TRAFFIC, SERVER_TRAFFIC = "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0"
MASTER = "CLIENT_RANDOM"
_WANTED = (MASTER, CLIENT_EARLY, CLIENT_HANDSHAKE, SERVER_HANDSHAKE, CLIENT_TRAFFIC, SERVER_TRAFFIC)
_BY_RANDOM = {label.encode(): label for label in _WANTED}

RANDOM_BYTES, MASTER_BYTES = 32, 48
# A traffic secret is as long as the hash of its suite: SHA-256, SHA-384 (or SHA-512, in none of today's suites).
_SECRET_SIZES = (32, 48, 64)
# Secrets that are kept, at about 250 bytes each: 200,000 connections of TLS 1.3, a million of TLS 1.2.
MAX_SECRETS = 1 << 20
# The longest line that means anything has a label, a random and 64 bytes in hex; a premaster secret of finite-field
# Diffie-Hellman may have 1024 bytes.
MAX_LINE = 4096


@dataclass(slots=True)
class KeyLog:
    """Secrets by label and client random, and how much of the text was of use.

    malformed  lines that follow no known form    unused  lines whose label is not needed    dropped  beyond MAX_SECRETS
    """

    secrets: dict[tuple[str, bytes], bytes] = field(default_factory=dict)
    premasters: dict[bytes, bytes] = field(default_factory=dict)  # by client random
    encrypted: dict[bytes, bytes] = field(default_factory=dict)  # by the first 8 bytes of the encrypted premaster
    sessions: dict[bytes, bytes] = field(default_factory=dict)  # master secret by session id
    randoms: set[bytes] = field(default_factory=set)
    lines: int = 0
    malformed: int = 0
    unused: int = 0
    dropped: int = 0

    def __len__(self) -> int:
        return len(self.secrets) + len(self.premasters) + len(self.encrypted) + len(self.sessions)

    def add(self, text: bytes) -> None:
        """Take whole lines of a key log. Line ends may be LF or CRLF; lines that are no secrets are counted."""
        for line in text.splitlines():
            words = line.split()
            if not words or words[0].startswith(b"#"):
                continue
            self.lines += 1
            if len(line) > MAX_LINE or not self._take(words):
                self.malformed += 1

    def knows(self, client_random: bytes) -> bool:
        """True if a line names this client random."""
        return client_random in self.randoms

    def get(self, label: str, client_random: bytes) -> bytes | None:
        """Return a secret, None if the log does not have it."""
        return self.secrets.get((label, client_random))

    def _take(self, words: list[bytes]) -> bool:
        label = words[0]
        if label == b"RSA" and len(words) == 3 and words[1].startswith(b"Session-ID:"):
            return self._take_session(words[1], words[2])
        if len(words) != 3:
            return False
        key, secret = _unhex(words[1]), _unhex(words[2])
        if key is None or not secret:
            return False
        if label == b"RSA":
            return len(key) == 8 and len(secret) == MASTER_BYTES and self._keep(self.encrypted, key, secret)
        if len(key) != RANDOM_BYTES:
            return False
        if label == b"PMS_CLIENT_RANDOM":
            return self._keep(self.premasters, key, secret, key)
        name = _BY_RANDOM.get(label)
        if name is None:
            # ASCII capitals, digits and underscores: a label of the registry or of a later one, of no use to us
            self.unused += 1
            return label.replace(b"_", b"").isalnum() and label.isupper()
        if len(secret) != MASTER_BYTES if name == MASTER else len(secret) not in _SECRET_SIZES:
            return False
        return self._keep(self.secrets, (name, key), secret, key)

    def _take_session(self, session: bytes, master: bytes) -> bool:
        if not master.startswith(b"Master-Key:"):
            return False
        key, secret = _unhex(session.removeprefix(b"Session-ID:")), _unhex(master.removeprefix(b"Master-Key:"))
        if not key or len(key) > 32 or secret is None or len(secret) != MASTER_BYTES:
            return False
        return self._keep(self.sessions, key, secret)

    def _keep(self, where: dict[Any, bytes], key: Any, secret: bytes, client_random: bytes | None = None) -> bool:
        if key not in where and len(self) >= MAX_SECRETS:
            self.dropped += 1
            return True
        where[key] = secret
        if client_random is not None:
            self.randoms.add(client_random)
        return True


def looks_like_key_log(beginning: bytes) -> bool:
    """Return whether a file that begins so may be a key log: empty and comments alone are, others need a key line.

    A line with a known label may be in the middle of being written.
    """
    log = KeyLog()
    log.add(beginning)
    labels = (b"RSA", b"PMS_CLIENT_RANDOM", *_BY_RANDOM)
    begun = (line.split(maxsplit=1)[:1] for line in beginning.splitlines())
    return log.malformed == 0 or log.malformed < log.lines or any(word[0] in labels for word in begun if word)


def _unhex(word: bytes) -> bytes | None:
    try:
        return bytes.fromhex(word.decode("ascii"))
    except ValueError:
        return None
