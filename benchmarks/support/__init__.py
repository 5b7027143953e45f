"""What benchmarks share. Nothing in here is run by itself."""
