from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import eigenboundary as eb
from eigenboundary.displays import style


@pytest.fixture
def display(with_margins) -> eb.ComparisonDisplay:
    known = with_margins
    unknown = replace(known, sections=None, smallest_margin=None, attached=None)
    return eb.ComparisonDisplay(eb.compare({"known": known, "unknown": unknown})).plot()


def test_panels_show_the_tables_numbers(display: eb.ComparisonDisplay) -> None:
    table = display.comparison.table
    area, dimension, margins, sharpness, accuracy = display.axes_
    for ax, name in ((area, "boundary_area"), (dimension, "boundary_dimension")):
        segments = [segment[:, 0] for segment in ax.collections[0].get_segments()]
        np.testing.assert_allclose(segments, table[[f"{name}_low", f"{name}_high"]])
        np.testing.assert_allclose(ax.collections[1].get_offsets()[:, 0], table[name])
    smallest = np.ma.filled(margins.collections[1].get_offsets()[:, 0], np.nan)
    np.testing.assert_allclose(smallest, table["smallest_margin"])
    np.testing.assert_allclose(
        sharpness.collections[0].get_offsets()[:, 0], table["largest_eigenvalue"]
    )
    np.testing.assert_allclose(accuracy.collections[0].get_offsets()[:, 0], table["accuracy"])


def names_in(display: eb.ComparisonDisplay, **wanted: str) -> list[str]:
    labels = display.axes_[0].get_yticklabels()
    return [
        t.get_text()
        for t in labels
        if all(getattr(t, f"get_{k}")() == v for k, v in wanted.items())
    ]


def test_an_unknown_margin_is_said_and_the_front_stands_out(display) -> None:
    assert [text.get_text() for text in display.axes_[2].texts] == ["not known"]
    assert names_in(display, color=style.ACCENT) == list(display.comparison.front)
    assert names_in(display, weight="bold") == []  # nothing is certain of the same network twice


def test_the_network_that_is_better_altogether_is_bold(with_margins) -> None:
    area = with_margins.boundary_area
    larger = replace(area, value=3 * area.value, interval=(2.9 * area.value, 3.1 * area.value))
    other = replace(with_margins, boundary_area=larger)
    compared = eb.ComparisonDisplay(eb.compare({"simple": with_margins, "winding": other})).plot()
    assert names_in(compared, weight="bold", color=style.ACCENT) == ["simple"]
