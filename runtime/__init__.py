"""model.onnx | model.plan -> predictions and latency. Runs without PyTorch and without the onnx package."""
