"""Plans of TensorRT and TensorRT for RTX: what they need of a machine, and how they run on it."""
