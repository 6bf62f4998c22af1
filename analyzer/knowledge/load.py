"""Which known default a measured time is consistent with.

Knowledge.shipped()        what comes with longwire (`timeouts.toml`), read when first asked for
Knowledge.with_file(path)  the same and a file of the user's own, in the same form
knowledge.matches(60.02, clocks=("payload",))  every entry within max(1 s, 2 %): ties are named, not decided
knowledge.shaped("client", (6, 6), (2, 2))  every heartbeat whose beats and answers have these sizes

Limits  A match is no proof: 60 s is the default of a dozen programs. Entries with `checked = false` are general
        knowledge that was not read at its source; their names end in "(unchecked)".
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Self, TypeVar

from analyzer.errors import AnalyzerError

CLOCKS = ("wire", "payload", "app", "response", "age", "unknown")
ROLES = ("server", "client", "path")
SIDES = ("client", "server", "either")
ANSWERED = ("yes", "no", "either")
EXPIRIES = ("fin", "rst", "silent", "unknown")


LATE_S, EARLY_S, SHARE = 1.0, 0.1, 0.02
"""How far a measured timeout may lie above and below a known one, in seconds and as a share, whichever is more: timers
are looked at now and then, so they run out late, but hardly early."""


@dataclass(frozen=True, slots=True)
class Known:
    """One known timeout; the fields are explained at the top of `timeouts.toml`."""

    system: str
    value_s: float
    role: str = "path"
    knob: str = ""
    clock: str = "unknown"
    on_expiry: str = "unknown"
    source: str = ""
    checked: bool = False
    adjustable: str = ""
    seen_s: float | None = None

    @property
    def wire_s(self) -> float:
        """What a capture shows: the value, or what was measured where a program adds to it."""
        return self.value_s if self.seen_s is None else self.seen_s

    @property
    def least_s(self) -> float:
        """The least that a capture may show: other versions of the program may add nothing."""
        least = min(self.value_s, self.wire_s)
        return least - max(EARLY_S, SHARE * least)

    @property
    def name(self) -> str:
        """Return "AWS ALB idle_timeout 60 s", with a mark if the value was not checked at its source."""
        words = [self.system, self.knob, f"{self.value_s:g} s", "" if self.checked else "(unchecked)"]
        return " ".join(word for word in words if word)

    def fits(self, value_s: float, clocks: Collection[str] = (), roles: Collection[str] = ()) -> bool:
        """Return whether a measured timeout is consistent with this one; no clocks or roles means any."""
        if clocks and self.clock != "unknown" and self.clock not in clocks:
            return False
        slack = max(LATE_S, SHARE * self.wire_s)
        near = max(self.least_s, self.wire_s - slack) <= value_s <= self.wire_s + slack
        return (not roles or self.role in roles) and near


@dataclass(frozen=True, slots=True)
class KnownBeat:
    """The period of a known heartbeat."""

    system: str
    period_s: float
    protocol: str = "unknown"
    by: str = "either"
    knob: str = ""
    answered: str = "either"
    source: str = ""
    checked: bool = False

    @property
    def name(self) -> str:
        """Return "engine.io pingInterval 25 s"."""
        words = [self.system, self.knob, f"{self.period_s:g} s", "" if self.checked else "(unchecked)"]
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Shape:
    """How long a known heartbeat and its answer are, as the plaintext of one record each."""

    what: str
    bytes: int
    protocol: str = "unknown"
    by: str = "either"
    most: int = 0
    answer: int = 0
    answer_most: int = 0
    echo: bool = False
    source: str = ""

    @property
    def exact(self) -> bool:
        """True if sizes alone say enough to name it."""
        return self.echo or self.most == self.answer_most == 0

    def name(self, size: int) -> str:
        """Return "WebSocket ping with 4 bytes (by its size)"."""
        payload = f" with {size - self.bytes} bytes" if self.echo and size > self.bytes else ""
        return f"{self.what}{payload} (by its size)"

    def fits(self, side: str, sizes: tuple[int, int], answers: tuple[int, int] | None) -> bool:
        """Return whether beats of a side whose sizes lie between two values, and their answers (None: none), fit."""
        low, high = sizes
        if self.by not in ("either", side) or not self.bytes <= low <= high <= max(self.bytes, self.most):
            return False
        if answers is None or self.answer == 0:
            return answers is None and self.answer == 0
        if self.echo:
            return low == high and answers == (self.answer + low - self.bytes,) * 2
        return self.answer <= answers[0] <= answers[1] <= max(self.answer, self.answer_most)


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Known timeouts and heartbeats; a user's own entries come first."""

    timeouts: tuple[Known, ...]
    heartbeats: tuple[KnownBeat, ...] = ()
    shapes: tuple[Shape, ...] = ()

    @classmethod
    def shipped(cls) -> Self:
        """Return what comes with longwire."""
        return cls(*_shipped())

    @classmethod
    def with_file(cls, path: str | os.PathLike[str] | None) -> Self:
        """Return the shipped knowledge and before it that of a TOML file; None = only the shipped.

        Raises AnalyzerError if the file cannot be read or an entry makes no sense.
        """
        if path is None:
            return cls.shipped()
        try:
            with open(path, encoding="utf-8") as file:  # noqa: PTH123  (no pathlib outside the rim)
                text = file.read()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is not UTF-8 text"
            raise AnalyzerError(f"knowledge file {path}: {reason}", _HINT) from error
        timeouts, heartbeats, shapes = parse(text, str(path))
        known = cls.shipped()
        return cls(timeouts + known.timeouts, heartbeats + known.heartbeats, shapes + known.shapes)

    def matches(
        self, value_s: float, *, clocks: Collection[str] = (), roles: Collection[str] = ()
    ) -> tuple[Known, ...]:
        """Return every known timeout within max(1 s, 2 %) of a measured one, in file order.

        clocks  those that the measurement allows; an entry whose clock is unknown fits any    roles  likewise
        """
        return tuple(known for known in self.timeouts if known.fits(value_s, clocks, roles))

    def beats(
        self, period_s: float, side: str, protocol: str | None = None, *, answered: bool | None = None
    ) -> tuple[KnownBeat, ...]:
        """Return the known heartbeats of a side whose period is within 2 % (at least 0.1 s) of a measured one.

        protocol  which one it was read as; an entry that names none fits any
        answered  whether the other side answers them, None = that says nothing
        """
        no = () if answered is None else ("no",) if answered else ("yes",)
        return tuple(
            beat
            for beat in self.heartbeats
            if abs(period_s - beat.period_s) <= max(0.1, 0.02 * beat.period_s)
            and beat.by in ("either", side)
            and beat.answered not in no
            and (protocol is None or beat.protocol in (protocol, "unknown"))
        )

    def shaped(
        self, side: str, sizes: tuple[int, int], answers: tuple[int, int] | None = None, *, echo: bool = False
    ) -> tuple[Shape, ...]:
        """Return the known heartbeats that beats of a side, from smallest to largest, may be by their sizes.

        answers  smallest and largest of nearly all answers, None = they are not answered. What asks for no answer may
        have one that is a beat of the other side's own, unless it is known to be an `echo`.
        """
        return tuple(
            shape
            for shape in self.shapes
            if shape.fits(side, sizes, answers)
            or (
                answers is not None
                and not echo
                and shape.fits(side, sizes, None)
                and self._beats_back(shape, side, answers)
            )
        )

    def _beats_back(self, shape: Shape, side: str, answers: tuple[int, int]) -> bool:
        other = "server" if side == "client" else "client"
        return any(
            twin.protocol == shape.protocol and twin.what == shape.what and twin.fits(other, answers, None)
            for twin in self.shapes
        )


