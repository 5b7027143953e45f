"""Objectives of a run, one for each task, and the losses that they are made of."""
