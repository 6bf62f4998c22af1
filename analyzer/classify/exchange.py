"""What the application's protocol says about a close: was it finished, why did it end, did a request cross the end?

What    Layer grace and triggers of definitions B5, the keep-alive race and stale reuse of B11, who announced the close.
Source  RFC 9112 sections 9.3 (persistence), 9.5 (asynchronous close), 9.6; RFC 6455 sections 7.1.1, 7.4.1 (1005 and
        1006 stand for what is not sent); RFC 9113 section 6.8 (GOAWAY: streams above its last were not served, and
        count as finished).
Needs   app: how the last exchange stood; flows: FINs, RSTs and acknowledgements around it
Gives   closes.graceful_app, closes.trigger, closes.race, closes.announced_by, closes.ws_initiator, closes.ws_code_c
        and ws_code_s
Limits  Whether a client closed an idle connection by a timer or by decision cannot be seen: "consistent with".
        A WebSocket counts as graceful also if the client closed TCP first, though the server should (RFC 6455 7.1.1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from analyzer.classify.facts import Array, Facts
from analyzer.classify.goodbye import says_goodbye
from analyzer.classify.idle_gap import OFTEN, longest_pause, outlived
from analyzer.classify.wording import followed_by
from analyzer.kernel import I64, Mask, Records
from analyzer.protocols.channel import BYE_DONE, BYE_NONE, HTTP1, HTTP2, MESSAGES, PHASE_TUNNEL, WEBSOCKET
from analyzer.protocols.messages.state import SSH
from analyzer.protocols.websocket.codes import ABNORMAL
from analyzer.tables.build import MISSING, Coded
from analyzer.tables.tcp import CLOSE_KINDS, GRACE, RACES, SIDES, TRIGGERS

_STILL_OPEN = tuple(CLOSE_KINDS.index(k) for k in ("open_active", "open_idle"))
END_UNSEEN = (*_STILL_OPEN, *(CLOSE_KINDS.index(k) for k in ("half_closed_open", "capture_gap")))
_DROPPED = tuple(CLOSE_KINDS.index(k) for k in ("abort_retransmit", "silent_death"))
_GIVEN_UP = tuple(TRIGGERS.index(k) for k in ("rto", "probe_miss"))
_ALERT_AND_FIN = 32  # bytes; no request is so short under TLS
_NO_ERROR = 1  # of APP.goaway_c and goaway_s
_STALE = CLOSE_KINDS.index("rst_to_data_stale")
# Limits on requests per connection that servers ship with: Apache 100, nginx 1000 (100 before 1.19.10)
_KNOWN_LIMITS = (100, 1000)

_RACE_SENTENCES = {
    "race": "A request crossed the server's close on the wire: it was not processed, and may be sent again (RFC 9112 "
    "section 9.5). The client keeps idle connections longer than the server does.",
    "stale_reuse": "The client sent a request on a connection whose close it had already received: its pool does not "
    "notice closed connections.",
    "silent_drop_reuse": "A request was sent on a connection that the path or the server had silently forgotten.",
    "half_race": "The server had received the request, or a part of it, when the connection was reset: whether it was "
    "processed is not known.",
}


_CUT_SHORT = "A request had no answer yet, or not all of it."
_HALF_ASKED = "The client had not sent all of its request."
_DESERTED = "It waited for an answer no longer; that came later, and nobody read it."


def knows_its_beats(app: Records) -> Mask:
    """True where the clock of the application leaves its heartbeats out."""
    events = (app["reader"] == HTTP1) & (app["sse"] == 1)
    framed = (app["reader"] > MESSAGES) & (app["reader"] != MESSAGES + SSH)
    result: Mask = events | framed | np.isin(app["reader"], (WEBSOCKET, HTTP2))
    return result


def idle_app(facts: Facts, when: I64, idle_payload_s: Array) -> Array:
    """Return the application's silence before the close: without its pings where they are read, else of payload.

    Last words before the close do not end it.
    """
    said = facts.app["app_ts"]
    spoken = knows_its_beats(facts.app) & (said != 0) & (said <= when)
    silence: Array = np.where(spoken, (when - said) / 1e9, idle_payload_s)
    return np.where(facts.farewell.side >= 0, np.fmax(silence, facts.farewell.silence / 1e9), silence)


def graceful_app(facts: Facts, kind: I64) -> Coded:
    """Return whether the application was finished: yes, no, unknown, n/a (nothing that is read, or not closed)."""
    app = facts.app
    polite, words = says_goodbye(facts), facts.last_words[1]
    http, websocket = app["reader"] == HTTP1, app["reader"] == WEBSOCKET
    finished = (app["outstanding"] == 0) & (app["open_message"] == 0) & ~deserted(facts)
    said = (app["ws_close_c"] != 0) & (app["ws_close_s"] != 0) & (app["ws_close_c"] == app["ws_close_s"])
    http2, goodbye = app["reader"] == HTTP2, _goaway(app)
    in_error = np.maximum(app["goaway_c"], app["goaway_s"]) > _NO_ERROR
    cases: list[tuple[Mask, str]] = [
        (np.isin(kind, _STILL_OPEN), "n/a"),
        (_in_tunnel(app), "unknown"),
        (http & finished & ~_lost(facts), "yes"),
        (_lost(facts), "unknown"),
        (http, "no"),
        (websocket & said, "yes"),
        (websocket, "no"),
        (http2 & goodbye & ~in_error & finished, "yes"),
        (http2 & (app["unsure"] == 1) & ~goodbye, "unknown"),
        (http2, "no"),
        (words == BYE_DONE, "yes"),
        (polite & (words == BYE_NONE) & ((app["unsure"] == 1) | unseen(facts)), "unknown"),
        (polite, "no"),
    ]
    grace = [GRACE.index(word) for _, word in cases]
    return Coded(np.select([condition for condition, _ in cases], grace, GRACE.index("n/a")), GRACE)


def deserted(facts: Facts) -> Mask:
    """Return where a client closed while it waited for its answer, and reset what came after all: nobody read that.

    Who only shuts its sending side reads the answer, and resets nothing.
    """
    app = facts.app
    reset = facts.of(app["requester"].astype(np.int64), "rst_ts") != 0
    result: Mask = reset & (app["reader"] == HTTP1) & (app["gave_up"] == 1) & ~_lost(facts)
    return result


def half_asked(facts: Facts, kind: I64) -> Mask:
    """Return which connections with HTTP/1 a server closed, or answered for good, before it had all of a request."""
    app = facts.app
    by_server = facts.flow["close_dir"] == 1 - app["requester"]
    ended = (facts.flow["close_ts"] != 0) & ~np.isin(kind, END_UNSEEN) & by_server
    waits = (app["outstanding"] > 0) | (app["close_said"] == 2)
    waits &= facts.of(1 - app["requester"].astype(np.int64), "zero_windows") == 0  # else it did not let it
    result: Mask = (app["reader"] == HTTP1) & (app["asking"] == 1) & waits & ~_lost(facts) & ended
    return result


def cut_short(facts: Facts, kind: I64) -> Mask:
    """Return which connections with HTTP/1 were closed before a request had its whole answer."""
    app = facts.app
    unfinished = (app["outstanding"] > 0) | deserted(facts)
    ended = (facts.flow["close_ts"] != 0) & ~np.isin(kind, END_UNSEEN)
    result: Mask = (app["reader"] == HTTP1) & unfinished & ~_lost(facts) & ended
    return result


def announced_by(facts: Facts) -> Coded:
    """Return who first said that the connection would end.

    In HTTP/1 with `Connection: close`, or with HTTP/1.0 without keep-alive; in protocols of messages with a goodbye.
    """
    app = facts.app
    said = app["close_said"].astype(np.int64) - 1  # by whom among those who ask and answer
    side = np.where(app["requester"] == 0, said, 1 - said)
    return Coded(np.where((app["reader"] == HTTP1) & (said >= 0), side, facts.last_words[0]), SIDES)


def websocket_close(facts: Facts, kind: I64) -> dict[str, Any]:
    """Return who sent the first close frame, and the code of each side's."""
    app = facts.app
    websocket = app["reader"] == WEBSOCKET
    never = websocket & ~np.isin(kind, END_UNSEEN)
    out: dict[str, Any] = {
        "ws_initiator": Coded(np.where(websocket, app["ws_close_first"].astype(np.int64), 0) - 1, SIDES)
    }
    for side in ("ws_close_c", "ws_close_s"):
        code = app[side].astype(np.int64)
        known = [websocket & (code > 0), never & (code == 0)]
        out[side.replace("close", "code")] = np.select(known, [code, np.full(facts.n, ABNORMAL)], MISSING)
    return out


