"""`--where`: an expression over the columns of `flows` that picks the flows to keep, or the rows of a list.

    server_port == 443 and close_kind == "rst_on_idle"
    duration_s > 60 and client_ip in ("10.0.0.7", "10.0.0.9")
    not end_seen or max_wire_gap_s >= 300
    sni != None and first_ts >= "2024-05-01T14:00:00Z"

The grammar is Python's, cut down to column names, literals, comparisons, `in`, `and`, `or`, `not` and parentheses. It
is parsed, never evaluated: there are no calls, attributes or arithmetic. A comparison with a missing value is false,
and so is its opposite; `== None` and `!= None` ask for missing and present. `frames` columns cannot be compared.

Over another table the names are its own columns, then, if its rows belong to connections, those of `flows`.
"""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from analyzer.errors import AnalyzerError
from analyzer.tables.schema import TABLES, Column, Table

if TYPE_CHECKING:
    import pyarrow as pa

MAX_LENGTH = 4096
"""An expression is typed by a person; Python's parser recurses, and this keeps it far from its limit."""

_EXAMPLE = "for example: --where \"server_port == 443 and close_kind == 'rst_on_idle'\""
_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Eq: "equal",
    ast.NotEq: "not_equal",
    ast.Lt: "less",
    ast.LtE: "less_equal",
    ast.Gt: "greater",
    ast.GtE: "greater_equal",
}
_MIRRORED = {"less": "greater", "less_equal": "greater_equal", "greater": "less", "greater_equal": "less_equal"}


@dataclass(frozen=True, slots=True)
class Where:
    """A checked expression over one table, `flows` unless named otherwise. Make it with `parse_where`.

    table  its own columns, then those of `flows` that it may name, too
    """

    expression: str
    table: Table
    tree: ast.expr

    @property
    def names(self) -> set[str]:
        """The columns that it names: those that `mask` needs."""
        return {node.id for node in ast.walk(self.tree) if isinstance(node, ast.Name)}

    def mask(self, rows: pa.Table) -> pa.Array:
        """Return a boolean array, one per row, without nulls."""
        import pyarrow as pa
        import pyarrow.compute as pc

        result = pc.fill_null(_mask(self.tree, rows, self.table), False)
        return result.combine_chunks() if isinstance(result, pa.ChunkedArray) else result


