"""Frames to decode, and what the decoder makes of them in terms a test can compare."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyzer.anomalies import Ledger
from analyzer.capture.batch import PACKET, PacketBatch
from analyzer.decode.decoder import Decoder
from analyzer.decode.segment import NOTHING, tunnel_name
from analyzer.kernel import Records, records
from analyzer.settings import Settings

FILLER = 0xA5  # stands around each packet, so that a read outside it shows


@dataclass(frozen=True)
class Frame:
    """A packet as captured; `wire` is its length on the wire if that is not all of it."""

    data: bytes
    link: int = 1
    wire: int | None = None
    ts_ns: int | None = None  # else a microsecond after the one before
    iface: int = 0


@dataclass(frozen=True)
class Decoded:
    """The slots of all frames, as dicts with addresses in text, and the anomalies."""

    slots: list[dict[str, Any]]
    ledger: Ledger

    @property
    def codes(self) -> dict[str, int]:
        return {code: seen.count for code, seen in self.ledger.by_code.items()}

    @property
    def only(self) -> dict[str, Any]:
        """The slot of the one frame that carried something."""
        (slot,) = [slot for slot in self.slots if slot["kind"] != NOTHING]
        return slot


def batch_of(frames: Sequence[Frame], first: int = 1, filler: int = FILLER) -> PacketBatch:
    """Return the frames with filler in front of each and nothing behind the last, where a read too far raises."""
    packets = records(len(frames), PACKET)
    data = bytearray()
    for i, frame in enumerate(frames):
        ts_ns = (first + i) * 1000 if frame.ts_ns is None else frame.ts_ns
        wire = len(frame.data) if frame.wire is None else frame.wire
        data += bytes([filler] * 16)
        packets[i] = (ts_ns, first + i, len(data), len(frame.data), wire, frame.link, frame.iface, 0)
        data += frame.data
    return PacketBatch(packets, np.frombuffer(bytes(data), np.uint8).copy())


def decode(*frames: Frame, batch: int = 1500, filler: int = FILLER, settings: Settings | None = None) -> Decoded:
    """Decode `frames` in batches of `batch`."""
    ledger = Ledger()
    decoder = Decoder(settings or Settings(), ledger)
    slots: list[dict[str, Any]] = []
    for start in range(0, len(frames), batch):
        segments, data = decoder.decode(batch_of(frames[start : start + batch], start + 1, filler))
        slots += [readable(segment, data) for segment in segments]
    decoder.finish()
    return Decoded(slots, ledger)


def readable(segment: Records, data: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Return a slot as a dict; checks that its payload lies within the data."""
    slot = {name: segment[name].item() for name in segment.dtype.names}
    if slot["kind"] == NOTHING:
        return {name: slot[name] for name in ("kind", "ts_ns", "frame", "wire_len", "link", "file", "clipped")}
    assert 0 <= slot["payload_cap"] <= slot["payload_len"]
    start = slot.pop("payload_off")
    assert 0 <= start <= start + slot["payload_cap"] <= data.shape[0]
    slot["payload"] = data[start : start + slot["payload_cap"]].tobytes()
    slot["src"], slot["dst"] = (address(slot, end) for end in ("src", "dst"))
    slot["tunnel"] = tunnel_name(slot["tunnel"])
    return slot


def address(slot: Any, end: str) -> str:
    """Return the text of an address that a slot holds in two signed halves."""
    number = (int(slot[f"{end}_hi"]) % 2**64) << 64 | int(slot[f"{end}_lo"]) % 2**64
    if int(slot["ip_version"]) == 4:
        assert number >> 32 == 0xFFFF
        return str(ipaddress.IPv4Address(number & 0xFFFFFFFF))
    return str(ipaddress.IPv6Address(number))
