"""One sentence per close that a person can act on, made for all flows at once.

`{idle}` is the payload silence before the close in seconds; `{who}` closed, `{other}` is the other side; `{quiet}` is
the silence before the last words of `{parting}`; `{clues}` are those of a middlebox; `{probes}` and `{tries}` are how
often somebody asked in vain.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analyzer.classify.facts import Array, Facts
from analyzer.classify.verdict import LEAK_SURE, stopped_reading, window_probes_missed
from analyzer.kernel import Mask, distinct
from analyzer.protocols.channel import CUT_MESSAGE, CUT_RECORD
from analyzer.tables.tcp import CLOSE_KINDS, INITIATORS

if TYPE_CHECKING:
    from analyzer.classify.verdict import Verdict
    from analyzer.tables.build import Coded

SENTENCES = {
    "fin_client_first": "The client closed in order (FIN) after {idle} s without payload; the server agreed.",
    "fin_server_first": "The server closed in order (FIN) after {idle} s without payload; the client agreed.",
    "fin_simultaneous": "Both sides closed in order at the same time: their FINs crossed.",
    "fin_half_close": "The {who} closed its direction first (FIN); the {other} still sent data before it closed too.",
    "half_closed_open": "The {who} closed (FIN) but the {other} never did: a half-closed connection, often a leaked "
    "socket (CLOSE_WAIT).",
    "fin_unanswered": "The {who} closed (FIN) and repeated it without an answer: the {other} or the path was gone.",
    "rst_after_own_fin": "The {who} closed (FIN), then reset because the {other} still had something to say.",
    "rst_after_peer_fin": "The {who} closed in order (FIN); the {other} answered with a reset, not with its FIN.",
    "rst_unread_data": "The {who} reset right after data from the {other} that it never answered: consistent with a "
    "close while data was unread.",
    "rst_abort": "The {who} reset the connection without a FIN: an abort (SO_LINGER 0) or a killed process.",
    "rst_on_idle": "A reset in the name of the {who} after {idle} s without payload: consistent with an idle "
    "timeout of the {who} or of a middlebox, or an abort.",
    "rst_to_data_stale": "A reset in the name of the {who} answered new data after {idle} s without payload: it, or a "
    "middlebox, had forgotten the connection.",
    "rst_to_keepalive": "A reset in the name of the {who} answered a keep-alive probe after {idle} s without payload: "
    "it, or a middlebox, had forgotten the connection.",
    "refused": "The server refused the connection: nothing listens on that port, or a firewall rejects it.",
    "handshake_aborted": "The client reset before the handshake was complete: a scan, a health check, or a lost race "
    "between addresses.",
    "syn_timeout": "Nobody answered the client's SYN ({tries} sent): the server is down, or the packets are dropped.",
    "synack_timeout": "The server answered ({tries} SYN-ACKs) but the client never completed the handshake.",
    "abort_retransmit": "The {who} gave up after {tries} unanswered retransmissions: the {other} or the path was gone.",
    "abort_keepalive": "The {who} gave up after {probes} unanswered keep-alive probes: the {other} or path was gone.",
    "abort_zero_window": "The {who} gave up on a peer whose receive window stayed closed: the {other} stopped reading.",
    "rst_injected_suspected": "A reset in the name of the {who} after {idle} s without payload is consistent with a "
    "middlebox, not with the {who} itself: {clues}.",
    "icmp_abort": "An ICMP error quoted this connection and nothing came after it.",
    "implicit_port_reuse": "A new connection took over the same ports; the end of this one is not in the capture.",
    "silent_death": "The last segments stayed unanswered ({tries} retransmissions, {probes} probes): the peer or the "
    "path died silently.",
    "open_active": "Still open when the capture ended.",
    "open_idle": "Still open when the capture ended, {idle} s after its last payload.",
    "capture_gap": "The end is only partly captured.",
}

_NO_PAYLOAD = "Still open when the capture ended; it carried no payload in all of it."
_RESET_LAST = (
    "The {who} closed in order (FIN) after {idle} s without payload, and so did the {other}; a reset stands for the "
    "last acknowledgement, and nothing was lost."
)
_ALONE = "The {who} closed in order (FIN) after {idle} s without payload; what the {other} said is not in the capture."
_UNREAD = (
    "A reset in the name of the {who} after {idle} s without payload, the {other}'s data being unanswered: consistent "
    "with a timeout of the {who} or of a middlebox, or with a process that ended with that data unread."
)
_AT_ONCE = "The {who} closed (FIN) and reset at once: the {other} had sent nothing in between."
_PARTED = (
    "The {parting} broke a silence of {quiet} s with a last message; the {who} closed in order (FIN) right after it."
)
_PARTED_RESET = (
    "The {parting} broke a silence of {quiet} s with a last message, and the {who} closed (FIN) after it; a reset "
    "followed."
)
_STOPPED = "The {who} reset a connection on which it had stopped reading: its receive window was closed."
_ALERTED = "The {who} reset the connection after a fatal TLS alert."
_UNREACHABLE = (
    "The last segments stayed unanswered ({tries} retransmissions, {probes} probes); an ICMP error quoted one of them."
)
_NOT_YET = "The {who} closed (FIN); the {other} had not closed when the capture ended."
_PROBED = (
    "The {who} had closed (FIN) and answered a keep-alive probe with a reset: the connection was already gone on its "
    "side, and still open on that of the {other}."
)
_ORPHAN = (
    "The {who} closed in order (FIN) and did not wait for the {other} to close too: when it did, a reset answered its "
    "FIN."
)
_ALERT_ONLY = "The {who} closed (FIN), then reset when the {other}'s last TLS alert came: no data was lost."
_ALERT_CUT = (
    "The {who} closed (FIN) in the middle of a TLS record, then reset when the {other}'s last TLS alert came: what it "
    "had to send was cut short."
)
_ALERT_UNFINISHED = (
    "The {who} closed (FIN) without a close_notify, then reset when the {other}'s last TLS alert came: nothing says "
    "that its last answer was whole."
)
_LATER = "The {who} closed (FIN) and reset later: the {other} had neither closed nor sent anything in between."
_LONG_OPEN = (
    "The {who} closed in order (FIN); the {other} kept its side open for long, then reset: often a leaked socket "
    "(CLOSE_WAIT)."
)
_CLOSED_LATE = (
    "The {who} closed in order (FIN) after {idle} s without payload; the {other} kept its side open for long before it "
    "closed too: often a leaked socket (CLOSE_WAIT)."
)
_FULL = (
    "The server repeated its SYN-ACK ({tries} in all) though the client had acknowledged it: a full accept queue "
    "(backlog), or the acknowledgement was lost."
)
_STALLED = (
    "Still open when the capture ended, {idle} s after its last payload: a receive window was closed for most of that."
)
_ONCE = "The {who} closed (FIN) and nothing came back: the {other} or path was gone, or the capture lacks its answer."
_GONE = (
    "The {who} had closed (FIN) and answered new data with a reset after {idle} s without payload: the connection was "
    "already gone on its side."
)
_SILENCE = " after {idle} s without payload"  # left out where the capture does not tell it
_IN_ORDER, _AT_LAST = "in order (FIN)" + _SILENCE, "in order (FIN) right after the last payload"
_LEAST_TOLD_S = 0.0005  # a shorter silence is none

assert set(SENTENCES) == set(CLOSE_KINDS)

_SERVER = INITIATORS.index("server")
_WHO = pa.array([who if who in ("client", "server") else "other side" for who in INITIATORS])
_OTHER = pa.array([{"client": "server", "server": "client"}.get(who, "other side") for who in INITIATORS])


def explain(facts: Facts, verdict: Verdict, idle_s: Array) -> pa.Array:
    """Return the sentence of each flow's close kind with its numbers filled in."""
    injected = verdict.kind == CLOSE_KINDS.index("rst_injected_suspected")
    named = np.where(injected, np.maximum(verdict.resetter, 0), verdict.initiator)  # in whose name it was sent
    tries = np.where(
        (facts.flow["payload_ts"] == 0) | (verdict.kind == CLOSE_KINDS.index("synack_timeout")),
        np.where(facts.server["syns"] > 0, facts.server["syns"], facts.client["syns"]),
        np.maximum(facts.client["retries"], facts.server["retries"]),
    )
    probes = np.maximum(
        facts.client["unanswered_run"] + (facts.client["probe_row"] >= 0),
        facts.server["unanswered_run"] + (facts.server["probe_row"] >= 0),
    )
    for mine, theirs in ((facts.client, facts.server), (facts.server, facts.client)):
        probes = np.maximum(probes, window_probes_missed(mine, theirs["last_ts"]))
    stale = facts.of(np.maximum(verdict.resetter, 0), "rst_burst_idle") / 1e9
    idle_s = np.where(verdict.kind == CLOSE_KINDS.index("rst_to_data_stale"), stale, idle_s)  # before the new data
    silent = np.isnan(idle_s) & (verdict.kind == CLOSE_KINDS.index("open_idle"))
    values: dict[str, Callable[[Mask], pa.Array]] = {
        "idle": lambda here: _decimals(np.nan_to_num(idle_s[here])),
        "who": lambda here: _WHO.take(pa.array(named[here])),
        "parting": lambda here: _WHO.take(pa.array(facts.farewell.side[here])),
        "quiet": lambda here: _decimals(facts.farewell.silence[here] / 1e9),
        "other": lambda here: _OTHER.take(pa.array(named[here])),
        "clues": lambda here: _in_words(verdict.suspicion.clues, here),
        "tries": lambda here: pa.array(tries[here]).cast(pa.string()),
        "probes": lambda here: pa.array(probes[here]).cast(pa.string()),
    }
    parts = [pa.array([], pa.string())]
    order, done = np.empty(facts.n, np.int64), 0
    for sentence, here in _cases(facts, verdict, idle_s):
        parts.append(_filled(sentence, values, here))
        order[here] = np.arange(done, done + len(parts[-1]))
        done += len(parts[-1])
    result = pa.concat_arrays(parts)
    if len(parts) > 2:
        result = result.take(pa.array(order))
    if silent.any():
        result = pc.if_else(pa.array(silent), _NO_PAYLOAD, result)
    return result


