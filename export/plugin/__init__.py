"""The fused sampler: `lstn::AffineGridSample`, as one ONNX node, as a CUDA kernel and as a plugin of TensorRT."""

DOMAIN = "lstn"
OPERATOR = "AffineGridSample"

FUSED = f"{DOMAIN}::{OPERATOR}"
"""(images (N, C, H, W), theta (N, 2, 3) float32) -> warped (N, C, H, W): grid and sampler in one."""
