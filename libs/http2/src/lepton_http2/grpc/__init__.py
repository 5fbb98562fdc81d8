"""gRPC over HTTP/2: a server whose methods take and give bytes."""

from lepton_http2.grpc.call import Call
from lepton_http2.grpc.methods import Method, bidirectional, client_streaming, direct, server_streaming, unary
from lepton_http2.grpc.options import Options
from lepton_http2.grpc.server import Server
from lepton_http2.grpc.status import RpcError, StatusCode, error_block, trailers_block

__all__ = [
    "Call",
    "Method",
    "Options",
    "RpcError",
    "Server",
    "StatusCode",
    "bidirectional",
    "client_streaming",
    "direct",
    "error_block",
    "server_streaming",
    "trailers_block",
    "unary",
]