def _cases(facts: Facts, verdict: Verdict, idle_s: Array) -> Iterator[tuple[str, Mask]]:
    """Yield each sentence with the flows that it is said of. idle_s (n,)  silence before the end, NaN = not known"""
    from analyzer.classify.closing import answers_late_fin, left_open, reset_at_once
    from analyzer.classify.idle_gap import stalled_at_end
    from analyzer.classify.tls import only_alert_late

    x = np.where(verdict.initiator == _SERVER, 1, 0)
    alone = facts.of(1 - x, "segments") == 0
    closed = facts.of(np.maximum(verdict.resetter, 0), "fin_seq") != 0
    parted, alert = facts.farewell.side >= 0, only_alert_late(facts, x)
    parted_other = parted & (facts.farewell.side != x)
    unprovoked, leaked = reset_at_once(facts, verdict), left_open(facts, verdict)
    later = unprovoked & (facts.of(x, "rst_ts") - facts.of(x, "fin_ts") > facts.stimulus_ns)
    in_order = [(_ALONE, alone), (_CLOSED_LATE, leaked), (_PARTED, parted), (_RESET_LAST, facts.reset_for_ack)]
    special = {
        "fin_client_first": in_order,
        "fin_server_first": in_order,
        "fin_unanswered": [(_ONCE, facts.of(x, "fins") == 1)],
        "rst_after_own_fin": [
            (_ORPHAN, answers_late_fin(facts, x)),
            (_LATER, later),
            (_AT_ONCE, unprovoked),
            (_PARTED_RESET, parted_other),
            (_ALERT_CUT, alert & (facts.app["tls_truncated"] == CUT_RECORD)),
            (_ALERT_UNFINISHED, alert & (facts.app["tls_truncated"] == CUT_MESSAGE)),
            (_ALERT_ONLY, alert),
        ],
        "rst_after_peer_fin": [(_LONG_OPEN, leaked), (_PARTED_RESET, parted_other)],
        "rst_on_idle": [(_UNREAD, (verdict.resetter == _SERVER) & (facts.server["rst_unread"] != 0))],
        "rst_to_data_stale": [(_GONE, closed)],
        "rst_to_keepalive": [(_PROBED, closed)],
        "rst_unread_data": [(_STOPPED, stopped_reading(facts, np.maximum(verdict.resetter, 0)))],
        "rst_abort": [(_ALERTED, facts.app["tls_alert"] == 1)],
        "silent_death": [(_UNREACHABLE, facts.flow["icmp_frame"] != 0)],
        "half_closed_open": [(_NOT_YET, verdict.confidence < LEAK_SURE)],
        "synack_timeout": [(_FULL, facts.flow["handshake_ts"] != 0)],
        "open_idle": [(_STALLED, stalled_at_end(facts))],
    }
    for code in distinct(verdict.kind).tolist():
        kind, mine = CLOSE_KINDS[code], verdict.kind == code
        for sentence, some in special.get(kind, ()):
            yield from _told(sentence, mine & some, idle_s)
            mine &= ~some
        yield from _told(SENTENCES[kind], mine, idle_s)


