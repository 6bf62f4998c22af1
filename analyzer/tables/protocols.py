"""Tables about what TCP carries: HTTP, WebSocket, TLS, HTTP/2 and heartbeats."""

from __future__ import annotations

from analyzer.tables.kinds import (
    DECRYPTED,
    DIR,
    FLOW_ID,
    FRAME,
    TS,
    Table,
    both,
    flag,
    number,
    one_of,
    seconds,
    text,
    ts,
)

CONTENT_TYPES = ("change_cipher_spec", "alert", "handshake", "application_data", "heartbeat")
HTTP2_TYPES = (
    "DATA", "HEADERS", "PRIORITY", "RST_STREAM", "SETTINGS", "PUSH_PROMISE", "PING", "GOAWAY", "WINDOW_UPDATE",
    "CONTINUATION", "ALTSVC", "ORIGIN", "PRIORITY_UPDATE", "UNKNOWN",
)  # fmt: skip
HEARTBEAT_PROTOCOLS = (
    "websocket, http2, grpc, tls, engineio, phoenix, signalr, stomp, sockjs, app, sse, mqtt, amqp, redis, postgresql, "
    "mysql, nats, kafka, zookeeper, irc, xmpp, sip, fix, bgp, ssh, unknown"
)
_SAID = "app is a WebSocket message that says ping or heartbeat, sse a comment or such an event"
STREAM_ID = number("stream_id", "HTTP/2 stream that carried it", "it was carried by the connection itself")
NOT_SEEN = "it was not captured"
ENCRYPTED = "it is encrypted and no key was given"

HTTP_REQUESTS = Table(
    "http_requests",
    "HTTP exchange: an HTTP/1 request with its response, or an HTTP/2 stream",
    "Requests on a connection in order, with reuse, waiting and framing.",
    ("flow_id", "request_ts", "request_frame", "index"),
    (
        FLOW_ID,
        number("index", "place on the connection, from 0"),
        number("stream_id", "HTTP/2 stream; of HTTP/1 in a tunnel, the stream that carries it", "HTTP/1"),
        text("method", "request method", "the request was not captured"),
        text("target", "request target or :path", "the request was not captured"),
        text("host", "Host or :authority", "the request has none or was not captured"),
        text("version", "protocol version, e.g. 1.1", "a snap length cut it off"),
        number("status", "status code of the final response", "no response was captured"),
        ts("request_ts", "first byte of the request", NOT_SEEN),
        ts("request_end_ts", "last byte of the request", NOT_SEEN),
        ts("response_ts", "first byte of the response", NOT_SEEN),
        ts("response_end_ts", "last byte of the response", NOT_SEEN),
        seconds("ttfb_s", "last request byte to first response byte", "not both were captured in this order"),
        number("request_bytes", "body bytes of the request as on the wire", "its end was not captured", unit="bytes"),
        number("response_bytes", "body bytes of the response as on the wire", "its end was not captured", unit="bytes"),
        seconds("idle_before_s", "silence of the connection before the request", "nothing came before it"),
        flag("reused", "an earlier request was made on the same connection"),
        flag("pipelined", "sent before the previous response had ended (HTTP/1)"),
        seconds("hol_wait_s", "time its response waited behind an earlier one", "it was not pipelined"),
        *(
            seconds(f"window_wait_{side}_s", f"time the {what}'s body waited for a WINDOW_UPDATE (HTTP/2 flow control)",
                    "HTTP/1, or frames before it were not captured")
            for side, what in (("c", "request"), ("s", "response"))
        ),
        text("connection_c", "Connection header of the request", "there was none"),
        text("connection_s", "Connection header of the response", "there was none"),
        seconds("keepalive_timeout_s", "timeout= of the Keep-Alive header", "there was none"),
        number("keepalive_max", "max= of the Keep-Alive header", "there was none", unit="requests"),
        *(
            one_of(f"body_framing_{side}", ("none", "length", "chunked", "close", "h2"), f"how the {what}'s body ends",
                   f"the {what} was not captured")
            for side, what in (("c", "request"), ("s", "response"))
        ),
        text("upgrade", "protocol switched to by 101 or CONNECT", "the connection stayed HTTP"),
        flag("complete", "request and response both ended as their framing says"),
        number("request_frame", "frame of the first request byte", NOT_SEEN),
        number("response_frame", "frame of the first response byte", NOT_SEEN),
        DECRYPTED,
        number("grpc_status", "grpc-status of the trailers", "no gRPC, or it was not captured"),
        text("websocket_protocol", "Sec-WebSocket-Protocol of the response", "there was none"),
        text("websocket_extensions", "Sec-WebSocket-Extensions of the response", "there was none"),
        flag("websocket_accepted", "Sec-WebSocket-Accept is the answer to the key", "no switch to WebSocket"),
    ),
)  # fmt: skip

