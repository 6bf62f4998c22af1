"""Values as a person reads them."""

from __future__ import annotations

import pytest

from analyzer.render.plain import frames


@pytest.mark.parametrize(("numbers", "said"), [
    ([7], "frame 7"),
    ([7, 8], "frames 7 8"),
    ([6, 8, 9, 10, 11], "frames 6 8-11"),
    ([1, 3, 5, 6, 7, 9, 20], "frames 1 3 5-7 9 ..."),
    ([1, 3, 5, 6, 7, 9], "frames 1 3 5-7 9"),
])  # fmt: skip
def test_frames(numbers: list[int], said: str) -> None:
    assert frames(numbers, 4) == said
