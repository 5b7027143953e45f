"""Photos of any shape as inputs: against resizing, pasting and cropping by hand, and places there and back."""

import io
from dataclasses import replace
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lstn.contract import Contract, Fit, Loc
from lstn.images import Pixels, decode, pixels_of
from lstn.imaging.framing import Framing, framing_of, place_of

FILL = (10, 200, 90)
CONTRACT = Contract(Loc.LSTN, "cnn", (24, 36), ("cat", "dog"), mean=(0.2, 0.6, 1.4))

sides = st.integers(1, 60)
sizes = st.tuples(sides, sides)
fits = st.sampled_from(Fit)


def picture(hw: tuple[int, int], seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*hw, 3), np.uint8))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def resized(image: Image.Image, width: int, height: int) -> Image.Image:
    return image.resize((width, height), Image.Resampling.BILINEAR)


def framed(image: Image.Image, hw: tuple[int, int], fit: Fit) -> Pixels:
    return decode(png(image), hw, framing=Framing(fit, FILL))


@given(sizes, sizes)
def test_stretched_is_resized(photo_hw: tuple[int, int], hw: tuple[int, int]) -> None:
    image = picture(photo_hw)
    assert np.array_equal(framed(image, hw, Fit.STRETCH), resized(image, hw[1], hw[0]))


