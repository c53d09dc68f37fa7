"""An analysis as a notebook shows it: the short text and the spectrum."""

from __future__ import annotations

import html
import io

from matplotlib.figure import Figure

from eigenboundary.analysis.result import Analysis
from eigenboundary.displays import SpectrumDisplay
from eigenboundary.displays.style import styled


def analysis_html(analysis: Analysis) -> str:
    """Return the headline numbers and the spectrum as HTML."""
    with styled():
        figure = Figure(figsize=(6, 3), layout="constrained")
        SpectrumDisplay.from_analysis(analysis, ax=figure.subplots())
        drawn = io.StringIO()
        figure.savefig(drawn, format="svg")
    svg = drawn.getvalue()
    return f"<pre>{html.escape(str(analysis))}</pre>{svg[svg.index('<svg') :]}"
