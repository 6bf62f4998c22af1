"""How TLS ended: goodbye or not, in each direction; and the KeyUpdates that can only be guessed.

What    close_notify read in clear or decrypted: yes. Else by the shape of the last record (definitions B9): inferred.
Source  RFC 8446 sections 6.1 (closure alerts), 4.6.3 (KeyUpdate), 5.4 (padding); RFC 5246 section 7.2.1.
Limits  In TLS 1.2 the last record's type says alert, not which one. In TLS 1.3 an alert is as long as an empty
        WebSocket ping of a server, so it must be the last record of a connection that was closed; padding hides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from analyzer.kernel import I64, Mask, Records
from analyzer.protocols.tls.names import cipher_name
from analyzer.protocols.tls.session import Session
from analyzer.protocols.tls.state import ALERT, ALERT_LENGTH, ALERT_LENGTH_CCM_8, BODY, DATA, LOST
from analyzer.tables.build import MISSING

I8 = NDArray[np.int8]

CLOSE_WORDS = ("yes", "inferred", "no", "unknown")
YES, INFERRED, NO, UNKNOWN = range(4)
BASIS_WORDS = ("observed", "inferred", "unknown")

# A goodbye comes right before the end (definitions B9): within two round trips, or this
_SOON_NS = 200_000_000

# A connection whose application sends records of a KeyUpdate's length has them all the time; KeyUpdates come once in a
# while. More unanswered ones than this, or more answered ones, and nothing is claimed.
_MOST_SHORT, _MOST_UPDATES = 4, 8


class Over(NamedTuple):
    """n connections that are over: sessions, and STREAM rows of each direction, CONNECTION and FLOW rows (n,)."""

    sessions: Sequence[Session]
    sides: tuple[Records, Records]
    connections: Records
    flows: Records
    tls13: Mask
    opened: Mask
    known: Mask  # the version was agreed
    ccm_8: Mask

    @property
    def closed(self) -> Mask:
        """Whether a FIN or RST was seen."""
        seen: Mask = self.flows["close_ts"] != 0
        return seen


def over(sessions: Sequence[Session], sides: tuple[Records, Records], connections: Records, flows: Records) -> Over:
    """Return what is known of connections that are over, their sessions' facts by columns."""
    facts = [(s.tls13, s.opened, s.version != 0, "_CCM_8" in cipher_name(s.cipher)) for s in sessions]
    return Over(sessions, sides, connections, flows, *np.array(facts, np.bool_).reshape(-1, 4).T)


def handshake_ends(of: Over) -> I64:
    """Return when each handshake was complete, 0 if that was not seen.

    In TLS 1.3 the client's Finished is hidden without keys: then it is the first record of that size after the server's
    flight. A fatal alert that was read instead of it says that there was none, and so does a server that refuses it.
    """
    ends = np.array([s.end_ts for s in of.sessions], np.int64)
    seen = np.array([s.server_seen and not s.fatal for s in of.sessions], np.bool_)
    by_server = np.array([s.client_dir for s in of.sessions], np.bool_)
    after = [side["data_after_peer_ts"] for side in of.sides]
    of_client: I64 = np.where(by_server, after[1], after[0])
    ends = np.where((ends == 0) & of.tls13 & seen, of_client, ends)
    return np.where(_refuses_client(of, 0) | _refuses_client(of, 1), 0, ends)


def _refuses_client(of: Over, direction: int) -> Mask:
    """Return where a server of TLS 1.3 answers the client's Finished with an alert at once, and with nothing else.

    No goodbye was read: it refuses the client's certificate, or the lack of one (RFC 8446 section 4.4.2.4), and on the
    server's side the handshake never was complete.
    """
    s, peer = of.sides[direction], of.sides[1 - direction]
    by_server = np.array([session.client_dir != direction for session in of.sessions], np.bool_)
    goodbye = np.array([session.close_ts[direction] != 0 for session in of.sessions], np.bool_)
    goodbye |= np.array([session.resumed == "psk" for session in of.sessions], np.bool_)  # no certificate is asked for
    finished = peer["data_after_peer_ts"]
    alone = (s["data_after_peer_ts"] == 0) & (s["short_alert"] == 1) & _ends_short(of, direction)
    at_once = s["last_ts"] - finished <= _at_once(of)
    unasked = (peer["short_alert"] == 0) | (peer["last_ts"] > s["last_ts"])  # it answers no goodbye
    result: Mask = of.tls13 & by_server & ~goodbye & (finished != 0) & alone & at_once & unasked
    return result