WEBSOCKET_FRAMES = Table(
    "websocket_frames",
    "WebSocket frame",
    "Frames with opcodes, closes and the pairing of pings with pongs (RFC 6455). The packet is that of the last byte.",
    ("flow_id", "ts", "frame", "stream_id", "index"),
    (
        FLOW_ID,
        STREAM_ID,
        number("index", "place on the connection, from 0, both directions"),
        FRAME,
        TS,
        DIR,
        one_of("opcode", ("continuation", "text", "binary", "close", "ping", "pong", "reserved"), "what it is"),
        flag("fin", "last frame of its message"),
        flag("rsv1", "RSV1: the message is compressed (RFC 7692)"),
        flag("masked", "masked, as a client must"),
        number("payload_len", "payload length as on the wire", unit="bytes"),
        number("message_id", "message that it belongs to", "it is a control frame or of a reserved opcode"),
        number("close_code", "status code of a close frame", "not a close frame, or one without a code"),
        text("close_reason", "reason of a close frame", "not a close frame, or one without a reason"),
        number("pong_of", "index of the ping that this pong answers", "not a pong, or an unsolicited one"),
        seconds("rtt_s", "time from that ping to this pong", "not a pong, or an unsolicited one"),
        flag("unsolicited", "a pong that answers no ping", "not a pong"),
        text("error", "how it breaks the protocol", "it does not"),
        DECRYPTED,
    ),
)

WEBSOCKET_MESSAGES = Table(
    "websocket_messages",
    "WebSocket message",
    "Messages put together from their frames.",
    ("flow_id", "first_ts", "stream_id", "message_id"),
    (
        FLOW_ID,
        STREAM_ID,
        number("message_id", "place on the connection, from 0, both directions"),
        ts("first_ts", "first byte of its first frame"),
        ts("last_ts", "last byte of its last frame"),
        DIR,
        one_of("kind", ("text", "binary"), "opcode of its first frame", "its first frame was not captured"),
        number("frames", "WebSocket frames that make it up", unit="frames"),
        number("wire_len", "payload length as on the wire", unit="bytes"),
        number("len", "payload length after inflating", "it could not be inflated", unit="bytes"),
        flag("compressed", "compressed by permessage-deflate"),
        flag("utf8_ok", "a text message is valid UTF-8", "binary, or its bytes were not kept"),
        flag("complete", "every frame was captured"),
        text("payload", "first 128 bytes, escaped", "without --payload, or the bytes were not kept"),
    ),
)

TLS_RECORDS = Table(
    "tls_records",
    "TLS record",
    "Handshake, alert, change_cipher_spec and heartbeat records; application_data only with --records.",
    ("flow_id", "ts", "frame", "index"),
    (
        FLOW_ID,
        number("index", "place on the connection, from 0, both directions, unlisted records counted"),
        FRAME,
        TS,
        DIR,
        one_of("content_type", CONTENT_TYPES, "type that the record header says"),
        one_of("inner_type", CONTENT_TYPES, "true type of a TLS 1.3 record", "not decrypted, or not TLS 1.3"),
        text("version", "version of the record layer, e.g. TLS 1.2"),
        number("length", "length that the record header says", unit="bytes"),
        text("handshake_types", "messages inside, in Wireshark's names, comma-separated", "not a readable handshake"),
        text("alert_level", "warning or fatal", "not a readable alert"),
        text("alert_description", "name of the alert, e.g. close_notify", "not a readable alert"),
        flag("encrypted", "the record is encrypted"),
        DECRYPTED,
        number("heartbeat_of", "index of the heartbeat request that this record answers, by order", "no such answer"),
        seconds("rtt_s", "time from that request", "no such answer"),
    ),
)

