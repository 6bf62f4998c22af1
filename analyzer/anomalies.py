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
    "decode.unassembled": "fragments of PPP Multilink, or further packets in an 802.11 A-MSDU: not read",
    "decode.fragment_missing": "IP fragments that never became a whole packet",
    "decode.fragment_overlap": "IP fragments that overlap; the first copy of each byte is kept",
    "decode.fragment_cap": "the memory for IP fragments was full, or a datagram was in more pieces than longwire keeps",
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
    "http.early_upgrade": "a client spoke the next protocol before its Upgrade or CONNECT was granted; it was read",
    "http.early_cap": "more before the answer to an Upgrade or CONNECT than longwire keeps; it was read as HTTP",
    "http.text_cap": "the memory for texts was full; some are null",
    "http2.lost": "bytes missing in a frame's header; reading goes on where segments begin with frames again",
    "http2.bad_length": "a frame whose length its type does not allow (RFC 9113 section 6)",
    "http2.bad_stream": "a frame on a stream, or on none, that its type does not allow (RFC 9113 section 6)",
    "http2.bad_padding": "padding that is longer than its frame (RFC 9113 section 6.1)",
    "http2.bad_continuation": "a header block cut by another frame, or a CONTINUATION of none (RFC 9113 section 6.10)",
    "http2.frame_size": "a frame larger than the receiver takes (SETTINGS_MAX_FRAME_SIZE); its length is believed",
    "http2.block_cap": "a header block longer than longwire keeps (a flood of CONTINUATION frames?); it was not read",
    "http2.stream_cap": "more open streams than longwire follows; requests on the others are not listed",
    "http2.bad_hpack": "a header block that is no HPACK (RFC 7541); later ones are read as after a loss",
    "http2.hpack_unknown": "header fields that refer to a table of which the capture lacks a part; they are null",
    "http2.header_list_cap": "a header block that says far more than it is long (an HPACK bomb?); it was not read",
    "http2.hpack_cap": "more connections at once than longwire keeps header tables for; texts of the others are null",
    "http2.events_cap": "a body that begins like an event stream, one of too many on a connection to ask what it is",
    "http2.websocket_cap": "more WebSockets and tunnels, or pieces of them, on a connection than longwire follows",
    "heartbeat.units_cap": "more small messages than longwire holds; heartbeats among the later ones are not seen",
    "tls.bad_header": "bytes that cannot be a TLS record where one should begin; reading goes on at the next one",
    "tls.record_cap": "the memory for TLS records that wait for their end was full; some were framed, not read",
    "tls.bad_handshake": "a TLS handshake message whose lengths contradict each other; what came before it is kept",
    "tls.handshake_cap": "a TLS handshake message or its parts longer than longwire keeps",
    "tls.bad_key_log": "lines that are no lines of a key log, or more secrets than longwire keeps",
    "tls.bad_record_mac": "encrypted records that the key log's secrets do not open: damaged, or the secrets are wrong",
    "tls.no_secret": "TLS connections that the key log says nothing of, though one was given; they stay encrypted",
    "tls.undecrypted": "encrypted records of connections in the key log that need a secret it lacks, or were cut",
    "tls.bad_certificate": "an X.509 certificate that cannot be read",
    "websocket.bad_handshake": "a Sec-WebSocket-Accept that is not the answer to the key (RFC 6455 section 4.2.2)",
    "websocket.old_draft": "a handshake of a draft before RFC 6455; its frames are not read",
    "websocket.lost": "bytes missing in a frame's header; reading goes on where segments hold whole frames again",
    "websocket.unmasked": "a frame of a client that is not masked (RFC 6455 section 5.1)",
    "websocket.masked": "a frame of a server that is masked (RFC 6455 section 5.1)",
    "websocket.reserved_opcode": "an opcode that means nothing (RFC 6455 section 5.2)",
    "websocket.reserved_bits": "RSV1, RSV2 or RSV3 set though no extension uses it (RFC 6455 section 5.2)",
    "websocket.control_too_long": "a close, ping or pong with more than 125 bytes (RFC 6455 section 5.5)",
    "websocket.control_fragmented": "a close, ping or pong without FIN (RFC 6455 section 5.5)",
    "websocket.bad_continuation": "a continuation while no message is open (RFC 6455 section 5.4)",
    "websocket.bad_interleaving": "a message begun before the one before it had ended (RFC 6455 section 5.4)",
    "websocket.bad_length": "a length in more bytes than it needs (RFC 6455 section 5.2)",
    "websocket.impossible_length": "a 64-bit length with its first bit set; framing is lost there",
    "websocket.bad_close": "a close frame with half a code (RFC 6455 section 5.5.1)",
    "websocket.bad_close_code": "a close code that must not be sent (RFC 6455 section 7.4)",
    "websocket.bad_utf8": "a text message or close reason that is not UTF-8 (RFC 6455 section 8.1)",
    "websocket.data_after_close": "a data frame after the sender's close frame (RFC 6455 section 5.5.1)",
    "websocket.cut_short": "a FIN in the middle of a frame",
    "websocket.bad_deflate": "a compressed message that cannot be inflated (RFC 7692); later ones that need it neither",
    "websocket.inflate_bomb": "messages that inflate to far more than they are; they are counted, not inflated",
    "websocket.inflate_cap": "more compressed connections at once than longwire inflates; messages are only counted",
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
