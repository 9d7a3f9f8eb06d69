"""Pictures of the owner's own: from a file, a folder or an archive, in the form and the range of the model's inputs."""

from __future__ import annotations

import numpy as np
import pytest

from onnxfp.errors import UsageError
from onnxfp.workflows.images import load_logos, load_pictures
from tests.triggers.forms import FORMS, data, ranges

Image = pytest.importorskip("PIL.Image")


@pytest.fixture
def folder(tmp_path):
    """Three pictures of different sizes and modes, a text and a folder."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(rng.integers(0, 255, (9, 9), dtype=np.uint8)).save(tmp_path / "b.PNG", format="PNG")
    Image.fromarray(rng.integers(0, 255, (40, 10, 4), dtype=np.uint8)).save(tmp_path / "c.png")
    (tmp_path / "d.txt").write_text("no picture")
    (tmp_path / "e.png").mkdir()
    return tmp_path


@pytest.mark.parametrize("form", FORMS)
def test_pictures_become_inputs_of_the_same_form_within_the_range(form, folder):
    inputs = data(form)
    pictures = load_pictures(folder, inputs)
    low, high = ranges(inputs, form)
    assert (pictures.dtype, pictures.shape) == (inputs.dtype, (3, *inputs.shape[1:]))
    assert (pictures >= low).all()
    assert (pictures <= high).all()
    assert len({one.tobytes() for one in pictures}) == 3


def test_black_is_the_least_and_white_the_largest_value(tmp_path):
    inputs = data("colours first")
    low, high = ranges(inputs, "colours first")
    for shade, value in ((0, low), (255, high)):
        Image.new("RGB", (16, 16), (shade,) * 3).save(tmp_path / "flat.png")
        assert load_pictures(tmp_path / "flat.png", inputs) == pytest.approx(np.broadcast_to(value, (1, 3, 8, 10)))


def test_colours_stay_where_they_are(tmp_path):
    Image.new("RGB", (16, 16), (255, 0, 0)).save(tmp_path / "red.png")
    (red,) = load_pictures(tmp_path / "red.png", data("coloured bytes"))
    low, high = (one.reshape(3) for one in ranges(data("coloured bytes"), "coloured bytes"))
    assert red[5, 5].tolist() == [high[0], low[1], low[2]]


def test_an_archive_is_taken_as_it_is(tmp_path):
    np.savez(tmp_path / "own.npz", inputs=data("bytes", 5))
    assert (load_pictures(tmp_path / "own.npz", data("halves")) == data("bytes", 5)).all()


def test_logos_are_brightness_and_opacity(tmp_path):
    half = np.zeros((64, 64, 4), dtype=np.uint8)
    half[:, :32] = (255, 255, 255, 255)
    Image.fromarray(half).save(tmp_path / "logo.png")
    (logo,) = load_logos(tmp_path / "logo.png")
    assert logo.shape == (32, 32, 2)
    assert logo[16, 4].tolist() == [1.0, 1.0]
    assert logo[16, 28, 1] == 0.0
    assert ((logo >= 0) & (logo <= 1)).all()


def test_logos_of_a_folder_are_read_in_the_order_of_their_names(folder):
    together = load_logos(folder)
    alone = np.concatenate([load_logos(folder / name) for name in ("a.png", "b.PNG", "c.png")])
    assert (together == alone).all()


REFUSED = {
    "missing.png": None,
    "empty.png": b"",
    "text.png": b"no picture at all",
    "cut.png": "cut",
    "huge.png": "huge",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_picture_is_refused_in_one_line(name, tmp_path):
    content = REFUSED[name]
    if content == "cut":
        Image.new("RGB", (64, 64)).save(tmp_path / name)
        content = (tmp_path / name).read_bytes()[:60]
    if content == "huge":
        Image.new("1", (8193, 8193)).save(tmp_path / name)
    elif content is not None:
        (tmp_path / name).write_bytes(content)
    for load in (load_logos, lambda path: load_pictures(path, data("bytes"))):
        with pytest.raises(UsageError, match="cannot be read as a picture") as refusal:
            load(tmp_path / name)
        assert "\n" not in str(refusal.value)


def test_a_folder_without_pictures_is_refused_with_what_would_do(tmp_path):
    (tmp_path / "d.txt").write_text("no picture")
    with pytest.raises(UsageError, match=r"holds no pictures \(.*\.png"):
        load_pictures(tmp_path, data("bytes"))
