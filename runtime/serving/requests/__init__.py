"""Requests: who may ask, in which form, within which bounds, and how one is refused."""
