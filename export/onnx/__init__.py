"""A trained model -> model.onnx, verified against PyTorch."""