# ------------------------------------------------------------------------------------------------ reading
Everything = tuple[tuple[Known, ...], tuple[KnownBeat, ...], tuple[Shape, ...]]

_HINT = 'an entry reads: [[timeout]] system = "our proxy", value_s = 90, clock = "payload", role = "server"'
_WORDS = {"clock": CLOCKS, "role": ROLES, "on_expiry": EXPIRIES, "by": SIDES, "answered": ANSWERED}
_MOST_BYTES = 1 << 20  # ten thousand entries; a capture given by mistake must not be parsed for minutes

Entry = TypeVar("Entry", Known, KnownBeat, Shape)


def parse(text: str, name: str) -> Everything:
    """Return the timeouts, heartbeats and shapes of a TOML text. Raises AnalyzerError that names the entry at fault."""
    if len(text) > _MOST_BYTES:
        raise AnalyzerError(f"knowledge file {name} is larger than 1 MiB", _HINT)
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise AnalyzerError(f"knowledge file {name} is not TOML: {error}", _HINT) from error
    if strange := set(tables) - {"timeout", "heartbeat", "shape"}:
        reason = f"knowledge file {name} has {', '.join(sorted(strange))}"
        raise AnalyzerError(reason, "it holds timeout, heartbeat and shape")
    return (
        _entries(Known, tables, "timeout", ("system", "value_s"), name),
        _entries(KnownBeat, tables, "heartbeat", ("system", "period_s"), name),
        _entries(Shape, tables, "shape", ("what", "bytes"), name),
    )


def _entries(
    kind: type[Entry], tables: dict[str, Any], key: str, needs: tuple[str, str], name: str
) -> tuple[Entry, ...]:  # fmt: skip
    rows = tables.get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise AnalyzerError(f"knowledge file {name}: {key} is not a list of entries", _HINT)
    return tuple(_entry(kind, row, needs, f"{name}: {key} {k}") for k, row in enumerate(rows, 1))


def _entry(kind: type[Entry], row: dict[str, Any], needs: tuple[str, str], where: str) -> Entry:
    """Return one entry, every field of the right type and every word known."""
    types = {field.name: str(field.type) for field in fields(kind)}
    for key, given in row.items():
        if key not in types:
            raise AnalyzerError(f"{where} has an unknown field {key}", "fields are " + ", ".join(types))
        if types[key].startswith("float"):
            right = isinstance(given, int | float) and not isinstance(given, bool) and 0 < given < 1e9
        elif types[key] == "int":
            right = isinstance(given, int) and not isinstance(given, bool) and 0 < given < 1e9
        else:
            right = isinstance(given, bool if types[key] == "bool" else str)
        if not right or (key in _WORDS and given not in _WORDS[key]):
            allowed = ", ".join(_WORDS.get(key, (types[key].split(" ")[0],)))
            raise AnalyzerError(f"{where}: {key} = {given!r} cannot be", f"{key} is {allowed}")
    if not set(needs) <= set(row):
        raise AnalyzerError(f"{where} needs {needs[0]} and {needs[1]}", _HINT)
    return kind(**row)


@cache
def _shipped() -> Everything:
    # importlib.resources would import zipfile and more, which takes as long as all the rest
    with open(os.path.join(os.path.dirname(__file__), "timeouts.toml"), encoding="utf-8") as file:  # noqa: PTH118, PTH120, PTH123
        return parse(file.read(), "timeouts.toml")
