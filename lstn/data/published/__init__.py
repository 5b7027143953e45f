"""Published data sets: which files, how they are read, and how they are divided."""
