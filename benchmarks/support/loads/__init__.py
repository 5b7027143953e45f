"""Loads of many, and machines that are not as usual: what is run for `benchmarks/loads.py`."""
