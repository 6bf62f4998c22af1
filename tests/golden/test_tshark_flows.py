"""Flows against tshark 4.0.17's streams: numbering, addresses, frames and bytes per direction, FINs and RSTs.

tshark also numbers streams that it saw only in ICMP errors; `truth/*.streams.csv.gz` leaves them out, so the k-th row
is compared with our k-th flow. Frames are compared by number, since a capture's clock may go backwards.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from functools import cache

import pytest

from tests.corpus import CORPUS, needs_corpus, truth, truth_of_captures
from tests.golden.runs import Segment, captures_with_truth, endpoints, run

pytestmark = [needs_corpus, pytest.mark.corpus]

Row = dict[str, str]

COLUMNS = (
    "a", "aport", "b", "bport", "frames_ab", "frames_ba", "first_frame", "last_frame", "bytes_ab", "bytes_ba",
    "syn", "synack", "fin_ab", "fin_ba", "rst_ab", "rst_ba",
)  # fmt: skip

COUNTS_DIFFER = {
    "ndpi/capwap_data.pcapng": "TCP inside CAPWAP data, which we do not decode",
    "ndpi/ndpi_match_string_subprotocol__error.pcapng": "the port pair is used again after 56 minutes, without its SYN",
    "suricata/drop-protocol-change.pcap": "the TCP header of frame 7 claims 8 bytes: no segment",
    "tcpdump/bgp-bgp_capabilities_print-oobr-2.pcap": "a lone fragment of impossible length (RFC 791 section 3.1)",
    "tcpdump/bgp_pmsi_tunnel-oobr.pcap": "the same",
    "zeek/tunnels__Teredo.pcap": "TCP in Teredo between client and relay, on any UDP port (RFC 4380 section 5.4)",
}
"""Captures with another number of flows, and why."""

SPLIT = ("ndpi/ndpi_match_string_subprotocol__error.pcapng",)
"""Captures of COUNTS_DIFFER in which several of our flows are one of tshark's streams."""

ROWS_DIFFER: dict[str, tuple[dict[int, set[str]], str]] = {
    "ndpi/ajp.pcap": (
        {0: {"bytes_ab", "bytes_ba"}},
        "FabricPath: tshark takes four bytes for a checksum that is not there, against IP's total length",
    ),
    "ndpi/reasm_crash_anon.pcapng": (
        {0: {"frames_ab", "bytes_ab"}},
        "frames 87 and 95 have broken TCP headers (fuzzed), which tshark counts",
    ),
    "tcpdump/of13_ericsson.pcapng": (
        {9: {"frames_ab", "frames_ba", "bytes_ab", "bytes_ba"}},
        "both ends are 127.0.0.1; the truth took addresses out of the OpenFlow payload for the segment's own",
    ),
}
"""Rows (by number) and columns that differ, and why."""


def stopped_early(file: str) -> bool:
    """Return whether tshark gave up at damage behind which we went on."""
    theirs = truth_of_captures()[file]
    return theirs["tshark_rc"] != "0" and run(file).packets > int(theirs["frames"])


@cache
def rows(file: str) -> list[Row]:
    """Return our flows in the shape of tshark's streams."""
    flows = run(file).flows
    segments: dict[int, list[Segment]] = {flow["flow_id"]: [] for flow in flows}
    for segment in run(file).segments:
        segments[segment.flow_id].append(segment)
    out = []
    for flow in flows:
        mine = sorted(segments[flow["flow_id"]], key=lambda segment: segment.frame)
        client, server = endpoints(flow)
        forward = mine[0].client_to_server
        a, b = (client, server) if forward else (server, client)
        ab = [segment for segment in mine if segment.client_to_server == forward]
        ba = [segment for segment in mine if segment.client_to_server != forward]
        row: dict[str, object] = dict(zip(COLUMNS, (*a, *b, len(ab), len(ba)), strict=False))
        row |= {"first_frame": mine[0].frame, "last_frame": mine[-1].frame}
        row |= {"syn": sum("S" in s.flags and "A" not in s.flags for s in mine)}
        row |= {"synack": sum("S" in s.flags and "A" in s.flags for s in mine)}
        for way, part in (("ab", ab), ("ba", ba)):
            row[f"bytes_{way}"] = sum(s.len for s in part)
            row[f"fin_{way}"] = sum("F" in s.flags for s in part)
            row[f"rst_{way}"] = sum("R" in s.flags for s in part)
        out.append({name: str(row[name]) for name in COLUMNS})
    return out


