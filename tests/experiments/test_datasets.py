"""The data sets: their samples, their splits, the files they are read from, and their errors."""

from __future__ import annotations

import gzip
import os
import pickle
import struct
from pathlib import Path
from urllib.error import URLError

import hypothesis.strategies as st
import numpy as np
import pytest
import sklearn.datasets
import torch
from hypothesis import given
from scipy.stats import ks_2samp, norm
from sklearn.svm import SVC

import eigenboundary as eb
from eigenboundary.experiments.datasets import DATASETS, load
from eigenboundary.runtime.errors import InvalidInputError

_REAL = Path(os.environ.get("EIGENBOUNDARY_DATA", Path(__file__).parents[3] / "shared" / "data"))

SIZES = {
    "gaussian_blobs": 300,
    "circles": 200,
    "half_moons": 200,
    "hierarchical": 300,
    "checkerboard": 400,
    "iris": 150,
    "digits": 539,
}
DRAWN = ("gaussian_blobs", "circles", "half_moons", "hierarchical", "checkerboard")
# Means and standard deviations of each class's blobs.
BLOBS = {
    "gaussian_blobs": {
        0: [((2, -1), (0.5, 0.5))],
        1: [((-2, 0), (0.5, 1))],
        2: [((0, 2), (0.5, 0.5))],
    },
    "hierarchical": {
        label: [(mean, (0.5, 0.55))]
        for label, mean in enumerate([(2, -1), (2, 1), (-2, 1), (-2, -1)])
    },
}


def parts(split):
    return split.train, split.validation, split.test


def together(split):
    x, y = (torch.cat(pieces).numpy() for pieces in zip(*parts(split), strict=True))
    return x.astype(np.float64), y


def refusal(name, **options):
    with pytest.raises(InvalidInputError) as error:
        load(name, **options)
    sentence = str(error.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


def real(folder):
    if not (_REAL / folder).is_dir():
        pytest.skip(f"{folder} is not in {_REAL} (set EIGENBOUNDARY_DATA)")
    return _REAL / folder


# ---------------------------------------------------------------------------------------- splits


@pytest.mark.parametrize("name", SIZES)
def test_splits_hold_half_a_fifth_and_three_tenths_of_each_class(name):
    split = load(name)
    counts = torch.stack([y.bincount() for _, y in parts(split)]).double()
    wanted = torch.tensor([[0.5], [0.2], [0.3]], dtype=torch.float64)
    torch.testing.assert_close(counts / counts.sum(0), wanted.expand_as(counts), atol=0.01, rtol=0)
    assert len(split.class_names) == counts.shape[1]


@pytest.mark.parametrize("name", SIZES)
def test_parts_of_a_split_have_no_sample_in_common_and_miss_none(name):
    x, _ = together(load(name, seed=3))
    # Iris has three flowers with the measures of another; the other sets are all different.
    duplicates = 3 if name == "iris" else 0
    assert len(np.unique(x.reshape(len(x), -1), axis=0)) >= len(x) - duplicates
    assert len(x) == SIZES[name]


@pytest.mark.parametrize("name", SIZES)
def test_a_seed_gives_one_split_and_another_seed_another(name):
    one, same, other = (load(name, seed=seed).train for seed in (3, 3, 4))
    assert torch.equal(one[0], same[0])
    assert torch.equal(one[1], same[1])
    assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize("name", SIZES)
def test_inputs_are_float32_and_labels_int64(name):
    for x, y in parts(load(name)):
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)


@pytest.mark.parametrize("name", DRAWN)
@given(seed=st.integers(0, 2**63 - 1), samples=st.integers(16, 70))
def test_any_number_of_samples_is_shared_out_evenly_over_three_parts(name, seed, samples):
    split = load(name, seed=seed, samples=samples)
    counts = sum(y.bincount(minlength=len(split.class_names)) for _, y in parts(split))
    assert counts.sum() == samples
    assert counts.max() - counts.min() <= 2
    assert all(y.bincount(minlength=len(split.class_names)).min() >= 1 for _, y in parts(split))


