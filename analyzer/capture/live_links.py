"""The interfaces of this machine, as /sys and the socket API describe them."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

from analyzer.errors import AnalyzerError

ANY = "any"

_SYS = Path("/sys/class/net")
_IFF_UP, _IFF_LOOPBACK = 0x1, 0x8
_SIOCGIFADDR = 0x8915

# ARPHRD (linux/if_arp.h) to LINKTYPE, as a packet socket of type SOCK_RAW gives the frames
_LOOPBACK = 772
_ETHERNET_TYPES = (1, _LOOPBACK)  # ETHER, LOOPBACK
RAW_TYPES = (0xFFFE, 512, 768, 769, 776, 519)  # NONE (tun, WireGuard), PPP, TUNNEL, TUNNEL6, SIT, RAWIP: no header
_LINKS = {801: 105, 803: 127}  # 802.11, and with radiotap


@dataclass(slots=True)
class Interface:
    """One network interface. `link` is a LINKTYPE, -1 if longwire does not know its frames."""

    name: str
    index: int
    kind: int
    up: bool = False
    loopback: bool = False
    mtu: int = 0
    addresses: list[str] = field(default_factory=list)

    @property
    def link(self) -> int:
        if self.kind in _ETHERNET_TYPES:
            return 1
        return 101 if self.kind in RAW_TYPES else _LINKS.get(self.kind, -1)


def interfaces() -> list[Interface]:
    """Return the interfaces by index; where there is no /sys, names and indexes only."""
    found = [_described(index, name) for index, name in socket.if_nameindex()]
    return sorted(found, key=lambda interface: interface.index)


def interface_named(name: str) -> Interface:
    """Return one interface; raises AnalyzerError naming those there are."""
    for interface in interfaces():
        if interface.name == name:
            return interface
    names = ", ".join(interface.name for interface in interfaces())
    raise AnalyzerError(f"there is no interface `{name}`", f"there are {names}, and `{ANY}` for all of them")


def interface_at(index: int, kind: int) -> Interface:
    """Return the interface with an index and ARPHRD number, also one that has gone since."""
    try:
        found = _described(index, socket.if_indextoname(index))
        found.kind = kind
        return found
    except OSError:
        return Interface(f"if{index}", index, kind, loopback=kind == _LOOPBACK)


def _described(index: int, name: str) -> Interface:
    flags = int(_read(name, "flags") or "0", 16)
    kind = int(_read(name, "type") or "1")
    return Interface(
        name, index, kind, bool(flags & _IFF_UP), bool(flags & _IFF_LOOPBACK), int(_read(name, "mtu") or "0"),
        _addresses(name),
    )  # fmt: skip


def _read(name: str, what: str) -> str:
    try:
        return (_SYS / name / what).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _addresses(name: str) -> list[str]:
    """Return the addresses of an interface; of IPv4 the first one, which is all that SIOCGIFADDR tells."""
    found = []
    if sys.platform == "linux":
        with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            answer = fcntl.ioctl(asking, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            found.append(socket.inet_ntop(socket.AF_INET, answer[20:24]))
    with contextlib.suppress(OSError):
        for line in Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines():
            words = line.split()
            if words[-1] == name:
                found.append(socket.inet_ntop(socket.AF_INET6, bytes.fromhex(words[0])))
    return found
