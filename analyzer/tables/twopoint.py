"""Tables of a comparison: connections that two captures have, and what did not cross between their points."""

from __future__ import annotations

from analyzer.tables.kinds import Table, both, frame_list, number, one_of, seconds, text, ts
from analyzer.tables.tcp import BASES, CLOSE_KINDS, SIDES

CODES = {
    "rst_not_sent": "A RST arrived in the name of a side that never sent it: something between the points made it.",
    "rst_not_arrived": "A RST was sent and never arrived: the other side still believes in the connection.",
    "fin_not_sent": "A FIN arrived in the name of a side that never sent it: something between the points closed the "
    "connection.",
    "fin_not_arrived": "A FIN was sent and never arrived: the other side does not know that this one has closed.",
    "path_dead": "From some segment on nothing that a side sent arrived. After a silence this is how a NAT or firewall "
    "looks that has forgotten the connection: keep it alive in less than that silence.",
    "probe_answered_between": "Keep-alive probes got an ACK and never arrived: something between the points answers in "
    "the other side's name. Probes prove nothing about that side then.",
    "data_lost": "Bytes that were sent did not arrive, each copy counted; `count` and the frames name the segments.",
    "control_lost": "Copies of a SYN, a FIN or a probe did not arrive: it had to be sent again, or was not answered.",
    "not_captured": "A capture lacks bytes that were acknowledged at its own point: it was taken with losses.",
    "options_changed": "MSS, window scale, SACK or timestamps of the handshake are not the same at both points: a box "
    "rewrites them.",
    "syn_not_arrived": "A SYN never arrived, though other connections to that server did: filtered, or lost.",
}
UNKNOWN_TIME = "not both directions have a segment in common"

PAIRS = Table(
    "pairs",
    "TCP connection that both captures have",
    "Which connection of one capture is which of the other, under which addresses, and how it ended at each point.",
    ("flow_1",),
    (
        number("flow_1", "flow_id in the first capture"),
        number("flow_2", "flow_id in the second capture"),
        text("client", "client as ip:port at the first point"),
        text("server", "server as ip:port at the first point"),
        text("client_2", "client at the second point", "the same address"),
        text("server_2", "server at the second point", "the same address"),
        one_of("matched_by", ("sequence", "address"),
               "what says that they are one; address = the sequence numbers were rewritten on the way"),
        number("near_client", "which capture is nearer the client: 1 or 2", UNKNOWN_TIME),
        seconds("clock_s", "the second capture's clock minus the first's", UNKNOWN_TIME),
        seconds("path_s", "shortest time from one point to the other and back", UNKNOWN_TIME),
        *both(number, "hops", "routers between the points that segments of {side} passed",
              "one of the captures has none"),
        *both(number, "sent_bytes", "payload bytes of {side} at the point nearer to it, repeated ones included",
              unit="bytes"),
        *both(number, "lost_bytes", "of these, bytes that did not arrive at the other point", unit="bytes"),
        one_of("close_kind_1", CLOSE_KINDS, "how it ended at the first point (closes.close_kind)"),
        one_of("close_kind_2", CLOSE_KINDS, "how it ended at the second point"),
        number("differences", "rows of differences about it"),
    ),
)  # fmt: skip

DIFFERENCES = Table(
    "differences",
    "difference between the two points",
    "What one capture has and the other does not have, with the frames of both.",
    ("flow_1", "ts"),
    (
        number("flow_1", "flow_id in the first capture", "only the second has the connection"),
        number("flow_2", "flow_id in the second capture", "only the first has the connection"),
        one_of("code", tuple(CODES), "what it is"),
        one_of("sent_by", SIDES, "whose segments it is about", "it is about both"),
        ts("ts", "when, by the first capture's clock"),
        number("count", "segments", unit="segments"),
        number("bytes", "payload bytes in them", unit="bytes"),
        seconds("silence_s", "silence of the wire before it", "it is no matter of silence"),
        one_of("basis", BASES, "inferred: a capture may just have begun too late or ended too soon"),
        frame_list("frames_1", "frames in the first capture"),
        frame_list("frames_2", "frames in the second capture"),
        text("explanation", "one sentence"),
    ),
)
