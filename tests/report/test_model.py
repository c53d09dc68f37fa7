"""One table, the same cells wherever it is shown."""

from __future__ import annotations

from eigenboundary.report.model import Cell, Column, Table
from eigenboundary.runtime.formats import percent

TABLE = Table(
    (
        Column("", "head"),
        Column("share", format=percent),
        Column("note", "word", lambda ok: Cell("" if ok else "not converged", mark="bad")),
        Column("sample", "word", "#{}".format, wide=True),
    ),
    [("first", 0.5, True, 3), ("second", Cell("1 %", "2 % computed"), False, 4)],
    caption="Two rows.",
)


def test_values_are_formatted_by_their_column_and_cells_are_taken_as_they_are():
    first, second = TABLE.cells()
    assert [cell.text for cell in first] == ["first", "50 %", "", "#3"]
    assert second[1] == Cell("1 %", "2 % computed")
    assert second[2] == Cell("not converged", mark="bad")


def test_markdown_aligns_numbers_to_the_right():
    heading, rule, *rows = TABLE.markdown().splitlines()
    assert heading == "|  | share | note | sample |"
    assert rule == "| --- | ---: | --- | --- |"
    assert rows[0] == "| first | 50 % |  | #3 |"
