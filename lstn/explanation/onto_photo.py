"""Maps of the crop, carried back through theta onto the picture that the crop was read from."""

import numpy as np
from PIL import Image

from lstn.contract import ThetaForm
from lstn.explanation.occlusion import Heat
from lstn.warps.warp import CropSampling, Theta, crop_points, in_pixels, sampled

_MOST_FINER = 8
"""Times as many points as the crop has pixels, along each side: a crop that looks at more is carried with holes."""


def onto_photo(heat: Heat, theta: Theta | None, sampling: CropSampling, image_hw: tuple[int, int]) -> Heat:
    """Carry a map of the crop (h, w) back to where the crop was read: (H, W), zero where nothing was read.

    Each point of the crop is read somewhere in the picture (`lstn.warps.warp.sampled`); a pixel gets the mean of the
    points that are read in it, of which there are enough that none within the crop's outline is left out.

    theta:    of this picture; None: the crop is the picture
    sampling: `lstn.warps.warp.sampling_of` the model's contract
    """
    crop_hw = sampling.crop_hw or image_hw
    if theta is None:
        return enlarged(heat, image_hw)
    finer = _finer(theta, sampling.form, crop_hw, image_hw)
    fine_hw = finer * crop_hw[0], finer * crop_hw[1]
    places = in_pixels(sampled(theta[None], crop_points(sampling.form, fine_hw, image_hw))[0], image_hw)
    inside = np.isfinite(places).all(1) & (places >= 0).all(1) & (places < image_hw[::-1]).all(1)
    x, y = places[inside].astype(np.int64).T
    pixel, size = y * image_hw[1] + x, image_hw[0] * image_hw[1]
    total = np.bincount(pixel, enlarged(heat, fine_hw).ravel()[inside], size)
    return np.asarray((total / np.maximum(np.bincount(pixel, minlength=size), 1)).reshape(image_hw))


def enlarged(heat: Heat, hw: tuple[int, int]) -> Heat:
    """Return a map at another size, bilinear: (h, w) -> (H, W)."""
    picture = Image.fromarray(heat.astype(np.float32))
    return np.asarray(picture.resize((hw[1], hw[0]), Image.Resampling.BILINEAR), np.float64)


def _finer(theta: Theta, form: ThetaForm, crop_hw: tuple[int, int], image_hw: tuple[int, int]) -> int:
    """Return how many times as many points along each side leave two for each pixel of the picture that is read."""
    places = in_pixels(sampled(theta[None], crop_points(form, crop_hw, image_hw))[0], image_hw).reshape(*crop_hw, 2)
    steps = [np.linalg.norm(np.diff(places, axis=axis), axis=2).ravel() for axis in (0, 1)]
    furthest = float(np.max(np.nan_to_num(np.concatenate([*steps, [0.0]]), nan=np.inf)))
    return int(np.clip(np.ceil(2 * min(furthest, _MOST_FINER)), 1, _MOST_FINER))
