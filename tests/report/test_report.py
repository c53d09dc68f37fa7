"""The report is one page that holds the numbers and loads nothing."""

from __future__ import annotations

import base64
import dataclasses
import re
from html.parser import HTMLParser

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

import eigenboundary as eb
from eigenboundary.report import write_pictures, write_report
from eigenboundary.report.pictures import pictures_of, pictures_of_sections
from eigenboundary.report.words import interval, summary, warnings
from eigenboundary.runtime.formats import format_number, percent


@pytest.fixture(scope="module", autouse=True)
def coarse():
    """Pictures of few points: what they show has its own tests."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr("eigenboundary.report.pictures.PNG_DPI", 20)
        yield


def analyzed(d=2, n_classes=3, seed=0, **options):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(42) % n_classes
    x = 3 * torch.randn(n_classes, d, generator=generator)[y]
    x = x + torch.randn(42, d, generator=generator)
    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(d, 8), torch.nn.ReLU(), torch.nn.Linear(8, n_classes))
    optimizer = torch.optim.Adam(net.parameters(), 3e-2)
    for _ in range(120):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return eb.analyze(net, (x, y), grid=20, **options)


@pytest.fixture(scope="module")
def analysis():
    return analyzed(k=6, controls=("random_directions",))


@pytest.fixture(scope="module")
def high_dimensional():
    return analyzed(d=5, n_classes=2, k=1)


class Page(HTMLParser):
    """Attributes by tag, and the text outside of style."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.tags, self.words, self.hidden = [], [], False
        self.feed(self.source)
        self.text = re.sub(r"\s+", " ", " ".join(self.words))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.hidden = tag == "style"

    def handle_endtag(self, tag):
        self.hidden = False

    def handle_data(self, data):
        if not self.hidden:
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def report(analyses, tmp_path, **options):
    path = tmp_path / "report.html"
    write_report(analyses, path, overwrite=True, **options)
    return Page(path)


