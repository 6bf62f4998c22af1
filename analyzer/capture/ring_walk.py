"""Kernels of live capture: blocks of the kernel's packet ring to PACKET records, and records to pcapng blocks.

Source  Linux Documentation/networking/packet_mmap.rst, include/uapi/linux/if_packet.h (TPACKET_V3);
        draft-ietf-opsawg-pcapng section 4.3 (enhanced packet block).
Sees    every packet of a block where it lies. What the card took out of an Ethernet frame, its outer VLAN tag, is put
        back in place: the ring leaves four bytes free before each frame for it.
Limits  Frames of interfaces whose link layer longwire does not know are counted and left out.
"""

from __future__ import annotations

import numpy as np

from analyzer.capture.walk import NS, Int, put_packet, u16, u32
from analyzer.kernel import U8, Records, helper, kernel

# Why the walk stopped
BLOCK_DONE, BATCH_FULL, NEW_INTERFACE = 0, 1, 2

# struct tpacket3_hdr, and the sockaddr_ll that follows it (TPACKET_ALIGN(48) = 48)
_NEXT, _SEC, _NSEC, _SNAPLEN, _LEN, _STATUS, _MAC, _TCI, _TPID = 0, 4, 8, 12, 16, 20, 24, 32, 36
_IFINDEX, _HATYPE, _PKTTYPE = 48 + 4, 48 + 8, 48 + 10
_VLAN_VALID, _TPID_VALID = 0x10, 0x40  # TP_STATUS_*
_OUTGOING = 4  # PACKET_OUTGOING
TAG_BYTES = 4
_MACS = 12  # destination and source: the tag goes behind them

ETHERNET = 1  # LINKTYPE

RING = np.dtype(
    [
        ("at", np.int64),  # the next packet's header in the ring
        ("left", np.int64),  # packets of the block still to come
        ("big", np.int64),  # byte order of this machine
        ("ifindex", np.int64),  # NEW_INTERFACE: which
        ("kind", np.int64),  # and its ARPHRD: it may be gone before anybody can ask
        ("unknown", np.int64),  # packets left out because of their link layer
        ("out", np.int64),  # RECORD: bytes written
    ],
    align=True,
)
PORT = np.dtype(
    [
        ("ifindex", np.int64),
        ("link", np.int64),  # LINKTYPE, -1: its packets are left out
        ("iface", np.int64),
        ("loopback", np.int64),  # 1: each packet passes twice, going out and coming in
    ],
    align=True,
)
"""An interface that packets came from."""


@helper
def _port_of(ports: Records, ifindex: Int) -> Int:
    for k in range(ports.size):
        if ports[k].ifindex == ifindex:
            return k
    return -1


@helper
def _put_back_tag(ring: U8, frame: Int, tci: Int, tpid: Int) -> None:
    """Move both addresses four bytes down and write the 802.1Q tag behind them."""
    for k in range(_MACS):
        ring[frame - TAG_BYTES + k] = ring[frame + k]
    at = frame - TAG_BYTES + _MACS
    ring[at], ring[at + 1] = tpid >> 8, tpid & 255
    ring[at + 2], ring[at + 3] = tci >> 8, tci & 255


@kernel
def walk_ring(ring: U8, places: Records, state: Records, ports: Records, out: Records) -> None:
    """Write a PACKET for each packet of the block that `places` stands in, from its next packet on.

    ring (m,) the mapped ring    places (1,) RING    state (1,) WALK, its `out` counts records written
    ports (k,) PORT, the interfaces seen so far    out (n,) PACKET

    Stops with BLOCK_DONE, with BATCH_FULL, or with NEW_INTERFACE before a packet of an interface not in `ports`.
    """
    p, w = places[0], state[0]
    big = p.big
    w.stop = BLOCK_DONE
    while p.left > 0:
        if w.out >= out.size:
            w.stop = BATCH_FULL
            break
        at = p.at
        ifindex = u32(ring, at + _IFINDEX, big)
        k = _port_of(ports, ifindex)
        if k < 0:
            p.ifindex, p.kind = ifindex, u16(ring, at + _HATYPE, big)
            w.stop = NEW_INTERFACE
            break
        port = ports[k]
        p.left -= 1
        p.at = at + u32(ring, at + _NEXT, big)
        if port.loopback and ring[at + _PKTTYPE] == _OUTGOING:
            continue  # it comes in as well
        if port.link < 0:
            p.unknown += 1
            continue
        ts = u32(ring, at + _SEC, big) * NS + u32(ring, at + _NSEC, big)
        caplen, wirelen = u32(ring, at + _SNAPLEN, big), u32(ring, at + _LEN, big)
        frame = at + u16(ring, at + _MAC, big)
        status = u32(ring, at + _STATUS, big)
        if status & _VLAN_VALID and port.link == ETHERNET and caplen >= _MACS + 2:
            tpid: Int = u16(ring, at + _TPID, big) if status & _TPID_VALID else np.int64(0x8100)
            _put_back_tag(ring, frame, u32(ring, at + _TCI, big), tpid)
            frame -= TAG_BYTES
            caplen += TAG_BYTES
            wirelen += TAG_BYTES
        put_packet(out, w.out, w, ts, frame, caplen, wirelen, port.link, port.iface)
        w.out += 1


@helper
def _put32(out: U8, at: Int, value: Int) -> None:
    """Write a number in little-endian order, which the section header announces on any machine."""
    out[at], out[at + 1] = value & 255, (value >> 8) & 255
    out[at + 2], out[at + 3] = (value >> 16) & 255, (value >> 24) & 255


EPB_BYTES = 32  # of an enhanced packet block, without its packet and padding


@kernel
def pack_packets(packets: Records, data: U8, first: int, places: Records, out: U8) -> int:
    """Write packets[first:] as enhanced packet blocks while they fit; return the first that was not written.

    packets (n,) PACKET    data (m,) their bytes    places (1,) RING, `out` is set to the bytes written    out (k,)
    """
    at: Int = np.int64(0)
    i = first
    while i < packets.size:
        p = packets[i]
        caplen = np.int64(p.caplen)
        padded = (caplen + 3) & ~3
        length = EPB_BYTES + padded
        if at + length > out.size:
            break
        _put32(out, at, 6)
        _put32(out, at + 4, length)
        _put32(out, at + 8, p.iface)
        _put32(out, at + 12, p.ts_ns >> 32)
        _put32(out, at + 16, p.ts_ns & 0xFFFFFFFF)
        _put32(out, at + 20, caplen)
        _put32(out, at + 24, p.wirelen)
        target, source = out[at + 28 : at + 28 + caplen], data[p.off : p.off + caplen]
        for k in range(caplen):  # of slices: the compiler sees that no index is negative, and copies many at a time
            target[k] = source[k]
        for k in range(caplen, padded):
            out[at + 28 + k] = 0
        _put32(out, at + 28 + padded, length)
        at += length
        i += 1
    places[0].out = at
    written: int = i
    return written
