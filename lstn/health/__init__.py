"""Health of a run and of its transformer, judged from recorded figures. Free of torch."""
