"""A run's folder: its options, its state to resume from, and what is written after every epoch."""
