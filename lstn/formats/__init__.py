"""The files of exported models: ONNX, OpenVINO, TensorRT plans. Read without their libraries, but `onnx_session`."""
