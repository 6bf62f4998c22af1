"""Tables about the capture as a whole: inferred timeouts, findings, endpoints, input files and anomalies."""

from __future__ import annotations

from analyzer.tables.kinds import Table, flag, frame_list, number, one_of, seconds, text, ts

FLOW_IDS = text("flow_ids", "flows that it rests on, space-separated")
ENDPOINT = "server as ip:port ([ip]:port for IPv6)"

TIMEOUTS = Table(
    "timeouts",
    "idle timeout inferred from the closes of several flows",
    "Which timeout an endpoint or something before it applies, with its bounds and the default it matches.",
    ("timeout_id",),
    (
        number("timeout_id", "counts from 0"),
        text("endpoint", ENDPOINT),
        one_of("side", ("client", "server", "path"), "who applies it"),
        one_of("clock", ("wire", "payload", "app", "response", "age"),
               "what starts it anew: any segment, payload, a message, a response's end; age = nothing does"),
        seconds("value_s", "the timeout", "only bounds are known"),
        seconds("spread_s", "longest minus shortest silence in the cluster", "only bounds are known"),
        number("closes", "closes that agree with it", unit="flows"),
        number("survived_above", "longer silences that were survived: they speak against it", unit="silences"),
        seconds("lower_bound_s", "longest silence that was survived", "none was"),
        seconds("upper_bound_s", "shortest silence that was not", "all were"),
        text("known_as", "known defaults that it is consistent with", "none matches"),
        seconds("confidence", "how sure it is", unit="0 to 1"),
        FLOW_IDS,
    ),
)  # fmt: skip

FINDINGS = Table(
    "findings",
    "finding",
    "What to do about it, most severe first.",
    ("finding_id",),
    (
        number("finding_id", "counts from 0, most severe first"),
        text("code", "stable name, area.what"),
        one_of("severity", ("error", "warning", "note", "info"), "how much it matters"),
        seconds("confidence", "how sure it is", unit="0 to 1"),
        FLOW_IDS,
        text("endpoint", ENDPOINT, "it is not about one server"),
        text("title", "one line"),
        text("explanation", "what was seen, and what it means"),
        text("recommendation", "what to change", "nothing to change"),
        frame_list("evidence_frames", "frames that it rests on"),
        text("reference", "RFC section or known default", "there is none"),
    ),
)

ENDPOINTS = Table(
    "endpoints",
    "server address and port",
    "Servers with how long their connections live and how they end.",
    ("endpoint",),
    (
        text("endpoint", ENDPOINT),
        number("flows", "connections to it", unit="flows"),
        number("clients", "distinct client addresses", unit="addresses"),
        seconds("lifetime_p50_s", "median lifetime of its connections"),
        seconds("lifetime_p95_s", "95th percentile of their lifetime"),
        seconds("requests_per_flow_p50", "median of HTTP requests a connection", "no HTTP was read", unit="requests"),
        seconds("rst_share", "share of its connections that ended with a RST", unit="0 to 1"),
        seconds("idle_close_share", "share of its connections closed after silence", unit="0 to 1"),
        number(
            "races",
            "requests that crossed a close, or came after it",
            "no HTTP was read",
            unit="flows",
        ),
        number("bytes", "bytes on the wire, both directions", unit="bytes"),
    ),
)

CAPTURES = Table(
    "captures",
    "input file",
    "What each input file turned out to be, and in which health.",
    (),  # in the order they were read, which is that of the frame numbers
    (
        text("file", "path as it was given"),
        text("format", "pcap or pcapng, with its compression, e.g. pcap.gz", "unreadable"),
        text("link_types", "link layers in order of first use, comma-separated", "there are none"),
        number("packets", "packets read", unit="packets"),
        number("tcp_segments", "of these, TCP segments, duplicates included", unit="packets"),
        ts("first_ts", "time of the first packet", "there is none"),
        ts("last_ts", "time of the last packet", "there is none"),
        number("snaplen_clipped", "packets captured shorter than they were", unit="packets"),
        number("dropped_reported", "packets the capturing program says it lost", "it does not say", unit="packets"),
        number("duplicates", "TCP segments captured more than once and counted once", unit="packets"),
        flag("truncated", "the file ends inside a record"),
        text("error", "what was skipped, or why reading stopped early", "nothing was"),
    ),
)

ANOMALIES = Table(
    "anomalies",
    "anomaly code",
    "Input at odds with its specification, counted; codes are explained in analyzer.anomalies.CODES.",
    ("code",),
    (
        text("code", "stable name, area.what"),
        number("count", "how often"),
        number("first_flow_id", "flow of the first", "it belongs to no flow"),
        number("first_frame", "frame of the first", "it belongs to no frame"),
        text("detail", "more about the first", "there is no more to say"),
    ),
)