@given(sizes, sizes)
def test_letterboxed_is_resized_until_it_fits_and_pasted_into_the_middle(
    photo_hw: tuple[int, int], hw: tuple[int, int]
) -> None:
    image, scale = picture(photo_hw), min(Fraction(hw[0], photo_hw[0]), Fraction(hw[1], photo_hw[1]))
    height, width = (max(1, floor(side * scale + Fraction(1, 2))) for side in photo_hw)
    expected = Image.new("RGB", (hw[1], hw[0]), FILL)
    expected.paste(resized(image, width, height), ((hw[1] - width) // 2, (hw[0] - height) // 2))
    assert np.array_equal(framed(image, hw, Fit.LETTERBOX), expected)


@given(sizes, st.integers(0, 20), st.booleans(), st.sampled_from([1, 2, 4]), st.integers(0, 9))
def test_the_middle_of_a_photo_is_resized_until_it_covers_and_cropped(
    hw: tuple[int, int], margin: int, across: bool, times: int, seed: int
) -> None:
    """Where the photo is a whole number of times as large, cropping by hand needs no part of a pixel.

    Pillow rounds after each of two passes, in an order that depends on the sizes.
    """
    covering = (hw[0], hw[1] + 2 * margin) if across else (hw[0] + 2 * margin, hw[1])
    image = picture((covering[0] * times, covering[1] * times), seed)
    left, top = (margin, 0) if across else (0, margin)
    expected = resized(image, covering[1], covering[0]).crop((left, top, left + hw[1], top + hw[0]))
    assert np.abs(framed(image, hw, Fit.CENTRE).astype(int) - np.asarray(expected)).max() <= 1


@given(sizes, sizes)
def test_the_middle_has_the_shape_of_the_input_and_is_as_large_as_can_be(
    photo_hw: tuple[int, int], hw: tuple[int, int]
) -> None:
    across, down = place_of(photo_hw, hw, Fit.CENTRE).shown
    assert max(across, down) == 1
    assert across * photo_hw[1] * hw[0] == pytest.approx(down * photo_hw[0] * hw[1])


@given(st.tuples(st.integers(20, 90), st.integers(20, 90)), st.tuples(st.integers(20, 60), st.integers(20, 60)), fits)
def test_every_pixel_of_an_input_comes_from_where_its_place_says(
    photo_hw: tuple[int, int], hw: tuple[int, int], fit: Fit
) -> None:
    """In a photo whose red says x and whose green says y, a pixel of the input says where it comes from."""
    y, x = np.mgrid[0 : photo_hw[0], 0 : photo_hw[1]]
    pixels = framed(Image.fromarray(np.dstack([2 * x, 2 * y, 0 * x]).astype(np.uint8)), hw, fit)
    place = place_of(photo_hw, hw, fit)
    left, top, right, bottom = place.rim
    scale = np.array([place.shown[0] * photo_hw[1] / (right - left), place.shown[1] * photo_hw[0] / (bottom - top)])
    reach = np.ceil(2 + np.maximum(scale, 1) / scale).astype(int)  # the filter sees the photo's edge from there
    whole = place.to_input(np.eye(2, 3, dtype=np.float32))  # what reads from the input what was all of the photo
    assert whole[0, 1] == whole[1, 0] == 0
    for row in range(top + reach[1], bottom - reach[1]):
        for column in range(left + reach[0], right - reach[0]):
            centre = np.array([(2 * column + 1) / hw[1] - 1, (2 * row + 1) / hw[0] - 1])
            in_photo = (centre - whole[:, 2]) / whole.diagonal()
            there = (in_photo + 1) / 2 * (photo_hw[1], photo_hw[0]) - 0.5
            assert np.abs(pixels[row, column, :2] / 2 - there).max() < 0.6


@given(sizes, sizes, fits, st.lists(st.floats(-2, 2), min_size=6, max_size=6))
def test_a_warp_of_the_photo_moves_with_it(
    photo_hw: tuple[int, int], hw: tuple[int, int], fit: Fit, numbers: list[float]
) -> None:
    """It reads there what it read in the photo: first its own warp, and then where all of the photo is."""
    theta, place = np.array(numbers, np.float32).reshape(2, 3), place_of(photo_hw, hw, fit)
    whole, below = place.to_input(np.eye(2, 3, dtype=np.float32)), np.array([[0, 0, 1]])
    expected = whole @ np.concatenate([theta, below])
    np.testing.assert_allclose(place.to_input(theta), expected, rtol=1e-5, atol=1e-4)
    if fit is Fit.STRETCH:
        np.testing.assert_array_equal(place.to_input(theta), theta)


UPRIGHT = {1: 0, 3: 2, 6: -1, 8: 1}
"""EXIF orientations, and the quarter turns counter-clockwise that make a stored picture upright (TIFF 6.0, tag 274)."""


@pytest.mark.parametrize("fit", Fit)
@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("photo_hw", [(401, 1203), (1203, 401), (640, 700)])
def test_a_jpeg_decoded_at_a_smaller_scale_is_the_same_photo(
    photo_hw: tuple[int, int], orientation: int, fit: Fit
) -> None:
    coarse = picture((7, 9), orientation)
    soft = np.asarray(coarse.resize((photo_hw[1], photo_hw[0]), Image.Resampling.BICUBIC))
    exif, buffer = Image.Exif(), io.BytesIO()
    exif[274] = orientation
    stored = Image.fromarray(np.rot90(soft, -UPRIGHT[orientation]))
    stored.save(buffer, "JPEG", quality=95, exif=exif)
    found = decode(buffer.getvalue(), (31, 44), framing=Framing(fit, FILL)).astype(int)
    assert np.abs(found - framed(Image.fromarray(soft), (31, 44), fit)).max() <= 9  # of a JPEG's own error


@pytest.mark.parametrize("fit", Fit)
def test_a_letterboxed_jpeg_is_decoded_at_the_scale_of_what_is_shown(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panorama of which all is shown needs fewer pixels than one of which the middle is; twice as many as shown."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.draft", lambda _, mode, size: asked.append(size))
    buffer = io.BytesIO()
    picture((100, 1000)).save(buffer, "JPEG")
    decode(buffer.getvalue(), (20, 30), framing=Framing(fit))
    assert asked == [{Fit.STRETCH: (60, 40), Fit.LETTERBOX: (60, 6), Fit.CENTRE: (400, 40)}[fit]]


@given(sizes, fits)
def test_a_program_gets_of_an_array_what_a_file_becomes(photo_hw: tuple[int, int], fit: Fit) -> None:
    contract, image = replace(CONTRACT, fit=fit), picture(photo_hw)
    expected = decode(png(image), contract.image_hw, framing=framing_of(contract))
    assert np.array_equal(pixels_of(np.asarray(image), contract), expected)
    assert np.array_equal(pixels_of(png(image), contract), expected)


def test_around_a_letterboxed_photo_is_the_mean() -> None:
    """Which is what the sampler answers outside of the input: zero, once it is normalised."""
    pixels = pixels_of(np.zeros((5, 90, 3), np.uint8), replace(CONTRACT, fit=Fit.LETTERBOX))
    assert pixels[0, 0].tolist() == [51, 153, 255]  # no pixel is brighter than 255
    assert pixels[12, 0].tolist() == [0, 0, 0]


def test_an_image_is_black_around_unless_its_framing_says_otherwise() -> None:
    assert Framing() == Framing(Fit.STRETCH, (0, 0, 0))
    framed_black = decode(png(picture((10, 40))), (40, 40), framing=Framing(Fit.LETTERBOX))
    assert framed_black[0, 0].tolist() == [0, 0, 0]


def test_a_sliver_of_a_photo_keeps_a_pixel() -> None:
    assert place_of((1, 1000), (10, 10), Fit.LETTERBOX).rim == (0, 4, 10, 5)
    assert place_of((1000, 1), (10, 10), Fit.LETTERBOX).rim == (4, 0, 5, 10)
    assert place_of((1, 1000), (11, 10), Fit.LETTERBOX).rim == (0, 5, 10, 6)
