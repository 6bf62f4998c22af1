"""Real captures against what tshark read of them (shared corpus, not part of the repository)."""

from __future__ import annotations

import csv
import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from analyzer.anomalies import Ledger
from analyzer.capture.batch import FileInfo
from analyzer.capture.reader import open_captures
from analyzer.errors import AnalyzerError

CORPUS = Path(__file__).parents[3].parent / "shared" / "corpus"
pytestmark = [pytest.mark.corpus, pytest.mark.skipif(not CORPUS.exists(), reason="no shared corpus here")]

# tshark 4.0 numbers custom blocks as frames; we number packets.
CUSTOM_BLOCKS = {
    "pcapng-test-generator/output_be__basic__test017.pcapng": (4, 0),
    "pcapng-test-generator/output_be__difficult__test202.pcapng": (11, 8),
}
# One of its interfaces counts below zero; tshark reads the count as unsigned, which is in the year 586524.
NEGATIVE_CLOCK = "pcapplusplus/pcapng-example.pcapng"
# tshark stops at damage; what we find there instead: packets and the beginning of FileInfo.error.
DAMAGED = {
    "dpkt/examples__data__truncated_dns_2.pcap": (1, "ends inside packet 2"),
    "ndpi/fuzz-2021-10-13.pcap": (1, "ends inside packet 2"),
    # the section of version 2.0 is skipped, the one after it is read
    "gopacket/pcapgo__tests__be__test901.pcapng": (2, "a section of pcapng version 2.0"),
    # the first block after the section header has two different lengths
    "python-pcapng/test_data__test007.ntar": (0, "damaged: 140 bytes skipped"),
    # one packet lost, the others found again
    "suricata/bug-1450-05__tls_DER-incomplete-content.pcap": (13, "damaged: 80 bytes skipped"),
    "suricata/smtp-to-comma__10.7.29.101_49898-178.63.41.150_25.pcap": (199, "damaged: 3 bytes skipped"),
    # tshark shows a packet of 1925 with a 16 MB one after it: here both are damage
    "suricata/bug-6875-01__fuzz.pcap": (1, "damaged: 157 bytes skipped"),
}
NO_CAPTURE = "tcptrace/README.pcap"  # an e-mail


def truth() -> Iterator[dict[str, str]]:
    with (CORPUS / "truth" / "captures.csv").open(newline="") as rows:
        yield from csv.DictReader(rows)


def read(name: str) -> tuple[dict[int, int], FileInfo, Ledger]:
    """Return the time of each frame, and what the reader says about the file."""
    ledger = Ledger()
    reader = open_captures([CORPUS / name], ledger)
    times: dict[int, int] = {}
    for batch in reader:
        times.update(zip(batch.packets["frame"].tolist(), batch.packets["ts_ns"].tolist(), strict=True))
    return times, reader.files[0], ledger


def ns(text: str) -> int:
    """Turn tshark's seconds with nine places into nanoseconds."""
    whole, _, fraction = text.partition(".")
    return int(whole) * 10**9 + int(fraction)


def test_every_sound_capture_has_tsharks_frames_and_times() -> None:
    for row in truth():
        name = row["file"]
        if row["tshark_rc"] != "0":
            continue
        times, info, ledger = read(name)
        assert (int(row["frames"]), len(times)) == CUSTOM_BLOCKS.get(name, (len(times), len(times))), name
        assert info.error == "", name
        assert not {"capture.truncated", "capture.damaged", "capture.bad_block"} & set(ledger.by_code), name
        assert len(times) == info.packets
        if not times or name in CUSTOM_BLOCKS or name == NEGATIVE_CLOCK:
            continue
        for frame, time in ((1, row["first_time"]), (len(times), row["last_time"])):
            assert not time or times[frame] == ns(time), name  # a simple packet has no time in tshark
        if row["tcp_frames"] == "0":  # then there is no table of packets
            continue
        with gzip.open(CORPUS / "truth" / f"{name}.packets.csv.gz", "rt") as packets:
            next(packets)
            for line in packets:
                frame, time, _ = line.split(",", 2)
                assert times[int(frame)] == ns(time), (name, frame)


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_captures_keep_what_is_sound(name: str) -> None:
    times, info, _ = read(name)
    packets, error = DAMAGED[name]
    assert len(times) == packets
    assert info.error.startswith(error)


def test_the_exceptions_are_all_listed() -> None:
    assert {row["file"] for row in truth() if row["tshark_rc"] != "0"} == {*DAMAGED, NO_CAPTURE}
    with pytest.raises(AnalyzerError, match="it is text"):
        read(NO_CAPTURE)


def test_generated_pcapng_files_have_the_packets_their_authors_say() -> None:
    described = sorted(CORPUS.glob("pcapng-test-generator/*.expect/*.txt"))
    assert described
    for text in described:
        counts = dict(re.findall(r"^\t([A-Z]+): (\d+)$", text.read_text(), re.MULTILINE))
        name = f"pcapng-test-generator/{text.parent.name.removesuffix('.expect')}"
        times, info, ledger = read(name)
        assert len(times) == sum(int(counts.get(kind, 0)) for kind in ("EPB", "SPB", "PB")), name
        assert (info.dropped_reported is not None) == ("ISB" in counts), name
        assert set(ledger.by_code) <= {"capture.snaplen_clipped", "capture.dropped", "capture.time_backwards"}, name
