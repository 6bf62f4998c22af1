"""Columns become typed tables, and missing stays missing."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from analyzer.tables.build import MISSING, NAT, Coded, to_arrow, to_pandas
from analyzer.tables.schema import TABLES, problems


def test_columns_not_given_are_null_and_the_schema_is_exact() -> None:
    rows = to_arrow("flows", {"flow_id": np.arange(3)})
    assert rows.column_names == list(TABLES["flows"].names)
    assert rows["flow_id"].to_pylist() == [0, 1, 2]
    assert rows["client_ip"].null_count == 3
    assert to_arrow("flows", {}).num_rows == 0


@pytest.mark.parametrize(
    "given",
    [
        np.array([5, MISSING, 7]),
        np.array([5.0, np.nan, 7.0]),
        [5, None, 7],
        [5.0, None, 7.0],
        pa.array([5, None, 7], pa.int32()),
        pa.chunked_array([[5, None], [7]]),
    ],
)
def test_numbers_come_in_many_forms(given: object) -> None:
    assert to_arrow("flows", {"requests": given})["requests"].to_pylist() == [5, None, 7]


@pytest.mark.parametrize(
    "given",
    [
        np.array([NAT, 1]),
        np.array(["NaT", 1], "datetime64[ns]"),
        [None, 1],
    ],
)
def test_times_come_in_many_forms(given: object) -> None:
    assert to_arrow("closes", {"ts": given})["ts"].cast(pa.int64()).to_pylist() == [None, 1]


@pytest.mark.parametrize("given", [np.array([np.nan, 1.5]), [None, 1.5], pa.array([float("nan"), 1.5])])
def test_nan_seconds_are_null(given: object) -> None:
    assert to_arrow("closes", {"age_s": given})["age_s"].to_pylist() == [None, 1.5]


@pytest.mark.parametrize(
    "given",
    [
        np.array([1, 0, -1], np.int8),
        [True, False, None],
    ],
)
def test_booleans_have_a_third_state(given: object) -> None:
    assert to_arrow("flows", {"sack_ok": given})["sack_ok"].to_pylist() == [True, False, None]


def test_codes_become_words() -> None:
    coded = Coded(np.array([1, -1, 0], np.int8), ["client", "server"])
    assert to_arrow("closes", {"initiator": coded})["initiator"].to_pylist() == ["server", None, "client"]
    with pytest.raises(ValueError, match="martian not among its words"):
        to_arrow("closes", {"initiator": Coded(np.array([0]), ["martian"])})
    with pytest.raises(IndexError, match="code 2 has no name"):
        to_arrow("closes", {"initiator": Coded(np.array([2]), ["client", "server"])})
    with pytest.raises(ValueError, match="cannot be a Coded"):
        to_arrow("closes", {"flow_id": Coded(np.array([0]), ["client"])})


def test_texts_that_are_not_utf8_stay_visible() -> None:
    given = ["plain", b"\xff\x1b", "caf\udce9", None]
    made = to_arrow("closes", {"explanation": given})["explanation"].to_pylist()
    assert made == ["plain", "\\xff\x1b", "caf\\xe9", None]
    objects = np.array([None, "b"], object)
    assert to_arrow("closes", {"explanation": objects})["explanation"].to_pylist() == [None, "b"]


def test_frames_are_lists() -> None:
    pair = (np.array([0, 2, 2]), np.array([4, 9]))
    assert to_arrow("closes", {"evidence_frames": pair})["evidence_frames"].to_pylist() == [[4, 9], []]
    lists = to_arrow("closes", {"evidence_frames": [[4, 9], None]})
    assert lists["evidence_frames"].to_pylist() == [[4, 9], None]
    assert to_pandas(lists)["evidence_frames"].tolist() == [[4, 9], None]
    assert to_pandas(lists.slice(1))["evidence_frames"].tolist() == [None]
    assert list(to_pandas(lists).columns) == list(TABLES["closes"].names)


def test_mistakes_of_a_producer_raise() -> None:
    with pytest.raises(KeyError, match="no column colour"):
        to_arrow("flows", {"colour": [1]})
    with pytest.raises(ValueError, match="flow_id 2, requests 1"):
        to_arrow("flows", {"flow_id": [1, 2], "requests": [1]})
    with pytest.raises(ValueError, match="cannot hold"):
        to_arrow("flows", {"flow_id": np.array(["a"])})
    with pytest.raises(ValueError, match="cannot hold int"):
        to_arrow("flows", {"sni": [b"a", 3]})


def test_a_producer_may_reuse_its_buffers() -> None:
    buffer = np.array([1, 2, 3])
    rows = to_arrow("flows", {"flow_id": buffer, "requests": buffer})
    buffer[:] = 9
    assert rows["flow_id"].to_pylist() == rows["requests"].to_pylist() == [1, 2, 3]


@pytest.mark.parametrize("name", TABLES)
def test_dtypes_do_not_depend_on_the_rows(name: str) -> None:
    kinds = {"ts": "datetime64[ns, UTC]", "s": "float64", "n": "Int64", "bool": "boolean", "frames": "object"}
    empty = to_pandas(to_arrow(name, {}))
    first = TABLES[name].columns[0]
    nulls = to_pandas(to_arrow(name, {first.name: [None, None]}))
    for column in TABLES[name].columns:
        expected = kinds.get(column.type)
        if expected:
            assert str(empty[column.name].dtype) == expected
        else:
            assert isinstance(empty[column.name].dtype, pd.StringDtype)
        assert nulls[column.name].dtype == empty[column.name].dtype
        assert nulls[column.name].isna().all()
    assert len(nulls) == 2


def test_dataframes_behave_as_one_expects() -> None:
    kinds = Coded(np.array([0, 0, 1, -1]), ["rst_on_idle", "refused"])
    frame = to_pandas(to_arrow("flows", {"flow_id": [0, 1, 2, 3], "close_kind": kinds, "sack_ok": [1, 0, -1, 1]}))
    assert frame[frame.close_kind == "rst_on_idle"].flow_id.tolist() == [0, 1]
    assert (frame.close_kind == "refused").dtype == np.bool_
    assert frame.close_kind.value_counts().to_dict() == {"rst_on_idle": 2, "refused": 1}
    assert frame.groupby("close_kind").size().to_dict() == {"refused": 1, "rst_on_idle": 2}
    assert frame[frame.sack_ok].flow_id.tolist() == [0, 3]


def test_a_built_table_has_no_problems() -> None:
    rows = to_arrow("anomalies", {"code": ["a.b", "c.d"], "count": [1, 2]})
    assert problems("anomalies", rows) == []
