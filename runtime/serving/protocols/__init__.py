"""Protocols: HTTP and gRPC, and what both say of a model."""
