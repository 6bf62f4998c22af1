"""The one door for the command line, notebooks and tests.

analyze(paths)  everything at once: tables in memory
stream(paths)   tables in pieces while flows finish: memory does not grow with the capture
watch(names)    the same from network interfaces, while it happens
compare(a, b)   two captures of the same connections, taken at two points of the path
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import index
from typing import TYPE_CHECKING, Any

from analyzer.anomalies import Ledger
from analyzer.errors import AnalyzerError
from analyzer.settings import Settings
from analyzer.tables.schema import TABLES

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from analyzer.capture.live import Share
    from analyzer.engine import Engine
    from analyzer.live import Watch as Watch  # noqa: PLC0414  # `cli` may name it, and knows only the API
    from analyzer.render.notebook import Flow

Path = str | os.PathLike[str]
Progress = Callable[[int, int], None]
Notice = Callable[[str], None]

_COMPILING = "compiling kernels (first run only, about half a minute)"


class Tables(Mapping[str, "pd.DataFrame"]):
    """Tables by name: `result.flows`, `result["flows"]`, `result.arrow("flows")`.

    Each DataFrame is made when first asked for; all tables exist and are typed, also the empty ones.
    """

    def __init__(self, tables: dict[str, pa.Table]) -> None:
        self._arrow = tables
        self._frames: dict[str, pd.DataFrame] = {}

    def arrow(self, name: str) -> pa.Table:
        """Return a table as Arrow. Raises KeyError for a name that is no table."""
        return self._arrow[name]

    def __getitem__(self, name: str) -> pd.DataFrame:
        if name not in self._frames:
            from analyzer.tables.build import to_pandas

            self._frames[name] = to_pandas(self._arrow[name])
        return self._frames[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrow)

    def __len__(self) -> int:
        return len(self._arrow)

    def __getattr__(self, name: str) -> pd.DataFrame:
        if not name.startswith("_") and name in self._arrow:
            return self[name]
        raise AttributeError(f"no table {name!r}; there are {', '.join(self.__dict__.get('_arrow', ()))}")

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *self._arrow})  # what notebooks complete

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """All tables as DataFrames, by name."""
        return {name: self[name] for name in self._arrow}

    def __repr__(self) -> str:
        rows = ", ".join(f"{name} {table.num_rows}" for name, table in self._arrow.items() if table.num_rows)
        return f"{type(self).__name__}({rows})"


class Comparison(Tables):
    """Two captures side by side: the tables `pairs` and `differences`.

    names  what the captures are called in sentences    unpaired  connections that only one of the two has
    """

    def __init__(self, tables: dict[str, pa.Table], names: tuple[str, str], unpaired: tuple[int, int]) -> None:
        super().__init__(tables)
        self.names = names
        self.unpaired = unpaired


class Analysis(Tables):
    """The tables of one analysis, those of `TABLES`."""

    def __init__(self, tables: dict[str, pa.Table], settings: Settings, paths: Sequence[Path] = ()) -> None:
        super().__init__(tables)
        self._paths = list(paths)
        self.settings = settings

    def flow(self, flow_id: int) -> Flow:
        """Return one connection, with its card, ladder and segments. Raises KeyError if there is none of that number.

        Its segments are read from the capture again if the analysis was made without them. AnalyzerError for what is
        no number.
        """
        from analyzer.render.notebook import Flow

        try:
            flow_id = index(flow_id)
        except TypeError:
            hint = 'give its flow_id, for example flow(0); ["flows"] lists them'
            raise AnalyzerError(f"{flow_id!r} is no connection's number", hint) from None
        return Flow(flow_id, self._arrow, lambda: self._segments_of(flow_id))

    def _segments_of(self, flow_id: int) -> Iterator[pa.Table]:
        import pyarrow.compute as pc

        rows = self._arrow["segments"]
        if rows.num_rows:
            yield rows.filter(pc.equal(rows["flow_id"], flow_id))
        elif not self._paths or "-" in map(str, self._paths):
            raise AnalyzerError("the capture cannot be read again", "analyze it with segments=True")
        else:
            yield from segments_of(self._paths, [flow_id], settings=self.settings)

    def _repr_html_(self) -> str:
        from analyzer.render.notebook import analysis_html

        return analysis_html(self._arrow)


def analyze(
    paths: Path | Sequence[Path],
    *,
    keys: Path | Sequence[Path] | None = None,
    segments: bool = False,
    records: bool = False,
    payload: bool = False,
    settings: Settings | None = None,
    knowledge: Path | None = None,
    progress: Progress | None = None,
    notice: Notice | None = None,
) -> Analysis:
    """Analyse one capture, or several as one (a rotated ring, or files that overlap in time).

    paths     files, or "-" for standard input
    keys      NSS key log files (SSLKEYLOGFILE) that open TLS; secrets inside pcapng files are used without asking
    segments  also fill the `segments` table (a row per TCP segment)    records  also rows of bulk TLS and HTTP/2 data
    payload   also show the first bytes of WebSocket messages (`websocket_messages.payload`), escaped
    settings  thresholds and caps    knowledge  TOML file of your own known timeouts (see knowledge/timeouts.toml)
    progress  called with (bytes done, bytes in all)    notice  called with a message

    Every table of the schema is there, sorted by its key. Raises AnalyzerError if the input cannot be read at all;
    damage inside it is reported in `captures` and `anomalies` instead.
    """
    from analyzer.tables.order import in_order

    settings = settings or Settings()
    chunks: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
    for name, rows in stream(
        paths, keys=keys, segments=segments, records=records, payload=payload, settings=settings, knowledge=knowledge,
        progress=progress, notice=notice,
    ):  # fmt: skip
        chunks[name].append(rows)
    return Analysis({name: in_order(name, parts) for name, parts in chunks.items()}, settings, _as_list(paths))


def stream(
    paths: Path | Sequence[Path],
    *,
    keys: Path | Sequence[Path] | None = None,
    segments: bool | Sequence[int] = False,
    records: bool = False,
    payload: bool = False,
    settings: Settings | None = None,
    knowledge: Path | None = None,
    progress: Progress | None = None,
    notice: Notice | None = None,
    complete: Callable[[Sequence[str]], None] | None = None,
) -> Iterator[tuple[str, pa.Table]]:
    """Yield (table name, rows) while the capture is read, for captures larger than memory; arguments as `analyze`.

    Rows of one table may come in several pieces, in the order in which flows finish. `timeouts`, `endpoints`,
    `captures` and `anomalies` come last, once.
    `segments` may also be the flow_ids whose segments are wanted. `complete` is called with the names of tables that
    get no more rows, as soon as that is known. A single file begins to be read at once, two buffers ahead of what is
    asked for. Raises AnalyzerError, also at once, if the input cannot be read at all.
    """
    from analyzer.capture.keyfile import KeyFile
    from analyzer.capture.reader import open_captures
    from analyzer.engine import Engine
    from analyzer.kernel import cache_is_cold

    known = None
    if knowledge is not None:
        from analyzer.knowledge.load import Knowledge

        known = Knowledge.with_file(knowledge)
    ledger = Ledger()
    reader = open_captures(_as_list(paths), ledger, progress=progress)
    if notice is not None and cache_is_cold():  # nobody waits for kernels to learn that a file cannot be read
        _compile_at_first(notice)
    engine = Engine(
        settings or Settings(), ledger, reader.files, segments=segments, records=records, payload=payload,
        knowledge=known,
    )  # fmt: skip
    for path in _key_logs(keys) if keys is not None else []:
        engine.learn(b"")  # an empty key log too is one that opens nothing
        for text in KeyFile(path).read(final=True):
            engine.learn(text)
    engine.on_complete = complete
    return _to_the_end(engine, engine.read(reader, ahead=len(reader.files) == 1))


def _to_the_end(engine: Engine, chunks: Iterator[tuple[str, pa.Table]]) -> Iterator[tuple[str, pa.Table]]:
    yield from chunks
    yield from engine.finish()


def _compile_at_first(notice: Notice) -> None:
    """Say why the first run takes longer, and have a second process help."""
    from analyzer.rehearsal import help_compile

    notice(_COMPILING)
    help_compile()


def watch(
    interfaces: str | Sequence[str],
    filter: str = "",
    *,
    write: Path | None = None,
    rotate_bytes: int = 0,
    rotate_s: float = 0,
    keep: int = 0,
    snaplen: int = 262_144,
    promiscuous: bool = False,
    backend: str = "",
    segments: bool = False,
    keys: Path | Sequence[Path] = (),
    settings: Settings | None = None,
    tick: Callable[[Watch], None] | None = None,
    user: str | None = None,
    notice: Notice | None = None,
    share: Share | None = None,
) -> Watch:
    """Capture from interfaces and yield (table name, rows) as connections end, as `stream` does for files.

    interfaces  names, or "any"    filter  in tcpdump's language; needs libpcap    snaplen  bytes kept of a packet
    write       also record a pcapng file; with `rotate_bytes` or `rotate_s` several, of which the last `keep` stay
    keys        TLS key logs, which may still grow
    backend     "ring" (Linux), "scapy", "" = what there is    tick  called about four times a second with the `Watch`
    user        whom to become once the capture is open; "" = who called sudo, None = nobody else
    share       how this process meets others that share the interfaces, each with connections of its own

    The capture is open when this returns, and runs while the result is iterated, until its `stop()` is called or no
    interface is left. A connection's rows come when it has been closed and quiet for `settings.linger_ns` (60 s if 0).
    Raises AnalyzerError for a wrong name or filter, and for a missing privilege.
    """
    from functools import partial

    from analyzer.capture.live import LiveOptions
    from analyzer.capture.record import Recorder, Rotation
    from analyzer.kernel import cache_is_cold
    from analyzer.live import Watch

    if notice is not None and cache_is_cold():
        _compile_at_first(notice)
    logs = _key_logs(keys)
    names = (interfaces,) if isinstance(interfaces, str) else tuple(interfaces)
    options = LiveOptions(names, filter, snaplen, promiscuous, backend=backend, share=share)
    rotation = Rotation(rotate_bytes, round(rotate_s * 1e9), keep)
    recorder = None if write is None else partial(Recorder, write, rotation, snaplen)
    return Watch(options, settings or Settings(), recorder, tick, segments=segments, keys=logs, user=user)


def follow(
    paths: Path | Sequence[Path],
    flow_ids: Sequence[int],
    *,
    keys: Path | Sequence[Path] | None = None,
    settings: Settings | None = None,
    knowledge: Path | None = None,
    progress: Progress | None = None,
    notice: Notice | None = None,
) -> Iterator[tuple[str, pa.Table]]:
    """Yield what `stream` yields, segments included, of the connections `flow_ids` only: one pass, bounded memory.

    Arguments as `stream`. Tables without `flow_id` come whole. A connection that is not there yields no rows.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(sorted(flow_ids), pa.int64())
    chunks = stream(
        paths, keys=keys, segments=list(flow_ids), settings=settings, knowledge=knowledge,
        progress=progress, notice=notice,
    )  # fmt: skip
    for name, rows in chunks:
        if "flow_id" in TABLES[name]:
            own = rows.filter(pc.is_in(rows["flow_id"], value_set=wanted))
            if own.num_rows:
                yield name, own
        else:
            yield name, rows


