"""The published figures are those of today."""

from __future__ import annotations

import pytest

from tests.corpus import needs_corpus
from tests.golden.agreement import PLACE, render


@needs_corpus
@pytest.mark.corpus
def test_agreement_is_current() -> None:
    assert PLACE.read_text() == render(), "run `python -m tests.golden.agreement` and explain the change"
