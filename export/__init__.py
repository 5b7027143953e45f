"""Checkpoint -> model.onnx -> model.plan."""
