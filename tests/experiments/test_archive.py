"""One archive for all results: used again, made again with a warning, or refused."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import save_file

import eigenboundary as eb
from eigenboundary.experiments.archive import Archive, Key, OtherResultError, OutdatedResultError

KEY = Key({"seed": 0, "sizes": (2, 3), "parent": {"epochs": 20}}, "data", "training 1")
NAME = "small-0.safetensors"
CHANGES = {
    "seed 0, not 1": {"configuration": KEY.configuration | {"seed": 1}},
    r"parent\.epochs 20, not 30": {"configuration": KEY.configuration | {"parent": {"epochs": 30}}},
    "from other samples or weights": {"data": "other"},
    "by another version's code": {"algorithm": "training 2"},
}


@pytest.fixture
def archive(tmp_path):
    """An archive that finds a result of an earlier one."""
    Archive(tmp_path).write(NAME, KEY, {"weight": torch.ones(2)}, {"loss": 0.5})
    return Archive(tmp_path)


def test_tensors_come_back_nested_and_values_as_they_were(tmp_path):
    tensors = {"0.weight": torch.rand(2, 3), "checkpoints": {5: {"0.weight": torch.zeros(1)}}}
    Archive(tmp_path / "new").write(NAME, KEY, tensors, {"loss": float("nan"), "epochs": 20})
    stored = Archive(tmp_path / "new").read(NAME, KEY)
    assert torch.equal(stored.tensors()["0.weight"], tensors["0.weight"])
    assert torch.equal(stored.tensors()["checkpoints"]["5"]["0.weight"], torch.zeros(1))
    assert stored.values["epochs"] == 20
    assert stored.values["loss"] != stored.values["loss"]


@pytest.mark.parametrize("said", CHANGES)
def test_a_result_of_another_key_is_told_by_what_differs(archive, said):
    kind = OtherResultError if "not" in said else OutdatedResultError
    with pytest.raises(kind, match=f"^folder must hold only .* was made (with )?{said}"):
        archive.read(NAME, dataclasses.replace(KEY, **CHANGES[said]))


@pytest.mark.parametrize("content", ["damaged", "another kind of file"])
def test_a_file_that_is_no_result_is_refused_or_made_again(archive, caplog, content):
    path = archive.folder / NAME
    if content == "damaged":
        path.write_bytes(path.read_bytes()[:40])
    else:
        save_file({"weight": torch.ones(1)}, path)
    with pytest.raises(OtherResultError, match=f"is {content}"):
        archive.find({0: (NAME, KEY)}, strict=True)
    assert archive.find({0: (NAME, KEY)}, strict=False) == {}
    assert len(caplog.records) == 1
    before = path.read_bytes()
    archive.write(NAME, KEY, {}, {"loss": 0.1})
    assert (archive.folder / "superseded" / "small-0-1.safetensors").read_bytes() == before
    assert archive.find({0: (NAME, KEY)}, strict=True)[0].values == {"loss": 0.1}


def test_overwriting_disregards_all_but_what_the_archive_wrote_itself(archive):
    anew = Archive(archive.folder, overwrite=True)
    assert anew.read(NAME, KEY) is None
    anew.write(NAME, KEY, {}, {"loss": 0.2})
    assert anew.read(NAME, KEY).values == {"loss": 0.2}
    assert [path.name for path in archive.folder.iterdir()] == [NAME]


def test_an_analysis_keeps_its_own_header_beside_the_key(archive):
    model = eb.networks.build("fnn", inputs=2, classes=3, hidden=(4,))
    data = eb.datasets.load("gaussian_blobs", samples=30).train
    analysis = eb.analyze(model, data, k=2)
    archive.write_saved("analysis.safetensors", KEY, analysis.save)
    stored = Archive(archive.folder).read("analysis.safetensors", KEY)
    assert eb.load(stored.path, model).summary() == analysis.summary()


def test_a_result_that_cannot_be_written_leaves_the_earlier_one(archive):
    before = (archive.folder / NAME).read_bytes()

    def fail(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive.write_saved(NAME, KEY, fail)
    assert (archive.folder / NAME).read_bytes() == before
    assert [path.name for path in archive.folder.iterdir()] == [NAME]
