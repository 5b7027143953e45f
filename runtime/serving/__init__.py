"""`lstn serve`: the Open Inference Protocol v2 over HTTP and gRPC, in front of a dynamic batcher."""
