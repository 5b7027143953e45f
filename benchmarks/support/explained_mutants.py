"""Why mutants survive: each that no test can or should find, with the reason."""

from collections.abc import Mapping

_TWICE = "the same: `check_contract` refuses a generator's noise of 0, too, and no other model's file has the field"
_SPEED = "the same answer: it says how much is done at a time"
_TYPED = "a limit of what is typed, which `tests/lstn/test_misuse.py` holds"
_NEGATIVE = "the same: NumPy takes any negative size for the one that it finds"
_HINT = "only which hint is given"
_TWO = "the same: both have two"

EXPLAINED: Mapping[str, Mapping[tuple[str, str, str], str]] = {
    "lstn.contract.bounds": {
        ("TRAINED_SIDES", "8", "9"): _TYPED,
        ("TRAINED_SIDES", "4096", "4097"): _TYPED,
        ("NoiseCount", "0", "1"): _TWICE,
    },
    "lstn.contract.theta_forms": {("check_crop", "True", "False"): _TWO},
    "lstn.files": {
        ("remove_leftovers", "True", "False"): "only where a folder can't be removed: then those after it stay as well",
        ("hashed", "20", "21"): _SPEED,
    },
    "lstn.images": {
        (
            "_NEVER_WAIT",
            "getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_CLOEXEC', 0) | getattr(os, 'O_BINA",
            "(getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_CLOEXEC', 0)) & getattr(os, 'O_BI",
        ): "only where a pipe takes the place of a file between two calls",
        ("pixels_of", "4", "5"): _HINT,
        (
            "pixels_of",
            "'pass several images as a list: list(pixels)' if picture.ndim == 4 else 'rows of",
            "'pass several images as a list: list(pixels)' if not picture.ndim == 4 else 'row",
        ): _HINT,
        ("the module", "warnings.filterwarnings('ignore', module='PIL\\\\.')", "pass"): "pytest has filters of its own",
    },
    "lstn.imaging.image_file": {
        ("_IHDR_ENDS", "25", "26"): "the same: behind a header of its length no chunk begins before byte 33",
        ("_png_parts", "12", "13"): "the same: a last chunk without content comes through in either way",
    },
    "lstn.imaging.framing": {("whole_size", "True", "False"): _TWO},
    "lstn.imaging.image_mode": {("_unsure", "8", "9"): "the same: what has no such tag has neither 16 nor 32 bits"},
    "lstn.warps.drawn_warp": {
        ("outline_px", "1", "2"): _NEGATIVE,
        ("draw_outline", "4", "5"): "a choice: how wide a line is",
        ("draw_outline", "2", "3"): "a choice: how wide a line is",
    },
    "lstn.warps.quadrilaterals": {
        ("_PAIRS", "16384", "16385"): _SPEED,
        ("_area_in_square", "-1", "1"): "the same: the last of two axes",
    },
    "lstn.warps.spline": {
        ("CONTROL", "1", "2"): _NEGATIVE,
        ("_bending", "points[:, None] - CONTROL", "points[:, None] + CONTROL"): (
            "the same: the grid is symmetric about its middle, so the weights that are solved for change places"
        ),
    },
    "lstn.warps.steadying": {
        ("REST_HZ", "1.0", "2.0"): "a choice: tests hold the filter for any cutoff",
        ("HZ_PER_SPEED", "4.0", "5.0"): "a choice: tests hold the filter for any slope",
        (
            "steadied",
            "0 < passed < math.inf",
            "0 < passed <= math.inf",
        ): "the same: after endless time the new value counts",
        ("__init__", "-math.inf", "math.inf"): "the same: there is no theta before the first frame",
    },
    "lstn.runtime.serving.models.batcher": {
        ("take", "True", "False"): "the same, but for a moment: `fail` gives the request up a few lines later"
    },
    "lstn.runtime.serving.requests.access": {
        ("read_guard", "1", "2"): "the same: one byte more is read, and a token as long is refused all the same"
    },
    "lstn.nn.warping.grids": {("projective_grid", "3", "4"): "the same: a matrix has three columns"},
}
"""A module -> the function or name, what stood there and what stands there now -> why no test finds that."""
