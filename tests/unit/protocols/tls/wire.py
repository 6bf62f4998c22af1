"""TLS conversations as bytes: what both sides sent, cut into records, shown to `Plaintext` as the framing would."""

from __future__ import annotations

import contextlib
import functools
import ssl
import warnings
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from analyzer.kernel import records
from analyzer.protocols.tls.hello import (
    EARLY_DATA,
    ENCRYPT_THEN_MAC,
    EXTENDED_MASTER,
    RETRY_RANDOM,
    is_tls13,
    read_client_hello,
    read_server_hello,
)
from analyzer.protocols.tls.keylog import KeyLog
from analyzer.protocols.tls.plaintext import Plaintext
from analyzer.protocols.tls.sealed import SEALED, Terms

CLIENT, SERVER = 0, 1

Chunk = tuple[int, bytes]  # direction, bytes


@dataclass
class Record:
    """One record as it was on the wire."""

    direction: int
    kind: int
    version: int
    body: bytes
    epoch: int = 0
    whole: int = 1
    lost: int = 0
    end_offset: int = 0


@dataclass
class Framed:
    """Records in the order in which they ended, and what the clear hellos agreed."""

    records: list[Record] = field(default_factory=list)
    terms: Terms = field(default_factory=Terms)


def frame(chunks: Iterable[Chunk]) -> Framed:
    """Cut a conversation into records; keep the encrypted ones."""
    out = Framed()
    held, epochs, offsets = [b"", b""], [0, 0], [0, 0]
    clear = [b"", b""]
    for direction, data in chunks:
        held[direction] += data
        while len(held[direction]) >= 5:
            kind, version = held[direction][0], int.from_bytes(held[direction][1:3], "big")
            length = int.from_bytes(held[direction][3:5], "big")
            if len(held[direction]) < 5 + length:
                break
            body, held[direction] = held[direction][5 : 5 + length], held[direction][5 + length :]
            offsets[direction] += 5 + length
            if kind == 20:
                epochs[direction] += 1
            elif (epochs[direction] == 0 and kind != 23) or (kind == 22 and is_tls13(out.terms.version)):
                clear[direction] = hellos(out.terms, direction, clear[direction] + body) if kind == 22 else b""
            else:
                r = Record(direction, kind, version, body, epochs[direction], end_offset=offsets[direction])
                out.records.append(r)
    return out


def hellos(terms: Terms, direction: int, data: bytes) -> bytes:
    """Read clear handshake messages into `terms`; return the bytes of one that has not ended."""
    while len(data) >= 4 and len(data) >= (end := 4 + int.from_bytes(data[1:4], "big")):
        kind, message, body, data = data[0], data[:end], data[4:end], data[end:]
        if kind == 1:
            client = read_client_hello(body)
            terms.client_random, terms.client_dir = client.random, direction
            terms.early_data = terms.early_data or EARLY_DATA in client.extensions
            terms.encrypt_then_mac = ENCRYPT_THEN_MAC in client.extensions
        elif kind == 2 and read_server_hello(body).random != RETRY_RANDOM:
            server = read_server_hello(body)
            terms.server_random, terms.session_id = server.random, server.session_id
            terms.version, terms.cipher, terms.compression = server.chosen, server.cipher, server.compression
            terms.encrypt_then_mac = terms.encrypt_then_mac and ENCRYPT_THEN_MAC in server.extensions
            terms.extended_master = EXTENDED_MASTER in server.extensions
        elif kind == 16:
            terms.encrypted_premaster = body[2:]
        if kind in (1, 2, 11, 12, 13, 14, 16) and (kind != 16 or terms.transcript[-1][:1] != b"\x10"):
            terms.transcript.append(message)
    return data


def opened(plaintext: Plaintext, framed: Framed, batch: int = 1 << 30) -> list[tuple[int, int, bytes]]:
    """Return direction, inner type and content of every record that opens, `batch` records at a time."""
    out = []
    for start in range(0, len(framed.records), batch):
        part = framed.records[start : start + batch]
        rows, kept = sealed(part)
        room = np.zeros(7 + kept.size, np.uint8)
        contents = plaintext.open(0, framed.terms, rows, kept, room, 7)
        for record, inner, at, length in zip(part, *(column.tolist() for column in contents), strict=True):
            if inner:
                out.append((record.direction, inner, room[at : at + length].tobytes()))
    return out


