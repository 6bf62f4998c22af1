"""The door to captures: paths in, packet batches in time order out.

for batch in open_captures(["a.pcap", "b.pcapng.gz"], ledger):
    engine.feed(batch)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain

from analyzer.anomalies import Ledger
from analyzer.capture.batch import FileInfo, PacketBatch
from analyzer.capture.merge import Lane, merged
from analyzer.capture.pcap import PcapReader, peek_header
from analyzer.capture.pcapng import MAX_IFACES, PcapngReader, check_header
from analyzer.capture.source import PCAPNG_MAGIC, Source, open_source
from analyzer.capture.walk import NO_FRAMES, Numbering, RecordReader
from analyzer.errors import AnalyzerError

# Enough to find the first packet of most files at once; the buffer grows where it is not.
_PEEK_BYTES = 64 << 10

Progress = Callable[[int, int], None]


def open_captures(
    paths: Sequence[str | os.PathLike[str]],
    ledger: Ledger,
    *,
    buffer_bytes: int = 4 << 20,
    progress: Progress | None = None,
) -> CaptureReader:
    """Open captures to be read as one stream; `-` is standard input.

    Every path is opened and its header looked at before this returns, so a mistake shows at once.
    progress(done, total) is called about once per batch with bytes as they lie on disk; total is 0 if unknown.
    Raises AnalyzerError for a path that is missing, unreadable, empty or not a capture.
    """
    return CaptureReader(paths, ledger, buffer_bytes, progress)


class CaptureReader:
    """Packets of one or more captures in time order; can be iterated once.

    files         one FileInfo per path, in the order given, filled in while reading
    total_bytes   sum of the file sizes, None if one of them is a pipe
    secrets       what files brought of TLS key logs so far: the list that every FileInfo has
    """

    def __init__(
        self, paths: Sequence[str | os.PathLike[str]], ledger: Ledger, buffer_bytes: int, progress: Progress | None
    ) -> None:
        if not paths:
            raise AnalyzerError("no capture was named", "give one or more files, or `-` for standard input")
        if [os.fspath(path) for path in paths].count("-") > 1:
            raise AnalyzerError("standard input can be read only once", "name `-` once")
        self._paths = paths
        self._ledger = ledger
        self._buffer_bytes = buffer_bytes
        self._progress = progress
        self._numbering = Numbering()
        self._open: dict[int, Source] = {}
        self._done_bytes = 0  # of the files that were read to their end
        self.total_bytes: int | None = 0
        self.secrets: list[bytes] = []
        self.files: list[FileInfo] = []
        try:
            for file in range(len(paths)):
                self._look_at(file)
        except BaseException:
            self.close()
            raise

    def __iter__(self) -> Iterator[PacketBatch]:
        """Yield the packets; each is valid until the next is asked for, of one file until `ahead.MOST` more were."""
        try:
            lanes = [Lane(file, partial(self._batches, file)) for file in range(len(self._paths))]
            if len(lanes) > 1:
                for lane in lanes:
                    lane.first_ts = self._first_ts(lane)
            for batch in merged(lanes, self._numbering):
                yield batch
                self._report()
            self._report()
        finally:
            self.close()

    def close(self) -> None:
        """Close whatever is open."""
        for source in self._open.values():
            source.close()
        self._open.clear()

    def _look_at(self, file: int) -> None:
        """Check one path and start its FileInfo. A pipe stays open, as it can be read only once."""
        source = open_source(self._paths[file])
        if source.size is None:
            self._open[file] = source
        try:
            kind = _kind(source)
        finally:
            if source.size is not None:
                source.close()
        before, size = self.total_bytes, source.size
        self.total_bytes = before + size if before is not None and size is not None else None
        form = f"{kind}.{source.packing}" if source.packing else kind
        self.files.append(FileInfo(source.name, format=form, secrets=self.secrets))

    def _first_ts(self, lane: Lane) -> int | None:
        """Return the time of a file's first packet, None if it has none."""
        file = lane.index
        if file in self._open:  # a pipe: what was read to find out becomes the lane's first batch
            self._numbering.limit_ts = NO_FRAMES
            batches = lane.begin()
            first = next(batches, None)
            lane.begin = lambda: chain([first] if first else [], batches)
        else:
            name = self.files[file].file
            source = open_source(self._paths[file])
            try:
                first = next(
                    reader_for(source, FileInfo(name), file, Ledger(), Numbering(), _PEEK_BYTES).batches(), None
                )
            finally:
                source.close()
        return None if first is None else int(first.packets[0]["ts_ns"])

    def _batches(self, file: int) -> Iterator[PacketBatch]:
        """Read one file to its end."""
        source = self._open.get(file) or open_source(self._paths[file])
        self._open[file] = source
        yield from reader_for(
            source, self.files[file], file, self._ledger, self._numbering, self._buffer_bytes
        ).batches()
        self._done_bytes += source.done
        del self._open[file]
        source.close()

    def _report(self) -> None:
        if self._progress is not None:
            reading = sum(source.done for source in self._open.values())
            self._progress(self._done_bytes + reading, self.total_bytes or 0)


def _kind(source: Source) -> str:
    """Return "pcap" or "pcapng"; raises AnalyzerError if the file header is cut."""
    if source.peek(4)[:4] == PCAPNG_MAGIC:
        check_header(source)
        return "pcapng"
    peek_header(source)
    return "pcap"


def reader_for(
    source: Source, info: FileInfo, file: int, ledger: Ledger, numbering: Numbering, buffer_bytes: int
) -> RecordReader:
    """Return the reader for an open capture. Its interfaces are numbered from file * 65536."""
    first_iface = file % (1 << 15) * MAX_IFACES
    kind = PcapngReader if _kind(source) == "pcapng" else PcapReader
    return kind(source, info, file, ledger, numbering, buffer_bytes, first_iface)
