"""Batches of images: read, changed at random, and moved by known amounts."""