def sealed(part: list[Record]) -> tuple[np.ndarray, np.ndarray]:
    """Return SEALED rows of these records and the bytes that they point into."""
    rows, at = records(len(part), SEALED), 0
    for row, r in zip(rows, part, strict=True):
        row["dir"], row["content_type"], row["version"], row["length"] = r.direction, r.kind, r.version, len(r.body)
        row["epoch"], row["whole"], row["lost"], row["end_offset"] = r.epoch, r.whole, r.lost, r.end_offset
        row["at"] = at if r.whole else -1
        at += len(r.body) if r.whole else 0
    kept = np.frombuffer(b"".join(r.body for r in part if r.whole) or b"\0", np.uint8)
    return rows, kept


def joined(results: list[tuple[int, int, bytes]], direction: int, kind: int = 23) -> bytes:
    """Return all content of one type that one side sent."""
    return b"".join(content for side, inner, content in results if side == direction and inner == kind)


# ------------------------------------------------------------------------------------------------ real conversations
@functools.cache
def certificate(algorithm: str) -> tuple[bytes, bytes]:
    """Return a self-signed certificate and its key, in PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.x509.oid import NameOID

    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    key = ec.generate_private_key(ec.SECP256R1()) if algorithm == "ec" else rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.test")])
    start = datetime(2026, 1, 1, tzinfo=UTC)
    built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    built = built.serial_number(1).not_valid_before(start).not_valid_after(start + timedelta(days=3650))
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return built.sign(key, hashes.SHA256()).public_bytes(pem), private


def contexts(
    folder: Path, version: ssl.TLSVersion, ciphers: str | None = None, *, encrypt_then_mac: bool = True
) -> tuple[ssl.SSLContext, ssl.SSLContext, Path]:
    """Return contexts of client and server that speak one version (and one suite), and their key log."""
    client, server = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client.check_hostname, client.verify_mode = False, ssl.CERT_NONE
    algorithm = "ec" if ciphers and "ECDSA" in ciphers else "rsa"
    for name, data in zip(("cert.pem", "key.pem"), certificate(algorithm), strict=True):
        (folder / name).write_bytes(data)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    log = folder / "keys.log"
    client.keylog_filename = str(log)
    for context in (client, server):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that these versions are old is why they are here
            context.minimum_version = context.maximum_version = version
        if ciphers:
            context.set_ciphers(ciphers + ":@SECLEVEL=0")
        if not encrypt_then_mac:
            context.options |= 1 << 19  # SSL_OP_NO_ENCRYPT_THEN_MAC, which Python does not name
    return client, server, log


def key_log(path: Path) -> KeyLog:
    """Return the secrets of a file."""
    log = KeyLog()
    log.add(path.read_bytes())
    return log


class Talk:
    """A client and a server of Python's ssl, joined by a wire that is recorded."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext, session: ssl.SSLSession | None = None) -> None:
        self.pipes = [ssl.MemoryBIO(), ssl.MemoryBIO()]  # towards client, towards server
        up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.outgoing = [up, down]
        self.client = client.wrap_bio(self.pipes[0], up, session=session)
        self.server = server.wrap_bio(self.pipes[1], down, server_side=True)
        self.chunks: list[Chunk] = []
        self.shake()

    def move(self) -> None:
        """Carry over what each side wrote."""
        for direction in (CLIENT, SERVER):
            if data := self.outgoing[direction].read():
                self.chunks.append((direction, data))
                self.pipes[1 - direction].write(data)

    def shake(self) -> None:
        """Finish the handshake on both sides."""
        for _ in range(6):
            for side in (self.client, self.server):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side.do_handshake()
                self.move()

    def say(self, direction: int, data: bytes) -> None:
        """Send data from one side; the other reads it."""
        sender, receiver = (self.client, self.server) if direction == CLIENT else (self.server, self.client)
        sender.write(data)
        self.move()
        got = b""
        while len(got) < len(data):
            got += receiver.read(1 << 20)
        assert got == data