def compare(
    first: Path | Sequence[Path],
    second: Path | Sequence[Path],
    *,
    settings: Settings | None = None,
    progress: Progress | None = None,
    notice: Notice | None = None,
) -> Comparison:
    """Put two captures of the same connections side by side: what left one point and never arrived at the other.

    first, second  captures of two points of the path, each one file or several as one (as `analyze`), in any order

    Connections are known by their sequence numbers, also behind a NAT; clocks may differ. The segments of both are held
    in memory. Raises AnalyzerError if an input cannot be read or has more than 20 million segments.
    """
    return compare_tables(
        point_names(_as_list(first), _as_list(second)),
        *(
            stream(paths, segments=True, settings=settings, progress=progress, notice=notice)
            for paths in (first, second)
        ),
    )


def compare_tables(
    names: tuple[str, str], first: Iterator[tuple[str, pa.Table]], second: Iterator[tuple[str, pa.Table]]
) -> Comparison:
    """Return the comparison of what `stream` yields of two captures, segments included; they are read in turn."""
    from analyzer.tables.build import to_arrow
    from analyzer.tables.order import in_order
    from analyzer.twopoint.compare import compare_points
    from analyzer.twopoint.point import make_point

    one, two = make_point(names[0], first), make_point(names[1], second)
    made = compare_points(one, two)
    tables = {name: in_order(name, [to_arrow(name, columns)]) for name, columns in made.items()}
    pairs = tables["pairs"].num_rows
    return Comparison(tables, names, (len(one.flows) - pairs, len(two.flows) - pairs))


