"""Decoding: a batch of packets in, one SEGMENT slot per packet out.

The kernel walks each packet header by header (walk.py says how). The two things it leaves to Python are rare: link
types that need an odd header stepped over (rebase.py), and IP fragments (fragments.py). Both hand the packet back
to the same kernel, at a later header.
"""

from __future__ import annotations

import numpy as np

from analyzer.ahead import Turns
from analyzer.anomalies import Ledger
from analyzer.capture.batch import PacketBatch
from analyzer.decode import link, net, transport, tunnels, walk
from analyzer.decode.fragments import Fragments, fragments_of
from analyzer.decode.rebase import rebase
from analyzer.decode.segment import NOTHING, SEGMENT
from analyzer.decode.walk import CODES, DONE, MAX_STEPS, REASSEMBLE, TOO_DEEP, WALK, note
from analyzer.kernel import I64, U8, Records, helper, kernel, records, roomy
from analyzer.settings import Settings


class Decoder:
    """Turns packet batches into segments; holds the fragments that wait for the rest."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self._ledger = ledger
        self._fragments = Fragments(settings, ledger)
        self._segments = records(0, SEGMENT)
        self._turns = Turns(lambda: records(0, SEGMENT))
        self._jobs = records(0, WALK)
        self._scratch = records(1, WALK)
        self._tally = np.zeros((len(CODES), 2), np.int64)

    def decode(self, batch: PacketBatch) -> tuple[Records, U8]:
        """Return (n,) SEGMENT, slot i for packet i, and the bytes that `payload_off` points into.

        The slots are reused in turn: `ahead.MOST` more batches can be decoded while one is used. Where `kind` is
        NOTHING only ts_ns, frame, wire_len, link, file and clipped mean something. The bytes are the batch's own, with
        reassembled datagrams appended if there were any.
        """
        n = batch.packets.shape[0]
        self._segments = roomy(self._turns.next(self._segments), 0, n)
        self._jobs = roomy(self._jobs, 0, n)
        segments = self._segments[:n]
        waiting = _decode(batch.packets, batch.data, segments, self._jobs, -1, self._scratch, self._tally)
        data = self._continue(batch, segments, waiting) if waiting else batch.data
        return segments, data

    def finish(self) -> None:
        """Give up the fragments still waiting and write all counts to the ledger."""
        self._fragments.finish()
        self.settle()

    def settle(self) -> None:
        """Write what the kernel counted since the last call to the ledger."""
        for code, (count, frame) in zip(CODES, self._tally.tolist(), strict=True):
            self._ledger.note(code, count, frame=frame)
        self._tally[:] = 0

    def _continue(self, batch: PacketBatch, segments: Records, waiting: int) -> U8:
        """Take the packets that the kernel put aside a header further, until none is left (each time costs steps)."""
        data = batch.data
        while waiting:
            jobs = self._jobs[:waiting]
            going = rebase(jobs, segments, data, self._ledger)
            whole, data = self._reassemble(jobs, segments, data)
            ready = sorted(going + whole)
            jobs[: len(ready)] = jobs[ready]
            waiting = _decode(batch.packets, data, segments, jobs, len(ready), self._scratch, self._tally)
        return data

    def _reassemble(self, jobs: Records, segments: Records, data: U8) -> tuple[list[int], U8]:
        """Take in the fragments among `jobs`; return which completed a datagram, and the data with those appended."""
        places = np.flatnonzero(jobs["next"] == REASSEMBLE).tolist()
        if not places:
            return [], data
        whole: list[int] = []
        appended: list[U8] = []
        size = data.shape[0]
        for k, fragment in zip(places, fragments_of(jobs[places], segments, data), strict=True):
            datagram = self._fragments.add(fragment)
            if datagram is not None:
                job, captured = jobs[k], len(datagram.payload)
                job["at"], job["end"], job["wire"] = size, size + captured, size + datagram.length
                job["next"], job["proto"] = walk.BY_PROTOCOL, datagram.protocol
                whole.append(k)
                appended.append(np.frombuffer(datagram.payload, np.uint8))
                size += captured
        return whole, np.concatenate([data, *appended]) if whole else data


@kernel
def _decode(
    packets: Records, data: U8, segments: Records, jobs: Records, resumed: int, scratch: Records, tally: I64
) -> int:
    """Walk every packet, or (`resumed` >= 0) continue that many jobs; return how many jobs are left to Python.

    packets (n,) PACKET    data (m,) bytes    segments (n,) SEGMENT, written here
    jobs    (n,) WALK in and out: packets put aside, in order    scratch (1,) WALK
    tally   (codes, 2) count, first frame
    """
    left = 0
    w = scratch[0]
    for k in range(packets.shape[0] if resumed < 0 else resumed):
        if resumed < 0:
            s = segments[k]
            kind = _start(packets[k], data, w, s, k)
        else:
            kind = _resume(jobs[k], w)
            s = segments[w.packet]
        while kind > DONE:
            w.steps += 1
            if w.steps > MAX_STEPS:
                kind = note(w, TOO_DEEP)
            elif kind == walk.ETHERNET:
                kind = link.ethernet(w, s, data)
            elif kind == walk.IPV4:
                kind = net.ipv4(w, s, data)
            elif kind == walk.TCP:
                kind = transport.tcp(w, s, data)
            elif kind < walk.IPV4:
                kind = _read_link(w, s, data, kind)
            elif kind < walk.GRE:
                kind = _read_net(w, s, data, kind)
            else:
                kind = _read_tunnel(w, s, data, kind)
        if w.noted != 0:
            _count(w, s, tally)
        if kind < DONE:
            w.next = kind
            jobs[left] = w
            left += 1
    return left


@helper
def _start(p: Records, data: U8, w: Records, s: Records, k: int) -> int:
    """Set up the walk of packet `p` in slot `k`; return its first header."""
    w.at = p.off
    w.end = min(p.off + p.caplen, data.shape[0])
    w.wire = max(p.off + p.wirelen, w.end)
    w.packet = k
    w.steps = 0
    w.quote = 0
    w.noted = 0
    s.ts_ns = p.ts_ns if p.ts_ns != 0 else 1  # 0 is `never` in all that follows: a clock that begins there is 1 ns late
    s.frame = p.frame
    s.wire_len = p.wirelen
    s.link = p.link
    s.file = p.file
    s.clipped = 1 if p.caplen < p.wirelen else 0
    s.kind = NOTHING
    s.ip_version = 0
    s.tunnel = 0
    s.vlan = -1
    s.vlan_inner = -1
    s.l2 = np.int64(p.iface) * 0x5E3779B1  # below 2**62
    return link.first_header(p.link)


@helper
def _resume(job: Records, w: Records) -> int:
    """Go on with a packet that Python took a header further."""
    w.at = job.at
    w.end = job.end
    w.wire = job.wire
    w.packet = job.packet
    w.proto = job.proto
    w.steps = job.steps
    w.quote = job.quote
    w.noted = 0
    kind: int = job.next
    return kind


@helper
def _count(w: Records, s: Records, tally: I64) -> None:
    for code in range(tally.shape[0]):
        if w.noted >> code & 1:
            if tally[code, 0] == 0:
                tally[code, 1] = s.frame
            tally[code, 0] += 1


@helper
def _read_link(w: Records, s: Records, data: U8, kind: int) -> int:
    if kind == walk.VLAN:
        return link.vlan(w, s, data)
    if kind == walk.SLL:
        return link.sll(w, s, data)
    if kind == walk.SLL2:
        return link.sll2(w, s, data)
    if kind == walk.NULL:
        return link.null(w, s, data)
    if kind == walk.RAW_IP:
        return link.raw_ip(w, s, data)
    if kind == walk.MPLS:
        return link.mpls(w, s, data)
    if kind == walk.PPPOE:
        return link.pppoe(w, s, data)
    if kind == walk.PPP:
        return link.ppp(w, s, data)
    if kind == walk.TAG:
        return link.tag(w, s, data)
    if kind == walk.LLC:
        return link.llc(w, s, data)
    return link.by_ethertype(w.proto, w, s)  # BY_ETHERTYPE


@helper
def _read_net(w: Records, s: Records, data: U8, kind: int) -> int:
    if kind == walk.IPV6:
        return net.ipv6(w, s, data)
    if kind == walk.UDP:
        return tunnels.udp(w, s, data)
    if kind == walk.EXTENSION:
        return net.extension(w, s, data)
    if kind == walk.ROUTING:
        return net.routing(w, s, data)
    if kind == walk.FRAGMENT:
        return net.fragment(w, s, data)
    if kind == walk.AH:
        return net.authentication(w, s, data)
    if kind == walk.ICMP:
        return transport.icmp(w, s, data)
    if kind == walk.ICMPV6:
        return transport.icmpv6(w, s, data)
    return net.by_protocol(w.proto, w, s)  # BY_PROTOCOL


@helper
def _read_tunnel(w: Records, s: Records, data: U8, kind: int) -> int:
    if kind == walk.GRE:
        return tunnels.gre(w, s, data)
    if kind == walk.ERSPAN2:
        return tunnels.erspan2(w, s, data)
    if kind == walk.ERSPAN3:
        return tunnels.erspan3(w, s, data)
    if kind == walk.VXLAN:
        return tunnels.vxlan(w, s, data)
    if kind == walk.VXLAN_GPE:
        return tunnels.vxlan_gpe(w, s, data)
    if kind == walk.GENEVE:
        return tunnels.geneve(w, s, data)
    if kind == walk.GTP:
        return tunnels.gtp(w, s, data)
    if kind == walk.TEREDO:
        return tunnels.teredo(w, s, data)
    if kind == walk.L2TP:
        return tunnels.l2tp(w, s, data)
    if kind == walk.NSH:
        return tunnels.nsh(w, s, data)
    return tunnels.etherip(w, s, data)  # ETHERIP
