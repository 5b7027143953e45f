"""Order of regions in two forms of one detector: two regions of nearly the same score may change places."""

import numpy as np
import numpy.typing as npt

from lstn.warps.warp import Theta


def nearest_regions(thetas: Theta, of: Theta) -> npt.NDArray[np.intp]:
    """Return for each region of `of` the nearest of `thetas`: (N, K, 2, 3), (N, L, 2, 3) -> (N, L), 0 to K - 1."""
    pairs = zip(thetas, of, strict=True)
    return np.stack([np.square(one[None] - other[:, None]).sum((2, 3)).argmin(axis=1) for one, other in pairs])
