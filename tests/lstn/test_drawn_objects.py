"""Labels of objects in pictures."""

import numpy as np

from lstn.detection.drawn_objects import draw_objects
from lstn.detection.suppression import Detection

RIGHT = np.array([[0.2, 0, 0.7], [0, 0.2, 0.2]], np.float32)
LEFT = np.array([[0.2, 0, -0.8], [0, 0.2, 0.2]], np.float32)


def test_of_a_label_that_is_too_wide_the_beginning_is_shown() -> None:
    gray = np.full((64, 64, 3), 128, np.uint8)
    wide = np.asarray(draw_objects(gray, [Detection("a small 3 " * 9, 1.0, RIGHT)], ("a",)))
    short = np.asarray(draw_objects(gray, [Detection("a small 3 a small 3 ", 1.0, LEFT)], ("a",)))
    above = slice(94, 108)  # of 224 pixels, where the labels are
    np.testing.assert_array_equal(wide[above, :60], short[above, :60])
    assert (short[above, :60] == 255).any()


def test_a_sign_that_the_font_lacks_is_a_number_or_a_question_mark() -> None:
    gray = np.full((64, 64, 3), 128, np.uint8)

    def drawn(label: str) -> np.ndarray:
        return np.asarray(draw_objects(gray, [Detection(label, 1.0, LEFT)], ("a", "\u00e9")))

    np.testing.assert_array_equal(drawn("\u00e9"), drawn("class 1"))
    np.testing.assert_array_equal(drawn("a \u00e9 b"), drawn("a ? b"))
