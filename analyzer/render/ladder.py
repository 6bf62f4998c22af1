"""The sequence diagram of one connection: its real segments, client on the left and server on the right.

As in the figures of RFC 9293 section 3.5, with the silences between them and long middles folded. `ladder` makes the
steps, `ladder_lines` writes them as text; the HTML report draws the same steps.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from analyzer.render.escape import visible
from analyzer.render.flowrows import FlowRows
from analyzer.render.marks import Mark, marks_of
from analyzer.render.plain import many, size, span
from analyzer.render.tape import SILENCE_NS, Segment
from analyzer.tables.kinds import place

FIRST = 14
"""Segments shown from the start: a TCP handshake, a TLS one, the first request and its answer."""
LAST = 24
"""Segments shown before the end."""
ALIKE = 3
"""Telling segments of one kind shown first between them; of the others only the latest and how many there were."""

_FLAGS = {"S": "SYN", "F": "FIN", "R": "RST", "P": "PSH", "A": "ACK", "U": "URG", "E": "ECE", "C": "CWR", "N": "AE"}


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a ladder.

    kind  "segment", "silence" or "fold"    at_s  seconds since the connection's first segment
    text  the segment in RFC words, or what the silence or fold amounts to    note  what it carries or means
    """

    kind: str
    at_s: float
    text: str
    frame: int | None = None
    from_client: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ladder:
    """The steps of one connection, and the names of its ends."""

    client: str
    server: str
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return "\n".join(ladder_lines(self))

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


def ladder(rows: FlowRows) -> Ladder:
    """Return the ladder of a connection; without segments (a table was made without them) it has no steps."""
    segments = rows.tape.segments()
    marks: dict[int, list[Mark]] = {}
    for mark in marks_of(rows):
        marks.setdefault(mark.frame, []).append(mark)
    shown = _shown(segments, marks, rows.tape.count)
    flow = rows.flow
    start = segments[0].ts_ns if segments else 0
    steps: list[Step] = []
    for before, after in zip([None, *shown], shown, strict=False):
        if before is not None:
            steps += _between(before, after, start)
        steps.append(_step(after, marks.get(after.frame, []), start))
    return Ladder(
        place(flow["client_ip"], flow["client_port"]), place(flow["server_ip"], flow["server_port"]), tuple(steps)
    )


def _shown(segments: list[Segment], marks: dict[int, list[Mark]], count: int) -> list[Segment]:
    """Return the segments to draw: the ends of the connection, and between them the first and last of each kind."""
    if count <= FIRST + LAST + 4:
        return segments
    middle = [segment for segment in segments if FIRST <= segment.n < count - LAST]
    alike: dict[tuple[bool, str], list[int]] = {}
    for at, segment in enumerate(middle):
        kind = _kind(segment, marks)
        if not kind and _beside_silence(middle, at):
            kind = "beside a silence"
        if kind:
            alike.setdefault((segment.from_client, kind), []).append(segment.n)
    chosen = {n for places in alike.values() for n in (*places[:ALIKE], places[-1])}
    return [segment for segment in segments if segment.n < FIRST or segment.n >= count - LAST or segment.n in chosen]


def _kind(segment: Segment, marks: dict[int, list[Mark]]) -> str:
    letters = "".join(letter for letter in segment.flags if letter in "SFR")
    labels = ",".join(segment.labels) or (marks[segment.frame][0].kind if segment.frame in marks else "")
    return letters + labels


def _beside_silence(segments: list[Segment], at: int) -> bool:
    here = segments[at].ts_ns
    before = at > 0 and here - segments[at - 1].ts_ns >= SILENCE_NS
    return before or (at + 1 < len(segments) and segments[at + 1].ts_ns - here >= SILENCE_NS)


def _between(before: Segment, after: Segment, start: int) -> list[Step]:
    """Return what to say about the time between two drawn segments: nothing, a silence, or what was folded."""
    folded = after.n - before.n - 1
    quiet = after.ts_ns - before.ts_ns
    at_s = (before.ts_ns - start) / 1e9
    if folded:
        client = after.bytes_c - before.bytes_c - (before.length if before.from_client else 0)
        server = after.bytes_s - before.bytes_s - (0 if before.from_client else before.length)
        carried = [f"{size(count)} {arrow}" for count, arrow in ((client, "->"), (server, "<-")) if count > 0]
        text = ", ".join([many(folded, "segment"), *carried, span(quiet / 1e9)])
        return [Step("fold", at_s, text)]
    return [Step("silence", at_s, span(quiet / 1e9))] if quiet >= SILENCE_NS else []


def _step(segment: Segment, marks: list[Mark], start: int) -> Step:
    words = [",".join(_FLAGS[letter] for letter in "SFRPAUECN" if letter in segment.flags) or "no flags"]
    words.append(f"seq {segment.seq}")
    if segment.ack is not None:
        words.append(f"ack {segment.ack}")
    if segment.length:
        words.append(f"len {segment.length}")
    probed = any(mark.kind == "probe" for mark in marks)
    labels = [label.replace("_", " ") for label in segment.labels if not (probed and label == "keepalive_probe")]
    if segment.answers is not None and "keepalive_ack" in segment.labels:
        labels = [f"keepalive ack of {segment.answers}"]
    texts = Counter(mark.text for mark in marks if mark.from_client == segment.from_client)
    notes = [text if times == 1 else f"{times} x {text}" for text, times in texts.items()]
    return Step(
        "segment", (segment.ts_ns - start) / 1e9, " ".join(words), segment.frame, segment.from_client,
        "; ".join([*notes[:3], *labels]),
    )  # fmt: skip


# ------------------------------------------------------------------------------------------ text


def ladder_lines(made: Ladder, width: int = 110) -> list[str]:
    """Return the ladder as lines of at most `width` columns (never less than 60)."""
    frame_wide = max([5, *(len(str(step.frame)) for step in made.steps if step.frame)])
    time_wide = max(12, *(len(f"{step.at_s:.6f}") for step in made.steps)) if made.steps else 12  # a clock may be set
    lead = time_wide + 2 + frame_wide + 2
    inside = max(24, max(60, width) - lead - 2)
    ends = f"{visible(made.client)} (client)", f"{visible(made.server)} (server)"
    heads = [f"{ends[0]}{ends[1].rjust(inside + 2 - len(ends[0]))}"]
    if len(ends[0]) + len(ends[1]) >= inside + 2:  # two IPv6 addresses
        heads = [ends[0][: inside + 2], ends[1][: inside + 2].rjust(inside + 2)]
    lines = [
        f"{'seconds':>{time_wide}}  {'frame':>{frame_wide}}  {heads[0]}",
        *(" " * lead + head for head in heads[1:]),
    ]
    for step in made.steps:
        if step.kind == "segment":
            text = _arrow(step, inside)
            lines.append(f"{step.at_s:{time_wide}.6f}  {step.frame or '':>{frame_wide}}  |{text}|")
        else:
            words = f"... {step.text} ..." if step.kind == "silence" else f"({step.text})"
            lines.append(f"{' ' * lead}:{words[:inside].center(inside)}:")
    if not made.steps:
        lines.append("no segments were kept")
    return lines


def _arrow(step: Step, inside: int) -> str:
    """Return `-- text ---->` or `<---- text --`, exactly `inside` wide."""
    text = visible(step.text + (f"  {step.note}" if step.note else ""))
    room = inside - 8
    if len(text) > room:
        text = text[: room - 3] + "..."
    if step.from_client:
        return f"-- {text} ".ljust(inside - 1, "-") + ">"
    return "<" + f" {text} --".rjust(inside - 1, "-")