TLS_SESSIONS = Table(
    "tls_sessions",
    "TLS connection",
    "What was negotiated, how the handshake went, and whether both sides said goodbye.",
    ("flow_id",),
    (
        FLOW_ID,
        text("version", "version agreed, e.g. TLS 1.3", "no ServerHello was read"),
        text("cipher", "cipher suite agreed, IANA name", "no ServerHello was read"),
        text("group", "key exchange group agreed, IANA name", "none was named"),
        text("sni", "server name asked for", "no ClientHello with that name was read"),
        text("alpn", "application protocol agreed; offered by the client if the answer is encrypted", "none was named"),
        one_of("resumption", ("none", "session_id", "ticket", "psk", "unknown"), "how an earlier session was resumed"),
        flag("resumption_offered", "the client offered to resume", "no ClientHello was read"),
        number("resumed_from_flow", "flow whose session was resumed", "not resumed, or not found in the capture"),
        one_of(
            "resumption_basis",
            ("observed", "inferred"),
            "observed = the same id or ticket, inferred = the latest flow of that client to that name",
            "resumed_from_flow is null",
        ),
        one_of("early_data", ("no", "offered", "accepted", "rejected", "unknown"), "0-RTT data (RFC 8446 section 2.3)"),
        flag("hello_retry", "the server asked for another ClientHello"),
        flag("handshake_complete", "application data or both Finished messages followed, and no alert for an answer"),
        seconds("handshake_s", "ClientHello to the handshake's end", "either was not captured"),
        number("handshake_rtts", "round trips that it took", "either end was not captured"),
        text("cert_subject", "subject of the server's certificate", ENCRYPTED + ", or none was sent"),
        text("cert_issuer", "issuer of the server's certificate", ENCRYPTED + ", or none was sent"),
        ts("cert_not_before", "start of its validity", ENCRYPTED + ", or none was sent"),
        ts("cert_not_after", "end of its validity", ENCRYPTED + ", or none was sent"),
        one_of("cert_expired", ("no", "before", "during", "unknown"), "expired before or during the connection"),
        flag("client_auth", "the client sent a certificate", ENCRYPTED + ", or the handshake was not all captured"),
        number("renegotiations", "handshakes after the first (TLS 1.2 and older)"),
        flag("secure_renegotiation", "both sides know RFC 5746", "TLS 1.3, or no ServerHello was read"),
        *both(number, "key_updates", "KeyUpdate messages of {side}, certain or inferred", "it could not be told"),
        one_of("key_update_basis", ("observed", "inferred", "unknown"), "how the key updates are known"),
        flag("heartbeat_negotiated", "both sides offered heartbeats (RFC 6520)"),
        *both(number, "heartbeats", "heartbeat records of {side}"),
        flag("heartbleed_suspected", "a heartbeat answer was longer than its request"),
        one_of("close_notify_c", ("yes", "inferred", "no", "unknown"), "the client closed TLS before TCP"),
        one_of("close_notify_s", ("yes", "inferred", "no", "unknown"), "the server closed TLS before TCP"),
        flag("truncated", "TCP ended in the middle of a record, or of a message without close_notify"),
        text("alert", "first alert other than close_notify", "there was none that could be read"),
        text("ja3", "JA3 of the ClientHello", "no ClientHello was read"),
        text("ja3s", "JA3S of the ServerHello", "no ServerHello was read"),
        text("ja4", "JA4 of the ClientHello", "no ClientHello was read"),
        text("ja4s", "JA4S of the ServerHello", "no ServerHello was read"),
        DECRYPTED,
    ),
)

