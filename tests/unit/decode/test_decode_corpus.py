"""Against tshark: the same frames carry TCP, with the same fields. Every difference has its reason here."""

from __future__ import annotations

import csv
import gzip
import ipaddress
from pathlib import Path
from typing import Any

import pytest
from decode_frames import address

from analyzer.anomalies import Ledger
from analyzer.capture.reader import open_captures
from analyzer.decode.decoder import Decoder
from analyzer.decode.segment import ICMP_QUOTE, NOTHING
from analyzer.settings import Settings

CORPUS = Path(__file__).parents[3].parent / "shared" / "corpus"
END = ".packets.csv.gz"
CAPTURES = sorted(str(path.relative_to(CORPUS / "truth"))[: -len(END)] for path in CORPUS.rglob(f"truth/**/*{END}"))

pytestmark = [pytest.mark.corpus, pytest.mark.skipif(not CAPTURES, reason="the corpus is not here")]

ALL = frozenset(range(1, 100_000))

# Frames that tshark calls TCP and we do not, with the reason
NOT_OURS: dict[str, tuple[frozenset[int], str]] = {
    "ndpi/alexa-app.pcapng": (frozenset({56, 115}), "quoted by an ICMP redirect: advice, not an error"),
    "ndpi/capwap_data.pcapng": (ALL, "802.11 frames in CAPWAP, a tunnel we do not follow"),
    "ndpi/reasm_crash_anon.pcapng": (frozenset({87, 95}), "a TCP header longer than its packet; one of 0 bytes"),
    "suricata/drop-protocol-change.pcap": (frozenset({7}), "a TCP header length of 8"),
    "tcpdump/bgp-bgp_capabilities_print-oobr-2.pcap": (frozenset({1}), "a first fragment, clipped; no others"),
    "tcpdump/bgp_pmsi_tunnel-oobr.pcap": (frozenset({1}), "a first fragment, clipped; no others"),
}  # fmt: skip

# Frames that we call TCP and tshark does not, with the reason
MORE = {"zeek/tunnels__Teredo.pcap": "Teredo past its server's port, as Zeek reads it"}

# Fields that differ, with the reason
DIFFERENT: dict[str, tuple[set[str], str]] = {
    "ndpi/ajp.pcap": ({"len"}, "tshark takes the last 4 bytes of a FabricPath frame for a checksum; they are TCP's"),
    "tcpdump/of13_ericsson.pcapng": (
        {"src", "dst"},
        "the truth has addresses of a packet inside OpenFlow data",
    ),
}


def tshark(capture: str) -> dict[int, dict[str, Any]]:
    """Return the truth's rows by frame, fields that tshark could not read left out."""
    rows: dict[int, dict[str, Any]] = {}
    with gzip.open(CORPUS / "truth" / f"{capture}{END}", "rt") as file:
        for row in csv.DictReader(file):
            numbers = {name: int(row[name]) for name in ("sport", "dport", "seq", "ack", "len", "win") if row[name]}
            flags = {"flags": int(row["flags"], 16) & 0x1FF} if row["flags"] else {}
            ends = {name: str(ipaddress.ip_address(row[name])) for name in ("src", "dst")}
            rows[int(row["frame"])] = {**ends, **numbers, **flags, "quoted": bool(row["icmp_quoted"])}
    return rows


def ours(capture: str) -> dict[int, dict[str, Any]]:
    rows: dict[int, dict[str, Any]] = {}
    decoder = Decoder(Settings(), Ledger())
    for batch in open_captures([CORPUS / capture], Ledger()):
        segments, _ = decoder.decode(batch)
        for slot in segments[segments["kind"] != NOTHING]:
            rows[int(slot["frame"])] = {
                "src": address(slot, "src"),
                "dst": address(slot, "dst"),
                **{name: int(slot[name]) for name in ("sport", "dport", "seq", "ack", "flags")},
                "len": int(slot["payload_len"]),
                "win": int(slot["window"]),
                "quoted": bool(slot["kind"] == ICMP_QUOTE),
            }
    decoder.finish()
    return rows


def frames_read_by_tshark() -> dict[str, int]:
    """Return, for captures where tshark stopped at damage, how far it came: our reader goes on."""
    with (CORPUS / "truth" / "captures.csv").open() as file:
        return {row["file"]: int(row["frames"]) for row in csv.DictReader(file) if row["tshark_rc"] != "0"}


@pytest.mark.parametrize("capture", CAPTURES)
def test_same_as_tshark(capture: str) -> None:
    theirs, mine = tshark(capture), ours(capture)
    last = frames_read_by_tshark().get(capture)
    left_out, _ = NOT_OURS.get(capture, (frozenset(), ""))
    differ, _ = DIFFERENT.get(capture, (set(), ""))
    read = {frame for frame in mine if last is None or frame <= last}
    if capture in MORE:
        assert read > theirs.keys() - left_out
    else:
        assert read == theirs.keys() - left_out
    for frame in theirs.keys() - left_out:
        want = {name: value for name, value in theirs[frame].items() if name not in differ}
        if want["quoted"]:  # 8 bytes are promised; our window says which ICMP error
            want = {name: want[name] for name in want.keys() & {"src", "dst", "sport", "dport", "seq", "quoted"}}
        assert {name: mine[frame][name] for name in want} == want, frame
