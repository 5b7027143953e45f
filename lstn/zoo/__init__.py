"""Zoo: small trained models that come with lstn, each an ONNX file with its card beside it."""
