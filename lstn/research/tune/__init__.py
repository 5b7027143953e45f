"""Tuning: the precision, crop, engine, batch size and threads with which a model is fastest here, within limits."""
