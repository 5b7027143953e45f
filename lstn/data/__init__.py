"""Data sets, free of torch: the embedded digits, folders of images, and published sets."""
