"""Numbers as people read them, in every table, picture and sentence."""

from __future__ import annotations

import math

# Width of an interval, relative to its upper end, within which a number is known; and the ratio of
# its ends beyond which the number is not determined.
_NARROW, _WIDE = 0.1, 10
UNKNOWN = "not determined"
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


def is_narrow(bounds: tuple[float, float]) -> bool:
    """Return whether an interval is narrow enough to speak of one number.

    Examples
    --------
    >>> is_narrow((9.5, 10.0)), is_narrow((5.0, 10.0)), is_narrow((1.0, math.inf))
    (True, False, False)
    """
    return math.isfinite(bounds[1]) and bounds[1] - bounds[0] <= _NARROW * bounds[1]


def format_known(value: float, bounds: tuple[float, float]) -> str:
    """Write a number as far as its interval determines it: as value, as range, or not at all.

    Examples
    --------
    >>> format_known(6.28, (6.27, 6.3)), format_known(6.28, (6.27, 16.9))
    ('6.28', '6.27 to 16.9')
    >>> format_known(0.0009, (0.0009, 1.0))
    'not determined'
    """
    low, high = bounds
    if is_narrow(bounds):
        return format_number(value)
    return f"{format_number(low)} to {format_number(high)}" if high <= _WIDE * low else UNKNOWN


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
