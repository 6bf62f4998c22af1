"""The card of one connection: verdict, lifeline, silences and heartbeats, layers, why not other causes, advice.

`make_card` turns rows into words and numbers once; text, HTML and notebooks show the same `Card`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from analyzer.protocols.websocket.codes import named
from analyzer.render.advice import advice, unknowns
from analyzer.render.causes import Rejected, rejected
from analyzer.render.flowrows import FlowRows
from analyzer.render.lifeline import Lifeline, lifeline
from analyzer.render.plain import Row, clock, many, size, span
from analyzer.tables.kinds import place

SHORT_PATH_S = 0.001
"""Below a millisecond the ends' own delays decide the halves of a round trip, not where it was captured."""

NEAR_SHARE = 0.25
"""A side whose part of the handshake's round trip is below this has the capture point beside it."""


@dataclass(frozen=True, slots=True)
class Card:
    """What a person wants to know of one connection.

    facts, silence, layers  (name, words) pairs    frames  evidence of the verdict
    """

    flow_id: int
    client: str
    server: str
    verdict: str
    frames: tuple[int, ...]
    facts: tuple[tuple[str, str], ...]
    life: Lifeline
    silence: tuple[tuple[str, str], ...]
    layers: tuple[tuple[str, str], ...]
    rejected: tuple[Rejected, ...]
    advice: tuple[str, ...]
    unknowns: tuple[str, ...]
    findings: tuple[tuple[str, str], ...] = field(default=())

    def __str__(self) -> str:
        from analyzer.render.cardtext import card_text

        return card_text(self)

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


def make_card(rows: FlowRows) -> Card:
    """Return the card of a connection that was found."""
    flow, close = rows.flow, rows.close
    return Card(
        rows.flow_id,
        place(flow["client_ip"], flow["client_port"]),
        place(flow["server_ip"], flow["server_port"]),
        verdict(rows),
        tuple(close.get("evidence_frames") or ()),
        tuple(_facts(rows)),
        lifeline(rows),
        tuple(_silence(rows)),
        tuple(_layers(rows)),
        tuple(rejected(rows)),
        tuple(advice(rows)),
        tuple(unknowns(rows)),
        tuple((row["severity"] or "info", row["title"] or row["code"] or "") for row in rows.rows["findings"]),
    )


def verdict(rows: FlowRows) -> str:
    """Return the verdict in one line: what happened, by whom, how sure."""
    close = rows.close
    if not close:
        return "No verdict."
    words = [f"{close['close_kind']}: {close['explanation'] or ''}".rstrip()]
    for timeout in rows.rows["timeouts"][:1]:
        words.append(_timeout(timeout))
    grace = {"TCP": "graceful_tcp", "TLS": "graceful_tls", "application": "graceful_app"}
    said = [f"{layer} {close[name]}" for layer, name in grace.items() if close[name] not in (None, "n/a")]
    words.append(f"Graceful: {', '.join(said)}." if said else "")
    if close["trigger"] not in (None, "unknown"):
        words.append(f"Trigger {close['trigger']}.")
    if close["race"] not in (None, "none"):
        words.append(f"Request lost: {close['race']}.")
    sure = "" if close["confidence"] is None else f" {close['confidence']:.2f}"
    words.append(f"Confidence{sure}, {close['basis'] or 'unknown'}.")
    return " ".join(filter(None, words))


def _timeout(row: Row) -> str:
    value = row["value_s"]
    if value is None:
        low, high = row["lower_bound_s"], row["upper_bound_s"]
        bounds = f"of at most {span(high)}" if low is None else f"between {span(low)} and {span(high)}"
        return f"Idle timeout of the {row['side']} {bounds}."
    known = f"; consistent with {row['known_as']}" if row["known_as"] else ""
    spread = f", spread {span(row['spread_s'])}" if row["spread_s"] is not None else ""
    return f"Idle timeout {span(value)} ({many(row['closes'] or 0, 'close')}{spread}, clock {row['clock']}{known})."


