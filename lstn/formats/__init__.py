"""The files of exported models, read without their libraries: ONNX, OpenVINO, TensorRT plans."""
