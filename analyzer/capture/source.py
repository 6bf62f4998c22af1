"""Where capture bytes come from: a file, a pipe or standard input, packed or not, checked before anything is read.

Source  RFC 1952 (gzip), RFC 8878 (zstd; see `packing`), the LZ4 frame format.
Sees    bytes in order, each once. Packed input is recognised by its first bytes, never by its name.
Limits  One level of packing. xz, bzip2, zip and 7z are named to the user, not read.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import sys
from pathlib import Path
from typing import Any, Protocol

from analyzer.capture.packing import Unpacker, unpacker_for
from analyzer.errors import AnalyzerError

READS = "longwire reads pcap and pcapng files, also packed with gzip, zstd or lz4"
_CONVERT = "convert it first: editcap -F pcapng {} out.pcapng"
_UNPACK = "unpack it first"

# File magics of both byte orders; www.tcpdump.org/manpages/pcap-savefile.5.html, Wireshark's wiretap/libpcap.h.
PCAP_MAGICS = frozenset(
    bytes.fromhex(word)[::step]
    for word in ("a1b2c3d4", "a1b23c4d", "a1b2cd34", "1c0001ac", "1c0001ab")
    for step in (1, -1)
)
PCAPNG_MAGIC = bytes.fromhex("0a0d0d0a")

# What people pass by mistake: first bytes, what it is, what to do.
_KNOWN: tuple[tuple[bytes, str, str], ...] = (
    (b"snoop\0\0\0", "a Sun snoop capture", _CONVERT),
    (b"btsnoop\0", "a Bluetooth btsnoop capture, which holds no TCP", ""),
    (b"RTSS", "a Microsoft Network Monitor 1 capture", _CONVERT),
    (b"GMBU", "a Microsoft Network Monitor 2 capture", _CONVERT),
    (b"XCP\0", "a NetXray or Windows Sniffer capture", _CONVERT),
    (b"TRSNIFF data    \x1a", "a DOS Sniffer capture", _CONVERT),
    (b"PK\x03\x04", "a zip archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"\xfd7zXZ\0", "packed with xz", "unpack it first: xz -d, or pipe it: xz -dc FILE | longwire ... -"),
    (b"BZh", "packed with bzip2", "unpack it first: bunzip2, or pipe it: bzip2 -dc FILE | longwire ... -"),
    (b"\x1f\x9d", "packed with compress", "unpack it first: uncompress"),
    (b"\x89PNG", "a PNG image", READS),
    (b"%PDF", "a PDF document", READS),
    (b"\x7fELF", "a program", READS),
)
# Formats without a magic of their own are told by the name the user gave.
_KNOWN_SUFFIX = {
    ".etl": ("a Windows event trace", "convert it first: etl2pcapng in.etl out.pcapng"),
    ".erf": ("an Endace ERF capture", _CONVERT),
}


class RawReader(Protocol):
    """Unbuffered input: one `readinto` is at most one read of the operating system."""

    def readinto(self, buffer: memoryview, /) -> int | None: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class _Standard:
    """Standard input as a raw reader; closing it is not ours to do.

    Python's own buffer before it is left out: a thread that waits in it holds its lock, and Ctrl-C then aborts.
    """

    def __init__(self) -> None:
        self._raw: Any = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)

    def readinto(self, buffer: memoryview, /) -> int | None:
        got: int | None = self._raw.readinto(buffer)
        return got

    def fileno(self) -> int:
        number: int = self._raw.fileno()
        return number

    def close(self) -> None:
        return


class RawBytes:
    """Bytes of a file or pipe as they lie there; what was peeked is served first.

    done   bytes handed out    error   why reading stopped before the end, empty if it did not
    """

    def __init__(self, raw: RawReader) -> None:
        self._raw = raw
        self._held = b""
        self.done = 0
        self.error = ""

    def peek(self, n: int) -> bytes:
        """Return what comes next without taking it: at least `n` bytes unless the input ends before."""
        while len(self._held) < n:
            more = bytearray(4096)
            got = self._read_raw(memoryview(more))
            if got == 0:
                break
            self._held += more[:got]
        return self._held

    def readinto(self, view: memoryview) -> int:
        """Fill the front of `view` with one read and return how many bytes came; 0 is the end."""
        if self._held:
            got = min(len(view), len(self._held))
            view[:got] = self._held[:got]
            self._held = self._held[got:]
        else:
            got = self._read_raw(view)
        self.done += got
        return got

    def read(self, n: int) -> bytes:
        """Return up to `n` bytes of one read; empty is the end."""
        if self._held:
            got, self._held = self._held[:n], self._held[n:]
            self.done += len(got)
            return got
        room = bytearray(n)
        return bytes(memoryview(room)[: self.readinto(memoryview(room))])

    def bytes_at(self, offset: int, n: int) -> bytes | None:
        """Return up to `n` bytes from a place in the file, None if that cannot be done."""
        try:
            return os.pread(self._raw.fileno(), n, offset)
        except OSError:
            return None

    def close(self) -> None:
        self._raw.close()

    def _read_raw(self, view: memoryview) -> int:
        try:
            while (got := self._raw.readinto(view)) is None:  # a pipe that does not block has nothing yet
                select.select([self._raw], [], [])
            return got
        except OSError as trouble:  # a bad disk or a lost mount: what was read before it still counts
            self.error = f"reading failed: {trouble.strerror or trouble}"
            return 0


class Source:
    """One input, unpacked.

    name     as the user wrote it          packing  "", "gz", "zst" or "lz4"
    size     bytes on disk, None for a pipe    error  why it ended early, empty if it did not
    """

    def __init__(self, name: str, raw: RawReader, size: int | None) -> None:
        self.name = name
        self.size = size
        self._raw = RawBytes(raw)
        self.packing, unpacker = unpacker_for(self._raw.peek(4)[:4], self._raw)
        self._unpacker: Unpacker | None = unpacker
        self._held = b""

    def peek(self, n: int) -> bytes:
        """Return the next unpacked bytes without taking them: at least `n` unless the input ends before."""
        if self._unpacker is None:
            return self._raw.peek(n)
        while len(self._held) < n:
            more = bytearray(4096)
            got = self._unpacker.readinto(memoryview(more))
            if got == 0:
                break
            self._held += more[:got]
        return self._held

    def readinto(self, view: memoryview) -> int:
        """Fill the front of `view` with what is there and return how many bytes came; 0 is the end."""
        if self._unpacker is None:
            return self._raw.readinto(view)
        if self._held:
            got = min(len(view), len(self._held))
            view[:got] = self._held[:got]
            self._held = self._held[got:]
            return got
        return self._unpacker.readinto(view)

    def bytes_at(self, offset: int, n: int) -> bytes | None:
        """Return up to `n` bytes from a place in the file; None if one cannot look ahead in it."""
        return None if self.size is None or self._unpacker is not None else self._raw.bytes_at(offset, n)

    @property
    def done(self) -> int:
        """Bytes of the file that were read, before unpacking."""
        return self._raw.done

    @property
    def error(self) -> str:
        return self._raw.error or (self._unpacker.error if self._unpacker else "")

    def close(self) -> None:
        self._raw.close()


def open_source(path: str | os.PathLike[str]) -> Source:
    """Open one input and make sure that it is a capture; `-` is standard input.

    Raises AnalyzerError if it is missing, unreadable, empty or something else.
    """
    name = os.fspath(path)
    source = Source("standard input" if name == "-" else name, *_open_raw(name))
    try:
        _check(source)
    except AnalyzerError:
        source.close()
        raise
    return source


def _open_raw(name: str) -> tuple[RawReader, int | None]:
    if name == "-":
        if sys.stdin is None or sys.stdin.isatty():
            raise AnalyzerError("standard input is a terminal", "pipe a capture into it: tcpdump -w - | longwire ... -")
        return _Standard(), None
    try:
        about = Path(name).stat()
        if stat.S_ISDIR(about.st_mode):
            raise AnalyzerError(f"`{name}` is a directory", f"name the files in it: {Path(name) / '*.pcap'}")
        raw = io.FileIO(name)
    except FileNotFoundError:
        raise AnalyzerError(f"`{name}` does not exist", "check the path; quote names that contain spaces") from None
    except PermissionError:
        raise AnalyzerError(
            f"`{name}` may not be read", "captures often belong to root: use sudo, or chown the file"
        ) from None
    except (OSError, ValueError) as trouble:
        words = trouble.strerror if isinstance(trouble, OSError) and trouble.strerror else str(trouble)
        many = isinstance(trouble, OSError) and trouble.errno == errno.EMFILE
        hint = "these files overlap in time: merge them first with mergecap, or raise ulimit -n" if many else ""
        raise AnalyzerError(f"`{name}` cannot be opened: {words}", hint) from None
    return raw, about.st_size if stat.S_ISREG(about.st_mode) else None


def _check(source: Source) -> None:
    head = source.peek(4)
    if len(head) == 0 and not source.packing:
        if source.error:
            raise AnalyzerError(f"`{source.name}` cannot be read: {source.error}")
        hint = "the capturing program may not have written anything yet (tcpdump -U writes packet by packet)"
        raise AnalyzerError(f"`{source.name}` is empty", hint)
    if head[:4] in PCAP_MAGICS or head[:4] == PCAPNG_MAGIC:
        return
    what, hint = _describe(source.peek(4), source.name)
    if source.packing:
        if source.error and not head:
            raise AnalyzerError(f"`{source.name}` cannot be unpacked: {source.error}", READS)
        raise AnalyzerError(f"`{source.name}` unpacks to something that is not a capture file{what}", hint)
    raise AnalyzerError(f"`{source.name}` is not a capture file{what}", hint)


def _describe(head: bytes, name: str) -> tuple[str, str]:
    """Say in words what the first bytes are, and what to do about it."""
    for magic, what, hint in _KNOWN:
        if head.startswith(magic):
            return f": it is {what}", (hint or READS).format(name)
    if head[257:262] == b"ustar":
        return ": it is a tar archive", _UNPACK
    if Path(name).suffix.lower() in _KNOWN_SUFFIX:
        what, hint = _KNOWN_SUFFIX[Path(name).suffix.lower()]
        return f": it looks like {what}", hint.format(name)
    start = head[:512].lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return ": it is an HTML page", "a download may have saved a login page instead of the file"
    if head and all(9 <= byte <= 13 or 32 <= byte < 127 for byte in head[:512]):
        return ": it is text", READS
    return "", READS
