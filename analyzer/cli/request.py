"""What was asked for on the command line, apart from how it is parsed and how it is done."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple


class Request(NamedTuple):
    """The arguments of `longwire analyze`."""

    files: tuple[Path, ...]
    out: Path | None = None
    format: str = "parquet"
    segments: bool = False
    where: str | None = None
    idle_min_s: float | None = None
    knowledge: Path | None = None
    keys: tuple[Path, ...] = ()
    payload: bool = False
    records: bool = False


class Reading(NamedTuple):
    """How every command but `analyze` reads captures.

    keys  TLS key logs; none = the one that the environment names
    """

    idle_min_s: float | None = None
    knowledge: Path | None = None
    keys: tuple[Path, ...] = ()


class Explain(NamedTuple):
    """The arguments of `longwire explain`."""

    code: str | None = None


class Job:
    """A request that knows what to run: what commands other than `analyze` return to `main`."""

    __slots__ = ()

    def run(self, own_process: bool) -> int:
        """Do it and return the exit code; `own_process` as in `main`."""
        raise NotImplementedError
