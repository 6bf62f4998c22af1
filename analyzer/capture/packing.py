"""Packed captures, unpacked as a stream: gzip, zstd, lz4.

Source  RFC 1952 (gzip members), RFC 8878 section 3 (zstd frames), the LZ4 frame format 1.6.
Sees    concatenated members and frames as one stream, as gzip -d, zstd -d and lz4 -d do.
Limits  Output is asked for in steps of STEP bytes, so a bomb costs time but not memory. zstd's window is limited
        to 128 MiB (as zstd -d does without --long); a file packed with more is reported as unreadable.
"""

from __future__ import annotations

import zlib
from typing import Any, Protocol

STEP = 128 << 10  # bytes unpacked at a time: what a corrupt stream can cost us (lz4, zstd), and L2-sized
_CHUNK = 64 << 10  # packed bytes read at a time

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
LZ4_MAGIC = b"\x04\x22\x4d\x18"


class ByteReader(Protocol):
    """Where packed bytes come from."""

    error: str

    def read(self, n: int, /) -> bytes: ...


class Unpacker(Protocol):
    """A stream of unpacked bytes; `error` says why it ended early, empty if it did not."""

    error: str

    def readinto(self, view: memoryview, /) -> int: ...


def unpacker_for(magic: bytes, raw: ByteReader) -> tuple[str, Unpacker | None]:
    """Return the suffix and the unpacker for a file that starts with `magic`; ("", None) if it is not packed."""
    if magic[:2] == GZIP_MAGIC:
        return "gz", Gzip(raw)
    if magic == ZSTD_MAGIC:
        return "zst", Zstd(raw)
    if magic == LZ4_MAGIC:
        return "lz4", Lz4(raw)
    return "", None


class _Steps:
    """What gzip and lz4 share: output arrives as bytes, and the rest waits for the next call."""

    def __init__(self, raw: ByteReader) -> None:
        self.error = ""
        self._raw = raw
        self._rest = memoryview(b"")

    def readinto(self, view: memoryview, /) -> int:
        if not self._rest and not self.error:
            self._rest = memoryview(self._step())
        got = min(len(view), len(self._rest))
        view[:got] = self._rest[:got]
        self._rest = self._rest[got:]
        return got

    def _step(self) -> bytes:
        """Return up to STEP bytes; empty only at the end or with `error` set."""
        raise NotImplementedError


class Gzip(_Steps):
    """gzip members one after the other; bytes after the last member that are no member end the stream."""

    def __init__(self, raw: ByteReader) -> None:
        super().__init__(raw)
        self._inflate = zlib.decompressobj(31)
        self._packed = b""
        self._inside = False  # within a member: an end here is a cut

    def _step(self) -> bytes:
        while True:
            if not self._packed:
                self._packed = self._raw.read(_CHUNK)
                if not self._packed:
                    if self._inside:
                        self.error = self._raw.error or "the gzip stream is cut short"
                    return b""
            if not self._inside:
                if not self._next_member():
                    return b""
                continue
            before = self._inflate.copy()  # 40 kB per STEP: lets us keep what comes before an error
            try:
                out = self._inflate.decompress(self._packed, STEP)
            except zlib.error as trouble:
                self.error = f"the gzip stream is corrupt ({_last_words(trouble)})"
                return _before_error(before, self._packed)
            self._packed = self._inflate.unconsumed_tail
            if self._inflate.eof:
                self._packed = self._inflate.unused_data
                self._inside = False
            if out:
                return out

    def _next_member(self) -> bool:
        self._packed = self._packed.lstrip(b"\0")  # tapes and some writers pad with zeros, and gzip -d allows it
        while len(self._packed) < 2 and (more := self._raw.read(_CHUNK)):
            self._packed = (self._packed + more).lstrip(b"\0")
        if not self._packed.startswith(GZIP_MAGIC):
            if self._packed:
                self.error = "what follows the gzip stream is not gzip"
            return False
        self._inflate = zlib.decompressobj(31)
        self._inside = True
        return True


def _before_error(inflate: Any, packed: bytes) -> bytes:
    """Unpack again in small steps up to the byte where zlib fails."""
    kept = []
    try:
        while True:
            out = inflate.decompress(packed, 256)
            packed = inflate.unconsumed_tail
            kept.append(out)
            if not out or inflate.eof:
                break
    except zlib.error:
        pass
    return b"".join(kept)


