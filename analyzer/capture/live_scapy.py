"""Live capture through scapy's sockets: slower, but on every system that scapy knows.

Source  scapy.interfaces, scapy.supersocket (2.5 and later).
Sees    frames as scapy's layer 2 socket gives them, each copied once, with its time.
Limits  A Python call per packet: some 50,000 packets a second. What the system drops is not known.
"""

from __future__ import annotations

import select
import time
from typing import Any

import numpy as np

from analyzer.anomalies import Ledger
from analyzer.capture.batch import PACKET, FileInfo, PacketBatch
from analyzer.capture.live import LiveOptions, not_allowed
from analyzer.capture.live_links import ANY, Interface, interface_named, interfaces
from analyzer.errors import AnalyzerError
from analyzer.kernel import records

MAX_PACKETS = 1024
WAIT_S = 0.1


class ScapySource:
    """A capture through scapy; see `live.LiveSource`."""

    def __init__(self, options: LiveOptions, ledger: Ledger) -> None:
        from scapy.all import conf  # the smaller modules leave its sockets undefined

        self._ledger = ledger
        self._snaplen = options.snaplen
        names = options.interfaces
        chosen = interfaces() if ANY in names else [interface_named(name) for name in names]
        self.info = FileInfo("live:" + ",".join(names), format="live")
        self.interfaces: list[Interface] = [interface for interface in chosen if interface.link in (1, 101)]
        self.info.link_types = sorted({interface.link for interface in self.interfaces})
        self._frame = 1
        self._problem = ""
        self._sockets: dict[Any, int] = {}  # to the number of its interface
        try:
            for number, interface in enumerate(self.interfaces):
                asked = options.filter or None  # an empty text would be compiled
                opened = conf.L2listen(iface=interface.name, promisc=options.promiscuous, filter=asked)
                self._sockets[opened] = number
        except PermissionError:
            self.close()
            raise not_allowed() from None
        except Exception as trouble:  # scapy raises its own kinds, and OSError
            self.close()
            raise AnalyzerError(f"scapy cannot capture: {trouble}", "check the filter and the interface") from None

    def next(self) -> PacketBatch | None:
        """Return what arrived, at most MAX_PACKETS."""
        self._out = records(MAX_PACKETS, PACKET)  # the last batch is still in use
        data = bytearray()
        n = 0
        deadline = time.monotonic() + WAIT_S
        while n < MAX_PACKETS and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select(list(self._sockets), [], [], left if n == 0 else 0)
            if not ready:
                break
            for sock in ready:
                n += self._take(sock, n, data) if n < MAX_PACKETS else 0
        if n == 0:
            return None
        times = self._out["ts_ns"][:n]
        info = self.info
        info.packets += n
        first, last = int(times.min()), int(times.max())
        info.first_ts_ns = first if info.first_ts_ns is None else min(first, info.first_ts_ns)
        info.last_ts_ns = last if info.last_ts_ns is None else max(last, info.last_ts_ns)
        self._frame += n
        return PacketBatch(self._out[:n], np.frombuffer(bytes(data), np.uint8).copy())

    def release(self) -> None:
        """Nothing is shared."""

    def dropped(self) -> int:
        """Scapy does not tell: -1."""
        return -1

    def problem(self) -> str:
        """Return what went wrong since the last call."""
        said, self._problem = self._problem, ""
        return said

    @property
    def gone(self) -> bool:
        """True if no interface is left to capture from."""
        return not self._sockets

    def close(self) -> None:
        """Stop capturing."""
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()

    def _take(self, sock: Any, n: int, data: bytearray) -> int:
        """Add one packet; return how many came of it, 0 or 1."""
        place = self._sockets[sock]
        try:
            _, raw, ts = sock.recv_raw()
        except OSError as trouble:
            self._problem = f"{self.interfaces[place].name}: {trouble.strerror or trouble}"
            del self._sockets[sock]
            return 0
        if raw is None:
            return 0
        kept = raw[: self._snaplen]
        if len(kept) < len(raw):
            self.info.snaplen_clipped += 1
            self._ledger.note("capture.snaplen_clipped", frame=self._frame + n, detail=self.info.file)
        # scapy gives seconds as a float or a decimal; where there is none, the time of reading
        when = int(float(ts) * 1e6) * 1000 if ts else time.time_ns()
        iface = self.interfaces[place]
        self._out[n] = (when, self._frame + n, len(data), len(kept), len(raw), iface.link, place, 0)
        data += kept
        return 1
