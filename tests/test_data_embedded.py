"""The embedded digits: real, the same everywhere, and split once and for all."""

from importlib.machinery import ModuleSpec

import numpy as np
import pytest
import torch

from cnncourse.data import embedded, mnist
from cnncourse.data.embedded import digits, upsample
from cnncourse.errors import CourseError


def test_shapes_types_and_ranges():
    data = digits()
    for part, size in {"train": 1197, "validation": 300, "test": 300}.items():
        split = getattr(data, part)
        assert split.images.shape == (size, 1, 28, 28)
        assert split.images.dtype == torch.uint8
        assert split.images.min() == 0
        assert split.images.max() == 255
        assert split.labels.shape == (size,)
        assert split.labels.dtype == torch.int64
        assert len(split) == data.source.sizes[part] == size
    assert data.classes == tuple("0123456789")


def test_content_is_pinned():
    # Committed smoke results rest on these bytes: another hash means other results.
    expected = "d33441ab4580c381ea50573800d7a4682b16680226bdade45152b75f57b7045a"
    assert digits().source.sha256 == expected
    assert digits().source.kind == "embedded"


def test_each_call_returns_fresh_tensors():
    digits().train.images.zero_()
    assert digits().train.images.max() == 255


def test_digits_are_those_of_scikit_learn():
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels, labels = embedded._bundled()
    assert np.array_equal(pixels, bunch.images)
    assert np.array_equal(labels, bunch.target)


def test_digits_are_found_where_scikit_learn_keeps_its_file_elsewhere(monkeypatch, tmp_path):
    expected = digits()
    elsewhere = ModuleSpec("sklearn", None, origin=str(tmp_path / "sklearn" / "__init__.py"))
    monkeypatch.setattr(embedded, "find_spec", lambda name: elsewhere)
    assert digits().source == expected.source
    assert torch.equal(digits().test.images, expected.test.images)


def test_without_scikit_learn_the_error_says_so(monkeypatch):
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(CourseError, match="scikit-learn, which is not installed"):
        digits()


def test_upsampling_is_torchs_bilinear_interpolation_rounded():
    pixels = np.random.default_rng(0).integers(0, 17, (50, 8, 8))
    exact = torch.nn.functional.interpolate(
        torch.from_numpy(pixels).double().unsqueeze(1), size=(28, 28), mode="bilinear", align_corners=False
    )
    error = torch.from_numpy(upsample(pixels)).double().unsqueeze(1) - exact * 255 / 16
    assert error.abs().max() <= 0.5 + 1e-9


def test_parts_are_disjoint_and_complete():
    data = digits()
    images, labels = embedded.arrays()
    parts = (data.train, data.validation, data.test)
    assert np.array_equal(torch.cat([part.images for part in parts]), images)
    assert np.array_equal(torch.cat([part.labels for part in parts]), labels)
    assert len({image.tobytes() for image in images}) == len(images)  # no image is in two parts


def test_classes_are_balanced_in_each_part():
    data = digits()
    for part in (data.train, data.validation, data.test):
        share = torch.bincount(part.labels, minlength=10) / len(part)
        assert len(share) == 10
        assert share.min() > 0.085
        assert share.max() < 0.115


def test_mean_and_std_are_those_of_the_training_part():
    data = digits()
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx((pixels.mean().item(),), abs=1e-12)
    assert data.std == pytest.approx((pixels.std(correction=0).item(),), abs=1e-12)


def test_smoke_takes_the_digits_and_touches_neither_data_root_nor_network(monkeypatch, tmp_path):
    def no_network(*args, **kwargs):
        raise AssertionError("the smoke profile opened a socket")

    monkeypatch.setattr("socket.socket", no_network)
    monkeypatch.setenv("CNNCOURSE_DATA", str(tmp_path / "nothing"))
    assert mnist("smoke").source == digits().source
    assert mnist().source == digits().source
    assert not (tmp_path / "nothing").exists()