@pytest.mark.parametrize("name", DRAWN)
def test_drawing_samples_leaves_the_global_random_states_alone(name):
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    load(name)
    assert np.array_equal(before[0], np.random.get_state()[1])
    assert torch.equal(before[1], torch.get_rng_state())


def test_samples_of_a_seed_stay_as_they_were_when_first_published():
    x, y = load("gaussian_blobs").train
    expected = torch.tensor([[2.4218664, -0.4175680], [-0.2202341, 2.3849103]])
    torch.testing.assert_close(x[:2], expected)
    assert y[:3].tolist() == [0, 2, 0]
    x, y = load("digits", seed=3).train
    assert (16 * x[0, 0, 4]).tolist() == [0, 0, 11, 16, 16, 13, 2, 0]
    assert y[:6].tolist() == [2, 1, 1, 0, 0, 0]
    x, y = load("iris").validation
    torch.testing.assert_close(x[0], torch.tensor([1.6010168, 1.3452967, 1.2915773, 1.7666808]))
    assert y[:6].tolist() == [2, 0, 2, 0, 1, 0]


# ------------------------------------------------------------------------------- synthetic data


def test_the_toy_has_six_points_to_train_on_and_none_besides():
    split = eb.datasets.load("toy_1d")
    x, y = split.train
    torch.testing.assert_close(x, torch.tensor([[0.5], [1.0], [1.1], [1.3], [1.4], [1.45]]))
    assert y.tolist() == [0, 1, 1, 1, 0, 0]
    for x, y in (split.validation, split.test):
        assert (x.shape, y.shape, y.dtype) == ((0, 1), (0,), torch.int64)


@pytest.mark.parametrize("noise", [1.0, 2.5])
@pytest.mark.parametrize("name", BLOBS)
def test_blobs_have_the_means_of_the_paper_and_its_deviations_times_the_noise(name, noise):
    x, y = together(load(name, seed=1, noise=noise, samples=60_000))
    for label, [(mean, deviation)] in BLOBS[name].items():
        points = x[y == label]
        np.testing.assert_allclose(points.mean(0), mean, atol=0.04 * noise)
        np.testing.assert_allclose(points.std(0), noise * np.array(deviation), rtol=0.03)


def test_two_hierarchical_classes_are_the_pairs_on_either_side():
    four, two = (together(load("hierarchical", classes=c)) for c in (4, 2))
    assert load("hierarchical", classes=2).class_names == ("right", "left")
    assert ((two[0][:, 0] < 0) == (two[1] == 1)).all()
    # The same four blobs, of which 0 and 1 lie on the right.
    for sign in (1, -1):
        np.testing.assert_allclose(
            np.sort(four[0][np.sign(four[0][:, 0]) == sign], axis=0),
            np.sort(two[0][np.sign(two[0][:, 0]) == sign], axis=0),
        )
    assert ((four[0][:, 0] < 0) == (four[1] >= 2)).all()


@pytest.mark.parametrize(("version", "first"), [("separable", 0.8), ("noisy", 0.5)])
def test_checkerboard_blobs_have_the_means_and_deviations_of_the_paper(version, first):
    x, y = together(load("checkerboard", version=version, samples=40_000))
    for label, sign, seconds in ((0, 1, (-3, 1)), (1, -1, (-1, 3))):
        for second in seconds:
            blob = x[(y == label) & (np.abs(x[:, 1] - second) < 0.8)]
            assert len(blob) == 10_000
            # Samples drawn again at ±0.8 move the mean by 0.003 and the deviation by 0.006.
            np.testing.assert_allclose(blob.mean(0), (sign * first, second), atol=0.015)
            np.testing.assert_allclose(blob.std(0), (0.3, 0.1), rtol=0.04)


