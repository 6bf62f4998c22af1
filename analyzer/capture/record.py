"""Recording while capturing: pcapng files that rotate by size or time, of which the last ones are kept.

Source  draft-ietf-opsawg-pcapng, sections 4.1 (section header), 4.2 (interfaces), 4.3 (packets), 4.6 (statistics).
Sees    every packet that the engine sees, in the same order, with its nanoseconds: to analyse the files gives the
        tables that the live run gave.
Limits  Each file counts the packets dropped while it was written; the kernel does not say of which interface.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analyzer.capture.batch import PacketBatch
from analyzer.capture.live_links import Interface
from analyzer.capture.ring_walk import EPB_BYTES, RING, pack_packets
from analyzer.errors import AnalyzerError
from analyzer.kernel import U8, Records, records

BUFFER_BYTES = 1 << 20
"""Written at once: calls are few, as another thread may hold the interpreter after each."""

LEAST_BYTES = 4 << 10
"""Written at once where there was no room for more: what a full disk can cost beyond the packets that have no room."""

_SHB, _IDB, _ISB = 0x0A0D0D0A, 1, 5
_OPT_NAME, _OPT_TSRESOL, _ISB_IFDROP, _SHB_USERAPPL = 2, 9, 5, 4
_NANOSECONDS = b"\x09"
RETRY_NS = 10 * 10**9
"""After a failed write (a full disk) the next try comes this much later."""


@dataclass(frozen=True, slots=True)
class Rotation:
    """When a file is full, and how many are kept; 0 = no limit."""

    max_bytes: int = 0
    max_ns: int = 0
    keep: int = 0

    @property
    def wanted(self) -> bool:
        return bool(self.max_bytes or self.max_ns)


class Recorder:
    """Writes packets to `path`, or with rotation to PATH's name with a number: ring-00001.pcapng.

    trouble  what went wrong since it was last looked at    missed  packets that could not be written
    Raises AnalyzerError if the first file cannot be made.
    """

    def __init__(self, path: str | os.PathLike[str], rotation: Rotation, snaplen: int) -> None:
        if rotation.keep and not rotation.wanted:
            raise AnalyzerError("--keep keeps the last files of a rotation", "add --rotate 100MB or --rotate 1h")
        self._path, self._rotation, self._snaplen = Path(path), rotation, snaplen
        self._buffer: U8 = np.empty(BUFFER_BYTES, np.uint8)
        self._place = records(1, RING)
        self._handle = -1
        self._number = 0
        self._size = self._started_ns = self._retry_ns = 0
        self._packets = 0
        self._ifaces = 0
        self._dropped = self._dropped_before = 0
        self.files: list[Path] = []
        self.trouble = ""
        self.missed = 0
        try:
            self._open(0)
        except OSError as error:
            raise AnalyzerError(
                f"`{path}` cannot be written: {error.strerror}", "name another file with --write"
            ) from None

    def write(self, batch: PacketBatch, interfaces: Sequence[Interface], dropped: int) -> None:
        """Append a batch. A disk that is full is noted in `trouble`, never raised; the capture goes on."""
        packets = batch.packets
        now = int(packets["ts_ns"][-1])
        self._dropped = dropped
        if self._handle < 0:
            if now < self._retry_ns:
                self.missed += packets.shape[0]
                return
            try:
                self._open(now)
            except OSError as error:
                self._failed(error, now)
                self.missed += packets.shape[0]
                return
        done, most = 0, BUFFER_BYTES
        try:
            while done < packets.shape[0]:
                now = int(packets["ts_ns"][done])
                if self._full(now):
                    self._close()
                    self._open(now)
                self._started_ns = self._started_ns or now
                self._describe(interfaces)
                step = pack_packets(packets, batch.data, done, self._place, self._room(packets, done, most))
                try:
                    self._put(self._buffer[: int(self._place[0]["out"])])
                except OSError:
                    if most <= LEAST_BYTES:
                        raise
                    most //= 8
                    continue
                self._packets += step - done
                done = step
        except OSError as error:
            self.missed += packets.shape[0] - done
            self._failed(error, now)

    def close(self, dropped: int) -> None:
        """Finish the last file."""
        self._dropped = dropped
        try:
            self._close()
        except OSError as error:
            self._failed(error, 0)

    # -------------------------------------------------------------------------------------- files

    def _room(self, packets: Records, done: int, most: int) -> U8:
        """Return the buffer, no longer than `most` and the file's room, but long enough for one packet."""
        need = int(packets["caplen"][done]) + EPB_BYTES + 4
        if need > self._buffer.size:
            self._buffer = np.empty(need, np.uint8)
        left = self._rotation.max_bytes - self._size if self._rotation.max_bytes else most
        return self._buffer[: max(need, min(left, most))]

    def _full(self, now: int) -> bool:
        rotation = self._rotation
        if not self._packets:
            return False
        too_old = rotation.max_ns > 0 and now - self._started_ns >= rotation.max_ns
        return too_old or (rotation.max_bytes > 0 and self._size >= rotation.max_bytes)

    def _open(self, now: int) -> None:
        path = self._path
        if self._rotation.wanted:
            self._number += 1
            path = path.with_name(f"{path.stem}-{self._number:05d}{path.suffix or '.pcapng'}")
        # After a failure the one file of a recording without rotation goes on with another section.
        again = path in self.files
        how = os.O_APPEND | (0 if again else os.O_TRUNC)  # APPEND: what is cut off again is written over
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | how | os.O_CLOEXEC, 0o666)
        self._size = os.fstat(self._handle).st_size
        self._packets = self._ifaces = 0
        self._started_ns = now
        self._put(_section_header())
        if not again:
            self.files.append(path)
        while self._rotation.keep and len(self.files) > self._rotation.keep:
            self.files.pop(0).unlink(missing_ok=True)

    def _close(self) -> None:
        if self._handle < 0:
            return
        try:
            lost = self._dropped - self._dropped_before
            for number in range(self._ifaces if self._dropped >= 0 else 0):
                # The kernel counts for all interfaces together: the first one carries the sum.
                self._put(_statistics(number, self._started_ns, lost if number == 0 else 0))
            self._dropped_before = self._dropped
        finally:
            os.close(self._handle)
            self._handle = -1

    def _describe(self, interfaces: Sequence[Interface]) -> None:
        for interface in interfaces[self._ifaces :]:
            self._put(_interface(interface, self._snaplen))
            self._ifaces += 1

    def _put(self, block: bytes | U8) -> None:
        """Write whole blocks or nothing: what a full disk took half of is cut off again."""
        view = memoryview(block if isinstance(block, bytes) else block.data)
        done = 0
        try:
            while done < len(view):
                done += os.write(self._handle, view[done:])
        except OSError:
            os.ftruncate(self._handle, self._size)
            raise
        self._size += done

    def _failed(self, error: OSError, now: int) -> None:
        name = self.files[-1] if self.files else self._path
        self.trouble = f"recording to {name} failed: {error.strerror}; trying again every {RETRY_NS // 10**9} s"
        self._retry_ns = now + RETRY_NS
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


# ------------------------------------------------------------------------------------------ blocks


def _block(kind: int, body: bytes) -> bytes:
    length = 12 + len(body)
    return struct.pack("<II", kind, length) + body + struct.pack("<I", length)


def _option(code: int, value: bytes) -> bytes:
    return struct.pack("<HH", code, len(value)) + value + bytes(-len(value) % 4)


def _section_header() -> bytes:
    options = _option(_SHB_USERAPPL, b"longwire") + _option(0, b"")
    return _block(_SHB, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + options)


def _interface(interface: Interface, snaplen: int) -> bytes:
    name = _option(_OPT_NAME, interface.name.encode("utf-8", "replace"))
    body = struct.pack("<HHI", interface.link, 0, snaplen) + name + _option(_OPT_TSRESOL, _NANOSECONDS)
    return _block(_IDB, body + _option(0, b""))


def _statistics(number: int, ts_ns: int, dropped: int) -> bytes:
    head = struct.pack("<III", number, ts_ns >> 32, ts_ns & 0xFFFFFFFF)
    return _block(_ISB, head + _option(_ISB_IFDROP, struct.pack("<Q", dropped)) + _option(0, b""))
