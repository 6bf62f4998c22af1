"""Input at odds with its specification: counted by a stable code, never fatal, never silent.

Each code stands here once with its meaning, so that reports and documentation cannot drift from the code that notes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CODES: dict[str, str] = {
    # capture: the file itself
    "capture.truncated": "the file ends inside a record; the whole records before it are analysed",
    "capture.damaged": "bytes that cannot be a record were skipped until the next plausible one",
    "capture.bad_block": "a pcapng block has impossible lengths or options and was skipped",
    "capture.unknown_interface": "a pcapng packet names an interface that was never described",
    "capture.unknown_link_type": "packets of a link type that longwire cannot read",
    "capture.time_backwards": "a packet is more than a second older than the one before it",
    "capture.snaplen_clipped": "packets were captured shorter than they were on the wire",
    "capture.dropped": "the capturing program reported packets it could not keep",
    # decode: one packet
    "decode.bad_link": "a link-layer header is cut short or contradicts itself",
    "decode.bad_ip": "an IP header is cut short or contradicts itself",
    "decode.bad_tcp": "a TCP header is cut short or contradicts itself",
    "decode.bad_option": "TCP options with a length that cannot be; the options after it are ignored",
    "decode.too_deep": "more nested tunnels than longwire follows",
    "decode.fragment_missing": "IP fragments that never became a whole packet",
    "decode.fragment_overlap": "IP fragments that overlap; the first copy of each byte is kept",
    "decode.fragment_cap": "the memory for IP fragments was full; the oldest were given up",
    # flows and streams
    "flow.evicted": "more open flows than the cap; the least telling ones were closed early",
    "flow.ack_unseen": "data was acknowledged that the capture does not have",
    "stream.reorder_cap": "more out-of-order bytes than longwire holds; a hole was declared early",
    # protocols
    "http.bad_head": "a start line or field that is none; reading goes on at the next start line",
    "http.bad_framing": "a Content-Length that is no number, so that the body has no known end (RFC 9112 section 6.3)",
    "http.length_and_chunked": "Content-Length beside Transfer-Encoding, which overrides it (request smuggling?)",
    "http.two_lengths": "several Content-Length values; if they differ, where the body ends cannot be known",
    "http.bare_lf": "a line of a head that ends with LF alone",
    "http.obs_fold": "a field value folded over several lines (obsolete since RFC 7230)",
    "http.oversized_head": "a head or line longer than longwire keeps; the rest of it was not read",
    "http.bad_chunk": "a chunk size that is no number, or a chunk that does not end where it should",
    "http.orphan_response": "a response to no request that the capture has",
    "http.pipeline_cap": "more requests without response than longwire keeps; the oldest were given up",
    "http.line_cap": "too many lines cut by segment ends at once; some were not read",
    "http.text_cap": "the memory for texts was full; some are null",
    "heartbeat.units_cap": "more small messages than longwire holds; heartbeats among the later ones are not seen",
    "tls.bad_header": "bytes that cannot be a TLS record where one should begin; reading goes on at the next one",
    "tls.record_cap": "the memory for TLS records that wait for their end was full; some were framed, not read",
    "tls.bad_handshake": "a TLS handshake message whose lengths contradict each other; what came before it is kept",
    "tls.handshake_cap": "a TLS handshake message or its parts longer than longwire keeps",
    "tls.bad_key_log": "lines of a key log that are none, or more of them than longwire keeps",
    "tls.bad_record_mac": "encrypted records that the key log's secrets do not open: damaged, or the secrets are wrong",
    "tls.no_secret": "TLS connections that the key log says nothing of, though one was given; they stay encrypted",
    "tls.undecrypted": "encrypted records of connections in the key log that need a secret it lacks, or were cut",
    "tls.bad_certificate": "an X.509 certificate that cannot be read",
    "tcp.bad_flags": "a segment with flags that exclude each other (SYN with FIN or RST)",
}


@dataclass
class Anomaly:
    """One code's tally: how often, and where first."""

    count: int = 0
    first_flow_id: int | None = None
    first_frame: int | None = None
    detail: str = ""


@dataclass
class Ledger:
    """Counts anomalies by code; the first place and detail of each are kept."""

    by_code: dict[str, Anomaly] = field(default_factory=dict)

    def note(
        self, code: str, count: int = 1, *, flow_id: int | None = None, frame: int | None = None, detail: str = ""
    ) -> None:
        """Add `count` occurrences of `code`; place and detail are kept from the first call only."""
        if code not in CODES:
            raise KeyError(f"unknown anomaly code {code}")
        if count <= 0:
            return
        seen = self.by_code.get(code)
        if seen is None:
            self.by_code[code] = Anomaly(count, flow_id, frame, detail)
        else:
            seen.count += count
