"""What a cipher suite needs to be decrypted, read from its IANA name.

Source  RFC 5246 appendix C (CBC, RC4, NULL), RFC 5288 (GCM), RFC 6655 (CCM), RFC 7905 (ChaCha20-Poly1305), RFC 5932
        (Camellia), RFC 4162 (SEED), RFC 8446 appendix B.4 (TLS 1.3).
        40-bit export suites: RFC 2246 appendix A.5.
Limits  None for what cannot be read: ARIA, Camellia in GCM, GOST, SM4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

GCM, CCM, CCM8, CHACHA, CBC, RC4, NULL = "GCM", "CCM", "CCM_8", "CHACHA20_POLY1305", "CBC", "RC4", "NULL"
_MACS = {"MD5": ("md5", 16), "SHA": ("sha1", 20), "SHA256": ("sha256", 32), "SHA384": ("sha384", 48)}
_EXPORT = {"RC4_40": "RC4_128", "RC2_CBC_40": "RC2_CBC", "DES40_CBC": "DES_CBC", "DES_CBC_40": "DES_CBC"}
# Key and block in bytes
_BLOCK_CIPHERS = {
    "AES_128": (16, 16), "AES_256": (32, 16), "CAMELLIA_128": (16, 16), "CAMELLIA_256": (32, 16),
    "SEED": (16, 16), "IDEA": (16, 8), "3DES_EDE": (24, 8), "DES": (8, 8), "RC2": (16, 8),
}  # fmt: skip


class Suite(NamedTuple):
    """One cipher suite.

    cipher  "AES_128", "3DES_EDE", ...    mode  GCM, CCM, CCM8, CHACHA, CBC, RC4 or NULL
    hash    of the key derivation (TLS 1.2 and 1.3)    mac, mac_size  of the MAC; an AEAD has none
    key_size, iv_size, block in bytes; iv_size is the fixed part of an AEAD's nonce in TLS 1.2
    """

    name: str
    cipher: str
    mode: str
    key_size: int
    hash: str
    iv_size: int = 0
    block: int = 0
    mac: str = ""
    mac_size: int = 0
    material: int = 0  # bytes of the key that are secret, if fewer than all of them (export suites)

    @property
    def aead(self) -> bool:
        """True if encryption also authenticates."""
        return self.mode in (GCM, CCM, CCM8, CHACHA)


def added_bytes(name: str, *, tls13: bool) -> int:
    """Return how much longer a record's body is than what it carries, 0 where its length does not tell.

    CBC fills up to whole blocks. In TLS 1.3 a sender may pad (RFC 8446 section 5.4), which nobody can see.
    """
    suite = suite_named(name)
    if suite is None:
        return 0
    tag = 8 if suite.mode == CCM8 else 16
    if tls13:
        return 1 + tag  # the inner content type
    if suite.mode == CHACHA:
        return tag
    if suite.aead:
        return 8 + tag  # the explicit part of the nonce
    return suite.mac_size if suite.mode in (RC4, NULL) else 0


@lru_cache(maxsize=512)
def suite_named(name: str) -> Suite | None:
    """Return the suite with this IANA name, None if it cannot be decrypted or is none."""
    words = name.removeprefix("TLS_")
    if not name.startswith("TLS_"):
        return None
    _, _, cipher = words.rpartition("WITH_")
    hash_name = "sha384" if cipher.endswith("SHA384") else "sha256"
    for ending in (CCM8, CCM, GCM, CHACHA):
        bare = cipher.removesuffix("_SHA256").removesuffix("_SHA384")
        if bare == CHACHA:
            return Suite(name, "CHACHA20", CHACHA, 32, hash_name, iv_size=12)
        if bare.endswith("_" + ending):
            kind = bare.removesuffix("_" + ending)
            if kind not in ("AES_128", "AES_256"):
                return None
            return Suite(name, kind, ending, _BLOCK_CIPHERS[kind][0], hash_name, iv_size=4)
    kind, _, mac = cipher.rpartition("_")
    if mac not in _MACS:
        return None
    mac_name, mac_size = _MACS[mac]
    material = 5 if kind in _EXPORT else 0
    kind = _EXPORT.get(kind, kind)
    if kind == "NULL":
        return Suite(name, "NULL", NULL, 0, hash_name, mac=mac_name, mac_size=mac_size)
    if kind == "RC4_128":
        return Suite(name, "RC4", RC4, 16, hash_name, mac=mac_name, mac_size=mac_size, material=material)
    if kind.endswith("_CBC") and (block_cipher := kind.removesuffix("_CBC")) in _BLOCK_CIPHERS:
        key, block = _BLOCK_CIPHERS[block_cipher]
        return Suite(name, block_cipher, CBC, key, hash_name, block, block, mac_name, mac_size, material)
    return None
