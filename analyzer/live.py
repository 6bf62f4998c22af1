"""A capture that runs: packets into the engine, rows out as connections end, closes told as they happen.

Everything that a table says comes out of the same engine as for a file. What is told early (`fresh`) is what the
tables will say unless the connection surprises us within `linger_ns`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from analyzer.ahead import Ahead
from analyzer.anomalies import Ledger
from analyzer.capture.keyfile import KeyFile
from analyzer.capture.live import LiveOptions, LiveSource, drop_privileges, now_ns, open_live
from analyzer.engine import Engine, Followed
from analyzer.errors import AnalyzerError
from analyzer.rehearsal import rehearse
from analyzer.settings import NS, Settings

if TYPE_CHECKING:
    import os

    import pyarrow as pa

    from analyzer.capture.record import Recorder
    from analyzer.classify.watching import Snapshot

LINGER_NS = 60 * NS
"""TIME-WAIT of Linux: until then a segment of a closed connection may still come, and belongs to it."""

SETTLE_NS = 1 * NS
"""A close is told this long after its last segment: FIN and RST often come in a burst."""

TICK_NS = NS // 4
LATE_NS = 1 * NS
"""Packets may still lie in the ring that are older than the clock, by less than this."""

Tick = Callable[["Watch"], None]


class Watch:
    """An iterator over (table name, rows), as `api.stream` gives them, for as long as the capture runs.

    stop        call it to end: what was captured so far is then analysed to its end
    fresh       closes to tell since they were last taken: Arrow rows of `closes` with `client` and `server`
    became      the user we are since the capture is open, "" if nothing changed
    problems    what went wrong so far and was survived: (text, ...), the last twenty
    """

    def __init__(
        self,
        options: LiveOptions,
        settings: Settings,
        recorder: Callable[[], Recorder] | None = None,
        tick: Tick | None = None,
        *,
        segments: bool = False,
        keys: Sequence[str | os.PathLike[str]] = (),
        user: str | None = None,
    ) -> None:
        """Open the capture, become `user` (see `drop_privileges`; None = stay who we are), then open the recording.

        keys  TLS key logs, read again before each batch of packets: they may be empty, or grow, or not be there yet
        """
        rehearse(ring=options.backend != "scapy")
        self.ledger = Ledger()
        self.settings = settings if settings.linger_ns else replace(settings, linger_ns=LINGER_NS)
        self.source: LiveSource = open_live(options, self.ledger)
        try:
            self.became = "" if user is None else drop_privileges(user)
            self.recorder = recorder() if recorder is not None else None
        except BaseException:
            self.source.close()
            raise
        self.engine = Engine(self.settings, self.ledger, [self.source.info], segments=segments)
        self.engine.on_close = self._tell
        self.fresh: list[pa.Table] = []
        self.problems: list[str] = []
        self.tick = tick
        self.problem_count = 0
        self._stopping = False
        self._keys = [KeyFile(path) for path in keys]
        self._unread: dict[KeyFile, str] = {}  # what was wrong with a key log when it was last looked at
        if self._keys:
            self.engine.learn(b"", grows=True)  # keep what is encrypted from now on

    def stop(self) -> None:
        """End the capture; may be called by a signal handler or another thread."""
        self._stopping = True

    def take_fresh(self) -> list[pa.Table]:
        """Return the closes to tell, and forget them."""
        fresh, self.fresh = self.fresh, []
        return fresh

    def note(self, problem: str) -> None:
        """Note what went wrong and was survived; it goes into `captures` too."""
        if not problem:
            return
        self.problem_count += 1
        self.problems = [*self.problems, problem][-20:]
        info = self.source.info
        said = info.error.split("; ") if info.error else []
        if problem not in said:
            info.error = "; ".join([*said, problem][:4])

    def problems_since(self, count: int) -> list[str]:
        """Return the problems after the first `count`, as far as they are kept."""
        new = self.problem_count - count
        return self.problems[-new:] if new > 0 else []

    @property
    def tcp_segments(self) -> int:
        """Return how many TCP segments came so far."""
        return int(self.engine.tracker.meta[0]["tcp_segments"])

    def so_far(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield rows that are ready and wait for company."""
        yield from self.engine.so_far()

    def whole(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield the tables about the whole, as they stand now."""
        yield from self.engine.whole()

    def findings(self) -> pa.Table:
        """Return the findings about the connections that ended so far, as they are now."""
        return self.engine.findings()

    def standing(self) -> Iterator[tuple[str, pa.Table]]:
        """Return the rows of connections that are open or linger, as they stand; their final rows come later.

        The connections are copied at once, the rows made when they are asked for: any thread may do so.
        """
        return self.engine.standing()

    def snapshot(self) -> Snapshot:
        """Return what the open connections are doing now."""
        from analyzer.classify.watching import snapshot

        return snapshot(self.engine.tracker, self._packet_now(), self.settings.idle_min_ns)

    def __iter__(self) -> Iterator[tuple[str, pa.Table]]:
        try:
            yield from self._run()
        finally:
            self._close()
        yield from self.engine.finish()

    # -------------------------------------------------------------------------------------- inside

    def _run(self) -> Iterator[tuple[str, pa.Table]]:
        for followed in Ahead(self._followed(), alone=_alone, most=1):  # the ring lends two batches
            self._learn()
            if followed is None:
                yield from self._advance()
                continue
            yield from self.engine.take(followed)
            self.source.release()
        self._learn(final=True)
        yield from self._advance()

    def _followed(self) -> Iterator[Followed | None]:
        """Yield batches whose segments found their flows, and None each time the clock has to be told: it ticks alone.

        Made one ahead, and recorded, by another thread: packets leave the ring while tables are made of those before.
        """
        until = 0  # once stopped: packets up to then still count, also those that wait in the ring
        next_tick = latest = 0
        waiting = True
        while not until or now_ns() < until or (waiting and latest < until):
            batch = self.source.next()
            waiting = batch is not None
            if batch is not None:
                latest = int(batch.packets["ts_ns"][-1])
                if self.recorder is not None:
                    self.recorder.write(batch, self.source.interfaces, self.source.dropped())
                yield self.engine.follow(batch)
            if now_ns() >= next_tick:
                yield None
                next_tick = now_ns() + TICK_NS
            if self._stopping and not until:
                until = now_ns() + NS // 5  # the ring hands a block over within a twentieth of a second
            if self.source.gone:
                break

    def _learn(self, *, final: bool = False) -> None:
        """Take what programs have written to the key logs: the secrets come while the handshake does."""
        for file in self._keys:
            if not file.path.exists():
                continue  # nobody has said a secret yet
            before = self._unread.pop(file, "")
            try:
                for text in file.read(final=final):
                    self.engine.learn(text)
            except AnalyzerError as error:
                self._unread[file] = str(error)
                if str(error) != before:
                    self.note(str(error))

    def _advance(self) -> Iterator[tuple[str, pa.Table]]:
        self.source.dropped()
        self.note(self.source.problem())
        if self.recorder is not None and self.recorder.trouble:
            self.note(self.recorder.trouble)
            self.recorder.trouble = ""
        yield from self.engine.advance(self._packet_now(), SETTLE_NS)
        if self.tick is not None:
            self.tick(self)

    def _packet_now(self) -> int:
        """Return a time that no packet to come will precede."""
        return max(now_ns() - LATE_NS, self.engine.end_ns - LATE_NS)

    def _tell(self, rows: pa.Table) -> None:
        self.fresh.append(rows)

    def _close(self) -> None:
        dropped = self.source.dropped()
        self.source.close()
        if self.recorder is not None:
            self.recorder.close(dropped)


def _alone(item: Followed | None) -> bool:
    return item is None or item.full