@pytest.mark.parametrize("golden", ["checkerboard_normal", "checkerboard_wide"], indirect=True)
def test_the_checkerboard_has_the_distribution_of_the_authors_samples(golden):
    x, y = together(load("checkerboard", samples=40_000))
    theirs, labels = (np.concatenate([golden[k], golden[f"{k}_test"]]) for k in ("x", "y"))
    assert set(labels) == {0, 1}
    for label in (0, 1):
        for second in (-3, -1, 1, 3):
            ours, authors = (
                points[(which == label) & (np.abs(points[:, 1] - second) < 0.8)]
                for points, which in ((x, y), (theirs, labels))
            )
            assert (len(ours) == 0) == (len(authors) == 0)
            if len(ours):
                assert all(ks_2samp(ours[:, i], authors[:, i]).pvalue > 0.01 for i in (0, 1))


@given(seed=st.integers(0, 2**63 - 1))
def test_one_coordinate_of_the_separable_checkerboard_tells_the_classes_apart(seed):
    x, y = together(load("checkerboard", seed=seed))
    assert ((x[:, 0] < 0) == (y == 1)).all()


def test_the_separable_checkerboard_is_gaussian_where_nothing_is_drawn_again():
    x, y = together(load("checkerboard", redraw=False, samples=200_000))
    across = (x[:, 0] < 0) != (y == 1)
    # The normal distribution's share beyond 0.8/0.3 standard deviations.
    assert across.mean() == pytest.approx(norm.sf(0.8 / 0.3), rel=0.1)
    np.testing.assert_allclose(np.abs(x[y == 0, 0].mean()), 0.8, atol=0.003)
    noisy = (load("checkerboard", version="noisy", redraw=r).train[0] for r in (True, False))
    assert torch.equal(*noisy)


def test_the_stripes_of_the_checkerboard_leave_more_margin_than_the_line():
    for seed in range(3):
        x, y = together(load("checkerboard", seed=seed))
        line = SVC(kernel="linear", C=1e6).fit(x, y)
        assert line.score(x, y) == 1
        stripes = np.abs(x[:, 1:] - [-2, 0, 2]).min()
        assert 1 / np.linalg.norm(line.coef_) < stripes / 3


def test_no_line_separates_the_noisy_checkerboard():
    x, y = together(load("checkerboard", version="noisy"))
    assert SVC(kernel="linear", C=1e3).fit(x, y).score(x, y) < 1


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_circles_have_radii_of_one_and_a_half_with_the_noise_around(noise):
    split = load("circles", samples=20_000, noise=noise)
    x, y = together(split)
    assert split.class_names == ("outer", "inner")
    for label, radius in ((0, 1.0), (1, 0.5)):
        # The mean of the squared radius is r² + 2σ², whatever the angles.
        mean = (x[y == label] ** 2).sum(1).mean()
        np.testing.assert_allclose(mean, radius**2 + 2 * noise**2, rtol=0.03)


@pytest.mark.parametrize("noise", [0.0, 0.1, 0.3])
def test_half_moons_are_half_circles_with_the_noise_around(noise):
    x, y = together(load("half_moons", samples=20_000, noise=noise))
    for label, centre, sign in ((0, (0, 0), 1), (1, (1, 0.5), -1)):
        offset = x[y == label] - centre
        np.testing.assert_allclose((offset**2).sum(1).mean(), 1 + 2 * noise**2, rtol=0.03)
        np.testing.assert_allclose(sign * offset[:, 1].mean(), 2 / np.pi, atol=0.02)


# ------------------------------------------------------------------- irises and digits of 8×8


def test_iris_is_standardised_over_its_training_part_alone():
    x, _ = load("iris").train
    torch.testing.assert_close(x.mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std(0), torch.ones(4), atol=1e-5, rtol=0)


def test_digits_are_images_between_zero_and_one_relabelled_in_order():
    x, y = load("digits").train
    assert x.shape[1:] == (1, 8, 8)
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)
    zeros = x[y == 0].mean(0)[0]
    assert float(zeros[3:5, 3:5].mean()) < 0.2  # a zero is empty in the middle, 1 and 7 are not
    assert float(x[y == 1].mean(0)[0, 3:5, 3:5].mean()) > 0.5


def test_digits_take_other_classes_in_any_sequence():
    assert load("digits", classes=(3, 8)).class_names == ("3", "8")
    assert load("digits", classes=np.array([8, 3])).class_names == ("8", "3")


