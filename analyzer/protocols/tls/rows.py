"""Records and sessions as rows of `tls_records` and `tls_sessions`, and what of them other tables need."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.kernel import I64, Mask, Records
from analyzer.protocols.beats import CONTROL, PROTOCOLS
from analyzer.protocols.channel import CUT_MESSAGE, CUT_RECORD, DECRYPTED, HTTP1, TLS_CLOSE
from analyzer.protocols.tls.certificate import Certificate
from analyzer.protocols.tls.closing import (
    BASIS_WORDS,
    CLOSE_WORDS,
    Over,
    close_notify,
    handshake_ends,
    is_truncated,
    key_updates,
)
from analyzer.protocols.tls.names import LEVELS, alert_name, cipher_name, version_name
from analyzer.protocols.tls.session import Session
from analyzer.protocols.tls.state import BLED, HEADER_BYTES, HEARTBEAT
from analyzer.protocols.tls.suites import added_bytes
from analyzer.tables.build import MISSING, Coded, to_arrow
from analyzer.tables.kinds import DIRECTIONS
from analyzer.tables.protocols import CONTENT_TYPES

if TYPE_CHECKING:
    import pyarrow as pa

SessionColumns = dict[str, Any]  # arrays and lists


# ------------------------------------------------------------------------------------------------ tls_records
def record_rows(rows: Records, words: Sequence[str]) -> pa.Table:
    """Return SEALED records as rows; `words` are the lists of messages that they name."""
    return to_arrow(
        "tls_records",
        {
            "flow_id": rows["flow_id"],
            "index": rows["index"],
            "frame": rows["frame"],
            "ts": rows["ts_ns"],
            "dir": Coded(rows["dir"], DIRECTIONS),
            "content_type": Coded(rows["content_type"] - 20, CONTENT_TYPES),
            "inner_type": Coded(np.where(rows["inner_type"] > 0, rows["inner_type"] - 20, -1), CONTENT_TYPES),
            "version": _named(rows["version"], version_name),
            "length": rows["length"].astype(np.int64),
            "handshake_types": Coded(rows["messages"], words),
            "alert_level": _named(rows["alert_level"], lambda level: LEVELS.get(level, str(level))),
            "alert_description": _named(rows["alert"], alert_name),
            "encrypted": rows["encrypted"] == 1,
            "heartbeat_of": np.where(rows["answers"] >= 0, rows["answers"], MISSING),
            "rtt_s": np.where(rows["rtt"] >= 0, rows["rtt"] / 1e9, np.nan),
            "decrypted": rows["decrypted"] == 1,
        },
    )


def heartbeats(rows: Records) -> Records:
    """Return CONTROL rows of the heartbeat records (RFC 6520) among SEALED ones."""
    chosen = rows[rows["content_type"] == HEARTBEAT]
    out = np.zeros(chosen.shape[0], CONTROL)
    for name in ("flow_id", "frame", "index", "answers", "dir"):
        out[name] = chosen[name]
    out["ts"], out["size"] = chosen["ts_ns"], chosen["length"] + HEADER_BYTES
    out["protocol"], out["answer"] = PROTOCOLS.index("tls"), chosen["answers"] >= 0
    return out


def _named(numbers: Any, name: Any) -> Coded:
    """Return small numbers as words, each distinct one named once; negative ones are null."""
    distinct, index = np.unique(numbers.astype(np.int64), return_inverse=True)
    words = ["" if number < 0 else name(int(number)) for number in distinct]
    codes = np.where(distinct < 0, -1, np.arange(distinct.size))
    return Coded(codes[index] if index.size else index, words)


# ------------------------------------------------------------------------------------------------ tls_sessions
def session_columns(of: Over) -> SessionColumns:
    """Return the columns of `tls_sessions` of connections that are over; words of _WORDS by their codes."""
    sessions = of.sessions
    updates_c, updates_s, basis = key_updates(of)
    start, ends = np.array([s.start_ts for s in sessions], np.int64), handshake_ends(of)
    timed = (start != 0) & (ends != 0)
    joined = np.array([not s.hello_seen for s in sessions], np.bool_)  # the capture came later than the handshake
    said = [close_notify(of, direction, (ends != 0) | joined) for direction in (0, 1)]
    data = (of.sides[0]["data_records"] > 0) | (of.sides[1]["data_records"] > 0)
    certificates = [s.certificate for s in sessions]
    return {
        "flow_id": [s.flow_id for s in sessions],
        "version": [version_name(s.version) if s.version else None for s in sessions],
        "cipher": [cipher_name(s.cipher) if s.version else None for s in sessions],
        "group": [s.group_text for s in sessions],
        "sni": [s.sni for s in sessions],
        "alpn": [s.alpn_text for s in sessions],
        "resumption": [s.resumed for s in sessions],
        "resumption_offered": [s.offered for s in sessions],
        "resumed_from_flow": [s.resumed_from for s in sessions],
        "resumption_basis": [
            None if s.resumed_from is None else "observed" if s.resumed_sure else "inferred" for s in sessions
        ],
        "early_data": [s.early_data for s in sessions],
        "hello_retry": [s.retry for s in sessions],
        "handshake_complete": (ends != 0) | (data & ~of.tls13),
        "handshake_s": np.where(timed, (ends - start) / 1e9, np.nan),
        "handshake_rtts": np.where(timed, [max(s.flights, 1) for s in sessions], MISSING),
        "cert_subject": [c.subject if c else None for c in certificates],
        "cert_issuer": [c.issuer if c else None for c in certificates],
        "cert_not_before": [c.not_before if c else None for c in certificates],
        "cert_not_after": [c.not_after if c else None for c in certificates],
        "cert_expired": _expired(certificates, of.flows),
        "client_auth": [s.client_sent_certificate for s in sessions],
        "renegotiations": [s.renegotiations for s in sessions],
        "secure_renegotiation": [s.secure for s in sessions],
        "key_updates_c": updates_c,
        "key_updates_s": updates_s,
        "key_update_basis": basis,
        "heartbeat_negotiated": [s.heartbeat for s in sessions],
        "heartbeats_c": of.sides[0]["heartbeats"].copy(),  # a view would keep the whole rows
        "heartbeats_s": of.sides[1]["heartbeats"].copy(),
        "heartbleed_suspected": of.connections["bled"] == BLED,
        "close_notify_c": said[0],
        "close_notify_s": said[1],
        "truncated": is_truncated(of, 0, said[0]) | is_truncated(of, 1, said[1]),
        "alert": [s.alert for s in sessions],
        "ja3": [s.first.ja3 if s.first else None for s in sessions],
        "ja3s": [s.ja3s for s in sessions],
        "ja4": [s.first.ja4 if s.first else None for s in sessions],
        "ja4s": [s.ja4s for s in sessions],
        "decrypted": of.opened,
    }


_WORDS = {"close_notify_c": CLOSE_WORDS, "close_notify_s": CLOSE_WORDS, "key_update_basis": BASIS_WORDS}


def _expired(certificates: Sequence[Certificate | None], flows: Records) -> list[str]:
    """Compare the end of validity with every packet's time, not only the handshake's."""
    words = ["unknown"] * len(certificates)
    for k, certificate in enumerate(certificates):
        if certificate is not None:
            until = certificate.not_after
            words[k] = "before" if until < flows["first_ts"][k] else "during" if until < flows["last_ts"][k] else "no"
    return words


def session_rows(done: Sequence[SessionColumns]) -> pa.Table:
    """Return pieces of `session_columns` as one table."""
    columns: dict[str, Any] = {}
    for name, first in done[0].items():
        parts = [piece[name] for piece in done]
        columns[name] = np.concatenate(parts) if isinstance(first, np.ndarray) else [*chain.from_iterable(parts)]
        if name in _WORDS:
            columns[name] = Coded(columns[name], _WORDS[name])
    return to_arrow("tls_sessions", columns)


# ------------------------------------------------------------------------------------------------ for classifiers
def note_cut_messages(apps: Records, slots: I64, columns: SessionColumns, own: Mask, closed: Mask) -> None:
    """A response of HTTP/1 that TCP ended without a close_notify is truncated, too (RFC 9112 section 9.8)."""
    app = apps[slots]
    said = np.where(app["requester"] == 0, columns["close_notify_s"], columns["close_notify_c"])
    inside = own & closed & (app["reader"] == HTTP1) & (app["outstanding"] > 0) & (app["answering"] == 1)
    cut = inside & np.equal(said, CLOSE_WORDS.index("no"))  # unknown: it may have been lost
    apps["tls_truncated"][slots[own]] = np.select([columns["truncated"], cut], [CUT_RECORD, CUT_MESSAGE], 0)[own]
    columns["truncated"] |= cut


def tell_apps(apps: Records, slots: I64, columns: SessionColumns, of: Over, own: Mask) -> None:
    """Tell the classifiers what they ask of TLS: the APP fields whose names begin with tls_.

    own  (n,) of `slots` and sessions: those that are the connection's own TLS, not a tunnel's in it
    """
    here = slots[own]
    code_of = np.array([TLS_CLOSE.index(word) for word in CLOSE_WORDS], np.int8)
    byes = np.array([session.close_ts for session in of.sessions], np.int64).reshape(-1, 2)
    for side, letter in enumerate("cs"):
        said = columns[f"close_notify_{letter}"]
        apps[f"tls_close_{letter}"][here] = code_of[said[own]]
        apps[f"tls_last_{letter}"][here] = of.sides[side]["last_length"][own] + HEADER_BYTES
        guessed = np.where(said == CLOSE_WORDS.index("inferred"), of.sides[side]["last_ts"], 0)
        apps[f"tls_bye_{letter}"][here] = np.where(byes[:, side] != 0, byes[:, side], guessed)[own]
    fatal = np.array([session.fatal_ts if session.fatal else -1 for session in of.sessions], np.int64)
    before = (fatal >= 0) & ((of.flows["close_ts"] == 0) | (fatal <= of.flows["close_ts"]))
    apps["tls_alert"][here], apps["tls_late_alert"][here] = before[own], ((fatal >= 0) & ~before)[own]
    apps["tls_bled"][here] = columns["heartbleed_suspected"][own]
    apps["tls_adds"][here] = np.array([_adds(session) for session in of.sessions], np.int8)[own]


def _adds(session: Session) -> int:
    """Return how many bytes of a record are not its plaintext, 0 = not known."""
    if session.opened:
        return DECRYPTED
    return added_bytes(cipher_name(session.cipher), tls13=session.tls13) if session.version else 0
