"""Names of flows and addresses that other tools must agree with."""

from __future__ import annotations

import pytest

from tests.property.harness import run
from tests.talk import Talk


@pytest.mark.parametrize("swap", [False, True])
def test_community_id_of_the_specifications_example(swap: bool) -> None:
    """github.com/corelight/community-id-spec, baseline of TCP with seed 0; the same from either side."""
    ends = [("128.232.110.120", 34855), ("66.35.250.204", 80)]
    first, second = ends[::-1] if swap else ends
    assert run(Talk(first, second).syn()).flow["community_id"] == "1:LQU9qZlK+B5F3KDmev6m5PMibrg="


def test_addresses_as_text() -> None:
    flow = run(Talk(("2001:db8::1", 1), ("2001:db8:0:1::2", 2)).syn()).flow
    assert (flow["client_ip"], flow["server_ip"]) == ("2001:db8::1", "2001:db8:0:1::2")
