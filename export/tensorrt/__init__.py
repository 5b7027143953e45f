"""model.onnx -> model.plan, or the script that builds it elsewhere."""
