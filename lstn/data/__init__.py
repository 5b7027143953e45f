"""Data sets, free of torch: the embedded digits, folders of images, and published sets.

    from lstn.data import open_data

    data = open_data("folder:photos", image_hw=(64, 64))
    pixels, label = data.train[0]

A name's module is imported when the name is first used.
"""

from typing import TYPE_CHECKING

from lstn.imports import lazily

if TYPE_CHECKING:
    from lstn.data.dataset import open_data
    from lstn.data.splits import DataSet, Split

__all__ = ["DataSet", "Split", "open_data"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(__name__, {"lstn.data.dataset": "open_data", "lstn.data.splits": "DataSet Split"})
