"""The summary as one screen of text.

With `live`, the only module that imports rich: it lays out columns and wraps lines to the terminal's width. Colour adds
nothing that the words do not say. Piped, or with NO_COLOR, the same words come without any terminal sequence. All that
may come from the wire goes through `visible`, and into `Text` objects, where rich reads no markup.
"""

from __future__ import annotations

import io
import os
from typing import TextIO

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from analyzer.anomalies import CODES
from analyzer.render.escape import visible
from analyzer.render.plain import frames
from analyzer.render.summary import Silence, Summary, Trouble

PIPED_WIDTH = 120
"""Columns where there is no terminal to ask; lines of a log or a ticket are rarely shown narrower."""

MAX_LOOKS = 8
"""Lines under "worth a look": with the rest they fit on a screen."""

FILE_LINES = 4
"""Input files listed; of more, the first ones and a count."""

FRAMES_SHOWN = 6
"""Frame numbers in a line."""

INITIATORS = ("client", "server", "both", "middlebox", "none", "unknown")

# What deserves a look, most telling first, with the words for it. {n} is a count of flows.
LOOKS: dict[str, str] = {
    "silent_death": "went silent: the last segments were never answered",
    "abort_keepalive": "given up because keep-alive probes went unanswered (dead peer)",
    "abort_retransmit": "given up after retransmissions went unanswered (dead peer)",
    "rst_injected_suspected": "reset by a RST consistent with a middlebox, not with the peer",
    "race.race": "lost a request that crossed the close (keep-alive race)",
    "race.stale_reuse": "used again after the peer had already closed (stale pool)",
    "race.silent_drop_reuse": "used again after something on the path had forgotten it",
    "race.half_race": "reset while a request was being sent",
    "abort_zero_window": "aborted while the receiver's window was closed",
    "rst_to_data_stale": "answered data with RST: the peer no longer knew the connection",
    "rst_to_keepalive": "answered a keep-alive probe with RST: state was lost on the way or at the peer",
    "rst_on_idle": "reset after silence",
    "rst_unread_data": "reset with data left unread",
    "rst_abort": "reset without visible cause",
    "stalled_zero_window": "because the receiver closed its window",
    "half_closed_open": "left half-closed: one side had not sent its FIN when the capture ended",
    "fin_unanswered": "sent a FIN that was never acknowledged",
    "icmp_abort": "ended by an ICMP error",
    "syn_timeout": "never got an answer to the SYN",
    "synack_timeout": "never finished the handshake: the SYN-ACK was repeated",
    "implicit_port_reuse": "replaced by a new connection on the same ports, without FIN or RST",
    "refused": "refused",
}


def print_summary(summary: Summary, file: TextIO, *, chosen: bool = False) -> None:
    """Write `summary` to `file` in one piece, laid out for the terminal that it is, or plainly if it is none.

    chosen: it is of some connections only
    """
    page = io.StringIO()
    console = _console(page, terminal=file.isatty())
    _print_health(console, summary)
    if summary.flows:
        _print_closes(console, summary)
        _print_silences(console, summary.silences)
        _print_probing(console, summary)
        _print_heartbeats(console, summary)
        _print_looks(console, summary)
    else:
        console.print("no connection satisfies --where" if chosen else "no TCP connections")
    file.writelines(line.rstrip() + "\n" for line in page.getvalue().splitlines())  # rich fills lines up with spaces
    file.flush()


def _console(page: io.StringIO, terminal: bool) -> Console:
    """Return a console as wide as the terminal; without one, with NO_COLOR or a dumb TERM it gives plain text."""
    plain = not terminal or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    return Console(
        file=page,
        force_terminal=terminal,
        color_system=None if plain else "auto",
        width=None if terminal else PIPED_WIDTH,
        markup=False,
        highlight=False,
        emoji=False,
    )


def _heading(console: Console, words: str) -> None:
    console.print()
    console.print(Text(words, style="bold"))


def _indented(console: Console, line: Text | str) -> None:
    console.print(Padding(line, (0, 0, 0, 2), expand=False))


# ------------------------------------------------------------------------------------------ sections


def _print_health(console: Console, summary: Summary) -> None:
    for made in summary.files[:FILE_LINES]:
        line = Text(f"{visible(str(made['file']))} ({visible(made['format'] or 'unreadable')})")
        if made["error"]:
            line.append(f": {visible(made['error'])}", style="yellow")
        console.print(line)
    if len(summary.files) > FILE_LINES:
        console.print(f"... and {_count(len(summary.files) - FILE_LINES, 'more file')}")
    span = f" in {_seconds(summary.duration_s)}, from {summary.first_ts}" if summary.duration_s is not None else ""
    packets, segments = _count(summary.packets, "packet"), _count(summary.tcp_segments, "TCP segment")
    console.print(f"{packets}, {segments}, {_count(summary.flows, 'connection')}{span}")
    health = []
    if summary.dropped_reported:
        health.append(f"{summary.dropped_reported:,} reported dropped by the capturing program")
    if summary.snaplen_clipped:
        health.append(f"{summary.snaplen_clipped:,} clipped")
    if summary.duplicates:
        health.append(f"{summary.duplicates:,} duplicates set aside")
    if health:
        console.print(Text("capture health: " + ", ".join(health), style="yellow"))
    for code, count in summary.anomalies.items():
        console.print(Text(f"{visible(code)} {count:,}: {CODES.get(code, 'no description')}", style="yellow"))