def differing(file: str) -> dict[int, set[str]]:
    """Return the columns that differ, by row."""
    pairs = zip(rows(file), truth(file, "streams"), strict=False)
    found = {k: {name for name in COLUMNS if ours[name] != theirs[name]} for k, (ours, theirs) in enumerate(pairs)}
    return {k: names for k, names in found.items() if names}


def total(lines: Sequence[Row], names: tuple[str, ...]) -> int:
    return sum(int(line[name]) for line in lines for name in names)


@pytest.mark.parametrize("file", captures_with_truth())
def test_as_many_flows_as_streams(file: str) -> None:
    if file in COUNTS_DIFFER:
        assert len(rows(file)) != len(truth(file, "streams")), f"no longer true: {COUNTS_DIFFER[file]}"
    else:
        assert len(rows(file)) == len(truth(file, "streams"))


@pytest.mark.parametrize("file", captures_with_truth())
def test_flows_are_streams(file: str) -> None:
    if stopped_early(file):
        theirs = {line["frame"]: line for line in truth(file, "packets")}
        ours = {str(segment.frame): segment for segment in run(file).segments}
        assert theirs.keys() <= ours.keys()
        assert all(ours[frame].len == int(line["len"] or 0) for frame, line in theirs.items())
    elif file in SPLIT:
        streams, flows = truth(file, "streams"), rows(file)
        for names in (("frames_ab", "frames_ba"), ("bytes_ab", "bytes_ba"), ("syn",), ("synack",)):
            assert total(streams, names) == total(flows, names)  # a part may begin with the other side
    elif file in COUNTS_DIFFER and len(rows(file)) > len(truth(file, "streams")):
        theirs_by_start = {line["first_frame"]: line for line in truth(file, "streams")}
        ours_by_start = {line["first_frame"]: line for line in rows(file)}
        for start, line in theirs_by_start.items():
            assert {name: ours_by_start[start][name] for name in COLUMNS} == {name: line[name] for name in COLUMNS}
    else:
        assert differing(file) == ROWS_DIFFER.get(file, ({}, ""))[0]


@pytest.mark.parametrize("file", captures_with_truth())
def test_fins_and_rsts_of_closes_are_those_of_the_segments(file: str) -> None:
    counted: dict[tuple[int, str], int] = {}
    for segment in run(file).segments:
        if "duplicate_frame" not in segment.labels:
            side = "_c" if segment.client_to_server else "_s"
            fin = "F" in segment.flags and "S" not in segment.flags and "R" not in segment.flags
            for name, is_one in (("fin", fin), ("rst", "R" in segment.flags)):
                key = segment.flow_id, name + side
                counted[key] = counted.get(key, 0) + is_one
    for flow in run(file).flows:
        for name in ("fin_c", "fin_s", "rst_c", "rst_s"):
            assert flow[name] == counted.get((flow["flow_id"], name), 0)


def _most_streams(count: int) -> list[str]:
    streams = {file: len(truth(file, "streams")) for file in captures_with_truth()}
    fair = [file for file in streams if file not in COUNTS_DIFFER and file not in ROWS_DIFFER]
    return sorted(fair, key=lambda file: (-streams[file], file))[:count]


def theirs_completeness(file: str) -> dict[str, int]:
    """Ask tshark, in two passes, for what a stream's last frame says about the whole."""
    asked = ["tshark", "-2", "-n", "-r", str(CORPUS / file), "-Y", "tcp.completeness", "-T", "fields"]
    asked += ["-e", "tcp.stream", "-e", "tcp.completeness", "-E", "occurrence=l"]
    lines = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    return {stream: int(value) for stream, value in (line.split("\t") for line in lines)}


@pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed")
@pytest.mark.parametrize("file", _most_streams(8))
def test_completeness(file: str) -> None:
    values = theirs_completeness(file)
    mine, theirs = {}, {}
    for flow, stream in zip(run(file).flows, truth(file, "streams"), strict=True):
        lone = int(stream["frames_ab"]) + int(stream["frames_ba"]) == 1 and stream["syn"] == "0"
        if not lone:  # of a stream of one frame without SYN tshark says 0
            mine[stream["stream"]], theirs[stream["stream"]] = flow["completeness"], values[stream["stream"]]
    assert mine == theirs
