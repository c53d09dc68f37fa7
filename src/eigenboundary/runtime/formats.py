"""Numbers as people read them, in every table, picture and sentence."""

from __future__ import annotations

import math

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_number(value: float, digits: int = 3) -> str:
    """Write a number for people: few digits, powers of ten as superscripts.

    Examples
    --------
    >>> [format_number(v) for v in (0.11324, 12345.0, 2.31e-7, 0.0, -4.0)]
    ['0.113', '12,345', '2.31·10⁻⁷', '0', '−4']
    """
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    size = abs(value)
    sign = "−" if value < 0 else ""
    if size == 0:
        return "0"
    if 1e-3 <= size < 1e6:
        return sign + (f"{size:,.0f}" if size >= 10**digits else f"{size:.{digits}g}")
    mantissa, exponent = f"{size:.{digits - 1}e}".split("e")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{sign}{mantissa}·10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def percent(share: float) -> str:
    """Format a share as a percentage that hides no small remainder.

    Examples
    --------
    >>> percent(0.1062), percent(1.0), percent(0.9999), percent(1.2e-5), percent(0.0)
    ('10.6 %', '100 %', '99.99 %', '0.0012 %', '0 %')
    """
    value = 100 * share
    if 0 < value < 0.05:
        return f"{format_number(value, 2)} %"
    if 99.95 <= value < 100:
        return f"{min(value, 99.99):.2f} %"
    return f"{value:.1f}".removesuffix(".0") + " %"
