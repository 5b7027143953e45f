"""A server under hours of mixed load: what its clients do, what is measured, and which way it goes."""
