"""What each word of a verdict means: close kinds, triggers, races, labels of segments, classes of silences, clues.

Imports nothing large, so that `longwire explain` answers at once. A test holds it to the words that the tables use.
"""

from __future__ import annotations

from analyzer.tables.twopoint import CODES as DIFFERENCES

CLOSES = {
    "fin_client_first": "The client sent the first FIN and the server's FIN acknowledges it: an orderly close that "
    "the client began (RFC 9293 section 3.6, case 1).",
    "fin_server_first": "The server sent the first FIN and the client's FIN acknowledges it: an orderly close that "
    "the server began. With a long silence before it, look at `trigger` and at the timeouts table.",
    "fin_simultaneous": "Both sides sent a FIN within a round trip and neither acknowledges the other's (RFC 9293 "
    "section 3.6, case 3).",
    "fin_half_close": "One side closed its direction, the other sent new data at least a round trip later and closed "
    "then: shutdown(), used on purpose.",
    "half_closed_open": "One side's FIN was acknowledged, the other side never closed: a program that does not close "
    "its socket (CLOSE_WAIT). After 60 s it counts as a leak.",
    "fin_unanswered": "A FIN was never acknowledged, though it was repeated, or (then with less confidence) nothing "
    "came back for a second: the peer or the path was gone.",
    "rst_after_own_fin": "A side sent its FIN, and then a RST because the other one still sent data: it had called "
    "close(), not shutdown(), and nobody was left to read. Some proxies reset at once, though nothing more came.",
    "rst_after_peer_fin": "A side answered the other's FIN with a RST, not with its own FIN. If nothing was "
    "outstanding, nothing was lost: proxies and browsers do so to save a state.",
    "rst_unread_data": "A live socket sent RST,ACK right after data that it never answered: a program closed it with "
    "unread bytes in its receive buffer (RFC 1122 section 4.2.2.13).",
    "rst_abort": "A live socket sent a RST with nothing outstanding, no provocation and no silence before it: "
    "SO_LINGER 0, or a process that was killed.",
    "rst_on_idle": "As rst_abort, but after a silence: an idle timeout of a proxy, a load balancer or a NAT that "
    "resets, or a program that aborts.",
    "rst_to_data_stale": "Data was answered with a RST by a side that knew the connection no more: it had closed, or "
    "forgotten it during the silence. From a closed socket the RST is bare and takes the data's acknowledgment number.",
    "rst_to_keepalive": "A keep-alive probe was answered with a RST: the host had restarted, or a box on the path had "
    "dropped the connection's state.",
    "refused": "The SYN was answered with RST,ACK: nothing listens on that port, or a firewall rejects it.",
    "handshake_aborted": "The client reset after the SYN-ACK: a scan, a health check, or the slower of two addresses "
    "that were tried at once (Happy Eyeballs).",
    "syn_timeout": "SYNs without any answer, at doubling intervals (RFC 6298).",
    "synack_timeout": "SYN-ACKs were repeated and the handshake never completed: the client's ACK was lost, the client "
    "was not there, or the server's accept queue was full.",
    "abort_retransmit": "Data was repeated at least three times with doubling waits and never acknowledged; then its "
    "sender reset, or fell silent for longer than its next wait (RFC 9293 section 3.8.3).",
    "abort_keepalive": "At least three keep-alive probes in a row stayed unanswered, then the prober reset or fell "
    "silent (RFC 9293 section 3.8.4).",
    "abort_zero_window": "The sender gave up on a peer whose receive window stayed closed (RFC 9293 section 3.8.6.1).",
    "rst_injected_suspected": "What can be compared of the RST differs so much from the rest of its direction "
    "(middlebox_score 0.55 and more) that it is consistent with a middlebox. close_kind_base is what it would be else.",
    "icmp_abort": "An ICMP error quoted the connection and nothing came after it (RFC 5927).",
    "implicit_port_reuse": "A SYN with a new initial number on the same ports began another connection; how this one "
    "ended is not in the capture.",
    "silent_death": "At the end of the capture data or probes were being repeated without an answer, three times at "
    "least.",
    "open_active": "No closing segment; the last payload came less than a second before the end of the capture.",
    "open_idle": "No closing segment, and silence of a second or more at the end of the capture. How long it would "
    "have lasted is not known: the silence is censored.",
    "capture_gap": "The end is only partly captured: closing segments without the rest, or acknowledged bytes that "
    "are missing.",
}

TRIGGERS = {
    "response_complete": "The last response was complete and the connection was closed at once after it.",
    "connection_close_header": "`Connection: close` was said in the last exchange, and what it announced came "
    "(RFC 9112 section 9.6).",
    "keepalive_max_reached": "The server said `Connection: close` after as many responses as it had advertised "
    "(Keep-Alive: max=) or as servers by default take on a connection (100, 1000).",
    "goaway": "An HTTP/2 GOAWAY came before the close (RFC 9113 section 6.8).",
    "ws_close": "A WebSocket Close frame came before the close (RFC 6455 section 5.5.1).",
    "tls_alert": "A fatal TLS alert came before the close (RFC 8446 section 6.2).",
    "idle_timeout": "Closed after a silence, in the client's turn, with nothing outstanding; or after the other side "
    "was silent for longer than it had promised (MQTT keep-alive, AMQP and STOMP heartbeats).",
    "request_in_flight": "A request was on its way, or not yet answered, when the connection ended (see `race`).",
    "data_after_close": "Data came for a side that had closed: a RST answered it.",
    "probe_miss": "Keep-alive probes stayed unanswered until the prober gave up.",
    "rto": "Retransmissions stayed unanswered until the sender gave up.",
    "rst_unread": "A program closed its socket with unread data in it.",
    "lifetime_limit": "Closed at an age at which others of that server were closed, too. One connection cannot show "
    "it: see the finding timeout.lifetime, which names the connections.",
    "deploy_burst": "Closed together with at least four others of that server, after different silences: a restart or "
    "a deployment. The finding close.burst names the connections.",
    "unknown": "Nothing that was read says why.",
}

