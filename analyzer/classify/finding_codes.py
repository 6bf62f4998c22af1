"""What each finding means: its severity, its words, and what to do about it, once for the table and `longwire explain`.

In the texts stand numbers of the flows behind a finding: {flows} how many, {median}, {low} and {high} of the seconds
that matter for its code (see `seconds`), {span} from low to high, {half} and {third} of {low}, {plus5} and {minus1}
seconds more and less than {low}, {above5} more than {high}.
Imports nothing, so that `longwire explain` answers at once.
"""

from __future__ import annotations

from typing import NamedTuple

SEVERITIES = ("error", "warning", "note", "info")


class Code(NamedTuple):
    """One kind of finding. seconds: what its numbers count. least: flows below which it is only a note."""

    code: str
    severity: str
    title: str
    explanation: str
    recommendation: str
    reference: str
    seconds: str = ""
    least: int = 1

    def severity_of(self, flows: int) -> str:
        """Return the severity of a finding about so many flows: one refused connection may be a restart."""
        return self.severity if flows >= self.least else "note"


_CODES = (
    # ---------------------------------------------------------------- errors: something is lost
    Code(
        "peer.dead", "error",
        "{flows} connections whose other end vanished without a word",
        "Data or probes were repeated and nothing ever came back: the host died, its address"
        " moved, or something on the path silently dropped the connection's state. The side that is left learns "
        "of it only by its own timers.",
        "Let the side that stays detect it: TCP keep-alive with KEEPIDLE + KEEPINTVL x KEEPCNT below the time you"
        " can wait (60 s + 10 s x 3 notices within 90 s; Linux by default, 7200 s + 75 s x 9, after more than two "
        "hours), and TCP_USER_TIMEOUT for data that is not acknowledged. If it happens "
        "after silences, look for a NAT, firewall or load balancer with an idle timeout on the path.",
        "RFC 9293 section 3.8.4; RFC 5482; RFC 6298 section 5.5",
    ),
    Code(
        "http.silent_drop_reuse", "error",
        "{flows} requests on connections that the path had silently forgotten",
        "A request was sent after a silence on a pooled connection and was repeated in vain, or answered by a reset: "
        "a NAT, firewall or load balancer had expired it without telling either end. Where nothing answers, each such "
        "request hangs until a timeout.",
        "Close idle connections in the client's pool before {low} s, or keep them alive by probes or heartbeats "
        "at most {half} s apart; set TCP_USER_TIMEOUT so that a hang ends in seconds.",
        "RFC 9112 section 9.5; RFC 5382 section 5", "silence before the request",
    ),
    Code(
        "tls.heartbleed", "error",
        "{flows} connections on which a TLS heartbeat was answered with more than it brought",
        "An answer repeats its request (RFC 6520). A longer one is how Heartbleed (CVE-2014-0160) reads a process's "
        "memory: keys, passwords and what others sent.",
        "Update OpenSSL (1.0.1g and later refuse it) or switch heartbeats off, and replace keys and secrets that the "
        "process held. Look at who connected.",
        "RFC 6520 section 4; CVE-2014-0160",
    ),
    # ---------------------------------------------------------------- warnings: requests fail, or will
    Code(
        "heartbeat.unanswered", "warning",
        "{flows} connections ended after heartbeats that nobody answered",
        "The last heartbeats got no answer, and the side that sent them, or nobody, ended the connection {span} s "
        "later. Where TCP acknowledged them the host lived and the program did not answer: it hung, was "
        "stopped, or was too busy. Where TCP did not, the host or the path was gone.",
        "Look at the program that should answer, at the time of the evidence frame: a blocked event loop, a long pause "
        "for garbage collection, a debugger, a suspended machine. If it is only slow, allow it more than {low} s.",
        "RFC 6455 section 5.5.3", "from the first unanswered beat to the close",
    ),
    Code(
        "heartbeat.too_slow", "warning",
        "{flows} connections were lost between two heartbeats",
        "There were heartbeats, but the silence between two of them was longer than what the other side or the path "
        "allows: the connection was closed, or found gone, after {span} s of silence.",
        "Send heartbeats at most {half} s apart, or raise the idle timeout above their period.",
        "RFC 9293 section 3.8.4; RFC 6455 section 5.5.2", "silence before the close",
    ),
    Code(
        "heartbeat.promise_broken", "warning",
        "{flows} connections closed because promised heartbeats did not come",
        "One side had promised to say something, if only a heartbeat, at least so often: MQTT's keep-alive (of "
        "CONNECT, or of the server's CONNACK in MQTT 5), AMQP's heartbeat (tune-ok), STOMP's heart-beat header. Who "
        "hears nothing for so long (MQTT: one and a half times) may close, or must; here that was {span} s, and it "
        "did.",
        "Look at the silent side at that time: its event loop was blocked, its host asleep, or nobody calls the "
        "library's loop that sends heartbeats. If it cannot speak that often, let it promise less; the path's idle "
        "timeouts still want a heartbeat each half of theirs.",
        "MQTT 3.1.1 section 3.1.2.10; AMQP 0-9-1 section 4.2.7; STOMP 1.2, Heart-beating",
        "silence that was allowed",
    ),
    Code(
        "http.keepalive_race", "warning",
        "{flows} requests crossed the server's close",
        "The server closed an idle connection while a request was on its way: neither side did wrong, but the "
        "request fails unless it is sent again. It happens when the client keeps idle connections as long as the "
        "server does, or longer.",
        "Make the client's pool give up idle connections at least a second before the server does (observed: "
        "{low} s, so at most {minus1} s), or raise the server's keep-alive timeout above the client's; retry "
        "idempotent requests.",
        "RFC 9112 section 9.5", "silence before the server's close",
    ),
    Code(
        "http.stale_reuse", "warning",
        "{flows} requests on connections whose close the client had already received",
        "The client's kernel had received the server's FIN, or its close_notify of TLS, before the request was sent. "
        "The pool does not notice closed connections.",
        "Let the pool check a connection for a pending close before it is used, and expire idle ones before the "
        "server's timeout (observed: {low} s).",
        "RFC 9112 section 9.5", "silence before the server's close",
    ),
    Code(
        "http2.enhance_your_calm", "warning",
        "{flows} connections ended with GOAWAY ENHANCE_YOUR_CALM",
        "One side had enough of what the other sends: gRPC servers answer keepalive pings that come too often with it "
        "(too_many_pings), others many resets or empty frames in a row.",
        "Let the client's keepalive time be no shorter than the server permits (gRPC: 5 minutes unless the server sets "
        "min_ping_interval_without_data or its enforcement policy lower), and send no pings without open streams "
        "unless the server permits them.",
        "RFC 9113 section 7; gRPC proposals A8 and A9",
    ),
    Code(
        "http.half_race", "warning",
        "{flows} requests were received, then reset",
        "The server, or what stands before it, had acknowledged the request when the connection was reset. "
        "Whether it was processed is not known, so a retry may do it twice.",
        "Look at the server's log around these times: a crash, a restart, or a proxy that gives up on it. Retry "
        "only what is idempotent.",
        "RFC 9110 section 9.2.2", "silence before the request",
    ),
    Code(
        "http.closes_early", "warning",
        "{flows} connections closed by the server sooner than it had promised",
        "The server advertised a longer idle time (Keep-Alive: timeout=) than it gave: it closed after {span} s. "
        "Clients that believe it send requests on connections that are gone.",
        "Make the advertised timeout and the real one agree; the advertised one should be the shorter by a second or "
        "two. Until then let clients drop idle connections before {minus1} s.",
        "RFC 9112 section 9.3; RFC 2068 section 19.7.1.1", "silence before the close",
    ),
    Code(
        "http.wait_cut", "warning",
        "{flows} requests waited {span} s for an answer that was cut off",
        "Not a byte of the answer came for {span} s; then a 504 did, or the connection was closed without one: "
        "consistent with a timeout of the server, or of a proxy or load balancer before it. Long polls and slow work "
        "end like this.",
        "Let a long poll answer, if only to say that there is nothing, after {half} s; answer slow work at once and "
        "let the client ask for the result. Or raise the timeout (nginx: proxy_read_timeout; HAProxy: timeout server; "
        "AWS ALB: idle timeout) above what the answer takes.",
        "RFC 9110 section 15.6.5; RFC 6202 section 5.5", "silence in which the answer was waited for",
    ),
    Code(
        "http.cut_short", "warning",
        "{flows} connections ended in the middle of an HTTP exchange",
        "The connection was closed before a message was complete (fewer bytes than its Content-Length, no last chunk), "
        "or before a request had any answer.",
        "Look at the side that closed: a program that ended or was restarted, a limit on time or size, a proxy whose "
        "backend went away. A client must not take what it got for the whole (RFC 9112 section 8).",
        "RFC 9112 section 8",
    ),
    Code(
        "http.request_unfinished", "warning",
        "{flows} connections closed by the server, which waited for the rest of a request",
        "The client had sent a part of a request, and no more for {span} s: the server's timeout for the head or the "
        "body of a request ran out (408, or a close without a word). The server was waiting for the client.",
        "Look at the client, and at the path from it: an upload that stalled, a program that was suspended, a body "
        "shorter than its Content-Length, a proxy that holds requests back. For slow uploads raise the server's "
        "timeout (nginx: client_header_timeout, client_body_timeout; haproxy: timeout http-request).",
        "RFC 9110 section 15.5.9", "silence of the client before the close",
    ),
    Code(
        "close.stale_connection", "warning",
        "{flows} connections were reset when they were used after a silence",
        "New data was answered with a reset: the other side, or a box on the path, had dropped the connection "
        "during the silence without saying so, or its goodbye never arrived, or was overlooked.",
        "Do not keep connections idle as long as {low} s, or keep them alive: a heartbeat each {third} s, {half} "
        "s at most. TCP keep-alive probes help if a NAT or firewall forgot the connection, not if a proxy counts "
        "payload.",
        "RFC 9293 section 3.5.2; RFC 5382 section 5", "silence before the data",
    ),
    Code(
        "keepalive.too_late", "warning",
        "{flows} keep-alive probes found the connection gone",
        "A probe was answered with a reset: the host or a box on the path had forgotten the connection before the"
        " first probe was due.",
        "Probe sooner: KEEPIDLE of {third} s, {half} s at most, instead of the {low} s that were too long.",
        "RFC 9293 section 3.8.4", "silence before the probe",
    ),
    Code(
        "keepalive.state_lost", "warning",
        "{flows} connections whose state was lost between two keep-alive probes",
        "A probe was answered with a reset though the one before it had been answered: the host, or a box on the path, "
        "lost what it knew of the connection, and no idle timeout did it.",
        "Look for what happened there in between: a restart, a failover, rules that were loaded anew, a table that was "
        "full. Shorter intervals between probes would only have found it sooner.",
        "RFC 9293 section 3.5.1", "silence without payload before the probe",
    ),
    Code(
        "close.burst", "note",
        "{flows} connections ended by the server within {median} s",
        "They were of different ages and had been silent for different times, so that no timeout explains it: the "
        "server, or a load balancer in front of it, restarted, was deployed anew, or let go of its connections.",
        "If that was planned, let the server say so first (HTTP/2 GOAWAY, Connection: close, WebSocket 1001) and end "
        "connections spread over time; let clients come back after a random wait.",
        "RFC 9113 section 6.8; RFC 6455 section 7.4.1", "from the first of these closes to the last",
    ),
    Code(
        "keepalive.not_counted", "note",
        "{flows} idle connections were closed although TCP keep-alives went through",
        "Probes were sent and answered during the silence, and still the server closed: its timer, or its load "
        "balancer's, counts payload or requests, not TCP segments.",
        "TCP keep-alive cannot keep these open. Send an application heartbeat (WebSocket or HTTP/2 PING, a "
        "comment, a no-op) at most each {half} s, {third} s on lossy paths, or raise the timeout of {low} s.",
        "ELB guide, idle timeouts; RFC 9293 section 3.8.4", "payload silence before the close",
    ),
    Code(
        "timeout.pair_mismatch", "warning",
        "Client and server give up idle connections at about the same time ({high} s and {low} s)",
        "Both ends close idle connections, the client hardly sooner than the server or later. Whichever is first, a "
        "request sent at that moment meets a connection that is being closed.",
        "The end that sends requests should give up first: set the client's pool (or the load balancer's backend side) "
        "to {minus1} s or less, or the server's keep-alive timeout to the client's plus 5 s.",
        "RFC 9112 section 9.5", "the server's timeout; the client's is the other",
    ),
    Code(
        "timeout.backend_first", "warning",
        "A backend gives up idle connections after {low} s, the load balancer before it after {high} s",
        "The host that is the only client of this server takes connections itself, which it keeps for longer. If it "
        "keeps those to its backend as long (as AWS ALB does with one timeout for both sides), the backend closes "
        "first, and a request that is sent at that moment fails: the client sees a 502.",
        "Let the backend wait longer than the load balancer: its keep-alive timeout {above5} s or more (Node: "
        "keepAliveTimeout and, longer still, headersTimeout; gunicorn: keepalive; nginx: keepalive_timeout), or let "
        "the load balancer's pool give up idle connections before {minus1} s.",
        "RFC 9112 section 9.5; ELB guide, HTTP 502", "the backend's timeout; the load balancer's is the other",
    ),
    Code(
        "timeout.path", "warning",
        "Something on the path forgets connections after {span} s of silence",
        "{flows} connections died when they were used again after a silence, while shorter silences were "
        "survived. No end had closed: consistent with a NAT, firewall or load balancer that drops idle "
        "connections without a word.",
        "Keep the wire busy: KEEPIDLE or a heartbeat of {half} s at most, {third} s on lossy paths; or give up "
        "idle connections before.",
        "RFC 5382 section 5", "longest silence survived, shortest that was not",
    ),
    Code(
        "close.half_closed_leak", "warning",
        "{flows} connections half closed and never finished",
        "One side closed, the other acknowledged it and neither answered with its own close nor sent anything for"
        " at least a minute: a program that does not close its socket when the peer has (CLOSE_WAIT).",
        "Find the program on the side that did not close and let it close when a read returns end of stream. "
        "Sockets in CLOSE_WAIT have no timer; they stay until the process ends.",
        "RFC 9293 section 3.6",
    ),
    Code(
        "stall.zero_window", "warning",
        "{flows} stalls because the receiver stopped reading (up to {high} s)",
        "The receive window was closed: the receiving program did not read. The probes of its peer in that time "
        "are zero-window probes, no keep-alives, and the silence is no idleness.",
        "Look at the receiver: a blocked thread, a full queue, a slow disk. Neither timeouts nor the network are "
        "at fault.",
        "RFC 9293 section 3.8.6.1", "length of the stall",
    ),
    Code(
        "http2.window_stall", "warning",
        "{flows} connections on which HTTP/2 flow control held a body back (up to {high} s)",
        "A side had used up the window of a stream, or of the connection, in the middle of a body, and the other sent "
        "no WINDOW_UPDATE: its program did not read, or its HTTP/2 library gives windows back too late. TCP was open.",
        "Look at the receiver of the body (`window_wait_c_s` and `window_wait_s_s` of http_requests say whose): a "
        "consumer that is slow or blocked, one stream that fills the connection's window for all, or windows (65,535 "
        "bytes unless set) that are too small for the path.",
        "RFC 9113 sections 5.2 and 6.9", "the longest wait of each connection",
    ),
    Code(
        "http2.unserved", "warning",
        "{flows} connections on which GOAWAY left requests unserved",
        "The server announced the end of the connection (GOAWAY) while requests were on their way. Those above its "
        "last stream were not processed: a limit of requests or of age, or a shutdown, met a busy client.",
        "Let the client send them again on a new connection: that is safe whatever their method. A server that "
        "announces its end in two steps (first GOAWAY with stream 2^31-1, the real one a round trip later) loses none; "
        "raise its limit of requests per connection (nginx: keepalive_requests).",
        "RFC 9113 section 6.8",
    ),
    Code(
        "reset.middlebox", "warning",
        "{flows} resets are consistent with a middlebox, not with the end they name",
        "What can be compared (TTL, IP-ID, options, timing, what the end did afterwards) differs between the "
        "reset and the other segments of its direction. One capture point cannot prove it.",
        "Capture at the named end as well: a reset that is in this capture and not in that one was made in "
        "between.",
        "RFC 9293 section 3.5.2; RFC 5961",
    ),
    Code(
        "connect.refused", "warning",
        "{flows} connections refused",
        "The SYN was answered with a reset: nothing listens on that port, or a firewall rejects it.",
        "Check that the service runs and listens on that address and port, and what restarts or health checks did"
        " at these times.",
        "RFC 9293 section 3.10.7.1",
        least=3,
    ),
    Code(
        "connect.no_answer", "warning",
        "{flows} connections never answered",
        "SYNs were repeated and nobody answered: the host is down, or a firewall or security group drops them.",
        "Check the route and the filters towards that server; compare with a capture on the server.",
        "RFC 9293 section 3.8.1; RFC 6298 section 2.1",
        least=3,
    ),
    Code(
        "connect.unfinished", "note",
        "{flows} connections accepted that the client never completed",
        "The server repeated its SYN-ACK: the client's ACK did not arrive, the client was gone, or the server's "
        "accept queue was full.",
        "If it is a busy server, look at its listen backlog and overflow counters; otherwise at an asymmetric "
        "path.",
        "RFC 9293 section 3.5",
    ),
    # ---------------------------------------------------------------- notes: worth knowing
    Code(
        "close.unread_data", "note",
        "{flows} connections reset while data may have been unread",
        "A live side reset right after it had received data that it never answered. A program that closes a "
        "socket with unread data sends a reset instead of a FIN, and what it had sent itself may be lost at the "
        "other side.",
        "Let the program read to the end before it closes, or shut down its sending side first.",
        "RFC 1122 section 4.2.2.13",
    ),
    Code(
        "reset.ignored", "note",
        "{flows} connections went on after a reset",
        "A reset was seen and the connection lived on: it was out of the window, or it was lost on the way.",
        "A single one means little. Many, in the name of a host that goes on, are consistent with injected "
        "resets.",
        "RFC 5961 section 3",
    ),
    Code(
        "close.icmp", "note",
        "{flows} connections ended with an ICMP error",
        "An ICMP error quoted the connection and nothing came after it.",
        "See which host or router sent it, and why: a filter, a route that is gone, a host without that address.",
        "RFC 5927; RFC 9293 section 3.9.2.2",
    ),
    Code(
        "close.zombie", "note",
        "{flows} connections open without a word for {span} s",
        "When the capture ended nothing had been sent on them for at least a quarter of an hour: no data, no "
        "keep-alive, no heartbeat. Had the other end or the path's state vanished meanwhile, nobody would know.",
        "If they are meant to stay, let one side probe (KEEPIDLE 60 s, KEEPINTVL 10 s and KEEPCNT 3 notice within "
        "90 s), or send a heartbeat; else close what is not used: they hold memory, ports and entries of NATs, and "
        "the next request on one may be lost.",
        "RFC 9293 section 3.8.4; RFC 5382 section 5", "silence until the end of the capture",
    ),
    Code(
        "connect.half_open", "note",
        "{flows} connection attempts met an old connection",
        "The server answered the SYN not with SYN-ACK but with an ACK: it still held a connection of the same ports. "
        "The client, which knew nothing of it, reset it and may try again. The connection had been half-open: one end "
        "had restarted, or given up, without the other learning of it.",
        "By itself it heals. That the server did not notice before means that it sends nothing while idle: keep-alive "
        "there (KEEPIDLE 60 s, KEEPINTVL 10 s and KEEPCNT 3, say) finds such connections within 90 s.",
        "RFC 9293 section 3.5.1; RFC 5961 section 4",
    ),
    Code(
        "heartbeat.little_room", "note",
        "Heartbeats each {high} s leave little room under an idle timeout of {low} s ({flows} connections)",
        "The heartbeats are sooner than the timeout, but one that is lost or late is enough for it to fire.",
        "Send them at most {half} s apart, {third} s on lossy paths, so that one may be lost; or raise the timeout.",
        "RFC 9293 section 3.8.4; RFC 6455 section 5.5.2", "the timeout; the heartbeats' period is the longest",
    ),
    # ---------------------------------------------------------------- info: no trouble by itself
    Code(
        "timeout.idle", "info",
        "Idle timeout of {low} s ({flows} connections)",
        "That many connections were closed after the same silence. By itself that is no fault; it becomes one "
        "where a client uses connections that are as old.",
        "To keep connections open, send something the timer counts each {third} s, {half} s at most. Clients "
        "should drop idle connections before {minus1} s; a server behind a load balancer with this timeout should"
        " wait {plus5} s or longer.",
        "RFC 9112 section 9.5", "the timeout",
    ),
    Code(
        "timeout.unacknowledged", "info",
        "Unacknowledged data is given up after {span} s ({flows} connections)",
        "On that many connections the same side repeated its data in vain for the same time and then gave up: a limit "
        "in time, as TCP_USER_TIMEOUT (RFC 5482) sets it, or one in repetitions on paths that are alike. Linux by "
        "default (tcp_retries2 = 15) goes on for 924 s and more.",
        "This is how long a program waits on a peer that vanished while data was under way; set TCP_USER_TIMEOUT to "
        "what you can bear, and KEEPIDLE + KEEPINTVL x KEEPCNT to the same for connections that are silent.",
        "RFC 5482; RFC 9293 section 3.8.3; tcp(7)", "from the data to the end of trying",
    ),
    Code(
        "http.max_requests", "info",
        "{flows} connections ended by the server after {low} requests each",
        "The server ended each of them right after the same number of responses, and took no more on any other: it "
        "limits the requests of a connection (keepalive_requests in nginx, MaxKeepAliveRequests in Apache).",
        "Nothing, if clients open a new connection without failing. A request that is sent meanwhile is lost: let the "
        "server say Connection: close with its last response, or raise the limit.",
        "RFC 9112 section 9.6", "no seconds: requests on a connection",
    ),
    Code(
        "timeout.lifetime", "info",
        "Connections are ended at an age of {low} s ({flows} connections)",
        "They were closed at the same age, whatever had been said last: a lifetime limit.",
        "Expect it: reconnect before, and let requests in flight finish.",
        "known lifetime limits: AWS ALB 3600 s, nginx keepalive_time 3600 s", "the age",
    ),
)  # fmt: skip

CODES = {code.code: code for code in _CODES}
"""Every finding by its code. Codes are stable: a meaning that changes gets a new one."""
