"""Models that are served: their batches, turns, generations and figures."""
