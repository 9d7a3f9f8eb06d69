"""Inputs as a suspect expects them: every step, their order, and what is refused."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from PIL import Image

from onnxfp.errors import UsageError
from onnxfp.suspect.transform import Transform

ALL = "own-std=0.5 own-mean=0.5 scale=255 mean=1,2,3 std=0.229,0.224,0.225 resize=6x4 dtype=uint8 layout=nhwc"


def images(samples: int = 2, channels: int = 3) -> np.ndarray:
    """(samples, channels, 8, 8) between 0 and 1."""
    count = samples * channels * 64
    return (np.arange(count, dtype=np.float32) / count).reshape(samples, channels, 8, 8)


def test_without_steps_nothing_is_touched():
    x = images()
    assert Transform.parse("") == Transform()
    assert Transform().apply(x) is x
    assert str(Transform()) == ""


@pytest.mark.parametrize("text", [ALL, "jpeg=90", "scale=0.00392156862745", "resize=224x224", "dtype=float16"])
def test_what_is_written_is_read_again(text):
    assert str(Transform.parse(text)) == text
    assert Transform.parse(str(Transform.parse(text))) == Transform.parse(text)


def test_steps_have_one_order_whatever_the_order_in_which_they_are_written():
    assert Transform.parse(" ".join(reversed(ALL.split()))) == Transform.parse(ALL)


def test_scale_comes_before_mean_and_std():
    x = images()
    mean, std = np.array([1, 2, 3]).reshape(1, 3, 1, 1), np.array([0.5, 0.25, 2.0]).reshape(1, 3, 1, 1)
    made = Transform.parse("scale=255 mean=1,2,3 std=0.5,0.25,2").apply(x)
    np.testing.assert_allclose(made, (x * 255.0 - mean) / std, rtol=1e-6)
    assert made.dtype == np.float32


def test_the_owners_normalisation_is_undone_first():
    pixels = np.arange(2 * 3 * 64, dtype=np.uint8).reshape(2, 3, 8, 8)
    mean, std = np.array([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1), np.array([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1)
    owners = ((pixels / 255.0 - mean) / std).astype(np.float32)
    transform = Transform.parse("own-mean=0.485,0.456,0.406 own-std=0.229,0.224,0.225 scale=255 dtype=uint8")
    np.testing.assert_array_equal(transform.apply(owners), pixels)


def test_one_number_suits_inputs_that_are_no_images():
    x = np.ones((4, 7))
    made = Transform.parse("scale=3 mean=1 std=2").apply(x)
    assert made.dtype == np.float64
    np.testing.assert_array_equal(made, x)


def test_integers_are_rounded_and_clipped():
    x = np.array([[-3.0, 0.4, 0.6, 254.6, 1e9]], dtype=np.float32)
    assert Transform(dtype="uint8").apply(x).tolist() == [[0, 0, 1, 255, 255]]
    assert Transform(dtype="int8").apply(x).tolist() == [[-3, 0, 1, 127, 127]]
    assert Transform(dtype="int64").apply(np.array([[1e300, -1e300]])).tolist() == [[2**63 - 1024, -(2**63)]]
    assert Transform(dtype="uint8").apply(np.array([[300, -5]])).tolist() == [[255, 0]]
    assert Transform(dtype="float16").apply(x).dtype == np.float16


def test_layout_names_what_the_suspect_takes():
    x = images()
    assert Transform(layout="nchw").apply(x) is x
    turned = Transform(layout="nhwc").apply(x)
    np.testing.assert_array_equal(turned, x.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(Transform(layout="nchw").apply(turned), x)


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_resizing_keeps_the_layout_and_what_is_even(layout):
    x = Transform(layout=layout).apply(images() * 0 + 0.25)
    made = Transform(resize=(6, 4)).apply(x)
    assert made.shape == ((2, 3, 6, 4) if layout == "nchw" else (2, 6, 4, 3))
    np.testing.assert_allclose(made, 0.25)
    assert Transform(resize=(6, 4)).apply((x * 4).astype(np.uint8)).dtype == np.uint8


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_files_show_the_images(channels):
    x = np.round(images(channels=channels) * 255)
    files = Transform.parse("jpeg=95").apply(x)
    assert files.shape == (2, 1)
    for file, image in zip(files[:, 0], x, strict=True):
        seen = np.asarray(Image.open(io.BytesIO(file)), dtype=np.float64).reshape(8, 8, channels)
        assert np.abs(seen - image.transpose(1, 2, 0)).mean() < 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scale", "expected steps of a transform among own-std="),
        ("blur=3", "found 'blur=3'"),
        ("scale=1 scale=2", "once, found scale twice"),
        ("scale=big", "expected scale=255 or alike"),
        ("scale=nan", "expected scale=255 or alike"),
        ("mean=1,,2", "expected mean="),
        ("std=0", "expected std="),
        ("std=1,0,1", "expected std="),
        ("resize=224", "expected resize=224x224"),
        ("resize=0x5", "expected resize=224x224"),
        ("resize=9000x5", "expected resize=224x224"),
        ("layout=hwc", r"expected layout=nchw\|nhwc"),
        ("dtype=complex64", "expected dtype=uint8"),
        ("jpeg=101", "expected jpeg=90"),
        ("jpeg=90 layout=nhwc", "a JPEG file has its own layout"),
        ("jpeg=90 dtype=float32", "a JPEG file has its own layout"),
        ("\x1b[31m=1", r"found '\\x1b"),
    ],
)
def test_what_is_no_transform_is_refused_in_one_line(text, words):
    with pytest.raises(UsageError, match=words) as refused:
        Transform.parse(text)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    ("text", "shape", "words"),
    [
        ("layout=nhwc", (2, 9), r"expected images .* found inputs of shape \[2, 9\]"),
        ("resize=2x2", (2, 5, 5, 5), "expected images"),
        ("mean=1,2", (2, 3, 8, 8), "one number per channel, 3, found 2"),
        ("jpeg=90", (2, 4, 8, 8), "1 or 3 channels for jpeg=, found 4"),
    ],
)
def test_steps_that_do_not_fit_the_inputs_are_refused(text, shape, words):
    with pytest.raises(UsageError, match=words):
        Transform.parse(text).apply(np.zeros(shape, dtype=np.float32))


def test_nan_has_no_integer():
    with pytest.raises(UsageError, match="found NaN"):
        Transform(dtype="uint8").apply(np.full((1, 2), np.nan))


def test_pillow_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(UsageError, match=r"install `onnxfp\[remote\]`"):
        Transform(resize=(2, 2)).apply(images())
