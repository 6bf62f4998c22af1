"""Why not another cause: hypotheses about a close that its packets speak against, with the fact that does.

Each hypothesis is one function: it returns the fact that rejects it, or None if nothing does. Which hypotheses are
near a verdict, and so worth rejecting, is the table `RIVALS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from analyzer.render.flowrows import FlowRows
from analyzer.render.plain import many, span

SHORT_SILENCE_S = 1.0
"""Below this nobody times out: it is the smallest timer in use."""

ALIVE_NS = 500_000_000
"""Who answered this shortly before the last segment was alive at the end."""

REJECTED = 2
"""Hypotheses named on a card."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A cause that it was not, and the fact that says so."""

    cause: str
    fact: str


def rejected(rows: FlowRows) -> list[Rejected]:
    """Return up to `REJECTED` causes near the verdict that the packets speak against, the nearest first."""
    kind = rows.close.get("close_kind") or "capture_gap"
    near = next((names for prefix, names in RIVALS.items() if kind.startswith(prefix)), ())
    order = [*near, *(name for name in CAUSES if name not in near)]
    out = []
    for name in order:
        words, reject = CAUSES[name]
        fact = reject(rows)
        if fact is not None and name not in OWN.get(kind, ()):
            out.append(Rejected(words, fact))
        if len(out) == REJECTED:
            break
    return out


# ------------------------------------------------------------------------------------------ hypotheses


def _idle_timeout(rows: FlowRows) -> str | None:
    idle = rows.close.get("idle_payload_s")
    if idle is None or max(idle, rows.close.get("idle_app_s") or 0.0) >= SHORT_SILENCE_S:
        return None
    return f"the last payload came only {span(idle)} before the close"


def _middlebox(rows: FlowRows) -> str | None:
    close = rows.close
    resets = (close.get("rst_c") or 0) + (close.get("rst_s") or 0)
    if not resets:
        return "there is no RST in either direction"
    if close.get("middlebox_score"):
        return None  # something speaks for it, if not enough
    segments = rows.tape.segments()
    sent = [segment for segment in segments if "R" in segment.flags]
    if not sent:
        return None
    reset = sent[-1]
    others = Counter(s.ttl for s in segments if s.from_client == reset.from_client and "R" not in s.flags)
    if len(others) == 1 and reset.ttl in others:
        who = "client" if reset.from_client else "server"
        return f"the RST came with TTL {reset.ttl}, as all other segments of the {who} [frame {reset.frame}]"
    return None


def _dead_peer(rows: FlowRows) -> str | None:
    """Return which side was alive just before the end: a RST does not count, anybody may have sent it."""
    segments = rows.tape.segments()
    if not segments:
        return None
    end_ns = segments[-1].ts_ns
    alive = [segment for segment in segments if "R" not in segment.flags and end_ns - segment.ts_ns <= ALIVE_NS]
    answers = [later for before, later in pairwise(alive) if later.from_client != before.from_client]
    if not answers:
        return None
    who = "client" if answers[-1].from_client else "server"
    before = span((end_ns - answers[-1].ts_ns) / 1e9)
    return f"the {who} still answered {before} before the end [frame {answers[-1].frame}]"


def _zero_window(rows: FlowRows) -> str | None:
    flow = rows.flow
    if (flow["zero_windows_c"] or 0) + (flow["zero_windows_s"] or 0):
        return None
    return "no receive window was ever closed"


def _loss(rows: FlowRows) -> str | None:
    flow = rows.flow
    resent = (flow["retransmits_c"] or 0) + (flow["retransmits_s"] or 0)
    frames = (flow["frames_c"] or 0) + (flow["frames_s"] or 0)
    return f"none of {many(frames, 'segment')} was sent again" if not resent and frames > 3 else None


def _probe_miss(rows: FlowRows) -> str | None:
    flow = rows.flow
    probes = (flow["keepalive_probes_c"] or 0) + (flow["keepalive_probes_s"] or 0)
    lost = (flow["keepalive_unanswered_c"] or 0) + (flow["keepalive_unanswered_s"] or 0)
    if not probes:
        return "nobody sent a keep-alive probe"
    return f"{many(probes, 'probe')}, and none stayed unanswered" if not lost else None


