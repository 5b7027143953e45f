"""How a run and its transformer fare, judged from recorded figures. Free of torch."""
