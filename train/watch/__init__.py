"""Watchers of a training run: the transformer's probe, pictures, and trackers such as TensorBoard."""