# ----------------------------------------------------------------------------------------- MNIST


def idx_bytes(values):
    """Written by hand: two zeros, 8 for bytes, the dimensions, the sizes, the values."""
    values = np.asarray(values, np.uint8)
    sizes = b"".join(struct.pack(">I", size) for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


@pytest.fixture
def small_mnist():
    """120 images of the digits 0 to 9 in turn; image i has i in each pixel."""
    images = np.broadcast_to(np.arange(120)[:, None, None], (120, 28, 28))
    return idx_bytes(images), idx_bytes(np.arange(120) % 10)


def write_mnist(folder, files, prefix="t10k", packed=False):
    folder.mkdir(parents=True, exist_ok=True)
    for kind, content in zip(("images-idx3", "labels-idx1"), files, strict=True):
        name = f"{prefix}-{kind}-ubyte{'.gz' if packed else ''}"
        (folder / name).write_bytes(gzip.compress(content) if packed else content)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layout", [".", "MNIST/raw"])
@pytest.mark.parametrize(("part", "prefix"), [("test", "t10k"), ("train", "train")])
def test_mnist_takes_the_first_images_of_each_class(
    small_mnist, tmp_path, packed, layout, part, prefix
):
    write_mnist(tmp_path / layout, small_mnist, prefix, packed)
    split = load("mnist", directory=tmp_path, classes=(7, 0), per_class=5, part=part, scale="raw")
    x, y = together(split)
    assert x.shape == (10, 1, 28, 28)
    assert split.class_names == ("7", "0")
    pixels = x[:, 0, 0, 0]
    assert (x == pixels[:, None, None, None]).all()
    assert sorted(pixels[y == 0]) == [7, 17, 27, 37, 47]
    assert sorted(pixels[y == 1]) == [0, 10, 20, 30, 40]
    assert [len(part_y) for _, part_y in parts(split)] == [4, 2, 4]


def test_mnist_pixels_go_to_one_unless_raw_ones_are_asked_for(small_mnist, tmp_path):
    write_mnist(tmp_path, small_mnist)
    unit, raw = (
        load("mnist", directory=str(tmp_path), per_class=None, scale=scale).train[0]
        for scale in ("unit", "raw")
    )
    torch.testing.assert_close(unit, raw / 255)
    assert float(raw.max()) == float(raw.max().round()) > 1


def broken(content, what):
    header = 4 * (1 + content[3])
    return {
        "cut": content[:-1],
        "longer": content + b"\0",
        "header cut": content[: header - 1],
        "empty": b"",
        "two dimensions": content[:3] + b"\2" + content[4:],
        "floats": content[:2] + b"\x0d" + content[3:],
        "count of 2**32 - 1": content[:4] + b"\xff" * 4 + content[8:],
    }[what]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("what", "sentence"),
    [
        ("cut", "bytes its header announces; got only 119"),
        ("longer", "bytes its header announces; got more"),
        ("header cut", "got a file that ends in its header"),
        ("empty", "got 0x."),
        ("two dimensions", "got 0x00000802."),
        ("floats", "as an IDX file of unsigned bytes"),
        ("count of 2**32 - 1", "with the 4294967295 bytes its header announces; got only 120"),
    ],
)
def test_a_broken_idx_file_is_told_by_its_name(small_mnist, tmp_path, what, sentence, packed):
    images, labels = small_mnist
    write_mnist(tmp_path, (images, broken(labels, what)), packed=packed)
    said = refusal("mnist", directory=tmp_path, per_class=None)
    assert said.startswith("directory must hold t10k-labels-idx1-ubyte")
    assert sentence in said


@given(content=st.binary(max_size=80))
def test_no_bytes_in_place_of_the_labels_end_in_another_error(tmp_path_factory, content):
    folder = tmp_path_factory.mktemp("mnist")
    images = idx_bytes(np.zeros((120, 28, 28)))
    for packed in (False, True):
        write_mnist(folder, (images, content), packed=packed)
        refusal("mnist", directory=folder, per_class=None)
        for file in folder.iterdir():
            file.unlink()
    (folder / "t10k-images-idx3-ubyte").write_bytes(images)
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(content)
    refusal("mnist", directory=folder, per_class=None)