def parse_where(expression: str, table: str = "flows") -> Where:
    """Return the expression, checked as far as it can be without rows; AnalyzerError says what is wrong with it."""
    if len(expression) > MAX_LENGTH:
        raise AnalyzerError(f"--where is longer than {MAX_LENGTH} characters", _EXAMPLE)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd backslash in a text is the user's business
            tree = ast.parse(expression.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f" at character {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        raise AnalyzerError(f"--where cannot be read{where}: {expression!r}", _EXAMPLE) from None
    parsed = Where(expression, _with_flows(TABLES[table]), tree)
    _check(tree, parsed.table)
    return parsed


def _with_flows(table: Table) -> Table:
    """Return `table` with the columns of the flow that each row belongs to; its own columns win."""
    if "flow_id" not in table:
        return table
    more = (column for column in TABLES["flows"].columns if column.name not in table)
    return table._replace(columns=(*table.columns, *more))


# ------------------------------------------------------------------------------------------ checking


def _check(node: ast.expr, table: Table) -> None:
    """Raise AnalyzerError unless `node` is a condition of the grammar over columns of `table`."""
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                _check(value, table)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            _check(operand, table)
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            for op, one, other in zip(ops, [left, *comparators], comparators, strict=False):
                _check_comparison(op, one, other, table)
        case ast.Name():
            column = _column(node, table)
            if column.type != "bool":
                raise AnalyzerError(
                    f"--where: {column.name} alone is not a yes or no", f"compare it: {column.name} == ..."
                )
        case _:
            raise _unsupported(node)


def _check_comparison(op: ast.cmpop, left: ast.expr, right: ast.expr, table: Table) -> None:
    if isinstance(op, ast.In | ast.NotIn):
        column = _column(left, table)
        if not isinstance(right, ast.Tuple | ast.List | ast.Set):
            raise AnalyzerError(f"--where: {column.name} in ... needs a list", f"for example: {column.name} in (1, 2)")
        for element in right.elts:
            _value(element, column)
        return
    if type(op) not in _COMPARISONS:
        raise AnalyzerError("--where: `is` is not supported", "write == or !=")
    names = [side for side in (left, right) if isinstance(side, ast.Name)]
    if not names:
        for side in (left, right):
            if not isinstance(side, ast.Constant):
                raise _unsupported(side)
        raise AnalyzerError("--where compares two constants", _EXAMPLE)
    columns = [_column(name, table) for name in names]
    if len(columns) == 2:
        if _family(columns[0]) != _family(columns[1]):
            raise AnalyzerError(f"--where: {columns[0].name} and {columns[1].name} cannot be compared", _EXAMPLE)
        return
    value = _value(right if isinstance(left, ast.Name) else left, columns[0])
    if value is None and not isinstance(op, ast.Eq | ast.NotEq):
        raise AnalyzerError("--where: None has no order", "write == None or != None")


def _family(column: Column) -> str:
    return {"n": "number", "s": "number", "enum": "text", "str": "text"}.get(column.type, column.type)


def _column(node: ast.expr, table: Table) -> Column:
    """Return the column that `node` names; frames columns and unknown names are refused."""
    if not isinstance(node, ast.Name):
        raise _unsupported(node)
    if node.id not in table:
        near = get_close_matches(node.id, table.names, n=1, cutoff=0.5)
        own = TABLES[table.name].names
        rest = ", and those of flows" if len(own) < len(table.names) else ""
        hint = f"did you mean {near[0]}?" if near else "the columns are: " + ", ".join(own) + rest
        raise AnalyzerError(f"--where: {table.name} has no column {node.id}", hint)
    column = table.column(node.id)
    if column.type == "frames":
        raise AnalyzerError(f"--where: {column.name} is a list and cannot be compared", "choose another column")
    return column


def _value(node: ast.expr, column: Column) -> Any:
    """Return the literal that `node` is, as the column's Python type; None for None."""
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        raise _unsupported(node) from None
    if value is None:
        return None
    family = _family(column)
    fits = {
        "number": isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**63,
        "text": isinstance(value, str),
        "bool": isinstance(value, bool),
        "ts": isinstance(value, str),
    }[family]
    if not fits:
        wants = {"number": "a number", "text": "a text in quotes", "bool": "True or False", "ts": "a time in quotes"}
        raise AnalyzerError(f"--where: {column.name} is compared with {value!r}", f"it needs {wants[family]}")
    if column.values and not column.open and value not in column.values:
        near = get_close_matches(value, column.values, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else "its values are: " + ", ".join(column.values)
        raise AnalyzerError(f"--where: {column.name} is never {value!r}", hint)
    return _nanoseconds(value, column) if family == "ts" else value


def _nanoseconds(text: str, column: Column) -> int:
    """Return an ISO 8601 time as UTC nanoseconds; without a zone it is UTC."""
    from datetime import UTC, datetime

    whole, dot, rest = text.partition(".")
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    try:
        at = datetime.fromisoformat(whole + rest[len(digits) :])
        if (dot and not digits) or len(digits) > 9:
            raise ValueError
    except ValueError:
        raise AnalyzerError(
            f"--where: {column.name} is compared with {text!r}", 'it needs a time such as "2024-05-01T14:00:00Z"'
        ) from None
    elapsed = at.replace(tzinfo=at.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    return (elapsed.days * 86400 + elapsed.seconds) * 10**9 + int(digits.ljust(9, "0") or 0)


def _unsupported(node: ast.AST) -> AnalyzerError:
    part = ast.unparse(node)
    return AnalyzerError(
        f"--where cannot hold {part!r}", "only columns, constants, == != < <= > >=, in, and, or, not and parentheses"
    )


# ------------------------------------------------------------------------------------------ computing


def _mask(node: ast.expr, rows: pa.Table, table: Table) -> Any:
    """Return the condition's value for each row: true, false or null (Kleene's logic)."""
    import pyarrow.compute as pc

    match node:
        case ast.BoolOp(op=op, values=values):
            combine = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
            result = _mask(values[0], rows, table)
            for value in values[1:]:
                result = combine(result, _mask(value, rows, table))
            return result
        case ast.UnaryOp(operand=operand):
            return pc.invert(_mask(operand, rows, table))
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            result = None
            for comparison, one, other in zip(ops, [left, *comparators], comparators, strict=False):
                step = _compare(comparison, one, other, rows, table)
                result = step if result is None else pc.and_kleene(result, step)
            return result
        case ast.Name(id=name):
            return rows[name]
    raise AssertionError(f"unchecked node {ast.dump(node)}")


def _compare(op: ast.cmpop, left: ast.expr, right: ast.expr, rows: pa.Table, table: Table) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(left, ast.Name) and isinstance(right, ast.Name):
        return pc.call_function(_COMPARISONS[type(op)], [rows[left.id], rows[right.id]])
    if isinstance(op, ast.In | ast.NotIn) and isinstance(right, ast.Tuple | ast.List | ast.Set):
        column = _column(left, table)
        values = [_value(element, column) for element in right.elts]
        found = pc.is_in(rows[column.name], value_set=_scalars(values, column), skip_nulls=None not in values)
        known = pc.or_(found, pc.is_valid(rows[column.name]))
        found = pc.if_else(known, found, pa.scalar(None, pa.bool_()))
        return pc.invert(found) if isinstance(op, ast.NotIn) else found
    name = _COMPARISONS[type(op)]
    if not isinstance(left, ast.Name):
        left, right, name = right, left, _MIRRORED.get(name, name)
    column = _column(left, table)
    value = _value(right, column)
    if value is None:
        return pc.is_null(rows[column.name]) if name == "equal" else pc.is_valid(rows[column.name])
    return pc.call_function(name, [rows[column.name], _scalars([value], column)[0]])


def _scalars(values: list[Any], column: Column) -> pa.Array:
    """Return constants in a type that compares with the column: 443.5 stays what it is beside whole numbers."""
    import pyarrow as pa

    from analyzer.tables.schema import arrow_type

    if column.type == "ts":
        return pa.array(values, pa.int64()).view(arrow_type("ts"))
    if column.type == "n" and any(isinstance(value, float) for value in values):
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array(values, arrow_type(column.type))