def _at_once(of: Over) -> I64:
    within: I64 = np.maximum(2 * of.flows["handshake_rtt"], _SOON_NS)
    return within


def _ends_short(of: Over, direction: int) -> Mask:
    """Return where the last record of a direction is as long as an alert of TLS 1.3."""
    s = of.sides[direction]
    length = np.where(of.ccm_8, ALERT_LENGTH_CCM_8, ALERT_LENGTH)
    short: Mask = (s["last_type"] == DATA) & (s["last_length"] == length)
    return short


def _guess(of: Over, direction: int, complete: Mask) -> I8:
    """Return what a last record as long as an alert says: a goodbye if it came right before the end.

    Before the handshake is complete it is an error, and an application may send records of that length again and again.
    A server that answers the client's Finished with nothing else may have refused its certificate.
    """
    s = of.sides[direction]
    soon = of.flows["close_ts"] - s["last_ts"] <= _at_once(of)
    refuses = _refuses_client(of, direction)
    cases = [~complete & ~refuses, refuses, of.closed & (soon | (s["short_alert"] <= 1))]
    guess: I8 = np.select(cases, [NO, UNKNOWN, INFERRED], UNKNOWN).astype(np.int8)
    return guess


def close_notify(of: Over, direction: int, complete: Mask) -> I8:
    """Return whether each connection's direction said goodbye: codes of CLOSE_WORDS; complete: its handshake was."""
    s = of.sides[direction]
    read = np.array([session.close_ts[direction] != 0 for session in of.sessions], np.bool_)
    last_read = of.opened & ~np.array([session.sealed[direction] for session in of.sessions], np.bool_)
    alert, data = s["last_type"] == ALERT, s["last_type"] == DATA
    rules = (
        (read, YES),
        ((s["state"] == LOST) | (s["missing"] != 0), UNKNOWN),  # its last records were not captured
        ((s["records"] == 0) | (s["state"] == BODY) | (s["head_n"] > 0), NO),
        (alert & ((s["epoch"] == 0) | of.tls13 | last_read), NO),  # it was read, and said something else
        (alert, np.where(of.closed, INFERRED, UNKNOWN)),
        (data & of.tls13 & last_read, NO),
        (of.tls13 & _ends_short(of, direction), _guess(of, direction, complete)),
        (data & ~of.known, UNKNOWN),  # which version it is was not seen
    )
    said: I8 = np.select([rule for rule, _ in rules], [word for _, word in rules], NO).astype(np.int8)
    return said


def is_truncated(of: Over, direction: int, said: I8) -> Mask:
    """Return whether TCP ended in the middle of a record of this direction; `said` as `close_notify` has it."""
    s = of.sides[direction]
    in_record = (s["state"] == BODY) | ((s["head_n"] > 0) & (s["records"] > 0))
    ended = (s["fin"] != 0) | (of.flows["close_rst"] != 0)
    cut: Mask = of.closed & (said != YES) & (said != INFERRED) & in_record & ended
    return cut


def key_updates(of: Over) -> tuple[I64, I64, I8]:
    """Return (client's, server's, codes of BASIS_WORDS): read, or from pairs of records as long as a KeyUpdate."""
    short_14, short_22 = (of.sides[0][name] + of.sides[1][name] for name in ("short_14", "short_22"))
    pairs = np.where(of.ccm_8, of.connections["updates_14"], of.connections["updates_22"]).astype(np.int64)
    alone = np.where(of.ccm_8, short_14, short_22) - 2 * pairs
    vague = (pairs == 0) & (alone != 0) | (alone > _MOST_SHORT) | (pairs > _MOST_UPDATES)
    read = of.opened | (of.known & ~of.tls13)
    inferred = np.where(~of.known | vague, MISSING, pairs)
    told = np.array([session.key_updates for session in of.sessions], np.int64).reshape(-1, 2)
    client, server = (np.where(read, told[:, side], inferred) for side in (0, 1))
    basis: I8 = np.select([read, ~of.known | vague], [0, 2], 1).astype(np.int8)
    return client, server, basis
