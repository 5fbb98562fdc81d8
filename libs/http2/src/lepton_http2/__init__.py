"""HTTP/2 for servers, and gRPC on it, in pure Python.

`connection` is the protocol without I/O; `grpc` is a gRPC server on it, driven by asyncio. The library knows
nothing of what it carries: messages are bytes.
"""
