"""Warps in NumPy: the points that a theta samples, drift, and the crop that it makes.

theta maps points of the crop to points of the image, both from -1 to 1 from edge to edge (Jaderberg et al. 2015,
equation 1; `align_corners=False`, so -1 is the outer edge of the first pixel). Its shape says how: (2, 3) is an affine
matrix, (3, 3) a projective one, and (16, 2) the points of a thin plate spline (`lstn.warps.spline`). A log-polar crop
has an affine theta too: it says where the disc lies that is read.
"""

import math
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from lstn.contract import IMAGENET_MEAN, Contract, ThetaForm, taps
from lstn.images import Pixels
from lstn.imaging.framing import Colour, outside_of
from lstn.warps.spline import CONTROL, Positions, basis

Theta: TypeAlias = npt.NDArray[np.float32]
"""(N, …) or (…) float32: the transformer's warp, of the shape (2, 3), (3, 3) or (16, 2); or K of them, (N, K, …)."""

CORNERS: Positions = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64)
"""Of a crop, clockwise from the top left."""

INNERMOST = 1 / 16
"""Radius of the innermost row of a log-polar crop, as a share of the outermost one's."""


def sampled(theta: Theta, points: Positions) -> Positions:
    """Return where in the image points (M, 2) of the crop are read: theta (…, 2 or more, 2 or 3) -> (…, M, 2)."""
    exact = theta.astype(np.float64)
    if theta.shape[-1] == 2:
        return np.asarray(basis(points) @ exact)
    whole = np.column_stack([points, np.ones(len(points))])
    found = np.einsum("mj,...ij->...mi", whole, exact)
    if theta.shape[-2] == 2:
        return np.asarray(found)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(found[..., :2] / found[..., 2:])


def warps_of(theta: Theta) -> Theta:
    """Return each warp of one image's theta, (K, …): of one warp (…) and of several (K, …) alike."""
    return theta if theta.ndim > 2 else theta[None]


def fixed_points(theta_shape: tuple[int, ...]) -> Positions:
    """Return the points of the crop that fix a warp: its corners, (4, 2), or a spline's control points, (16, 2)."""
    return CONTROL if theta_shape[-1] == 2 else CORNERS


def landmarks_px(theta: Theta, image_hw: tuple[int, int]) -> Positions:
    """Return where the points that fix each image's warps are read: (N, …) -> (N, M, 2), in pixels of the input.

    M is 4, or a spline's 16, or as many for each of K warps (N, K, …).
    """
    places = in_pixels(sampled(theta, fixed_points(theta.shape)), image_hw)
    return places.reshape(len(theta), math.prod(places.shape[1:-1]), 2)


def frame_of(theta: Theta) -> npt.NDArray[np.float64]:
    """Return the affine matrix nearest to each warp: (N, …) -> (N, 2, 3), itself of an affine one; K as K.

    Nearest by least squares over the points that fix the warp. A picture that moves by an affine matrix moves them by
    it, and so this by exactly it: what an affine crop would have to do, whatever the rest of the warp is.
    """
    if theta.shape[-2:] == (2, 3):
        return np.asarray(theta.astype(np.float64))
    points = fixed_points(theta.shape)
    solve = np.linalg.pinv(np.column_stack([points, np.ones(len(points))]))
    return np.asarray(np.einsum("jm,...mi->...ij", solve, sampled(theta, points)))


