"""The commands that list, show and report: how their arguments are parsed. Imports nothing that takes time."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from analyzer.cli.compare import CompareRequest
from analyzer.cli.listing import COMMANDS, ListRequest
from analyzer.cli.plot import PlotRequest
from analyzer.cli.report import ReportRequest
from analyzer.cli.request import Reading
from analyzer.cli.show import ShowRequest
from analyzer.cli.sql import SqlRequest
from analyzer.tables.schema import TABLES

Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE", help="pcap or pcapng, also compressed; several are read as one capture."),
]
Knowledge = Annotated[
    Path | None,
    typer.Option("--knowledge", metavar="FILE", help="TOML file of your own known timeouts, beside the shipped."),
]
Keys = Annotated[
    list[Path] | None,
    typer.Option(
        "--keys", metavar="FILE", help="TLS key log that opens TLS; may be repeated.  [default: $SSLKEYLOGFILE]"
    ),
]
IdleMin = Annotated[
    float | None, typer.Option("--idle-min", metavar="SECONDS", help="Shortest silence to report.  [default: 1.0]")
]


def _reading(idle_min: float | None, knowledge: Path | None, keys: list[Path] | None) -> Reading:
    return Reading(idle_min, knowledge, tuple(keys or ()))


class ListFormat(StrEnum):
    """How a list is written to stdout."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


class ShowFormat(StrEnum):
    """How a card or ladder is written."""

    text = "text"
    json = "json"


_EXAMPLES = {
    "flows": ["night.pcap --sort -duration_s --limit 20", 'night.pcap --where "server_port == 443" --format csv'],
    "closes": [
        "night.pcap --where \"initiator == 'middlebox'\"",
        "night.pcap --columns flow_id,close_kind,explanation",
    ],
    "idle": ["night.pcap --sort -duration_s --limit 20", 'night.pcap --where "not survived and not censored"'],
}


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `app`."""
    for command, table in COMMANDS.items():
        examples = _EXAMPLES.get(command, ["night.pcap", "night.pcap --format json --limit 100"])
        epilog = "\b\nExamples:\n" + "\n".join(f"  longwire {command} {words}" for words in examples) + "\n"
        app.command(command, help=f"List {table}: a row per {TABLES[table].row.split(':')[0]}.", epilog=epilog)(
            _lister(table)
        )
    app.command("show", epilog=_SHOW_EPILOG)(_show)
    app.command("compare", epilog=_COMPARE_EPILOG)(_compare)
    app.command("report", epilog=_REPORT_EPILOG)(_report)
    app.command("plot", epilog=_PLOT_EPILOG)(_plot)
    app.command("sql", epilog=_SQL_EPILOG)(_sql)


def _lister(table: str) -> Callable[..., ListRequest]:
    def lists(
        files: Files,
        where: Annotated[
            str | None,
            typer.Option(
                "--where", metavar="EXPR", help="Keep rows by their columns, or by those that flows has of them."
            ),
        ] = None,
        columns: Annotated[
            str | None, typer.Option("--columns", metavar="NAMES", help="Columns to list, comma-separated.")
        ] = None,
        sort: Annotated[
            str | None,
            typer.Option("--sort", metavar="NAMES", help="Columns to sort by, comma-separated; -NAME sorts downwards."),
        ] = None,
        limit: Annotated[int | None, typer.Option("--limit", metavar="N", help="Most rows to list.")] = None,
        format: Annotated[ListFormat, typer.Option("--format", help="Format on stdout.")] = ListFormat.table,
        idle_min: IdleMin = None,
        knowledge: Knowledge = None,
        keys: Keys = None,
    ) -> ListRequest:
        reading = _reading(idle_min, knowledge, keys)
        return ListRequest(table, tuple(files), reading, where, columns, sort, limit, format.value)

    return lists


_SHOW_EPILOG = """\b
Examples:
  longwire show night.pcap --flow 7
  longwire show night.pcap --flow 7 --ladder
  longwire show night.pcap --flow 7 --format json
