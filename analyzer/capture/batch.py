"""What every source of packets hands to the engine: records about packets, and the bytes they point into."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from analyzer.kernel import U8, Records

PACKET = np.dtype(
    [
        ("ts_ns", np.int64),  # capture time, UTC nanoseconds since 1970
        ("frame", np.int64),  # from 1, over all input files, as Wireshark's frame.number (of the merged files)
        ("off", np.int64),  # where the packet starts in the batch's bytes
        ("caplen", np.int32),  # bytes captured
        ("wirelen", np.int32),  # bytes on the wire; more than caplen if the capture was clipped
        ("link", np.int32),  # LINKTYPE number, www.tcpdump.org/linktypes.html
        ("iface", np.int32),  # interface number, unique over all files
        ("file", np.int32),  # index of the input file
    ],
    align=True,
)


@dataclass(slots=True)
class PacketBatch:
    """A run of packets in capture order.

    packets  (n,) PACKET records    data  (m,) bytes they point into; valid until the next batch is asked for
    """

    packets: Records
    data: U8


@dataclass(slots=True)
class FileInfo:
    """What one input file turned out to be; filled while it is read (a row of the `captures` table).

    format   "pcap", "pcapng", with the compression: "pcap.gz"
    error    why reading stopped early or what was skipped, empty if nothing
    """

    file: str
    format: str = ""
    link_types: list[int] = field(default_factory=list)  # LINKTYPE numbers in order of first use
    packets: int = 0
    tcp_segments: int = 0
    first_ts_ns: int | None = None
    last_ts_ns: int | None = None
    snaplen_clipped: int = 0
    dropped_reported: int | None = None
    duplicates: int = 0
    truncated: bool = False
    error: str = ""
    secrets: list[bytes] = field(default_factory=list)  # Decryption Secrets Blocks (NSS key log text), of all files
