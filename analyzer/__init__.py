"""longwire: who closed this TCP connection, why, and what should have kept it alive.

    import analyzer

    result = analyzer.analyze("night.pcap")
    result.closes[["flow_id", "close_kind", "initiator", "explanation"]]

The names below are loaded when they are first used, so that `import analyzer` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyzer.api import Analysis, Comparison, analyze, compare, stream, watch
    from analyzer.errors import AnalyzerError
    from analyzer.settings import Settings


__all__ = [
    "Analysis", "AnalyzerError", "Comparison", "Settings", "__version__", "analyze", "compare", "stream", "watch",
]  # fmt: skip

__version__ = "0.1.0"  # the only place: packaging reads it here, and importlib.metadata would take 30 ms

_HOMES = {
    "Analysis": "analyzer.api",
    "Comparison": "analyzer.api",
    "analyze": "analyzer.api",
    "compare": "analyzer.api",
    "stream": "analyzer.api",
    "watch": "analyzer.api",
    "AnalyzerError": "analyzer.errors",
    "Settings": "analyzer.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
