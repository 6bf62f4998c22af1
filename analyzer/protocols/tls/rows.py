"""Records and sessions as rows of `tls_records` and `tls_sessions`, and what of them other tables need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.kernel import Records
from analyzer.protocols.beats import CONTROL, PROTOCOLS
from analyzer.protocols.channel import TLS_CLOSE
from analyzer.protocols.tls.certificate import Certificate
from analyzer.protocols.tls.closing import UNKNOWN, Ending, Last, close_notify, is_truncated, key_updates
from analyzer.protocols.tls.names import LEVELS, alert_name, cipher_name, version_name
from analyzer.protocols.tls.session import Session
from analyzer.protocols.tls.state import HEADER_BYTES, HEARTBEAT
from analyzer.tables.build import MISSING, Coded, to_arrow
from analyzer.tables.kinds import DIRECTIONS
from analyzer.tables.protocols import CONTENT_TYPES

if TYPE_CHECKING:
    import pyarrow as pa

SessionRow = dict[str, Any]


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
def session_row(session: Session, last: Sequence[Last], connection: Records, flow: Records) -> SessionRow:
    """Return the row of a connection that is over; `last` of both directions."""
    ending = Ending(int(flow["close_ts"]), bool(flow["close_rst"]))
    said = [close_notify(session, last[d], d, ending) for d in (0, 1)]
    updates_c, updates_s, basis = key_updates(session, last, connection)
    end_ts = session.end_ts
    if not end_ts and session.tls13 and session.server_seen:
        end_ts = last[session.client_dir].data_after_peer_ts
    timed = bool(end_ts and session.start_ts)
    complete = bool(end_ts) or (not session.tls13 and any(s.data_records > 0 for s in last))
    resumed = session.resumed
    certificate = session.certificate
    return {
        "flow_id": session.flow_id,
        "version": version_name(session.version) if session.version else None,
        "cipher": cipher_name(session.cipher) if session.version else None,
        "group": session.group_text,
        "sni": session.sni,
        "alpn": session.alpn_text,
        "resumption": resumed,
        "resumption_offered": session.offered,
        "resumed_from_flow": session.resumed_from,
        "resumption_basis": None
        if session.resumed_from is None
        else "observed"
        if session.resumed_sure
        else "inferred",
        "early_data": session.early_data,
        "hello_retry": session.retry,
        "handshake_complete": complete,
        "handshake_s": (end_ts - session.start_ts) / 1e9 if timed else None,
        "handshake_rtts": max(session.flights, 1) if timed else None,
        "cert_subject": certificate.subject if certificate else None,
        "cert_issuer": certificate.issuer if certificate else None,
        "cert_not_before": certificate.not_before if certificate else None,
        "cert_not_after": certificate.not_after if certificate else None,
        "cert_expired": _expired(certificate, int(flow["first_ts"]), int(flow["last_ts"])),
        "client_auth": True if session.client_auth else None if session.tls13 and not session.opened else False,
        "renegotiations": session.renegotiations,
        "secure_renegotiation": session.secure_client and session.secure_server
        if session.server_seen and not session.tls13
        else None,
        "key_updates_c": updates_c,
        "key_updates_s": updates_s,
        "key_update_basis": basis,
        "heartbeat_negotiated": all(session.heartbeat),
        "heartbeats_c": last[0].heartbeats,
        "heartbeats_s": last[1].heartbeats,
        "heartbleed_suspected": bool(connection["bled"] == 2),
        "close_notify_c": said[0],
        "close_notify_s": said[1],
        "truncated": any(is_truncated(last[d], said[d], ending) for d in (0, 1)),
        "alert": session.alert,
        "ja3": session.ja3,
        "ja3s": session.ja3s,
        "ja4": session.ja4,
        "ja4s": session.ja4s,
        "decrypted": session.opened,
    }


def _expired(certificate: Certificate | None, first_ns: int, last_ns: int) -> str:
    """Compare the end of validity with every packet's time, not only the handshake's."""
    if certificate is None:
        return UNKNOWN
    if certificate.not_after < first_ns:
        return "before"
    return "during" if certificate.not_after < last_ns else "no"


def session_rows(done: Sequence[SessionRow]) -> pa.Table:
    """Return session rows as a table."""
    return to_arrow("tls_sessions", {name: [row[name] for row in done] for name in done[0]})


# ------------------------------------------------------------------------------------------------ for classifiers
def app_close(app: Records, row: SessionRow, session: Session) -> None:
    """Tell the classifiers how TLS ended: APP fields tls_close_c, tls_close_s, tls_truncated, tls_alert, tls_bled."""
    app["tls_close_c"] = TLS_CLOSE.index(row["close_notify_c"])
    app["tls_close_s"] = TLS_CLOSE.index(row["close_notify_s"])
    app["tls_truncated"] = row["truncated"]
    app["tls_alert"] = session.fatal
    app["tls_bled"] = row["heartbleed_suspected"]