def _facts(rows: FlowRows) -> list[tuple[str, str]]:
    flow = rows.flow
    seen = {True: "yes", False: "no", None: "unknown"}
    out = [
        ("opened", f"{clock(flow['first_ts'])}, {span(flow['duration_s'])}"),
        ("observed", f"start {seen[flow['start_seen']]}, end {seen[flow['end_seen']]}"),
    ]
    where = _capture_point(rows)
    if where:
        out.append(("captured", where))
    for side, name in (("c", "client"), ("s", "server")):
        resent = flow[f"retransmits_{side}"] or 0
        out.append((
            f"{name} sent",
            f"{many(flow[f'frames_{side}'] or 0, 'frame')}, {size(flow[f'payload_bytes_{side}'] or 0)} of payload"
            + (f", {resent:,} sent again" if resent else ""),
        ))  # fmt: skip
    if flow["rtt_p50_s"] is not None:
        out.append(("round trip", f"p50 {span(flow['rtt_p50_s'])}, p95 {span(flow['rtt_p95_s'])}"))
    return out


def _capture_point(rows: FlowRows) -> str | None:
    """Return where the capture was taken, from the two halves of the handshake's round trip."""
    opening = rows.tape.segments()[:3]
    if [segment.flags for segment in opening] != ["S", "SA", "A"]:
        return None
    syn, syn_ack, ack = (segment.ts_ns for segment in opening)
    to_server, to_client = (syn_ack - syn) / 1e9, (ack - syn_ack) / 1e9
    whole = max(to_server + to_client, 1e-9)
    if whole < SHORT_PATH_S:
        return f"on a short path: the whole handshake took {span(whole)}"
    halves = f"SYN answered after {span(to_server)}, SYN-ACK after {span(to_client)}"
    if to_client < NEAR_SHARE * whole:
        return f"near the client ({halves})"
    return f"near the server ({halves})" if to_server < NEAR_SHARE * whole else f"between both ({halves})"


def _silence(rows: FlowRows) -> list[tuple[str, str]]:
    flow = rows.flow
    longest = [(name, flow[f"max_{name}_gap_s"]) for name in ("wire", "payload", "app")]
    out = [("longest silence", ", ".join(f"{name} {span(value)}" for name, value in longest if value is not None))]
    gaps = rows.rows["idle_gaps"]
    if gaps:
        worst = max(gaps, key=lambda row: row["duration_s"] or 0.0)
        frames = " ".join(str(frame) for frame in (worst["start_frame"], worst["end_frame"]) if frame is not None)
        filled = worst["filled_by"] if not worst["fill_count"] else f"{worst['fill_count']} {worst['filled_by']}"
        out.append((
            "what it was",
            f"{worst['class']}, filled by {filled}, ended by {worst['ended_by']}"
            f"{', survived' if worst['survived'] else ''} [frames {frames}]",
        ))  # fmt: skip
        survived = rows.tallies["idle_gaps"]["survived"]
        out.append(("silences", f"{rows.counts['idle_gaps']:,} in all, {survived:,} survived"))
    out += _probing(flow)
    for series in rows.rows["heartbeat_series"][:4]:
        out.append(_series(series))
    beats = rows.rows["heartbeats"]
    rtts = sorted(row["rtt_s"] for row in beats if row["rtt_s"] is not None)
    if rtts:
        p95 = rtts[min(len(rtts) - 1, int(len(rtts) * 0.95))]
        some = f", of the first and last {len(beats) // 2:,} beats" if rows.counts["heartbeats"] > len(beats) else ""
        out.append(("beats answered", f"p50 {span(rtts[len(rtts) // 2])}, p95 {span(p95)}{some}"))
    return [pair for pair in out if pair[1]]


def _probing(flow: Row) -> list[tuple[str, str]]:
    out = []
    for side, name in (("c", "client"), ("s", "server")):
        probes, lost = flow[f"keepalive_probes_{side}"] or 0, flow[f"keepalive_unanswered_{side}"] or 0
        if probes:
            out.append((f"{name} probes", f"{many(probes, 'keep-alive probe')}, {lost:,} unanswered"))
    if flow["keepidle_s"] is not None:
        every = f", every {span(flow['keepintvl_s'])} if unanswered" if flow["keepintvl_s"] is not None else ""
        known = f" (as {flow['keepalive_profile']})" if flow["keepalive_profile"] else ""
        out.append(("probe timer", f"after {span(flow['keepidle_s'])} of silence{every}{known}"))
    return out