def test_a_gzip_file_that_breaks_off_is_told(small_mnist, tmp_path):
    write_mnist(tmp_path, small_mnist, packed=True)
    file = tmp_path / "t10k-images-idx3-ubyte.gz"
    file.write_bytes(file.read_bytes()[:-20])
    assert refusal("mnist", directory=tmp_path, per_class=None).startswith(
        "directory must hold files that can be read; got t10k-images-idx3-ubyte.gz ("
    )


def test_images_and_labels_that_do_not_belong_together_are_told(small_mnist, tmp_path):
    write_mnist(tmp_path, (small_mnist[0], idx_bytes([0, 1, 7])))
    assert "got 120 images in t10k-images-idx3-ubyte and 3 labels" in refusal(
        "mnist", directory=tmp_path
    )
    write_mnist(tmp_path, (small_mnist[0], idx_bytes(np.full(120, 11))))
    assert refusal("mnist", directory=tmp_path).endswith("with labels from 0 to 9; got 11.")


def test_images_of_another_size_are_told(small_mnist, tmp_path):
    write_mnist(tmp_path, (idx_bytes(np.zeros((120, 8, 8))), small_mnist[1]))
    assert refusal("mnist", directory=tmp_path).endswith("images of 28×28 pixels; got 8×8.")


def test_images_are_not_taken_from_one_folder_and_labels_from_another(small_mnist, tmp_path):
    write_mnist(tmp_path, small_mnist)
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    (tmp_path / "t10k-labels-idx1-ubyte").rename(raw / "t10k-labels-idx1-ubyte")
    assert "by themselves or in MNIST/raw; got" in refusal("mnist", directory=tmp_path)


def test_the_real_mnist_files_give_the_images_of_the_paper():
    folder = real("mnist")
    split = load("mnist", directory=folder, scale="raw")
    x, y = together(split)
    assert np.bincount(y).tolist() == [300, 300, 300]
    assert (x.min(), x.max()) == (0, 255)
    # Parsed here a second time, by offsets alone.
    pixels, labels = (
        np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=skip)
        for file, skip in (
            (folder / "t10k-images-idx3-ubyte.gz", 16),
            (folder / "t10k-labels-idx1-ubyte.gz", 8),
        )
    )
    for position, digit in enumerate((0, 1, 7)):
        wanted = pixels.reshape(-1, 784)[labels == digit][:300]
        ours = x[y == position].reshape(300, 784)
        assert np.array_equal(*(np.array(sorted(map(tuple, rows))) for rows in (ours, wanted)))


# -------------------------------------------------------------------------------------- CIFAR-10


@pytest.fixture
def small_cifar():
    """Five training batches and one test batch of 40 images; pixels by image and channel."""
    arrays = []
    for batch in range(6):
        labels = (np.arange(40) + batch) % 10
        images = np.zeros((40, 3, 32, 32), np.uint8)
        images[:] = (40 * batch + np.arange(40))[:, None, None, None]
        images[:, 1], images[:, 2, 0] = 250, 251  # the green channel; the blue one's first row
        arrays.append((images, labels.astype(np.uint8)))
    return arrays


def write_binary(folder, batches):
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    for name, (images, labels) in zip(names, batches, strict=True):
        records = [bytes([y]) + x.tobytes() for x, y in zip(images, labels, strict=True)]
        (folder / name).write_bytes(b"".join(records))


def write_npz(path, batches, **changes):
    x, y = (np.concatenate(arrays) for arrays in zip(*batches[:5], strict=True))
    arrays = {"x_train": x, "y_train": y, "x_test": batches[5][0], "y_test": batches[5][1]}
    arrays |= changes
    np.savez(path, **{key: value for key, value in arrays.items() if value is not None})


