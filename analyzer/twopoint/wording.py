"""Sentences about what did not cross between two points."""

from __future__ import annotations

from typing import NamedTuple

from analyzer.twopoint.crossing import Difference

_SIDES = ("client", "server")
SENTENCES = {
    "rst_not_sent": "A RST in the {who}'s name is in {there} ({arrived}), and {here} shows that the {who} never sent"
    " it: something in between made it",
    "rst_not_arrived": "The {who}'s RST ({here} {sent}) never arrived at {there}: the {other} does not know of it",
    "fin_not_sent": "A FIN in the {who}'s name is in {there} ({arrived}), and {here} shows that the {who} never sent"
    " it: something in between closed the connection",
    "fin_not_arrived": "The {who}'s FIN ({here} {sent}) never arrived at {there}: the {other} does not know that it"
    " closed",
    "path_dead": "Nothing that the {who} sent from {here} {first} on arrived at {there}: {count} segments with {bytes}"
    " payload bytes{silence}",
    "probe_answered_between": "{count} keep-alive {probes} of the {who} ({here} {sent}) got an ACK and never arrived at"
    " {there}: something in between answers in the {other}'s name",
    "data_lost": "Of {sent_bytes} payload bytes that the {who} sent, {bytes} ({share}) were lost between {here} and"
    " {there}{missing}: {here} {sent}",
    "control_lost": "{count} of the {who}'s segments that open, close or probe were lost between {here} and {there}:"
    " {here} {sent}",
    "not_captured": "{there} lacks {missing_bytes} bytes of the {who}'s stream that the {other} acknowledged there: it"
    " was captured with losses",
    "syn_not_arrived": "The client's SYN ({here} {sent}) never arrived at {there}, though other connections to that"
    " server did",
    "options_changed": "Options of the handshake differ between {here} and {there}: {about}",
}
_NOBODY_SENT = ("rst_not_sent", "fin_not_sent")
_DOUBT = (
    ", unless {there} was no longer being captured: it has nothing later",
    ", unless {here} was not being captured then",
)
_FORGOTTEN_NS = 1_000_000_000  # a shorter silence outlives every table of connections
_FORGOTTEN = ", consistent with a NAT or firewall that had forgotten the connection"


class Names(NamedTuple):
    """What the two captures are called: the one nearer the sender, and the other."""

    here: str
    there: str

    def turned(self) -> Names:
        """Return the names for the other direction."""
        return Names(self.there, self.here)


def explain(difference: Difference, names: Names) -> str:
    """Return one sentence about a difference, and what would make it wrong."""
    sentence = SENTENCES[difference.code]
    if not difference.certain:
        sentence += _DOUBT[difference.code in _NOBODY_SENT]
    silence = f" after {difference.silence_ns / 1e9:.3f} s of silence{_FORGOTTEN}"
    if difference.silence_ns < _FORGOTTEN_NS:
        silence = ""
    missing = f"; {difference.missing} bytes of the stream never arrived" if difference.missing else ""
    return f"{sentence}.".format(
        here=names.here,
        there=names.there,
        who=_SIDES[difference.side],
        other=_SIDES[difference.side == 0],
        sent=_frames(difference.sent),
        arrived=_frames(difference.arrived),
        first=_frames(difference.sent[:1]),
        count=difference.segments,
        probes="probe" if difference.segments == 1 else "probes",
        bytes=difference.bytes,
        sent_bytes=difference.sent_bytes,
        share=f"{100 * difference.bytes / max(difference.sent_bytes, 1):.2g} %",
        missing=missing,
        missing_bytes=difference.missing,
        silence=silence,
        about=difference.about,
    )


def _frames(frames: tuple[int, ...]) -> str:
    """Return frames as text: a few, or the first and the last."""
    word = "frame" if len(frames) == 1 else "frames"
    shown = " ".join(map(str, frames)) if len(frames) <= 4 else f"{frames[0]} to {frames[-1]}"
    return f"{word} {shown}"