def _told(sentence: str, here: Mask, idle_s: Array) -> Iterator[tuple[str, Mask]]:
    """Yield the sentence if it is said of any flow, and what it becomes where no silence was, or none is known."""
    parts = [(sentence, here)]
    if _SILENCE in sentence:
        untold = np.isnan(idle_s)
        parts = [(sentence, here & ~untold), (sentence.replace(_SILENCE, ""), here & untold)]
    if _IN_ORDER in sentence:
        none = idle_s < _LEAST_TOLD_S
        parts = [(words, mine & ~none) for words, mine in parts]
        parts.append((sentence.replace(_IN_ORDER, _AT_LAST), here & none))
    yield from ((words, mine) for words, mine in parts if mine.any())


def _decimals(values: Array) -> pa.Array:
    """Return numbers as text with three decimals."""
    thousandths = pa.array(np.round(values * 1000).astype(np.int64))
    whole = pc.divide(thousandths, 1000)
    rest = pc.subtract(thousandths, pc.multiply(whole, 1000))
    padded = pc.utf8_lpad(rest.cast(pa.string()), 3, "0")
    return pc.binary_join_element_wise(whole.cast(pa.string()), padded, ".")


def _filled(sentence: str, values: dict[str, Callable[[Mask], pa.Array]], here: Mask) -> pa.Array:
    """Return the sentence once for each flow that is true in `here`."""
    parts = re.split(r"{(\w+)}", sentence)
    if len(parts) == 1:
        return pa.repeat(sentence, int(here.sum()))
    return pc.binary_join_element_wise(*(values[p](here) if k % 2 else p for k, p in enumerate(parts)), "")


def _in_words(clues: Coded, here: Mask) -> pa.Array:
    """Return the clues of chosen flows as text: "ttl differs, too fast"."""
    words = pa.array([name.replace("_", " ").replace(",", ", ") for name in clues.names], pa.string())
    return words.take(pa.array(np.maximum(clues.codes[here], 0)))
