"""What to change so that it does not happen again, with the numbers of this connection, and what would settle doubts.

Findings say it best and come first. Without one, the kind of close decides (rules: RFC 9293 section 3.8.4, RFC 1122
section 4.2.3.6, and half of a timeout as the longest safe heartbeat period).
"""

from __future__ import annotations

from analyzer.classify.glossary import CLUES
from analyzer.classify.verdict import LEAK_SURE
from analyzer.render.flowrows import FlowRows
from analyzer.render.plain import span

ORDINARY_S = 1.0
"""An orderly close after less silence than this needs no advice."""


def advice(rows: FlowRows) -> list[str]:
    """Return what to change, most certain first; empty if nothing is wrong."""
    found = [row["recommendation"] for row in rows.rows["findings"] if row["recommendation"]]
    return list(dict.fromkeys(found)) if found else _by_kind(rows)


def _by_kind(rows: FlowRows) -> list[str]:
    close = rows.close
    kind, who = close.get("close_kind") or "", close.get("initiator") or "unknown"
    idle = max((s for s in map(close.get, ("idle_payload_s", "idle_app_s")) if s is not None), default=None)
    side = who if who in ("client", "server") else "closing side"
    timed_out = kind == "rst_on_idle" or close.get("trigger") == "idle_timeout"
    if timed_out and idle is not None and idle >= ORDINARY_S:
        return [
            f"If the silence of {span(idle)} is normal for the application, send a heartbeat at least every "
            f"{span(idle / 2)}, or raise the idle timeout of the {side} above it.",
            "TCP keep-alive probes do not help against a timeout that counts payload, as most HTTP proxies do.",
        ]
    if kind == "rst_to_data_stale":
        return [
            "Let the side that reuses connections drop them earlier than the other side closes them: its pool's idle "
            "limit at least 1 s below the other side's timeout."
        ]
    if kind == "rst_to_keepalive":
        return ["Probe more often than state on the path expires: lower TCP_KEEPIDLE below the silence seen here."]
    if kind == "abort_keepalive":
        flow = rows.flow
        idle_s, every_s, count = flow["keepidle_s"], flow["keepintvl_s"], flow["keepcnt"]
        if idle_s is not None and every_s is not None and count:
            found = idle_s + every_s * count
            return [
                f"A dead peer was noticed after {span(found)} (idle {span(idle_s)} + {count} x {span(every_s)}): lower "
                "TCP_KEEPIDLE, TCP_KEEPINTVL or TCP_KEEPCNT if that is too late."
            ]
    if kind in ("silent_death", "abort_retransmit"):
        return ["Set TCP_USER_TIMEOUT (RFC 5482), or a deadline in the application, to notice a dead path sooner."]
    if kind == "half_closed_open" and (close["confidence"] or 0) >= LEAK_SURE:
        return ["Close the socket once a read returns end of file: the side that received the FIN never sent its own."]
    if kind == "abort_zero_window":
        return ["Find out why the receiver stopped reading; a deadline for writes makes the sender notice."]
    return []


def unknowns(rows: FlowRows) -> list[str]:
    """Return what the capture could not tell, and what would settle it."""
    flow, close = rows.flow, rows.close
    out = []
    if not flow["start_seen"]:
        out.append("The capture joined midstream: age and options are not known. Capture from the start.")
    sessions = rows.rows["tls_sessions"]
    if any(row["handshake_complete"] is not False for row in sessions) and not any(
        row["decrypted"] for row in sessions
    ):
        out.append("The payload is encrypted: a key log would show requests, heartbeats and the TLS close.")
    clues = [CLUES[clue] for clue in (close.get("middlebox_clues") or "").split(",") if clue in CLUES]
    if clues or close.get("close_kind") in ("rst_on_idle", "rst_abort", "rst_injected_suspected"):
        doubt = "Whether the named side sent the RST itself: a second capture at that side would prove it."
        out.append(f"{doubt} Clues: {' '.join(clues)}" if clues else doubt)
    if close.get("close_kind") in ("open_idle", "open_active"):
        out.append("How it ends: the capture stopped before.")
    missing = (flow["missing_bytes_c"] or 0) + (flow["missing_bytes_s"] or 0)
    if missing:
        out.append(f"{missing:,} stream bytes are not in the capture.")
    return out