RACES = {
    "none": "The last request was answered, or there was none.",
    "race": "A request crossed the server's close on the wire: neither had seen the other (RFC 9112 section 9.5).",
    "stale_reuse": "The client sent a request a round trip or more after its own kernel had acknowledged the server's "
    "FIN: the pool did not look.",
    "silent_drop_reuse": "After a silence a request was repeated three times in vain, or reset by a side that had "
    "never closed: the path had forgotten the connection.",
    "half_race": "The server had acknowledged the request, or a part of it, when it reset: whether it was processed is "
    "not known.",
}

LABELS = {
    "keepalive_probe": "A segment of 0 or 1 byte just below the next sequence number, after at least 0.9 s of silence, "
    "with nothing outstanding and an open window (RFC 9293 section 3.8.4).",
    "keepalive_ack": "The first segment of the peer that answers a keep-alive probe.",
    "zero_window": "The receiver closed its window.",
    "zero_window_probe": "A probe of a closed window: no keep-alive, and the silence is no idleness (RFC 9293 section "
    "3.8.6.1).",
    "window_update": "An ACK that only opens the window.",
    "window_full": "The segment fills the window that the peer offered.",
    "retransmission": "Bytes that were sent before, sent again.",
    "fast_retransmission": "A retransmission at the third duplicate ACK (RFC 5681 section 3.2).",
    "spurious_retransmission": "Bytes sent again that were already acknowledged.",
    "tail_loss_probe": "The last segment sent again about two round trips after it (RFC 8985 section 7).",
    "out_of_order": "A segment that was overtaken on the way.",
    "duplicate_ack": "The same acknowledgment again, without data or a change of window.",
    "lost_segment": "A segment before this one is missing in the capture.",
    "acked_unseen": "It acknowledges bytes that were not captured.",
    "challenge_ack": "An ACK that answers a SYN or RST which was not believed (RFC 5961).",
    "duplicate_frame": "A copy of a frame, captured twice (mirror port, several interfaces); not counted again.",
    "port_reused": "A SYN that begins a new connection on the same ports.",
}

SILENCES = {
    "think_time": "No request was outstanding: the client's turn.",
    "server_wait": "A request was complete and its response had not begun: the server's turn.",
    "stream_pause": "A message was under way.",
    "websocket_idle": "A WebSocket without messages.",
    "tunnel_idle": "A tunnel (CONNECT, an upgrade) whose content is not read.",
    "stalled_unacked": "Data was outstanding and repeated: the network, not the programs.",
    "stalled_zero_window": "The receiver had closed its window: it did not read.",
    "after_half_close": "One direction was closed already.",
    "trailing": "The silence that the end of the capture cut off: censored.",
    "unknown": "Nobody knows whose turn it was.",
}

CLUES = {
    "lives_on": "The host in whose name the RST came goes on as if it had not sent it.",
    "ttl_differs": "Its TTL is off by 3 or more hops (2 where the direction never varied) from the rest, or it was set "
    "by a neighbour while the rest came over routers.",
    "too_fast": "It answers data in less than half of what the host is away.",
    "ip_id_copied": "Its IP-ID is that of the packet of the other direction that it answers.",
    "ip_id_not_zero": "It has an IP-ID where the direction always had 0.",
    "ip_id_off_count": "It is no bare RST, and its IP-ID is neither 0 nor what follows, though the packets before it "
    "were counted up.",
    "dscp_differs": "Its DSCP is not that of the packets before it, nor of what it answers.",
    "link_differs": "It came from another link-layer address (or interface) than the packets before it. A router that "
    "took over (HSRP, VRRP) looks alike.",
    "no_timestamp": "It lacks the timestamps option though both had agreed and it is no bare RST (RFC 7323).",
    "stepping": "Several RSTs with rising sequence numbers, to hit a moving window.",
    "ack_zero": "The ACK flag is set and the number is 0.",
    "out_of_window": "Its sequence number is outside the receiver's window (RFC 5961).",
    "both_directions": "RSTs in both directions at the same instant.",
}

WORDS: dict[str, dict[str, str]] = {
    "close kind": CLOSES,
    "trigger of a close": TRIGGERS,
    "race of a request with the close": RACES,
    "label of a segment": LABELS,
    "class of a silence": SILENCES,
    "clue of a middlebox": CLUES,
    "difference of two captures": DIFFERENCES,
}
"""Where a word stands, and what the words there mean. A word may stand in two places (none, unknown)."""
