"""`--where` picks flows, and nothing that is typed there can do anything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.errors import AnalyzerError
from analyzer.tables.build import to_arrow
from analyzer.tables.where import parse_where

SECOND = 10**9
FLOWS = to_arrow(
    "flows",
    {
        "flow_id": [0, 1, 2, 3],
        "server_port": [443, 80, None, 443],
        "client_port": [443, 1, 1, 1],
        "duration_s": [1.5, 70, None, 3],
        "sni": ["a", None, "b", "a"],
        "sack_ok": [1, 0, -1, 1],
        "close_kind": ["rst_on_idle", "refused", "open_idle", None],
        "first_ts": [0, SECOND, 2 * SECOND, None],
    },
)


@pytest.mark.parametrize(
    ("expression", "flows"),
    [
        ("server_port == 443", [0, 3]),
        ("443 == server_port and close_kind == 'rst_on_idle'", [0]),
        ("duration_s > 60 or flow_id == 0", [0, 1]),
        ("60 <= duration_s", [1]),
        ("1 < duration_s < 2", [0]),
        ("duration_s > 2", [1, 3]),
        ("server_port > 79.5", [0, 1, 3]),
        ("server_port in (80, 443)", [0, 1, 3]),
        ("server_port in (79.5, 443)", [0, 3]),
        ("server_port not in [80]", [0, 3]),
        ("close_kind in {'refused', 'open_idle'}", [1, 2]),
        ("sack_ok", [0, 3]),
        ("not sack_ok", [1]),
        ("sack_ok == False", [1]),
        ("not (server_port == 80)", [0, 3]),
        ("sni == None", [1]),
        ("sni != None", [0, 2, 3]),
        ("sni in ('b', None)", [1, 2]),
        ("sni not in ('b', None)", [0, 3]),
        ("server_port == client_port", [0]),
        ("duration_s > client_port", [1, 3]),
        ("first_ts >= '1970-01-01T00:00:01Z'", [1, 2]),
        ("first_ts == '1970-01-01T01:00:01.000000000+01:00'", [1]),
        ("first_ts < '1970-01-01 00:00:00.000000001'", [0]),
        ("  server_port ==\t80 ", [1]),
    ],
)
def test_expressions(expression: str, flows: list[int]) -> None:
    mask = parse_where(expression).mask(FLOWS)
    assert mask.null_count == 0
    assert FLOWS["flow_id"].filter(mask).to_pylist() == flows
    assert len(parse_where(expression).mask(FLOWS.slice(0, 0))) == 0


@pytest.mark.parametrize(
    ("expression", "message", "hint"),
    [
        ("server_prt == 443", "flows has no column server_prt", "did you mean server_port?"),
        ("zzzzzzz == 443", "no column zzzzzzz", "the columns are: flow_id, community_id"),
        ("close_kind == 'rst_on_idel'", "never 'rst_on_idel'", "did you mean 'rst_on_idle'?"),
        ("close_initiator == 'zzz'", "never 'zzz'", "its values are: client, server"),
        ("server_port == 'https'", "compared with 'https'", "it needs a number"),
        ("sni == 3", "compared with 3", "it needs a text in quotes"),
        ("sack_ok == 1", "compared with 1", "True or False"),
        ("first_ts > 'yesterday'", "compared with 'yesterday'", "it needs a time such as"),
        ("first_ts > '2024-05-01T00:00:00.0000000001'", "compared with", "it needs a time such as"),
        ("server_port", "alone is not a yes or no", "compare it"),
        ("sni == server_port", "cannot be compared", "for example"),
        ("1 == 1", "compares two constants", "for example"),
        ("sni is None", "`is` is not supported", "write =="),
        ("duration_s < None", "None has no order", "write == None"),
        ("server_port in 443", "needs a list", "for example"),
        ("server_port in (443, flow_id)", "cannot hold 'flow_id'", "only columns"),
        ("server_port + 1 == 444", "cannot hold 'server_port + 1'", "only columns"),
        ("flow_id == 10 ** 10", "cannot hold '10 ** 10'", "only columns"),
        ("flow_id == 99999999999999999999", "is compared with", "it needs a number"),
        ("(", "cannot be read at character 1", "for example"),
        ("", "cannot be read", "for example"),
        ("\ud800 == 1", "cannot be read", "for example"),
        ("flow_id == 1; flow_id == 2", "cannot be read", "for example"),
        ("-" * 4000 + "1 == flow_id", "cannot", ""),
        ("a" * 5000, "longer than 4096", "for example"),
    ],
)
def test_mistakes_are_explained(expression: str, message: str, hint: str) -> None:
    with pytest.raises(AnalyzerError) as caught:
        parse_where(expression)
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').system('true')",
        "().__class__ == 1",
        "flow_id.__class__ == 1",
        "[x for x in (1,)]",
        "(lambda: 1)() == flow_id",
        "f'{flow_id}' == sni",
        "(x := 1) == flow_id",
        "flow_id[0] == 1",
        "flow_id if sack_ok else 1",
        "sack_ok and print('x')",
        "flow_id in (__import__('os'),)",
    ],
)
def test_code_is_refused(expression: str) -> None:
    with pytest.raises(AnalyzerError):
        parse_where(expression)


def test_lists_of_frames_are_refused() -> None:
    with pytest.raises(AnalyzerError, match="is a list"):
        parse_where("evidence_frames == 1", "closes")


@given(st.text(max_size=60) | st.text("flow_idsn=<>!() '\"0123andortin,.", max_size=40))
def test_any_text_is_a_condition_or_a_mistake(expression: str) -> None:
    try:
        where = parse_where(expression)
    except AnalyzerError:
        return
    assert len(where.mask(FLOWS)) == 4