@pytest.mark.parametrize("layout", ["binary", "unpacked", "folder", "file"])
def test_cifar_files_give_their_test_part_and_divide_the_rest(small_cifar, tmp_path, layout):
    directory = tmp_path
    if layout == "binary":
        write_binary(tmp_path, small_cifar)
    elif layout == "unpacked":
        write_binary(tmp_path / "cifar-10-batches-bin", small_cifar)
    else:
        write_npz(tmp_path / "small.npz", small_cifar)
        directory = tmp_path / "small.npz" if layout == "file" else tmp_path
    split = load("cifar10", directory=directory)
    assert [len(y) for _, y in parts(split)] == [140, 60, 40]
    assert [len(y.bincount()) for _, y in parts(split)] == [10, 10, 10]
    x, y = split.test
    assert y.tolist() == [(i + 5) % 10 for i in range(40)]
    torch.testing.assert_close(x[:, 0, 31, 31] * 255, torch.arange(200.0, 240))
    trained = torch.cat([split.train[0], split.validation[0]])
    assert sorted((trained[:, 0, 0, 0] * 255).round().tolist()) == list(range(200))
    torch.testing.assert_close(x[:, 1], torch.full((40, 32, 32), 250 / 255))
    torch.testing.assert_close(x[:, 2, 0], torch.full((40, 32), 251 / 255))


def test_cifar_takes_the_first_images_of_chosen_classes(small_cifar, tmp_path):
    write_binary(tmp_path, small_cifar)
    split = load("cifar10", directory=tmp_path, classes=(8, 3), per_class=7)
    assert split.class_names == ("ship", "cat")
    assert [y.bincount().tolist() for _, y in parts(split)] == [[5, 5], [2, 2], [4, 4]]
    x = torch.cat([split.train[0], split.validation[0]])[:, 0, 0, 0]
    y = torch.cat([split.train[1], split.validation[1]])
    labels = np.concatenate([labels for _, labels in small_cifar[:5]])
    for position, label in enumerate((8, 3)):
        found = sorted((x[y == position] * 255).round().tolist())
        assert found == np.flatnonzero(labels == label)[:7].tolist()


