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
    from lstn.data.object_sets import open_objects
    from lstn.data.splits import DataSet, Split
    from lstn.data.tags.tag_sets import open_tags
    from lstn.data.texts.text_sets import open_texts

__all__ = ["DataSet", "Split", "open_data", "open_objects", "open_tags", "open_texts"]

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "lstn.data.dataset": "open_data",
            "lstn.data.object_sets": "open_objects",
            "lstn.data.splits": "DataSet Split",
            "lstn.data.tags.tag_sets": "open_tags",
            "lstn.data.texts.text_sets": "open_texts",
        },
    )