HTTP2_FRAMES = Table(
    "http2_frames",
    "HTTP/2 frame",
    "Frames but DATA, HEADERS and CONTINUATION, which need --records (RFC 9113). The packet is that of the last byte.",
    ("flow_id", "ts", "frame"),
    (
        FLOW_ID,
        FRAME,
        TS,
        DIR,
        one_of("type", HTTP2_TYPES, "frame type", open=True),
        number("stream_id", "stream; 0 = the connection"),
        number("length", "payload length", unit="bytes"),
        text("flags", "flags that are set, comma-separated", "none is"),
        flag("ack", "the ACK flag of SETTINGS or PING", "another type"),
        text("error_code", "error of RST_STREAM or GOAWAY, e.g. ENHANCE_YOUR_CALM", "another type"),
        number("last_stream_id", "last stream that a GOAWAY still serves", "another type"),
        text("settings", "settings in their order, e.g. ENABLE_PUSH=0, comma-separated", "another type, or an ACK"),
        text("debug", "first 88 bytes of a GOAWAY's debug data, e.g. too_many_pings", "another type, or without any"),
        number("increment", "by how much a WINDOW_UPDATE widens the window", "another type", unit="bytes"),
        seconds("window_wait_s", "time that DATA of the other side waited for this frame", "none waited"),
        number("ping_of", "frame of the PING that this one acknowledges", "not such a PING"),
        seconds("rtt_s", "time from that PING", "not such a PING"),
        DECRYPTED,
    ),
)

_SERIES = (
    FLOW_ID,
    number("series_id", "series that the beat belongs to; counts from 0 per flow"),
    text("protocol", f"one of {HEARTBEAT_PROTOCOLS}; {_SAID}"),
    one_of("method", ("explicit", "inferred"), "explicit = read as a heartbeat, inferred = from timing and size"),
    DIR,
)

UNANSWERABLE = "the capture ended too soon, or no answer is expected"

HEARTBEATS = Table(
    "heartbeats",
    "heartbeat",
    "Every beat above TCP, with its answer. TCP keep-alive probes are in keepalives.",
    ("flow_id", "ts", "frame", "series_id"),
    (
        *_SERIES,
        TS,
        FRAME,
        number("size", "length on the wire, without TCP/IP headers", unit="bytes"),
        flag("answered", "the other side answered", UNANSWERABLE),
        ts("answer_ts", "time of the answer", "there was no answer"),
        number("answer_frame", "frame of the answer", "there was no answer"),
        seconds("rtt_s", "time from beat to answer", "there was no answer"),
        flag("missed", "an answer was due and never came", UNANSWERABLE),
        flag("late", "the answer came after the next beat was due", UNANSWERABLE),
    ),
)

HEARTBEAT_SERIES = Table(
    "heartbeat_series",
    "series of heartbeats of one flow, direction and kind",
    "The timer behind the beats: its period, how steady, how well answered, and which default it matches.",
    ("flow_id", "series_id"),
    (
        *_SERIES,
        number("beats", "beats in the series"),
        seconds("period_s", "median time between beats", "fewer than two beats"),
        seconds("jitter_p95_s", "95th percentile of the distance from that period", "fewer than three beats"),
        one_of("timer", ("fixed_rate", "idle_triggered"), "runs by the clock, or starts anew with each activity",
               "too few beats to tell"),
        seconds("answered_share", "share of beats that were answered", "no answer is expected", unit="0 to 1"),
        number("longest_missed_run", "most beats in a row without an answer", "no answer is expected", unit="beats"),
        seconds("p_value", "chance that unrelated traffic looks this regular", "the method is explicit", unit="0 to 1"),
        text("known_as", "known heartbeats that the period, and in TLS the sizes of records, are consistent with",
             "none matches"),
        seconds("confidence", "how sure it is that these are heartbeats", unit="0 to 1"),
    ),
)  # fmt: skip
