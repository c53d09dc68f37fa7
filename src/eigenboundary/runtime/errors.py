"""Errors that name the argument, what was wanted and what came."""

from __future__ import annotations


class InvalidInputError(ValueError):
    """A user's input cannot be analysed.

    The message is one sentence: the argument's name, what was wanted and what came.

    Examples
    --------
    >>> from eigenboundary.runtime.errors import InvalidInputError
    >>> issubclass(InvalidInputError, ValueError)
    True
    """
