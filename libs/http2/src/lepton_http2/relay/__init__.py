"""Connections in processes of their own, handlers in another: calls cross between them in shared memory.

*Front* processes own the sockets. They do TLS, HTTP/2, gRPC framing, compression, flow control and deadlines
(`front`). The *back* process has the handlers, which see a call as on a server of their own (`back`), and
starts the fronts and keeps them running (`processes`). Between a front and the back lies a `link`: one ring
each way, and memory for large messages.
"""
