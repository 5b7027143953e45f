"""Choices of a run: asked for by a user, made by task, recipe and data set, or taken from a run that goes on."""