def _in_tunnel(app: Records) -> Mask:
    """Return where HTTP/1 gave the connection to something that is not read (CONNECT, 101): is that finished?"""
    tunnel: Mask = (app["reader"] == HTTP1) & (app["phase"] == PHASE_TUNNEL)
    return tunnel


def unseen(facts: Facts) -> Mask:
    """Return where more was acknowledged at the end than was captured: not only a FIN, or an alert of TLS."""
    beyond = facts.both("snd_nxt") - facts.both("sent_nxt")
    result: Mask = np.any(beyond > np.where(facts.app["tls"] == 1, _ALERT_AND_FIN, 1), axis=0)
    return result


def _lost(facts: Facts) -> Mask:
    """Return where HTTP/1 misses something (missing bytes, a snap length): what still waits is not known."""
    lost: Mask = (facts.app["reader"] == HTTP1) & ((facts.app["unsure"] == 1) | unseen(facts))
    return lost


def _goaway(app: Records) -> Mask:
    """Return which HTTP/2 connections heard a GOAWAY."""
    either: Mask = (app["reader"] == HTTP2) & ((app["goaway_c"] != 0) | (app["goaway_s"] != 0))
    return either


def race(facts: Facts, kind: I64) -> I64:
    """Return how the last request met the end of the connection, as codes of RACES; -1 where no HTTP was read."""
    app, flow = facts.app, facts.flow
    http = np.isin(app["reader"], (HTTP1, HTTP2)) & (app["requests"] > 0)
    client = app["requester"].astype(np.int64)
    server = 1 - client
    waiting = http & (app["outstanding"] > 0) & (app["answering"] == 0) & (app["responses"] > 0) & ~_lost(facts)
    rtt = np.maximum(facts.path_rtt, 0)

    fin = facts.of(server, "fin_seq") != 0
    fin_ts = facts.of(server, "fin_ts")
    missed = facts.of(server, "fin_ack") <= app["request_offset"]
    heard = facts.of(server, "fin_acked_ts")
    stale = fin & (heard != 0) & ((heard + rtt <= app["request_ts"]) | (heard == app["request_ts"]))  # acked with it
    crossed = fin & missed & (fin_ts <= app["request_ts"] + rtt)
    # Some servers wait for the answer to their close_notify before they send a FIN (asyncio's do).
    bye = np.where(client == 0, app["tls_bye_s"], app["tls_bye_c"])
    refused = (bye != 0) & (bye < app["request_ts"])
    stale |= refused & (bye + rtt < app["request_ts"])
    crossed |= refused

    rst = facts.of(server, "rst_ts") != 0
    reset_ack = facts.of(server, "rst_ack")
    beyond = (reset_ack - app["request_offset"]) & 0xFFFFFFFF
    by_reset = rst & (reset_ack >= 0) & (beyond > 0) & (beyond < 1 << 31)
    acknowledged = (facts.of(client, "snd_una") > app["request_offset"]) | by_reset
    rested = app["request_idle"] >= facts.settings.idle_min_ns
    dropped = np.isin(kind, _DROPPED) & ~acknowledged & (facts.of(client, "retries") >= facts.settings.dead_peer_tries)
    forgotten = rested & ~fin & (dropped | ((kind == _STALE) & ~acknowledged))
    half = ~fin & rst & acknowledged
    before = facts.of(server, "rst_ts") <= app["request_ts"]
    crossed_rst = ~fin & rst & ~acknowledged & before & (flow["close_rst"] == 1)

    words = ("stale_reuse", "race", "silent_drop_reuse", "half_race", "race", "none")
    conditions = [waiting & c for c in (stale, crossed, forgotten, half, crossed_rst)] + [http]
    result: I64 = np.select(conditions, [RACES.index(word) for word in words], -1)
    return result


