"""Batch inference on a Ray cluster."""
