"""How TLS ended: goodbye or not, in each direction; and the KeyUpdates that can only be guessed.

What    close_notify read in clear or decrypted: yes. Else by the shape of the last record (definitions B9): inferred.
Source  RFC 8446 sections 6.1 (closure alerts), 4.6.3 (KeyUpdate), 5.4 (padding); RFC 5246 section 7.2.1.
Limits  In TLS 1.2 the last record's type says alert, not which one. In TLS 1.3 an alert is as long as an empty
        WebSocket ping of a server, so it must be the last record of a connection that was closed; padding hides it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import starmap
from typing import NamedTuple

from analyzer.kernel import I64, Records
from analyzer.protocols.tls.names import cipher_name
from analyzer.protocols.tls.session import Session
from analyzer.protocols.tls.state import ALERT, BODY, DATA, LOST

YES, INFERRED, NO, UNKNOWN = "yes", "inferred", "no", "unknown"
CLOSE_WORDS = (YES, INFERRED, NO, UNKNOWN)

# A record of an alert (2 bytes) or KeyUpdate (5) in TLS 1.3: one byte of type and the tag, 16 bytes or 8 with CCM_8
_ALERT, _ALERT_CCM_8 = 19, 11

# A connection whose application sends records of a KeyUpdate's length has them all the time; KeyUpdates come once in a
# while. More unanswered ones than this, or more answered ones, and nothing is claimed.
_MOST_SHORT, _MOST_UPDATES = 4, 8


class Ending(NamedTuple):
    """How one flow's TCP ended, as far as TLS needs it; times in nanoseconds, 0 = not."""

    closed_ts: int  # first FIN or RST
    reset: bool  # it was a RST


class Last(NamedTuple):
    """What a direction's STREAM says when its connection is over."""

    state: int
    missing: int
    records: int
    head_n: int
    last_type: int
    last_length: int
    epoch: int
    fin: int
    heartbeats: int
    data_records: int
    data_after_peer_ts: int
    short_14: int
    short_22: int


def last_of(streams: Records, rows: I64) -> list[Last]:
    """Return the STREAM records in `rows` as plain numbers: field by field of each record takes ten times longer."""
    return list(starmap(Last, zip(*(streams[name][rows].tolist() for name in Last._fields), strict=True)))


def close_notify(session: Session, s: Last, direction: int, ending: Ending) -> str:
    """Return whether this direction said goodbye: a word of CLOSE_WORDS."""
    if session.close_read[direction]:
        return YES
    if s.state == LOST or s.missing:
        return UNKNOWN  # its last records were not captured
    closed = ending.closed_ts != 0
    if s.records == 0 or s.state == BODY or s.head_n > 0:
        return NO
    if s.last_type == ALERT:
        if s.epoch == 0 or session.tls13 or session.opened:
            return NO  # it was read, and said something else
        return INFERRED if closed else UNKNOWN
    if s.last_type == DATA and session.tls13:
        if session.opened:
            return NO
        short = s.last_length == (_ALERT_CCM_8 if _is_ccm_8(session) else _ALERT)
        if short:
            return INFERRED if closed else UNKNOWN
    if s.last_type == DATA and not session.version:
        return UNKNOWN  # which version it is was not seen
    return NO


def is_truncated(s: Last, said: str, ending: Ending) -> bool:
    """True if TCP ended in the middle of a record of this direction."""
    if ending.closed_ts == 0 or said in (YES, INFERRED):
        return False
    in_record = s.state == BODY or (s.head_n > 0 and s.records > 0)
    return in_record and (bool(s.fin) or ending.reset)


def key_updates(
    session: Session, last: Sequence[Last], updates_14: int, updates_22: int
) -> tuple[int | None, int | None, str]:
    """Return (client's, server's, basis): read, or inferred from pairs of records as long as a KeyUpdate.

    updates_14, updates_22  how many such pairs there were, of records of 14 and 22 bytes
    """
    if session.opened or (session.version and not session.tls13):
        return session.key_updates[0], session.key_updates[1], "observed"
    if not session.version:
        return None, None, UNKNOWN
    if _is_ccm_8(session):
        pairs, short = updates_14, last[0].short_14 + last[1].short_14
    else:
        pairs, short = updates_22, last[0].short_22 + last[1].short_22
    alone = short - 2 * pairs
    if pairs == 0 and alone == 0:
        return 0, 0, INFERRED
    if pairs == 0 or alone > _MOST_SHORT or pairs > _MOST_UPDATES:
        return None, None, UNKNOWN
    return pairs, pairs, INFERRED


def _is_ccm_8(session: Session) -> bool:
    return "_CCM_8" in cipher_name(session.cipher)
