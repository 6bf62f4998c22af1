"""Records and sessions as rows of `tls_records` and `tls_sessions`, and what of them other tables need."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, starmap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from analyzer.kernel import I64, Mask, Records
from analyzer.protocols.beats import CONTROL, PROTOCOLS
from analyzer.protocols.channel import DECRYPTED, TLS_CLOSE
from analyzer.protocols.tls.certificate import Certificate
from analyzer.protocols.tls.closing import UNKNOWN, Ending, Last, close_notify, is_truncated, key_updates
from analyzer.protocols.tls.names import LEVELS, alert_name, cipher_name, version_name
from analyzer.protocols.tls.session import Session
from analyzer.protocols.tls.state import BLED, HEADER_BYTES, HEARTBEAT
from analyzer.protocols.tls.suites import added_bytes
from analyzer.tables.build import MISSING, Coded, to_arrow
from analyzer.tables.kinds import DIRECTIONS
from analyzer.tables.protocols import CONTENT_TYPES

if TYPE_CHECKING:
    import pyarrow as pa

SessionColumns = dict[str, list[Any]]


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
class Over(NamedTuple):
    """A connection that is over: last of both directions, and what its CONNECTION and FLOW say."""

    session: Session
    last: Sequence[Last]
    ending: Ending
    first_ts: int
    last_ts: int
    updates_14: int
    updates_22: int
    bled: int


def over(sessions: Sequence[Session], last: Sequence[Last], connections: Records, flows: Records) -> list[Over]:
    """Join n sessions with last (2n,), and connections and flows (n,), column by column."""
    endings = starmap(Ending, zip(flows["close_ts"].tolist(), (flows["close_rst"] != 0).tolist(), strict=True))
    pairs = zip(last[::2], last[1::2], strict=True)
    times = (flows[name].tolist() for name in ("first_ts", "last_ts"))
    counts = (connections[name].tolist() for name in ("updates_14", "updates_22", "bled"))
    return list(starmap(Over, zip(sessions, pairs, endings, *times, *counts, strict=True)))


def session_columns(rows: Sequence[Over]) -> SessionColumns:
    """Return the columns of `tls_sessions` of connections that are over."""
    sessions = [o.session for o in rows]
    said = [[close_notify(o.session, o.last[d], d, o.ending) for o in rows] for d in (0, 1)]
    updates = [key_updates(o.session, o.last, o.updates_14, o.updates_22) for o in rows]
    ends = [_end_of(o) for o in rows]
    timed = [bool(end and s.start_ts) for end, s in zip(ends, sessions, strict=True)]
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
        "handshake_complete": [
            bool(end) or (not o.session.tls13 and any(s.data_records > 0 for s in o.last))
            for end, o in zip(ends, rows, strict=True)
        ],
        "handshake_s": [
            (end - s.start_ts) / 1e9 if known else None for end, s, known in zip(ends, sessions, timed, strict=True)
        ],
        "handshake_rtts": [max(s.flights, 1) if known else None for s, known in zip(sessions, timed, strict=True)],
        "cert_subject": [c.subject if c else None for c in certificates],
        "cert_issuer": [c.issuer if c else None for c in certificates],
        "cert_not_before": [c.not_before if c else None for c in certificates],
        "cert_not_after": [c.not_after if c else None for c in certificates],
        "cert_expired": [_expired(o.session.certificate, o.first_ts, o.last_ts) for o in rows],
        "client_auth": [True if s.client_auth else None if s.tls13 and not s.opened else False for s in sessions],
        "renegotiations": [s.renegotiations for s in sessions],
        "secure_renegotiation": [s.secure for s in sessions],
        "key_updates_c": [client for client, _, _ in updates],
        "key_updates_s": [server for _, server, _ in updates],
        "key_update_basis": [basis for _, _, basis in updates],
        "heartbeat_negotiated": [s.heartbeat for s in sessions],
        "heartbeats_c": [o.last[0].heartbeats for o in rows],
        "heartbeats_s": [o.last[1].heartbeats for o in rows],
        "heartbleed_suspected": [o.bled == BLED for o in rows],
        "close_notify_c": said[0],
        "close_notify_s": said[1],
        "truncated": [
            is_truncated(o.last[0], c, o.ending) or is_truncated(o.last[1], s, o.ending)
            for o, c, s in zip(rows, *said, strict=True)
        ],
        "alert": [s.alert for s in sessions],
        "ja3": [s.first.ja3 if s.first else None for s in sessions],
        "ja3s": [s.ja3s for s in sessions],
        "ja4": [s.first.ja4 if s.first else None for s in sessions],
        "ja4s": [s.ja4s for s in sessions],
        "decrypted": [s.opened for s in sessions],
    }


def _end_of(o: Over) -> int:
    """Return when the handshake was complete, 0 if that was not seen."""
    if not o.session.end_ts and o.session.tls13 and o.session.server_seen:
        return o.last[o.session.client_dir].data_after_peer_ts
    return o.session.end_ts


def _expired(certificate: Certificate | None, first_ns: int, last_ns: int) -> str:
    """Compare the end of validity with every packet's time, not only the handshake's."""
    if certificate is None:
        return UNKNOWN
    if certificate.not_after < first_ns:
        return "before"
    return "during" if certificate.not_after < last_ns else "no"


def session_rows(done: Sequence[SessionColumns]) -> pa.Table:
    """Return pieces of `session_columns` as one table."""
    return to_arrow("tls_sessions", {name: [*chain.from_iterable(piece[name] for piece in done)] for name in done[0]})


# ------------------------------------------------------------------------------------------------ for classifiers
def tell_apps(apps: Records, slots: I64, columns: SessionColumns, sessions: Sequence[Session], own: Mask) -> None:
    """Tell the classifiers what they ask of TLS: the APP fields whose names begin with tls_.

    own  (n,) of `slots` and sessions: those that are the connection's own TLS, not a tunnel's in it
    """
    here = slots[own]
    for name, word in (("tls_close_c", "close_notify_c"), ("tls_close_s", "close_notify_s")):
        apps[name][here] = np.array([TLS_CLOSE.index(said) for said in columns[word]], np.int8)[own]
    apps["tls_truncated"][here] = np.array(columns["truncated"], np.bool_)[own]
    apps["tls_alert"][here] = np.array([session.fatal for session in sessions], np.bool_)[own]
    apps["tls_bled"][here] = np.array(columns["heartbleed_suspected"], np.bool_)[own]
    apps["tls_adds"][here] = np.array([_adds(session) for session in sessions], np.int8)[own]


def _adds(session: Session) -> int:
    """Return how many bytes of a record are not its plaintext, 0 = not known."""
    if session.opened:
        return DECRYPTED
    return added_bytes(cipher_name(session.cipher), tls13=session.tls13) if session.version else 0
