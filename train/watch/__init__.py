"""Watchers of a training run: the transformer's probe, pictures, and trackers such as TensorBoard."""

import logging

# Matplotlib says where it keeps its cache if the home folder can't be written, in lines meant for programmers.
logging.getLogger("matplotlib").setLevel(logging.ERROR)