class Trap:
    """Says so when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("a pickle was loaded",)


@pytest.mark.parametrize("layout", [".", "cifar-10-batches-py"])
def test_the_python_version_of_cifar_is_refused_unread(tmp_path, layout):
    (tmp_path / layout).mkdir(exist_ok=True)
    (tmp_path / layout / "data_batch_1").write_bytes(pickle.dumps(Trap()))
    said = refusal("cifar10", directory=tmp_path)
    assert "binary version of CIFAR-10 (data_batch_1.bin to data_batch_5.bin" in said
    assert "got the Python version, whose files are pickles" in said


def test_an_archive_with_pickles_is_refused_unread(small_cifar, tmp_path):
    file = tmp_path / "objects.npz"
    write_npz(file, small_cifar, y_test=np.array([Trap()], dtype=object))
    assert "got objects.npz (" in refusal("cifar10", directory=file)
    file.write_bytes(pickle.dumps(Trap()))
    assert "got objects.npz (" in refusal("cifar10", directory=file)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"y_test": None}, "got none called y_test."),
        ({"x_test": np.zeros((40, 32, 32, 3), np.uint8)}, "got (40, 32, 32, 3) and uint8."),
        ({"x_train": np.zeros((200, 3, 32, 32))}, "got (200, 3, 32, 32) and float64."),
        ({"y_test": np.zeros(39, np.int64)}, "got shape (39,) and type int64."),
        ({"y_test": np.full(40, -1)}, "with labels from 0 to 9; got -1."),
    ],
)
def test_an_archive_with_other_arrays_is_told(small_cifar, tmp_path, changes, sentence):
    write_npz(tmp_path / "some.npz", small_cifar, **changes)
    assert refusal("cifar10", directory=tmp_path).endswith(sentence)


@given(content=st.binary(max_size=60))
def test_no_bytes_in_place_of_an_archive_end_in_another_error(tmp_path_factory, content):
    file = tmp_path_factory.mktemp("cifar") / "some.npz"
    file.write_bytes(content)
    refusal("cifar10", directory=file)


def test_an_array_that_only_calls_itself_an_archive_is_told(tmp_path):
    with (tmp_path / "some.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    assert "got some.npz (" in refusal("cifar10", directory=tmp_path)


def test_broken_or_missing_binary_files_of_cifar_are_told(small_cifar, tmp_path):
    write_binary(tmp_path, small_cifar)
    file = tmp_path / "data_batch_3.bin"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert "data_batch_3.bin with whole records of 3073 bytes; got 122919" in refusal(
        "cifar10", directory=tmp_path
    )
    file.write_bytes(b"\x0a" + whole[1:])
    assert "data_batch_3.bin with labels from 0 to 9; got" in refusal("cifar10", directory=tmp_path)
    file.unlink()
    assert refusal("cifar10", directory=tmp_path).endswith("without data_batch_3.bin.")


def test_a_folder_without_cifar_files_or_with_two_archives_is_told(small_cifar, tmp_path):
    assert refusal("cifar10", directory=tmp_path).endswith(f"{str(tmp_path)!r}, which has neither.")
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, small_cifar)
    assert refusal("cifar10", directory=tmp_path).endswith("got 2 .npz files.")


def test_the_real_cifar_images_are_read():
    split = load("cifar10", directory=real("cifar10"), classes=(0, 6), per_class=100)
    assert split.class_names == ("airplane", "frog")
    assert [len(y) for _, y in parts(split)][:2] == [142, 58]
    x, y = split.train
    assert x.shape[1:] == (3, 32, 32)
    # Skies are blue; frogs are not.
    blueness = (x[:, 2] - x[:, 0]).mean((1, 2))
    assert blueness[y == 0].mean() > 0 > blueness[y == 1].mean()


# ---------------------------------------------------------------------------------------- OpenML


def test_without_a_folder_the_parts_of_mnist_are_the_rows_of_openml(monkeypatch):
    rows = 60_000 + 60
    labels = (np.arange(rows) % 10).astype(str).astype(object)
    pixels = np.zeros((rows, 784))
    pixels[60_000:] = 255
    asked = []

    def fetch_openml(name, **options):
        asked.append((name, options["version"]))
        return pixels, labels

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch_openml)
    assert float(load("mnist", per_class=6).train[0].min()) == 1
    x, y = load("mnist", per_class=6, part="train").train
    assert float(x.max()) == 0
    assert y.bincount().tolist() == [3, 3, 3]
    assert asked == [("mnist_784", 1)] * 2


def test_without_a_folder_cifar_is_split_as_one_table(monkeypatch):
    pixels, labels = np.zeros((100, 3072)), np.repeat(np.arange(10), 10).astype(str)
    pixels[:, 1024:2048] = 51
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", lambda *_, **__: (pixels, labels))
    split = load("cifar10")
    assert [len(y) for _, y in parts(split)] == [50, 20, 30]
    channels = split.test[0].mean((0, 2, 3))
    torch.testing.assert_close(channels, torch.tensor([0.0, 0.2, 0.0]))


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_without_a_network_a_folder_is_asked_for(monkeypatch, name):
    def fetch_openml(*_, **__):
        raise URLError("no network")

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch_openml)
    said = refusal(name)
    assert said.startswith("directory must name a folder with the ")
    assert said.endswith("unless OpenML sends them; got None (<urlopen error no network>).")


# ---------------------------------------------------------------------------------------- errors


def test_every_data_set_is_loaded_by_its_name():
    assert tuple(DATASETS) == (
        "toy_1d",
        *DRAWN,
        "iris",
        "digits",
        "mnist",
        "cifar10",
    )
    for name, dataset in DATASETS.items():
        assert dataset.__name__ == name
        assert f'"{name}"' in load.__doc__


def test_an_unknown_data_set_is_named_with_those_there_are():
    said = refusal("cifar")
    assert refusal(np.array(["iris", "digits"])).startswith("name must be one of 'toy_1d',")
    assert said.startswith("name must be one of 'toy_1d', 'gaussian_blobs',")
    assert said.endswith("'mnist', 'cifar10'; got 'cifar'.")


@pytest.mark.parametrize(
    ("name", "takes"),
    [
        ("iris", "none"),
        ("toy_1d", "none"),
        ("gaussian_blobs", "noise, samples"),
        ("checkerboard", "version, noise, samples, redraw"),
        ("mnist", "classes, per_class, directory, part, scale"),
    ],
)
def test_options_a_data_set_does_not_take_are_named_with_those_it_does(name, takes):
    assert refusal(name, colour=1, size=2) == (
        f"options must be ones that data set {name!r} takes ({takes}); got colour, size."
    )


@pytest.mark.parametrize(
    ("name", "option", "sentence"),
    [
        ("digits", {"classes": (3, 3)}, "different digits from 0 to 9; got (3, 3)."),
        ("digits", {"classes": (3,)}, "different digits from 0 to 9; got (3,)."),
        ("digits", {"classes": (3, 10)}, "different digits from 0 to 9; got (3, 10)."),
        ("digits", {"classes": (0, True)}, "different digits from 0 to 9; got (0, True)."),
        ("mnist", {"classes": "01"}, "different digits from 0 to 9; got '01'."),
        ("cifar10", {"classes": 3}, "different labels from 0 to 9; got 3."),
        ("cifar10", {"classes": ([1], 2)}, "different labels from 0 to 9; got ([1], 2)."),
        ("hierarchical", {"classes": 3}, "classes must be 2 or 4; got 3."),
        ("hierarchical", {"classes": "2"}, "classes must be 2 or 4; got '2'."),
        ("checkerboard", {"version": "wide"}, "'separable', 'noisy'; got 'wide'."),
        ("checkerboard", {"redraw": 0}, "redraw must be True or False; got 0."),
        ("circles", {"noise": 1e30}, "of at least 0 and of at most 1e+06; got 1e+30."),
        ("half_moons", {"samples": 10**12}, "from 8 to 10000000; got 1000000000000."),
        ("digits", {"classes": np.array([[0, 1], [2, 3]])}, "got array([[0, 1], [2, 3]])."),
        ("circles", {"noise": -0.1}, "of at least 0 and of at most 1e+06; got -0.1."),
        ("half_moons", {"noise": None}, "of at least 0 and of at most 1e+06; got None."),
        (
            "gaussian_blobs",
            {"noise": float("nan")},
            "noise must be a number of at least 0 and of at most 1e+06; got nan.",
        ),
        (
            "hierarchical",
            {"samples": 15},
            "samples must be an integer from 16 to 10000000; got 15.",
        ),
        ("circles", {"samples": 20.0}, "samples must be an integer from 8 to 10000000; got 20.0."),
        ("mnist", {"per_class": 3}, "per_class must be an integer of at least 4; got 3."),
        ("cifar10", {"per_class": 0}, "per_class must be an integer of at least 4; got 0."),
        ("mnist", {"part": "all"}, "part must be one of 'test', 'train'; got 'all'."),
        ("mnist", {"scale": "byte"}, "scale must be one of 'unit', 'raw'; got 'byte'."),
        ("mnist", {"directory": 3}, "directory must be a path; got 3 of type int."),
        ("cifar10", {"directory": "no/where"}, "directory must exist; got 'no/where'."),
        *((name, {"seed": -1}, "from 0 to 2**63 - 1; got -1.") for name in DATASETS),
    ],
)
def test_a_bad_option_is_refused(name, option, sentence):
    assert refusal(name, **option).endswith(sentence)


def test_more_images_than_there_are_cannot_be_asked_for(small_mnist, tmp_path):
    write_mnist(tmp_path, small_mnist)
    assert refusal("mnist", directory=tmp_path) == (
        "per_class must be at most the 12 images there are of class 0; got 300."
    )
    images = idx_bytes(np.zeros((20, 28, 28)))
    write_mnist(tmp_path, (images, idx_bytes([0] * 18 + [1] * 2)))
    assert refusal("mnist", directory=tmp_path, per_class=None, classes=(0, 1)) == (
        "classes must be ones with at least 4 images; got 1, which has 2."
    )