class Lz4(_Steps):
    """LZ4 frames one after the other."""

    def __init__(self, raw: ByteReader) -> None:
        super().__init__(raw)
        import lz4.frame

        self._new = lz4.frame.LZ4FrameDecompressor
        self._frame = self._new()
        self._begun = False

    def _step(self) -> bytes:
        packed = b""
        while True:
            if self._frame.eof:
                packed = self._frame.unused_data or b""
                self._frame, self._begun = self._new(), False
            if not packed and (self._frame.needs_input or not self._begun):
                packed = self._raw.read(_CHUNK)
                if not packed:
                    if self._begun:
                        self.error = self._raw.error or "the lz4 stream is cut short"
                    return b""
            self._begun = True
            try:
                out: bytes = self._frame.decompress(packed, STEP)
            except (RuntimeError, ValueError) as trouble:
                self.error = f"the lz4 stream is corrupt ({_last_words(trouble)})"
                return b""
            packed = b""
            if out:
                return out


class Zstd:
    """zstd frames one after the other, straight into the caller's buffer."""

    def __init__(self, raw: ByteReader) -> None:
        import zstandard

        self.error = ""
        self._raw = raw
        self._frames = ZstdFrames()
        self._trouble = zstandard.ZstdError
        tap: Any = _Tap(raw, self._frames)
        self._stream = zstandard.ZstdDecompressor().stream_reader(tap, read_across_frames=True)

    def readinto(self, view: memoryview, /) -> int:
        if self.error:
            return 0
        try:
            got: int = self._stream.readinto1(view[:STEP])
        except self._trouble as trouble:
            self.error = f"the zstd stream is corrupt ({_last_words(trouble)})"
            return 0
        if got == 0 and not self._frames.complete:
            self.error = self._raw.error or "the zstd stream is cut short"
        return got


class _Tap:
    """Passes packed bytes to zstd and shows them to the frame counter on the way."""

    def __init__(self, raw: ByteReader, frames: ZstdFrames) -> None:
        self._raw = raw
        self._frames = frames

    def read(self, n: int = -1, /) -> bytes:
        chunk = self._raw.read(min(n, _CHUNK) if n > 0 else _CHUNK)
        self._frames.feed(chunk)
        return chunk


class ZstdFrames:
    """Follows frame and block boundaries, to know whether the stream ended where a frame does.

    The zstandard package returns a plain end for a stream that is cut inside a frame. RFC 8878 section 3.1.1.
    """

    def __init__(self) -> None:
        self._held = b""  # the bytes of a header that is not whole yet
        self._skip = 0
        self._checksum = 0
        self._in_frame = False

    @property
    def complete(self) -> bool:
        return not self._in_frame and not self._held and self._skip == 0

    def feed(self, chunk: bytes) -> None:
        at = 0
        while at < len(chunk):
            if self._skip:
                step = min(self._skip, len(chunk) - at)
                self._skip -= step
                at += step
                continue
            self._held += chunk[at : at + 1]  # headers are a few bytes in 128 kB: one at a time is cheap enough
            at += 1
            if self._block() if self._in_frame else self._frame():
                self._held = b""

    def _frame(self) -> bool:
        """Read a frame header (section 3.1.1.1) or a skippable frame's (3.1.2) once it is whole."""
        held = self._held
        if len(held) >= 4 and held[1:4] == b"\x2a\x4d\x18":  # 0x184D2A5?
            if len(held) < 8:
                return False
            self._skip = int.from_bytes(held[4:8], "little")
            return True
        if len(held) < 5:
            return False
        descriptor = held[4]
        single = descriptor >> 5 & 1
        content_size = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
        self._skip = (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3] + content_size
        self._checksum = 4 if descriptor & 4 else 0
        self._in_frame = True
        return True

    def _block(self) -> bool:
        """Read a block header (section 3.1.1.2): last flag, type and size."""
        if len(self._held) < 3:
            return False
        word = int.from_bytes(self._held, "little")
        self._skip = 1 if word >> 1 & 3 == 1 else word >> 3  # a run-length block stores one byte
        if word & 1:
            self._skip += self._checksum
            self._in_frame = False
        return True


def _last_words(trouble: Exception) -> str:
    """Return a library's message without its prefix."""
    return str(trouble).rsplit(": ", 1)[-1].strip()