def _print_closes(console: Console, summary: Summary) -> None:
    _heading(console, "How connections ended, and by whom")
    used = [who for who in INITIATORS if any(who in row for row in summary.closes.values())]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    table.add_column("", no_wrap=True)
    for who in (*used, "all"):
        table.add_column(who, justify="right", no_wrap=True)
    ranked = sorted(summary.closes.items(), key=lambda item: (-sum(item[1].values()), item[0]))
    for kind, by in ranked:
        cells = [f"{by[who]:,}" if who in by else "." for who in used]
        table.add_row(visible(kind), *cells, f"{sum(by.values()):,}")
    _indented_table(console, table)


def _print_silences(console: Console, silences: list[Silence]) -> None:
    if not silences:
        return
    _heading(console, "Longest silences without payload")
    for silence in silences:
        line = Text()
        line.append(f"{_seconds(silence.duration_s):>9}", style="bold")
        ends = f" {visible(silence.client)} -> {visible(silence.server)}" if silence.client else ""
        line.append(
            f"  flow {silence.flow_id}{_of(silence.process)}{ends}: {silence.kind}, filled by {silence.filled_by}, "
        )
        line.append("still open at the capture's end" if silence.censored else f"ended by {silence.ended_by}")
        line.append(_frames([frame for frame in (silence.start_frame, silence.end_frame) if frame is not None]))
        _indented(console, line)


def _print_probing(console: Console, summary: Summary) -> None:
    _heading(console, "TCP keep-alive probing")
    if not summary.probes:
        _indented(console, "no connection was probed")
        return
    answered = "all answered"
    if summary.unanswered:
        answered = f"{summary.unanswered:,} unanswered in {_count(summary.unanswered_flows, 'connection')}"
    probing = f"{summary.probing_flows:,} of {_count(summary.flows, 'connection')} probed"
    _indented(console, f"{probing}: {_count(summary.probes, 'probe')}, {answered}")


def _print_heartbeats(console: Console, summary: Summary) -> None:
    if not summary.heartbeats:
        return
    _heading(console, "Heartbeats of applications")
    for protocol, made in sorted(summary.heartbeats.items()):
        name = "of an unknown protocol, by their timing" if protocol == "unknown" else protocol
        every = " to ".join(
            _seconds(s) for s in sorted({s for s in (made.shortest_s, made.longest_s) if s is not None})
        )
        missed = f"{made.missed:,} missed" if made.missed else "none missed"
        _indented(
            console,
            f"{name}: {_count(made.beats, 'beat')} in {made.series:,} series{every and f', every {every}'}, {missed}",
        )


def _print_looks(console: Console, summary: Summary) -> None:
    looks = ranked_looks(summary)
    if not looks:
        return
    _heading(console, "Worth a look")
    for trouble in looks[:MAX_LOOKS]:
        _indented(console, _look(trouble))
    if len(looks) > MAX_LOOKS:
        _indented(console, f"... and {len(looks) - MAX_LOOKS:,} more: longwire findings and longwire closes list them")


def ranked_looks(summary: Summary) -> list[Trouble]:
    """Return what deserves a look: findings first, then in the order of LOOKS.

    Connections that lost a request to a close are told once, by that race: their kind of close would say the same.
    """
    order = {kind: rank for rank, kind in enumerate(LOOKS)}
    worth = [trouble for trouble in summary.troubles if trouble.kind in order or trouble.kind.startswith("finding.")]
    raced = {_which(trouble) for trouble in worth if trouble.kind.startswith("race.")}
    told = [one for one in worth if one.kind.startswith(("race.", "finding.")) or _which(one) not in raced]
    return sorted(told, key=lambda trouble: order.get(trouble.kind, -1))


def _which(trouble: Trouble) -> tuple[object, ...]:
    return trouble.process, trouble.count, *trouble.flow_ids, trouble.text


def _look(trouble: Trouble) -> Text:
    line = Text()
    flows = ", ".join(str(flow_id) for flow_id in trouble.flow_ids) + (_of(trouble.process) if trouble.flow_ids else "")
    more = trouble.count - len(trouble.flow_ids)
    if trouble.kind == "stalled_zero_window":
        line.append(f"{_count(trouble.count, 'silence')} {LOOKS[trouble.kind]}", style="bold")
        line.append(f" (flow {flows})")
    elif trouble.kind in LOOKS:
        line.append(f"{trouble.kind.removeprefix('race.')}: ", style="bold")
        line.append(f"{_count(trouble.count, 'connection')} {LOOKS[trouble.kind]}")
        line.append(f" (flow {flows}{f' and {more:,} more' if more > 0 else ''})")
    else:
        line.append(visible(trouble.kind.removeprefix("finding.")), style="bold")
        line.append(f" (flow {flows}{f' and {more:,} more' if more > 0 else ''})" if flows else "")
    if trouble.text:
        first = f"flow {trouble.flow_ids[0]}: " if len(trouble.flow_ids) > 1 and trouble.kind in LOOKS else ""
        line.append(f". {first}{visible(trouble.text)}")
    line.append(_frames(trouble.frames))
    return line


# ------------------------------------------------------------------------------------------ words


def _indented_table(console: Console, table: Table) -> None:
    console.print(Padding(table, (0, 0, 0, 2), expand=False))


def _of(process: int | None) -> str:
    return "" if process is None else f" of process {process}"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _seconds(value: float) -> str:
    return f"{value:,.1f} s" if value >= 10 else f"{value:.3f} s"


def _frames(numbers: list[int]) -> str:
    return f" [{frames(numbers, FRAMES_SHOWN)}]" if numbers else ""
