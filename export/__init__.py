"""Checkpoint -> model.onnx -> model.plan, or OpenVINO's model.xml; and a model's folder for Triton."""
