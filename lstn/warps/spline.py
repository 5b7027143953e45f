"""Thin plate splines: a crop whose 16 control points each lie anywhere, and between them as smooth as can be.

A crop's control points form an even grid of 4 x 4 from edge to edge. theta (16, 2) says where in the picture each is
read, row by row, x and y from -1 to 1. Between them the spline of least bending (Bookstein 1989) leads from one to the
other; because the grid is the same for all crops, its matrix is inverted once, and a warp is a product of a constant
with theta.
"""

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from lstn.contract import SPLINE_SIDE

Positions = npt.NDArray[np.float64]
"""(…, 2) float64: x and y, from -1 to 1 over the picture, or over the crop."""

_AXIS = np.linspace(-1, 1, SPLINE_SIDE)

CONTROL: Positions = np.stack(np.meshgrid(_AXIS, _AXIS), axis=-1).reshape(-1, 2)
"""The control points in the crop, (16, 2): theta of the identity."""


def basis(points: Positions) -> npt.NDArray[np.float64]:
    """Return what each control point contributes to each point (M, 2) of the crop: (M, 16), rows that add up to 1."""
    affine = np.column_stack([np.ones(len(points)), points])
    return np.asarray(np.column_stack([_bending(points), affine]) @ _inverse())


@lru_cache(maxsize=1)
def _inverse() -> npt.NDArray[np.float64]:
    """Return the columns of the inverse of the spline's matrix that multiply theta: (16 + 3, 16)."""
    affine = np.column_stack([np.ones(len(CONTROL)), CONTROL])
    matrix = np.block([[_bending(CONTROL), affine], [affine.T, np.zeros((3, 3))]])
    return np.asarray(np.linalg.inv(matrix)[:, : len(CONTROL)])


def _bending(points: Positions) -> npt.NDArray[np.float64]:
    """Return r^2 log r^2 for the distances r of points (M, 2) from the control points: (M, 16)."""
    squares = np.square(points[:, None] - CONTROL).sum(2)
    return np.asarray(squares * np.log(np.where(squares > 0, squares, 1.0)))