"""


def _show(
    files: Files,
    flow: Annotated[
        int | None, typer.Option("--flow", metavar="N", help="Which connection: its flow_id. Needless if there is one.")
    ] = None,
    ladder: Annotated[
        bool, typer.Option("--ladder", help="The sequence diagram of its packets instead of the card.")
    ] = False,
    format: Annotated[
        ShowFormat, typer.Option("--format", help="Text for people, JSON for programs.")
    ] = ShowFormat.text,
    idle_min: IdleMin = None,
    knowledge: Knowledge = None,
    keys: Keys = None,
) -> ShowRequest:
    """Show one connection: verdict, lifeline, silences, layers, why not other causes, advice."""
    return ShowRequest(tuple(files), _reading(idle_min, knowledge, keys), flow, ladder, format.value)


_COMPARE_EPILOG = """\b
Examples:
  longwire compare client.pcap server.pcap
  longwire compare before-nat.pcapng behind-nat.pcapng --format json
"""


def _compare(
    first: Annotated[Path, typer.Argument(metavar="FIRST", help="Capture of one point of the path.")],
    second: Annotated[Path, typer.Argument(metavar="SECOND", help="Capture of another, of the same time.")],
    format: Annotated[
        ShowFormat, typer.Option("--format", help="Text for people, JSON for programs.")
    ] = ShowFormat.text,
) -> CompareRequest:
    """Compare captures of two points: what never arrived, and what nobody sent. Clocks and NAT do not matter."""
    return CompareRequest(first, second, format.value)


_REPORT_EPILOG = """\b
Examples:
  longwire report night.pcap
  longwire report a.pcapng.gz b.pcapng.gz -o incident.html --title "Incident of 12 May"
"""


def _report(
    files: Files,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The page to write.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option("--title", help="Heading of the page.")] = None,
    cards: Annotated[
        int | None,
        typer.Option("--cards", metavar="N", help="Connections with a full card and ladder; 0 = none.  [default: 200]"),
    ] = None,
    idle_min: IdleMin = None,
    knowledge: Knowledge = None,
    keys: Keys = None,
) -> ReportRequest:
    """Write one self-contained HTML page: findings, closes, timeouts, endpoints, heartbeats, timeline, connections."""
    return ReportRequest(tuple(files), _reading(idle_min, knowledge, keys), out, title, cards)


_PLOT_EPILOG = """\b
Examples:
  longwire plot night.pcap --flow 7 -o flow7.png
  longwire plot night.pcap --timeline -o timeline.svg
  longwire plot night.pcap --timeouts -o timeouts.svg
"""


def _plot(
    files: Files,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The picture to write: .png or .svg.")],
    flow: Annotated[int | None, typer.Option("--flow", metavar="N", help="Draw one connection: its flow_id.")] = None,
    timeline: Annotated[bool, typer.Option("--timeline", help="Draw a lane for each connection that matters.")] = False,
    timeouts: Annotated[bool, typer.Option("--timeouts", help="Draw how long silences are survived.")] = False,
    idle_min: IdleMin = None,
    knowledge: Knowledge = None,
    keys: Keys = None,
) -> PlotRequest:
    """Draw one picture, without a browser (needs the extra longwire[plot])."""
    return PlotRequest(tuple(files), _reading(idle_min, knowledge, keys), out, flow, timeline, timeouts)


_SQL_EPILOG = """\b
Examples:
  longwire analyze night.pcap --out tables
  longwire sql tables "select close_kind, count(*) n from closes group by all order by n desc"
  longwire sql tables "select * from flows join closes using (flow_id)" --format csv
"""


def _sql(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `longwire analyze --out` wrote.")],
    query: Annotated[str, typer.Argument(metavar="QUERY", help="SQL in DuckDB's dialect; each table is a view.")],
    format: Annotated[ListFormat, typer.Option("--format", help="Format on stdout.")] = ListFormat.table,
) -> SqlRequest:
    """Ask a folder of tables in SQL (needs the extra longwire[sql])."""
    return SqlRequest(folder, query, format.value)