def app_trigger(facts: Facts, trigger: I64, initiator: I64, races: I64, kind: I64) -> I64:
    """Return the trigger of each close, `trigger` (what TCP said) where the application does not know better."""
    app, flow = facts.app, facts.flow
    closed = (flow["close_ts"] != 0) & ~np.isin(kind, _STILL_OPEN)
    http = np.isin(app["reader"], (HTTP1, HTTP2)) & closed
    websocket = (app["reader"] == WEBSOCKET) & closed
    done = http & ~_in_tunnel(app) & (app["outstanding"] == 0) & (app["open_message"] == 0) & (app["responses"] > 0)
    done &= ~_lost(facts)
    parted = facts.farewell
    by_server = (initiator == 1 - app["requester"]) | (parted.side == 1 - app["requester"].astype(np.int64))
    idle = np.where(app["reader"] == HTTP2, flow["close_ts"] - app["app_ts"], flow["close_idle_payload"])
    idle = np.maximum(idle, parted.silence)  # the silence before the last words
    # pings of HTTP/2 are no requests, and a silence that was survived again and again is no timer's
    quiet = (idle >= facts.settings.idle_min_ns) & (outlived(facts, idle) < OFTEN)
    said = (done | half_asked(facts, kind)) & (app["close_said"] != 0) & (app["close_implied"] == 0)
    left = app["keepalive_max"].astype(np.int64) - 1  # -1 = none was advertised
    limit = ((left >= 0) & (left <= 1)) | (app["responses"] == left) | np.isin(app["responses"], _KNOWN_LIMITS)
    unread = trigger == TRIGGERS.index("rst_unread")  # of what HTTP has read and found to be whole
    keep = (trigger != TRIGGERS.index("unknown")) & ~(done & unread)
    waits = http & (app["outstanding"] > 0) & ~_lost(facts)
    pause = waits & (app["sse"] == 1) & quiet & by_server & (idle > longest_pause(facts))  # longer than any before
    cases: list[tuple[Mask, str]] = [
        (websocket & ((app["ws_close_c"] != 0) | (app["ws_close_s"] != 0)), "ws_close"),
        (websocket & quiet & by_server, "idle_timeout"),  # cut without a goodbye
        (_goaway(app) & closed & ~np.isin(trigger, _GIVEN_UP), "goaway"),
        (np.isin(races, [RACES.index("race"), RACES.index("half_race")]), "request_in_flight"),
        (deserted(facts), "request_in_flight"),
        (pause, "idle_timeout"),
        (http & keep, ""),
        (waits, "request_in_flight"),
        (said & (app["close_said"] == 2) & by_server & limit, "keepalive_max_reached"),
        (said, "connection_close_header"),
        (done & ~quiet, "response_complete"),
        (done & quiet, "idle_timeout"),
    ]
    result: I64 = np.select(
        [condition for condition, _ in cases],
        [trigger if not word else np.full(facts.n, TRIGGERS.index(word)) for _, word in cases],
        trigger,
    )
    return result


def with_exchange(facts: Facts, explanation: pa.Array, races: I64, kind: I64) -> pa.Array:
    """Return the explanations with a sentence about the race added, or about an exchange that was cut short."""
    words = np.array(["", *(_RACE_SENTENCES[word] for word in RACES[1:]), _CUT_SHORT, _HALF_ASKED, _DESERTED], object)
    cases = [deserted(facts), half_asked(facts, kind), cut_short(facts, kind)]
    unfinished = np.select(cases, [words.size - 1, words.size - 2, words.size - 3], 0)
    return followed_by(explanation, words[np.where(races > 0, races, unfinished)])
