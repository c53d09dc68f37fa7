from __future__ import annotations

import enum
import json
import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from eigenboundary.runtime.records import UNSTORED, RecordError, pack, unpack


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    rows: Annotated[NDArray[np.int64], "n", "..."]
    own: Annotated[NDArray[Any], "q", "q"]


@dataclass(frozen=True)
class Outer:
    values: Annotated[NDArray[np.float64], "n", 2]
    number: float
    pair: tuple[int, float]
    names: tuple[str, ...]
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    table: dict[str, Annotated[NDArray[np.float64], "n"]] = field(default_factory=dict)
    colour: Colour = Colour.RED
    dtype: torch.dtype = torch.float32
    held: object = field(default=None, metadata=UNSTORED)


def inner(n: int, q: int) -> Inner:
    return Inner(np.arange(3 * n).reshape(n, 3), np.zeros((q, q)))


def outer(n: int = 4, **changes: Any) -> Outer:
    given = {"values": np.ones((n, 2)), "number": 1.5, "pair": (1, 2.0), "names": ("a",)}
    return Outer(**{**given, **changes})


def round_trip(value: Outer) -> Outer:
    arrays: dict[str, NDArray[Any]] = {}
    record = json.loads(json.dumps(pack(value, arrays), allow_nan=False))
    return unpack(Outer, record, arrays, ("n",))


@given(
    st.integers(0, 5),
    st.floats(),
    st.tuples(st.integers(), st.floats(allow_nan=False)),
    st.lists(st.text()),
    st.booleans(),
)
def test_a_dataclass_comes_back_as_it_was(n, number, pair, names, nested) -> None:
    table = {"one": np.arange(n) / 2}
    made = outer(n, number=number, pair=pair, names=tuple(names), table=table, held=object())
    if nested:
        made = outer(n, number=number, inner=inner(n, 2), many=(inner(n, 1), inner(n, 3)))
    found = round_trip(made)
    np.testing.assert_array_equal(found.values, made.values)
    assert found.number == made.number or math.isnan(made.number)
    assert (found.pair, found.names) == (made.pair, made.names)
    assert (found.colour, found.dtype, found.held) == (Colour.RED, torch.float32, None)
    assert found.table.keys() == made.table.keys()
    assert [len(each.own) for each in found.many] == [len(each.own) for each in made.many]
    if nested:
        np.testing.assert_array_equal(found.inner.rows, made.inner.rows)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"number": "three"}, "number is not a number: three"),
        ({"number": True}, "number is not a number: True"),
        ({"pair": [1]}, "pair is not 2 entries"),
        ({"pair": [1.5, 2.0]}, "pair.0 is not of type int: 1.5"),
        ({"names": "a"}, "names is not a list"),
        ({"names": [1]}, "names.0 is not of type str"),
        ({"inner": 3}, "inner is not a table"),
        ({"inner": {"rows": "array"}}, "inner is not of fields rows, own"),
        ({"inner": {"rows": "array", "own": "array"}}, "inner.rows is not an array"),
        ({"colour": "BLUE"}, "colour is not one of RED: BLUE"),
        ({"dtype": "nothing"}, "dtype is not a torch dtype"),
        ({"more": 3}, "the record is not of fields values, number"),
    ],
)
def test_a_record_that_does_not_fit_is_refused(change: dict[str, Any], said: str) -> None:
    arrays: dict[str, NDArray[Any]] = {}
    record = pack(outer(), arrays)
    with pytest.raises(RecordError, match=said):
        unpack(Outer, {**record, **change}, arrays)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"values": np.ones((4, 3))}, r"values is not of shape \(4, 2\): \(4, 3\)"),
        ({"values": np.ones(4)}, "values is not of shape"),
        ({"values": np.ones((4, 2), dtype=int)}, "values is not of dtype float64: int64"),
        ({"inner": inner(5, 1)}, r"inner.rows is not of shape \(4,\): \(5, 3\)"),
        (
            {"inner": Inner(np.ones((4, 1), dtype=int), np.ones((2, 3)))},
            "inner.own is not of shape",
        ),
        ({"table": {"one": np.ones(3)}}, r"table.one is not of shape \(4,\): \(3,\)"),
    ],
)
def test_arrays_have_the_shapes_that_are_declared(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordError, match=said):
        round_trip(outer(4, **changes))
