"""model.onnx -> model.xml and model.bin, verified against the ONNX file."""
