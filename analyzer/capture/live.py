"""Packets from the wire: what every live source gives, and the choice among them.

source = open_live(["eth0"], "tcp port 443", ledger)
while ...:
    batch = source.next()  # None after a tenth of a second without packets
    ...
    source.release()
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import Protocol

from analyzer.anomalies import Ledger
from analyzer.capture.batch import FileInfo, PacketBatch
from analyzer.capture.live_links import Interface
from analyzer.errors import AnalyzerError

MAX_SNAPLEN = 262_144  # libpcap's MAXIMUM_SNAPLEN: whole packets, also those that a card put together (GRO)
RING_BYTES = 64 << 20

BACKENDS = ("ring", "scapy")


class Share(Protocol):
    """How the processes that share an interface come together; what the program that starts them has to say.

    count  how many they are
    """

    count: int

    def group(self) -> int:
        """Return the group to join, -1 to found one; returns when it is this process's turn."""

    def joined(self, group: int) -> None:
        """Take the group's number; returns when all have joined. Packets count from then on."""


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How to capture. backend "" = the packet ring on Linux, scapy elsewhere. share  with other processes (the ring)"""

    interfaces: tuple[str, ...]
    filter: str = ""
    snaplen: int = MAX_SNAPLEN
    promiscuous: bool = False
    ring_bytes: int = RING_BYTES
    backend: str = ""
    share: Share | None = None


class LiveSource(Protocol):
    """A running capture.

    info   its row of `captures`, kept up to date    interfaces  in the order of `iface` in the packets
    """

    info: FileInfo
    interfaces: list[Interface]

    def next(self) -> PacketBatch | None:
        """Return packets, None if none came for a tenth of a second; valid until `release`.

        Two batches may be out at a time.
        """

    def release(self) -> None:
        """Give back the memory of the oldest batch that is out."""

    def dropped(self) -> int:
        """Return how many packets the kernel dropped since the start, -1 if it does not tell."""

    def problem(self) -> str:
        """Return what went wrong since the last call (an interface that vanished), empty if nothing did."""

    @property
    def gone(self) -> bool:
        """True if no interface is left to capture from."""

    def close(self) -> None:
        """Stop capturing."""


def open_live(options: LiveOptions, ledger: Ledger) -> LiveSource:
    """Start to capture. Raises AnalyzerError for a wrong interface or filter, and for a missing privilege."""
    if not options.interfaces:
        raise AnalyzerError("no interface was named", "longwire interfaces lists them; `any` is all of them")
    if options.backend not in ("", *BACKENDS):
        raise AnalyzerError(f"there is no backend {options.backend}", f"choose one of {', '.join(BACKENDS)}")
    if not 64 <= options.snaplen <= MAX_SNAPLEN:
        hint = f"choose 64 to {MAX_SNAPLEN} bytes; 128 keep every header and no payload"
        raise AnalyzerError(f"a snapshot length of {options.snaplen} bytes cannot be", hint)
    backend = options.backend or ("ring" if sys.platform == "linux" else "scapy")
    if options.share is not None:
        check_shares(options.backend)
    if backend == "ring":
        if sys.platform != "linux":
            raise AnalyzerError("the packet ring is Linux's", "use --backend scapy")
        from analyzer.capture.ring import RingSource

        return RingSource(options, ledger)
    from analyzer.capture.live_scapy import ScapySource

    return ScapySource(options, ledger)


def check_shares(backend: str) -> None:
    """Raise AnalyzerError if processes cannot share what this backend captures."""
    if sys.platform != "linux" or backend not in ("", "ring"):
        raise AnalyzerError("only Linux's packet ring shares packets among processes", "capture without --processes")


def now_ns() -> int:
    """Return the clock that packets are stamped with."""
    return time.time_ns()


def not_allowed() -> AnalyzerError:
    """Return the error for a missing privilege, with what to grant."""
    python = os.path.realpath(sys.executable)  # setcap needs the file behind the links
    return AnalyzerError(
        "capturing packets needs the capability CAP_NET_RAW",
        f"run it with sudo (privileges are dropped once the capture is open), or grant it: "
        f"sudo setcap cap_net_raw+ep {python}; in a systemd unit: AmbientCapabilities=CAP_NET_RAW",
    )


def drop_privileges(user: str = "") -> str:
    """Give up root after the capture is open; return the name of who we are now, empty if nothing changed.

    user  whom to become; "" = who called sudo, and root stays root where nobody did. Needs nothing if not root.
    Raises AnalyzerError if there is no such user.
    """
    import grp
    import pwd

    if os.geteuid() != 0:
        return ""
    caller = os.environ.get("SUDO_UID", "")
    if not user and not caller.isdecimal():
        return ""
    try:
        who = pwd.getpwnam(user) if user else pwd.getpwuid(int(caller))
    except KeyError:
        raise AnalyzerError(f"there is no user `{user or caller}`", "name another with --user") from None
    if who.pw_uid == 0:
        return ""
    groups = [group.gr_gid for group in grp.getgrall() if who.pw_name in group.gr_mem]
    os.setgroups([who.pw_gid, *groups])
    os.setgid(who.pw_gid)
    os.setuid(who.pw_uid)
    os.environ["HOME"] = who.pw_dir  # compiled kernels are kept there
    return who.pw_name
