"""Lower precision, and what it costs: model.onnx + images -> a lower-precision model.onnx."""