def _orderly(rows: FlowRows) -> str | None:
    close = rows.close
    fins = (close.get("fin_c") or 0) + (close.get("fin_s") or 0)
    return "neither side sent a FIN" if not fins and close else None


def _client_closed(rows: FlowRows) -> str | None:
    return _closer(rows, "client")


def _server_closed(rows: FlowRows) -> str | None:
    return _closer(rows, "server")


def _closer(rows: FlowRows, side: str) -> str | None:
    """Return what says that `side` did not end it: it sent no FIN and no RST, or only after the other side."""
    close = rows.close
    if not close or close.get("initiator") not in ("client", "server") or close["initiator"] == side:
        return None
    letter = side[0]
    if not (close.get(f"fin_{letter}") or 0) + (close.get(f"rst_{letter}") or 0):
        return f"the {side} sent neither FIN nor RST"
    closing = [s for s in rows.tape.segments() if "F" in s.flags or "R" in s.flags]
    mine = [s for s in closing if s.from_client == (side == "client")]
    theirs = [s for s in closing if s.from_client != (side == "client")]
    if mine and theirs and theirs[0].frame < mine[0].frame:
        later = (mine[0].ts_ns - theirs[0].ts_ns) / 1e9
        return f"its own came {span(later)} after the other side's [frames {theirs[0].frame} {mine[0].frame}]"
    return None


def _refused(rows: FlowRows) -> str | None:
    return "the handshake was completed" if (rows.flow["completeness"] or 0) & 7 == 7 else None


CAUSES: dict[str, tuple[str, Callable[[FlowRows], str | None]]] = {
    "idle_timeout": ("an idle timeout", _idle_timeout),
    "middlebox": ("a RST made by a middlebox", _middlebox),
    "dead_peer": ("a dead peer or path", _dead_peer),
    "zero_window": ("a receiver that stopped reading", _zero_window),
    "loss": ("packet loss", _loss),
    "probe_miss": ("unanswered keep-alive probes", _probe_miss),
    "client_closed": ("the client closed first", _client_closed),
    "server_closed": ("the server closed first", _server_closed),
    "orderly": ("an orderly close", _orderly),
    "refused": ("a refusal", _refused),
}
"""Hypothesis -> its words, and the function that returns the fact against it."""

RIVALS: dict[str, tuple[str, ...]] = {
    "fin_": ("idle_timeout", "client_closed", "server_closed", "middlebox", "dead_peer"),
    "rst_to_data_stale": ("middlebox", "dead_peer", "loss", "client_closed"),
    "rst_to_keepalive": ("middlebox", "dead_peer", "client_closed", "server_closed"),
    "rst_": ("middlebox", "dead_peer", "probe_miss", "idle_timeout", "zero_window"),
    "abort_keepalive": ("middlebox", "zero_window", "server_closed", "client_closed", "orderly"),
    "abort_": ("orderly", "zero_window", "middlebox", "idle_timeout"),
    "silent_death": ("orderly", "zero_window", "idle_timeout"),
    "open_": ("loss", "zero_window", "probe_miss", "orderly"),
    "half_": ("dead_peer", "zero_window", "middlebox"),
    "refused": ("idle_timeout", "zero_window"),
}
"""Close kind, or how it begins -> the causes most easily taken for it."""

OWN: dict[str, tuple[str, ...]] = {
    "rst_on_idle": ("idle_timeout",),
    "abort_zero_window": ("zero_window",),
    "abort_keepalive": ("probe_miss", "dead_peer", "loss"),
    "abort_retransmit": ("loss", "dead_peer"),
    "silent_death": ("loss", "dead_peer", "probe_miss"),
    "refused": ("refused", "orderly", "probe_miss", "middlebox"),
    "syn_timeout": ("dead_peer", "orderly", "probe_miss", "middlebox", "zero_window"),
    "synack_timeout": ("dead_peer", "orderly", "probe_miss", "middlebox", "zero_window"),
}
"""What the verdict itself says is not among the causes it was not, nor is what nobody would think of."""
