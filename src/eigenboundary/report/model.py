"""A table as the terminal, the page and Markdown files show it: columns, rows and a caption."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Mark = Literal["", "good", "bad", "failed", "outlier"]


class Cell(NamedTuple):
    """A formatted value, a smaller remark below it, and how it is set off."""

    text: str
    detail: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and how it is aligned and filled."""

    name: str
    # Numbers are aligned to the right; only text wraps; a head names its row.
    kind: Literal["number", "word", "text", "head"] = "number"
    format: Callable[[Any], str | Cell] = str
    wide: bool = False  # shown on the page only, where there is room
    link: str = ""  # anchor on the page that the heading leads to


@dataclass(frozen=True)
class Table:
    """Rows of values below their columns; a column formats all but a :class:`Cell`.

    Examples
    --------
    >>> table = Table((Column("i"), Column("share", format="{:.0%}".format)), [(1, 0.5)])
    >>> print(table.markdown())
    | i | share |
    | ---: | ---: |
    | 1 | 50% |
    """

    columns: tuple[Column, ...]
    rows: Sequence[Sequence[Any]]
    title: str = ""
    caption: str = ""

    def cells(self) -> list[list[Cell]]:
        """Return the formatted rows."""
        return [
            [_cell(column, value) for column, value in zip(self.columns, row, strict=True)]
            for row in self.rows
        ]

    def markdown(self) -> str:
        """Return the table as Markdown."""
        names = [column.name for column in self.columns]
        lines = ["---:" if column.kind == "number" else "---" for column in self.columns]
        rows = [names, lines, *([cell.text for cell in row] for row in self.cells())]
        return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(column: Column, value: Any) -> Cell:
    shown = value if isinstance(value, Cell) else column.format(value)
    return shown if isinstance(shown, Cell) else Cell(shown)