@pytest.fixture(scope="module")
def page(analysis, tmp_path_factory):
    return report({"net": analysis}, tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def both(analysis, high_dimensional, tmp_path_factory):
    folder = tmp_path_factory.mktemp("two")
    return report({"plane": analysis, "five": high_dimensional}, folder, title="Two networks")


# ------------------------------------------------------------------------------- the page


def test_page_loads_nothing_and_links_only_to_the_paper(page):
    assert not page.all("script") + page.all("link") + page.all("iframe")
    assert all(image["src"].startswith("data:image/") for image in page.all("img"))
    assert "url(" not in page.source
    assert "@import" not in page.source
    links = {link["href"] for link in page.all("a") if not link["href"].startswith("#")}
    assert links == {"https://arxiv.org/abs/2306.07104"}


def test_pictures_are_whole_images_with_words_for_those_who_cannot_see_them(page):
    images = page.all("img")
    assert len(images) == 5
    for image in images:
        assert len(image["alt"]) > 50
        kind, data = image["src"].split(";base64,")
        start = b"<?xml" if kind == "data:image/svg+xml" else b"\x89PNG"
        assert base64.b64decode(data).startswith(start)


def test_page_holds_every_eigenpair(analysis, page):
    table = analysis.to_dataframe()
    for row in table.to_dict("records"):
        assert format_number(row["eigenvalue"], 4) in page.text
        assert format_number(row["residual"], 2) in page.text
        assert format_number(row["mean_alignment"]) in page.text
        assert percent(row["mass"]) in page.text
        assert f"#{row['sample_positive']} " in page.text
        assert f"#{row['sample_negative']} " in page.text


def test_page_holds_every_complexity_number_with_its_interval(analysis, page):
    numbers = analysis.complexity
    assert percent(numbers.mass_outside) in page.text
    for name in ("effective_number", "participation_number"):
        assert format_number(getattr(numbers, name)) in page.text
        assert interval(getattr(numbers, f"{name}_interval")) in page.text
    for epsilon in (1e-3, 1e-2, "random"):
        g = numbers.generalization(epsilon)
        assert format_number(g.value) in page.text
        assert interval(g.interval) in page.text


def test_page_says_where_the_numbers_come_from(analysis, page):
    origin = analysis.provenance
    for text in (
        *origin.versions.values(),
        origin.dtype,
        origin.device,
        origin.solver,
        origin.reason,
        origin.computed,
        origin.fingerprint[:16],
        f"{origin.products:,}",
    ):
        assert text in page.text
    assert "arXiv:2306.07104" in page.text


def test_several_analyses_are_compared_first(analysis, high_dimensional, both):
    page = both
    assert "Two networks" in page.text
    compared = page.text[page.text.index("Comparison") : page.text.index("The network has")]
    for each in (analysis, high_dimensional):
        assert format_number(float(each.eigenvalues[0])) in compared
        assert format_number(each.complexity.effective_number_interval[1]) in compared
        assert percent(each.complexity.mass_outside) in compared
        assert percent(each.accuracy) in compared
    anchors = {section.get("id") for section in page.all("section")}
    assert {link["href"][1:] for link in page.all("a") if link["href"][0] == "#"} <= anchors


def test_one_analysis_is_not_compared_with_itself(page):
    assert "Comparison" not in page.text


def test_names_are_escaped(high_dimensional, tmp_path):
    page = report({"<script>alert(1)</script>": high_dimensional}, tmp_path)
    assert not page.all("script")
    assert "<script>alert(1)</script>" in page.text


def test_a_loaded_analysis_gives_the_same_page(analysis, page, tmp_path):
    analysis.save(tmp_path / "a.safetensors")
    assert report({"net": eb.load(tmp_path / "a.safetensors")}, tmp_path).text == page.text


def test_inputs_that_are_no_plane_are_embedded_instead(page, high_dimensional, tmp_path):
    embedded = report({"net": high_dimensional}, tmp_path)
    assert "principal components" in embedded.text
    assert "input plane" not in embedded.text
    assert "input plane" in page.text


def test_report_opens_no_pyplot_figures(analysis, tmp_path):
    before = plt.get_fignums()
    report({"net": analysis}, tmp_path)
    assert plt.get_fignums() == before


@pytest.fixture(scope="module")
def of_images():
    """An analysis of small images, with margins."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(60) % 3
    x = torch.rand(3, 1, 4, 4, generator=generator)[y]
    x = (x + 0.2 * torch.randn(60, 1, 4, 4, generator=generator)).clamp(0, 1)
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    eb.training.train(net, (x, y), epochs=100, learning_rate=0.3)
    return eb.analyze(net, (x, y), k=2, margins=True, box=(0, 1))


def test_sections_of_images_have_their_pictures_after_their_table(of_images, tmp_path):
    of_images.save(tmp_path / "a.safetensors")
    page = report({"net": eb.load(tmp_path / "a.safetensors")}, tmp_path)
    leading = [s.eigenvector + 1 for s in of_images.sections if s.share > 0][:3]
    titles = [image["alt"].split(".")[0] for image in page.all("img")]
    assert titles[-2 * len(leading) :] == [
        *(f"Section of eigenvector {i}" for i in leading),
        *(f"Plane of eigenvector {i}'s section" for i in leading),
    ]
    assert titles.index("Class pairs") + 1 == titles.index("Margins") == 5
    assert page.text.index("Sections of the boundary") < page.text.index("Class pairs.")
    assert page.source.startswith("<!DOCTYPE html>")


def test_pictures_look_alike_wherever_they_come_from(of_images):
    for picture in (*pictures_of(of_images), *pictures_of_sections(of_images)):
        if picture.name in ("spectrum", "mass", "margins"):
            (ax,) = picture.figure.axes[:1]
            assert not ax.spines["top"].get_visible()


def test_pictures_are_written_as_png_and_pdf(of_images, tmp_path):
    made = write_pictures(of_images, tmp_path / "new" / "pictures")
    names = {file.stem for file in made}
    assert {"spectrum", "class-pairs", "margins", "section-1", "plane-1"} <= names
    assert sorted(made) == sorted((tmp_path / "new" / "pictures").iterdir())
    starts = {".png": b"\x89PNG", ".pdf": b"%PDF"}
    assert all(file.read_bytes().startswith(starts[file.suffix]) for file in made)
    again = write_pictures(of_images, tmp_path / "again")
    for one, other in zip(made, again, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_pictures_do_not_replace_files_unless_overwriting_is_allowed(analysis, tmp_path):
    (tmp_path / "mine.png").write_text("mine")
    with pytest.raises(eb.InvalidInputError, match="folder must be a new or empty folder"):
        write_pictures(analysis, tmp_path)
    with pytest.raises(eb.InvalidInputError, match=r"folder must be a folder; .* is a file"):
        write_pictures(analysis, tmp_path / "mine.png")
    with pytest.raises(eb.InvalidInputError, match="folder must be a folder that can be made"):
        write_pictures(analysis, tmp_path / "mine.png" / "below")
    with pytest.raises(eb.InvalidInputError, match="analysis must be an Analysis; got int"):
        write_pictures(3, tmp_path / "new")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.png"]
    write_pictures(analysis, tmp_path, overwrite=True)
    assert (tmp_path / "mine.png").read_text() == "mine"


# ------------------------------------------------------------------------------- the file


def test_an_existing_file_is_kept_unless_overwriting_is_allowed(analysis, tmp_path):
    path = tmp_path / "mine.html"
    path.write_text("mine")
    with pytest.raises(eb.InvalidInputError, match="path must not exist yet"):
        analysis.report(path)
    assert path.read_text() == "mine"
    analysis.report(path, title="Replaced", overwrite=True)
    assert "Replaced" in path.read_text(encoding="utf-8")
    assert [file.name for file in tmp_path.iterdir()] == ["mine.html"]


@pytest.mark.parametrize("analyses", [{}, {"net": 3}, [1]])
def test_what_is_no_analysis_is_named(analyses, tmp_path):
    with pytest.raises(eb.InvalidInputError, match="analyses must"):
        write_report(analyses, tmp_path / "report.html")
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------ the words


def test_notes_unconverged_pairs_and_open_counts_come_before_the_numbers(analysis, tmp_path):
    doubtful = dataclasses.replace(
        analysis,
        notes=("The network was in training mode.",),
        converged=np.arange(analysis.k) < 4,
        outlier_count=dataclasses.replace(analysis.outlier_count, count=3, resolved=False),
    )
    page = report({"net": doubtful}, tmp_path)
    before = page.text[: page.text.index("The network has")]
    assert "The network was in training mode." in before
    assert "2 of 6 eigenpairs did not converge" in before
    assert "only a lower bound" in before
    assert "≥ 3" in page.text
    assert "At least 3 eigenvalues" in page.text
    assert page.source.count(' bad"') == 2


def test_nothing_is_warned_of_where_all_is_well(analysis):
    good = dataclasses.replace(
        analysis, outlier_count=dataclasses.replace(analysis.outlier_count, resolved=True)
    )
    assert warnings(good) == []


def test_summary_says_what_is_only_bounded(analysis):
    text = " ".join(summary(analysis))
    low, high = analysis.complexity.effective_number_interval
    assert f"at least {format_number(low)} and at most {format_number(high)}" in text
    assert percent(analysis.complexity.mass_outside) in text
    assert "with k = 6 it is not determined; more eigenvectors would narrow it" in text


def test_a_number_only_bounded_is_not_shown_as_a_value(high_dimensional, both):
    low, high = high_dimensional.complexity.effective_number_interval
    assert f"{format_number(low)} to {format_number(high)}" in both.text
