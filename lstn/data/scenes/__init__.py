"""Scenes: an object at any place, size and angle, in a photograph or in drawn clutter."""
