"""One self-contained HTML page about one analysis or several: numbers, pictures, provenance.

The page loads nothing: pictures are embedded, styles are inline, and there are no scripts. It
needs the analyses alone, without their networks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eigenboundary.analysis.comparison import Comparison, check_analyses, compare
from eigenboundary.analysis.result import Analysis
from eigenboundary.displays.style import styled
from eigenboundary.report import pictures, tables, words
from eigenboundary.runtime.arguments import check_instance
from eigenboundary.runtime.errors import InvalidInputError
from eigenboundary.runtime.files import new_file, new_folder, replaced_when_complete
from eigenboundary.runtime.version import __version__

__all__ = ["write_pictures", "write_report"]


def write_report(
    analyses: Mapping[str, Analysis],
    path: str | Path,
    *,
    title: str | None = None,
    overwrite: bool = False,
) -> None:
    """Write an HTML page about one or several analyses.

    Parameters
    ----------
    analyses : mapping of str to Analysis
        Analyses by the name to show. Where there are several, a table compares them first.
    path : path
        The file to write.
    title : str, optional
        Heading of the page.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    InvalidInputError
        If there is no analysis, or the file exists and ``overwrite`` is not set.
    """
    target = new_file(path, overwrite=overwrite, name="path")
    check_analyses(analyses, 1)
    page = _render(analyses, title)
    with replaced_when_complete(target) as partial:
        partial.write_text(page, encoding="utf-8")


def write_pictures(
    analysis: Analysis, folder: str | Path, *, overwrite: bool = False
) -> tuple[Path, ...]:
    """Write each of the report's pictures as PNG and PDF.

    Parameters
    ----------
    analysis : Analysis
    folder : path
        Folder to write to, made where it does not exist.
    overwrite : bool
        Whether a folder that holds files may be written to.

    Returns
    -------
    tuple of Path
        The files written.

    Raises
    ------
    InvalidInputError
        If ``analysis`` is no Analysis, or the folder is a file, holds files without ``overwrite``,
        or cannot be made or written to.
    """
    check_instance(analysis, "analysis", Analysis)
    target = new_folder(folder, overwrite=overwrite)
    made = []
    for picture in (*pictures.pictures_of(analysis), *pictures.pictures_of_sections(analysis)):
        for kind in ("png", "pdf"):
            file = target / f"{picture.name}.{kind}"
            how: dict[str, Any] = {"format": kind, "dpi": pictures.PNG_DPI}
            metadata = {"CreationDate": None} if kind == "pdf" else None
            with replaced_when_complete(file, "folder") as partial, styled():
                picture.figure.savefig(partial, metadata=metadata, **how)
            made.append(file)
    return tuple(made)


def _render(analyses: Mapping[str, Analysis], title: str | None) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup, escape

    loader = PackageLoader("eigenboundary", "report")
    blocks: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True}
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, **blocks)
    environment.filters["math"] = lambda text: Markup(
        re.sub(r"([GλAx])_([θib1t])\b", r"\1<sub>\2</sub>", str(escape(text)))
    )
    several = len(analyses) > 1
    heading = title or ("Decision boundary report" if several else str(next(iter(analyses))))
    named = enumerate(analyses.items(), start=1)
    return environment.get_template("template.html").render(
        title=heading,
        version=__version__,
        several=several,
        comparison=tables.comparison(analyses) if several else None,
        compared=_compared(analyses) if several else None,
        sections=[_section(str(name), analysis, f"a{i}") for i, (name, analysis) in named],
        glossary=words.GLOSSARY,
    )


def _compared(analyses: Mapping[str, Analysis]) -> Comparison | None:
    """Return the comparison, or None where the analyses are of different things."""
    try:
        return compare(analyses)
    except InvalidInputError:
        return None


def _section(name: str, analysis: Analysis, anchor: str) -> dict[str, Any]:
    return {
        "name": name,
        "anchor": anchor,
        "headline": tables.headline(analysis),
        "summary": words.summary(analysis),
        "warnings": words.warnings(analysis),
        "numbers": tables.numbers(analysis),
        "eigenpairs": tables.eigenpairs(analysis),
        "boundary": None if analysis.sections is None else tables.sections(analysis),
        "pictures": [p.embedded() for p in pictures.pictures_of(analysis)],
        "boundary_pictures": [p.embedded() for p in pictures.pictures_of_sections(analysis)],
        "provenance": tables.provenance(analysis),
    }