def drift_px(theta: Theta, reference: Theta, image_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Drift: how far the landmark that moved most lies from where `reference` has it, (N,), in pixels of the input."""
    moved = landmarks_px(theta, image_hw) - landmarks_px(reference, image_hw)
    return np.asarray(np.hypot(moved[..., 0], moved[..., 1]).max(axis=1))


def identity_theta(form: ThetaForm) -> Theta:
    """Return the theta by which the crop is the image, or of a log-polar one the largest disc in it."""
    if form is ThetaForm.TPS:
        return CONTROL.astype(np.float32)
    return np.eye(3 if form is ThetaForm.PROJECTIVE else 2, 3, dtype=np.float32)


def polar_points(crop_hw: tuple[int, int], image_hw: tuple[int, int]) -> Positions:
    """Return the points of the image's largest disc that a log-polar crop of this size reads: (h * w, 2), row by row.

    Columns are angles, evenly from -180 to 180 degrees; the middle one looks right, and those after it down, as angles
    of a picture go. Rows are radii, each the same factor larger than the one before, from 1/16 at the upper edge to 1
    at the lower one. A picture that turns about the disc's centre moves sideways here, and one that grows moves down.
    """
    angle = np.pi * centres(crop_hw[1])
    radius = INNERMOST ** ((1 - centres(crop_hw[0])) / 2)
    unit = np.stack([np.outer(radius, np.cos(angle)), np.outer(radius, np.sin(angle))], axis=-1).reshape(-1, 2)
    return unit * disc_reach(image_hw)


def disc_reach(image_hw: tuple[int, int]) -> Positions:
    """Return how far the image's largest disc reaches in x and y, (2,), up to 1: less along the longer side."""
    height, width = image_hw
    return np.array([min(1.0, height / width), min(1.0, width / height)])


def crop_points(form: ThetaForm, crop_hw: tuple[int, int], image_hw: tuple[int, int]) -> Positions:
    """Return the points at which a theta of this form is asked for the pixels of a crop: (h * w, 2), row by row."""
    height, width = crop_hw
    if form is ThetaForm.POLAR:
        return polar_points(crop_hw, image_hw)
    return np.stack(np.meshgrid(centres(width), centres(height)), axis=-1).reshape(-1, 2)


def centres(count: int) -> npt.NDArray[np.float64]:
    """Return the centres of so many pixels on -1..1."""
    return np.arange(1 - count, count, 2) / count


_USUAL = outside_of(IMAGENET_MEAN)


class CropSampling(NamedTuple):
    """How a model samples pictures.

    outside: the colour there
    crop_hw: size of what it makes; None: the picture's
    form:    of its thetas
    """

    outside: Colour
    crop_hw: tuple[int, int] | None = None
    form: ThetaForm = ThetaForm.AFFINE


def sampling_of(contract: Contract) -> CropSampling:
    """Return how the model of a contract samples pictures."""
    return CropSampling(outside_of(contract.mean), contract.crop_hw, contract.theta)


def crop_image(pixels: Pixels, theta: Theta, sampling: CropSampling) -> Pixels:
    """Return what the backbone gets of one image (H, W, 3) by its theta: (h, w, 3) uint8.

    Of several warps (K, …) the crops lie side by side, (h, K * w, 3).
    """
    if theta.ndim > 2:
        return np.concatenate([crop_image(pixels, each, sampling) for each in theta], axis=1)
    size = (pixels.shape[0], pixels.shape[1])
    hw = size if sampling.crop_hw is None else sampling.crop_hw
    down, across = (taps(side, of_crop) for side, of_crop in zip(size, hw, strict=True))
    fine_hw = down * hw[0], across * hw[1]
    if theta.shape == (2, 3) and sampling.form is not ThetaForm.POLAR:
        fine = warp(pixels, theta, sampling.outside, fine_hw)
    else:
        places = sampled(theta[None], crop_points(sampling.form, fine_hw, size))[0]
        fine = _read(pixels, places, sampling.outside).reshape(*fine_hw, 3)
    if down == across == 1:
        return fine
    return np.asarray(Image.fromarray(fine).resize((hw[1], hw[0]), Image.Resampling.BOX))


def warp(pixels: Pixels, theta: Theta, outside: Colour = _USUAL, crop_hw: tuple[int, int] | None = None) -> Pixels:
    """Sample one image (H, W, 3) at theta (2, 3), bilinear, with one colour outside of it: (h, w, 3) uint8.

    outside: `outside_of` a contract's mean, for what its backbone sees; left out, that of a contract's usual mean
    crop_hw: h and w; None: those of the image
    """
    height, width = pixels.shape[:2]
    high, wide = (height, width) if crop_hw is None else crop_hw
    # Pillow wants output pixel -> input pixel; it samples at pixel centres, as `align_corners=False` does.
    to_unit = np.array([[2 / wide, 0, -1], [0, 2 / high, -1], [0, 0, 1]])
    to_pixels = np.array([[width / 2, 0, width / 2], [0, height / 2, height / 2]])
    if not np.isfinite(theta).all():
        return np.full((high, wide, 3), outside, np.uint8)
    coefficients = to_pixels @ np.vstack([theta.astype(np.float64), [0, 0, 1]]) @ to_unit
    # A border of that colour makes the edge fade as `padding_mode="zeros"` does; Pillow alone would cut it off hard.
    bordered = np.full((height + 2, width + 2, 3), outside, np.uint8)
    bordered[1:-1, 1:-1] = pixels
    padded = Image.fromarray(bordered)
    coefficients[:, 2] += 1
    size, data = (wide, high), coefficients.ravel().tolist()
    bilinear = Image.Resampling.BILINEAR
    return np.asarray(padded.transform(size, Image.Transform.AFFINE, data, bilinear, fillcolor=outside))


_FAR = 1e9
"""Where a place that is no number is read: outside of any image, as torch's sampler has it."""


def _read(pixels: Pixels, places: Positions, outside: Colour) -> Pixels:
    """Read one image (H, W, 3) at places (M, 2), bilinear, with one colour outside of it: (M, 3) uint8."""
    height, width = pixels.shape[:2]
    bordered = np.full((height + 2, width + 2, 3), outside, np.float64)
    bordered[1:-1, 1:-1] = pixels
    # In pixels of the bordered image, whose outermost rows stand for all that lies further out.
    reach = np.array([width, height], np.float64)
    near = np.clip(np.nan_to_num(places, nan=_FAR), -_FAR, _FAR)
    found = np.clip((near + 1) * reach / 2 + 0.5, 0, reach + 1)
    first = np.minimum(found.astype(np.int64), reach.astype(np.int64))
    share = found - first
    (x, y), (right, down) = first.T, share.T[:, :, None]
    upper = bordered[y, x] * (1 - right) + bordered[y, x + 1] * right
    lower = bordered[y + 1, x] * (1 - right) + bordered[y + 1, x + 1] * right
    return np.asarray(np.rint(upper * (1 - down) + lower * down).astype(np.uint8))


def in_pixels(points: Positions, image_hw: tuple[int, int]) -> Positions:
    """Return points (…, 2) of the image, -1..1, in its pixels."""
    return np.asarray((points + 1) / 2 * np.array([image_hw[1], image_hw[0]]))
