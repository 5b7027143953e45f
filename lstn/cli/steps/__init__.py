"""Steps of a command between its options and the stages, where that is more than one call."""
