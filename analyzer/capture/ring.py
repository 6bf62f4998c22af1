"""The Linux packet ring: blocks of packets in memory shared with the kernel, walked where they lie.

Source  Linux Documentation/networking/packet_mmap.rst; packet(7).
Sees    frames as they came, with the kernel's nanosecond times; the VLAN tag that a card removed is put back. One ring
        serves all interfaces, so that packets of several are in the order in which the kernel saw them.
Limits  Of `lo`, where each packet passes twice, the incoming copy counts. Of several processes that share an interface
        (`ring_share`) each has a ring of its own.
Two batches may be out at a time: one is worked on while the next is walked, by two threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import select
import socket
import struct
import sys
from collections import deque

import numpy as np
from numpy.typing import NDArray

from analyzer.anomalies import Ledger
from analyzer.capture.batch import PACKET, FileInfo, PacketBatch
from analyzer.capture.live import LiveOptions, not_allowed
from analyzer.capture.live_links import ANY, RAW_TYPES, Interface, interface_at, interface_named, interfaces
from analyzer.capture.ring_bpf import NOTHING, combined, compiled, packed, set_program
from analyzer.capture.ring_share import join
from analyzer.capture.ring_walk import BATCH_FULL, NEW_INTERFACE, PORT, RING, TAG_BYTES, walk_ring
from analyzer.capture.walk import WALK
from analyzer.errors import AnalyzerError
from analyzer.kernel import U8, Records, grown, records

_SOL_PACKET, _SO_ATTACH_FILTER = 263, 26
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _RESERVE = 1, 5, 6, 10, 12
_TPACKET_V3, _MR_PROMISC = 2, 1
_ETH_P_ALL = 3

BLOCK_BYTES = 1 << 20
RETIRE_MS = 50
"""A block is handed over when it is full, or this long after its first packet: what a live screen can wait for."""

BATCH_BLOCKS = 4
"""Blocks of one batch: enough to hide the cost of calls, few enough that the ring always has room."""

LEAST_BLOCKS = 4 * BATCH_BLOCKS
"""Two batches that are out, and as much for the kernel to fill meanwhile."""

MAX_PACKETS = 1 << 15
_USER = 1  # TP_STATUS_USER: the block is ours
_STATUS, _COUNT, _FIRST = 2, 3, 4  # 32-bit words of struct tpacket_block_desc
WAIT_MS = 100


class RingSource:
    """A capture from a TPACKET_V3 ring; see `live.LiveSource`."""

    def __init__(self, options: LiveOptions, ledger: Ledger) -> None:
        self._ledger = ledger
        self._wanted = [] if ANY in options.interfaces else [interface_named(name) for name in options.interfaces]
        for interface in self._wanted:
            if interface.link < 0:
                raise AnalyzerError(f"`{interface.name}` carries frames that longwire cannot read")
            if not interface.up:
                raise AnalyzerError(f"`{interface.name}` is down", f"ip link set {interface.name} up")
        self.info = FileInfo("live:" + ",".join(options.interfaces), format="live")
        self.interfaces: list[Interface] = []
        self._ports = records(0, PORT)
        self._out, self._other = records(MAX_PACKETS, PACKET), records(MAX_PACKETS, PACKET)
        self._state, self._place = records(1, WALK), records(1, RING)
        self._place["big"] = int(sys.byteorder == "big")
        self._frame, self._dropped = 1, 0
        self._problem, self._gone = "", False
        program, share = _program(options, self._wanted), options.share
        group = share.group() if share is not None else -1
        self._socket = _opened()
        try:
            self._attach(program if share is None else packed(NOTHING))
            self._map(max(LEAST_BLOCKS, options.ring_bytes // BLOCK_BYTES))
            self._bind(options.promiscuous)
            if share is not None:  # until all have joined, a packet could come to another process than its connection
                share.joined(join(self._socket, group, share.count))
                self._attach(program)
        except BaseException:
            self._socket.close()
            raise
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN | select.POLLERR)
        self._next_block = 0  # the block that is walked now, or comes next
        self._begun = False  # and is not finished yet
        self._walked: list[int] = []  # blocks of the batch that is made
        self._held: deque[list[int]] = deque()  # of those that are out

    def next(self) -> PacketBatch | None:
        """Return the packets of the blocks that are ready; see `LiveSource`."""
        if not self._ready():
            with contextlib.suppress(InterruptedError):
                self._wait()
        walk = self._state[0]
        walk["out"], walk["frame"] = 0, self._frame
        # A block that is half walked still counts: it is given back when it is done.
        while len(self._walked) < BATCH_BLOCKS and self._ready() and not self._walk_block():
            pass
        self._held.append(self._walked)
        self._walked = []
        n = int(walk["out"])
        if n == 0:
            self._give_back(self._held.pop())
            return None
        self._count(n)
        packets = self._out[:n]
        self._out, self._other = self._other, self._out
        return PacketBatch(packets, self._ring)

    def release(self) -> None:
        """Give the blocks of the oldest batch back to the kernel."""
        self._give_back(self._held.popleft())

    def dropped(self) -> int:
        """Return packets the kernel had no room for; reading its counters resets them, so they are added up here."""
        with contextlib.suppress(OSError):
            counters = self._socket.getsockopt(_SOL_PACKET, _STATISTICS, 12)
            self._dropped += struct.unpack("III", counters)[1]
            self.info.dropped_reported = self._dropped
        return self._dropped

    def problem(self) -> str:
        """Return what went wrong since the last call."""
        if not self._gone and self._wanted:
            there = {index for index, _ in socket.if_nameindex()}
            lost = [interface.name for interface in self._wanted if interface.index not in there]
            if lost:
                self._problem = f"interface {', '.join(lost)} has gone"
                self._wanted = [interface for interface in self._wanted if interface.name not in lost]
                self._gone = not self._wanted
        said, self._problem = self._problem, ""
        return said

    @property
    def gone(self) -> bool:
        """True if no interface is left to capture from."""
        return self._gone

    def close(self) -> None:
        """Stop capturing; batches taken before are no longer valid."""
        self.dropped()
        self._ledger.note("capture.dropped", self._dropped, detail=self.info.file)
        if int(self._place[0]["unknown"]):
            self.info.error = f"{int(self._place[0]['unknown'])} packets of unknown link layers left out"
        self._socket.close()

    # -------------------------------------------------------------------------------------- opening

    def _attach(self, program: bytes) -> None:
        """Set the filter before the socket is bound: no packet passes unfiltered."""
        set_program(self._socket, socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def _map(self, blocks: int) -> None:
        ask = self._socket.setsockopt
        ask(_SOL_PACKET, _VERSION, struct.pack("i", _TPACKET_V3))
        ask(_SOL_PACKET, _RESERVE, struct.pack("I", TAG_BYTES))
        frame_bytes = 2048  # of no meaning in version 3, but it must divide a block
        while True:
            try:
                ask(
                    _SOL_PACKET, _RX_RING,
                    struct.pack("7I", BLOCK_BYTES, blocks, frame_bytes, blocks * BLOCK_BYTES // frame_bytes,
                                RETIRE_MS, 0, 0),
                )  # fmt: skip
                break
            except OSError as trouble:
                if trouble.errno != errno.ENOMEM or blocks <= LEAST_BLOCKS:
                    raise
                blocks //= 2
        self._memory = mmap.mmap(
            self._socket.fileno(), blocks * BLOCK_BYTES, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        self._ring: U8 = np.frombuffer(self._memory, np.uint8)
        self._words: NDArray[np.uint32] = self._ring.view(np.uint32).reshape(blocks, -1)
        self.blocks = blocks

    def _bind(self, promiscuous: bool) -> None:
        one = self._wanted[0].name if len(self._wanted) == 1 else ""
        if promiscuous:
            for interface in self._wanted or interfaces():
                member = struct.pack("iHH8s", interface.index, _MR_PROMISC, 0, b"")
                with contextlib.suppress(OSError):  # an interface without the mode is captured without it
                    self._socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, member)
        if one:
            self._socket.bind((one, _ETH_P_ALL))
        else:
            _bind_to_all(self._socket)

    # -------------------------------------------------------------------------------------- reading

    def _give_back(self, blocks: list[int]) -> None:
        for block in blocks:
            self._words[block, _STATUS] = 0

    def _ready(self) -> bool:
        return bool(self._words[self._next_block, _STATUS] & _USER)

    def _wait(self) -> None:
        for _, event in self._poll.poll(WAIT_MS):
            if event & select.POLLERR:
                code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == errno.ENETDOWN:
                    self._problem = "the interface is down"

    def _walk_block(self) -> bool:
        """Walk on in the block that is ready; return True if the batch is full."""
        place = self._place[0]
        if not self._begun:
            words = self._words[self._next_block]
            place["left"] = int(words[_COUNT])
            place["at"] = self._next_block * BLOCK_BYTES + int(words[_FIRST])
            self._begun = True
        while True:
            walk_ring(self._ring, self._place, self._state, self._ports, self._out)
            stop = int(self._state[0]["stop"])
            if stop != NEW_INTERFACE:
                break
            self._add_port(interface_at(int(place["ifindex"]), int(place["kind"])))
        if stop == BATCH_FULL:
            return True
        self._walked.append(self._next_block)
        self._next_block = (self._next_block + 1) % self.blocks
        self._begun = False
        return False

    def _add_port(self, interface: Interface) -> None:
        number = len(self.interfaces)
        if interface.link >= 0:
            self.interfaces.append(interface)
        ports: Records = grown(self._ports, self._ports.shape[0] + 1) if self._ports.shape[0] else records(1, PORT)
        ports = ports[: self._ports.shape[0] + 1]
        ports[-1] = (interface.index, interface.link, number if interface.link >= 0 else -1, int(interface.loopback))
        self._ports = ports
        if interface.link >= 0 and interface.link not in self.info.link_types:
            self.info.link_types.append(interface.link)

    def _count(self, n: int) -> None:
        walk, info = self._state[0], self.info
        for code, tally in (("capture.snaplen_clipped", "clipped"), ("capture.time_backwards", "backwards")):
            count = int(walk[tally])
            if count:
                frame = self._frame + int(walk[tally + "_first"])
                self._ledger.note(code, count, frame=frame, detail=f"{info.file}: packet {frame}")
        info.snaplen_clipped += int(walk["clipped"])
        walk["clipped"], walk["backwards"] = 0, 0
        info.packets += n
        info.first_ts_ns, info.last_ts_ns = int(walk["min_ts"]), int(walk["max_ts"])
        self._frame += n


def _program(options: LiveOptions, wanted: list[Interface]) -> bytes:
    """Return the filter for the chosen interfaces."""
    links = {interface.link for interface in wanted} or {1, 101}
    by_link = {link: compiled(options.filter, link, options.snaplen) for link in links}
    loopback = next((interface.index for interface in interfaces() if interface.loopback), 0)
    only = [interface.index for interface in wanted] if len(wanted) > 1 else []
    if len(by_link) == 1:
        (program,) = by_link.values()
        return packed(combined(program, program, [], only, loopback))
    if set(by_link) != {1, 101}:
        raise AnalyzerError("these interfaces have too different link layers for one capture", "run one for each")
    return packed(combined(by_link[1], by_link[101], list(RAW_TYPES), only, loopback))


def _bind_to_all(opened: socket.socket) -> None:
    """Bind to no interface in particular, which Python's own `bind` cannot say."""
    address = struct.pack("=HHiHBB8s", socket.AF_PACKET, socket.htons(_ETH_P_ALL), 0, 0, 0, 0, b"")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.bind(opened.fileno(), address, len(address)) != 0:
        raise OSError(ctypes.get_errno(), "binding to all interfaces failed")


def _opened() -> socket.socket:
    """Return a packet socket that receives nothing yet."""
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError:
        raise not_allowed() from None
    except OSError as trouble:
        raise AnalyzerError(f"this system has no packet sockets: {trouble.strerror}", "try --backend scapy") from None
