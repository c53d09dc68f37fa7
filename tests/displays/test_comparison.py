from __future__ import annotations

import numpy as np
import pytest

import eigenboundary as eb


@pytest.fixture
def display(with_margins) -> eb.ComparisonDisplay:
    known = with_margins
    from dataclasses import replace

    unknown = replace(known, sections=None, smallest_margin=None, attached=None)
    return eb.ComparisonDisplay(eb.compare({"known": known, "unknown": unknown})).plot()


def test_panels_show_the_tables_numbers(display: eb.ComparisonDisplay) -> None:
    table = display.comparison.table
    outside, effective, margins, sharpness, accuracy = display.axes_
    widths = [bar.get_width() for bar in outside.patches]
    np.testing.assert_allclose(widths, table["mass_outside"])
    segments = [segment[:, 0] for segment in effective.collections[0].get_segments()]
    np.testing.assert_allclose(segments, table[["effective_number_low", "effective_number_high"]])
    smallest = np.ma.filled(margins.collections[0].get_offsets()[:, 0], np.nan)
    np.testing.assert_allclose(smallest, table["smallest_margin"])
    np.testing.assert_allclose(
        sharpness.collections[0].get_offsets()[:, 0], table["largest_eigenvalue"]
    )
    np.testing.assert_allclose(accuracy.collections[0].get_offsets()[:, 0], table["accuracy"])


def test_an_unknown_margin_is_said_and_the_best_network_is_bold(display) -> None:
    assert [text.get_text() for text in display.axes_[2].texts] == ["not known"]
    bold = [t.get_text() for t in display.axes_[0].get_yticklabels() if t.get_weight() == "bold"]
    assert bold == [display.comparison.best]