def segments_of(
    paths: Path | Sequence[Path],
    flow_ids: Sequence[int],
    *,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Iterator[pa.Table]:
    """Yield rows of `segments` of the connections `flow_ids`; no other table is made, so a second look costs little."""
    from analyzer.capture.reader import open_captures
    from analyzer.engine import Engine

    ledger = Ledger()
    reader = open_captures(_as_list(paths), ledger, progress=progress)
    engine = Engine(settings or Settings(), ledger, reader.files, segments=flow_ids, only_segments=True)
    for name, rows in engine.read(reader, ahead=len(reader.files) == 1):
        if name == "segments":
            yield rows
    for _, rows in engine.waiting_segments():
        yield rows


def _key_logs(keys: Path | Sequence[Path]) -> list[Path]:
    """Return the key logs as a list; AnalyzerError if one is another file: it would open nothing, and say nothing."""
    from analyzer.capture.keyfile import WHICH, KeyFile
    from analyzer.protocols.tls.keylog import looks_like_key_log

    paths = _as_list(keys)
    for path in paths:
        if not looks_like_key_log(KeyFile(path).beginning()):
            raise AnalyzerError(f"`{os.fspath(path)}` is no TLS key log: no line of it is one", WHICH)
    return paths


def _as_list(paths: Path | Sequence[Path]) -> list[Path]:
    """Return the paths as a list; AnalyzerError if one is none, such as a capture's bytes or an open file."""
    named: list[Any] = [paths]
    if isinstance(paths, Iterable) and not isinstance(paths, str | bytes | os.PathLike) and not hasattr(paths, "read"):
        named = list(paths)
    for path in named:
        if not isinstance(path, str | os.PathLike):
            hint = 'give a file\'s name or a list of names; "-" is standard input'
            raise AnalyzerError(f"{type(path).__name__} is no path of a file", hint)
    return named


def point_names(first: Sequence[Path], second: Sequence[Path]) -> tuple[str, str]:
    """Return what two captures are called: by their files' names, or by whole paths where these are the same."""
    long = [str(paths[0]) if paths else "" for paths in (first, second)]
    short = [path.rsplit(os.sep, 1)[-1] for path in long]
    return (short[0], short[1]) if short[0] != short[1] else (long[0], long[1])


__all__ = ["Analysis", "Comparison", "Tables", "analyze", "compare", "follow", "segments_of", "stream", "watch"]
