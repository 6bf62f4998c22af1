"""What a user can do wrong, and what to try instead. Bad packets are not errors: see `anomalies`."""

from __future__ import annotations


class AnalyzerError(Exception):
    """A mistake in what was asked: one line saying what and where, and a hint.

    message  what happened, without a full stop    hint  what to try (may be empty)
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