def _series(row: Row) -> tuple[str, str]:
    words = [f"{many(row['beats'] or 0, 'beat')} by the {_sender(row)}"]
    if row["period_s"] is not None:
        words.append(f"every {span(row['period_s'])}")
    if row["answered_share"] is not None:
        words.append(f"{row['answered_share']:.0%} answered")
    if row["method"] == "inferred":
        words.append("inferred from timing and size")
    if row["known_as"]:
        words.append(f"consistent with {row['known_as']}")
    return f"{row['protocol']} beats", ", ".join(words)


def _layers(rows: FlowRows) -> list[tuple[str, str]]:
    out = [*_tls(rows), *_http(rows), *_http2(rows), *_websocket(rows)]
    if out:
        return out
    spoken = rows.flow["app_protocol"] or "unknown"
    read = "nothing above TCP was read" if spoken == "unknown" else "read as far as its heartbeats"
    return [("application", f"{spoken} ({read})")]


def _tls(rows: FlowRows) -> list[tuple[str, str]]:
    for session in rows.rows["tls_sessions"][:1]:
        words = [session["version"] or "TLS", session["cipher"], session["sni"] and f"SNI {session['sni']}",
                 session["alpn"] and f"ALPN {session['alpn']}", f"resumption {session['resumption'] or 'unknown'}",
                 session["alert"] and f"alert {session['alert']}",
                 f"close_notify client {session['close_notify_c']}, server {session['close_notify_s']}"]  # fmt: skip
        return [("TLS", ", ".join(word for word in words if word))]
    return [("TLS", f"SNI {rows.flow['sni']}")] if rows.flow["sni"] else []


def _http(rows: FlowRows) -> list[tuple[str, str]]:
    requests = rows.rows["http_requests"]
    if not requests:
        return []
    words = [many(rows.counts["http_requests"], "request")]
    if rows.counts["http_requests"] > 1:
        words.append(f"longest pause between them {span(rows.longest_pause_s)}")
    said = next((row["keepalive_timeout_s"] for row in requests if row["keepalive_timeout_s"] is not None), None)
    if said is not None:
        words.append(f"Keep-Alive timeout={said:g} s advertised")
    if open_ones := rows.tallies["http_requests"]["not complete"]:
        words.append(f"{open_ones:,} not complete")
    return [("HTTP", ", ".join(words))]


def _http2(rows: FlowRows) -> list[tuple[str, str]]:
    frames = rows.rows["http2_frames"]
    if not frames:
        return []
    words = [many(rows.counts["http2_frames"], "frame"), many(rows.tallies["http2_frames"]["PING"], "ping")]
    for row in frames:
        if row["type"] == "GOAWAY":
            reason = f' "{row["debug"]}"' if row["debug"] else ""
            words.append(f"GOAWAY {row['error_code']}{reason} by the {_sender(row)}")
    return [("HTTP/2", ", ".join(words))]


def _websocket(rows: FlowRows) -> list[tuple[str, str]]:
    frames = rows.rows["websocket_frames"]
    if not frames:
        return []
    seen = rows.tallies["websocket_frames"]
    words = [
        many(rows.flow["websocket_messages"] or 0, "message"),
        many(seen["ping"], "ping"),
        many(seen["pong"], "pong"),
    ]
    for row in frames:
        if row["opcode"] == "close":
            reason = f' "{row["close_reason"]}"' if row["close_reason"] else ""
            code = "without code" if row["close_code"] is None else named(row["close_code"])
            words.append(f"close {code}{reason} by the {_sender(row)}")
    return [("WebSocket", ", ".join(words))]


def _sender(row: Row) -> str:
    return "client" if row["dir"] == "c2s" else "server"
