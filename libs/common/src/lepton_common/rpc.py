"""The one way to reach a Lepton server: a channel that survives restarts, and carries who is calling."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import grpc

from lepton_common.loopback import is_loopback
from lepton_common.reloading import Reloading
from lepton_common.request_id import KEY, REQUEST_ID
from lepton_common.settings import ClientSettings
from lepton_common.status import from_rpc_error, named_errors
from lepton_common.tls import channel_credentials
from lepton_common.trace_context import TRACE_HEADERS

__all__ = ["connect", "from_rpc_error", "named_errors", "streaming"]

_Stream = TypeVar("_Stream", bound=grpc.aio.Call)

MAX_MESSAGE_BYTES = 64 * 1024 * 1024

STREAMS_OF_REQUESTS = (
    ("inference.GRPCInferenceService", "ModelStreamInfer"),
    ("lepton.dataset.v1.DatasetService", "WriteUpload"),
)
"""Methods that take a stream: gRPC does not make them again. It ends the process ("ILLEGAL STATE:
FORWARDED_BATCH", grpcio 1.85.1) where it sends what it has kept of a stream while more is written."""

# Every other method may be sent twice: creates carry a request id. Streams of responses are covered as long
# as none has arrived; from there on it is the caller's to go on. With the waits
# of about 0.1, 0.4, 1.6 and 5 seconds a service can be restarted under its callers.
_SERVICE_CONFIG = json.dumps(
    {
        "loadBalancingConfig": [{"round_robin": {}}],
        # Each server tells of its health as long as a connection to it is there. One that says that it is
        # on its way out gets no new calls from then on.
        "healthCheckConfig": {"serviceName": ""},
        "methodConfig": [
            {"name": [{"service": service, "method": method} for service, method in STREAMS_OF_REQUESTS]},
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 5,
                    "initialBackoff": "0.1s",
                    "maxBackoff": "5s",
                    "backoffMultiplier": 4,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            },
        ],
    }
)

LOST_SECONDS = 5.0
"""When a peer that answers nothing any more, not even a ping, is taken to be lost."""

# gRPC sends no ping sooner after another.
_PING_SECONDS = 1.0

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.service_config", _SERVICE_CONFIG),
    # Service configs out of DNS are not asked for: ours holds.
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.enable_retries", 1),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Pings go on however long a call is silent.
    ("grpc.http2.max_pings_without_data", 0),
    # What is kept of a call in order to make it again; by default too little for one large image.
    ("grpc.per_rpc_retry_buffer_size", 4 * 1024 * 1024),
    # gRPC's own defaults (1 s growing to 2 min) would outlast the retries above.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.dns_min_time_between_resolutions_ms", 2_000),
]


def connect(
    address: str, *, settings: ClientSettings | None = None, lost_seconds: float = LOST_SECONDS
) -> grpc.aio.Channel:
    """Opens a channel: keep-alive, retries, every address behind the name in turn, TLS and token by settings.

    Connecting happens in the background and again whenever it is needed. Close the channel when done.

    A machine that is lost closes no connection: only pings tell. Calls that it has not begun to answer when
    it is taken to be lost are made again, elsewhere if there is somewhere else.

    Args:
        address: `host:port`; each address the host resolves to gets its share of the calls. Or a list of
            addresses as gRPC writes it, `ipv4:10.0.0.7:7001,10.0.0.8:7001`.
        settings: token and certificates. None: neither.
        lost_seconds: when a peer that does not answer pings is taken to be lost, if a call waits for it; more
            than 1.

    Raises:
        OSError: a file of the settings cannot be read.
        ValueError: the token would leave this machine in clear text, or is no token.
    """
    settings = settings or ClientSettings.model_construct()
    token = _token_source(settings)
    target = address if address.startswith(("ipv4:", "ipv6:")) else f"dns:///{address}"
    interceptors = _carriers(token)
    channel_options = [*_OPTIONS, *_keepalive(lost_seconds)]
    if settings.tls_ca is not None:
        credentials = channel_credentials(
            settings.tls_ca, certificate=settings.tls_certificate, key=settings.tls_key
        )
        return grpc.aio.secure_channel(target, credentials, channel_options, interceptors=interceptors)
    if token is not None and not (settings.allow_insecure or is_loopback(address)):
        raise ValueError(
            f"the token for {address} would be readable on the network: give tls_ca, or set allow_insecure"
        )
    return grpc.aio.insecure_channel(target, channel_options, interceptors=interceptors)


def _keepalive(lost_seconds: float) -> list[tuple[str, Any]]:
    """Asks for a sign after some silence, and waits for it for what is left of the time."""
    silence_seconds = max(_PING_SECONDS, 0.4 * lost_seconds)
    wait_ms = round((lost_seconds - silence_seconds) * 1000)
    return [
        ("grpc.keepalive_time_ms", round(silence_seconds * 1000)),
        # TCP's limit too, for bytes that nobody confirms.
        ("grpc.keepalive_timeout_ms", wait_ms),
        # gRPC forgets the other one of a ping that it had to put off, because another was just sent.
        ("grpc.http2.ping_timeout_ms", wait_ms),
    ]


@asynccontextmanager
async def streaming(call: _Stream) -> AsyncIterator[_Stream]:
    """Ends a streaming call together with the block, however the block is left.

    gRPC itself lets a stream run on, on both sides, when its reader breaks off.

    Example:
        async with streaming(stub.WatchTrainingJob(request)) as responses:
            async for response in responses:
                ...
    """
    try:
        yield call
    finally:
        call.cancel()


def _token_source(settings: ClientSettings) -> Callable[[], str] | None:
    if settings.token is not None:
        _check_token(settings.token.get_secret_value())
        return settings.token.get_secret_value
    if settings.token_path is not None:
        return Reloading([settings.token_path], partial(_read_token, settings.token_path)).get
    return None


def _read_token(path: Path) -> str:
    token = path.read_text(encoding="utf-8").strip()
    if not token:
        raise ValueError("the file is empty")
    _check_token(token)
    return token


def _check_token(token: str) -> None:
    if not (token.isascii() and token.isprintable()):
        raise ValueError("the token has characters that a header cannot carry")


class _Carrier:
    """Adds to a call's metadata who is calling, for which request, and where in which trace."""

    def __init__(self, token: Callable[[], str] | None) -> None:
        self._token = token

    def load(self, details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        if self._token is not None:
            metadata.set_all("authorization", [f"Bearer {self._token()}"])
        if (request_id := REQUEST_ID.get()) and metadata.get(KEY) is None:
            metadata.add(KEY, request_id)
        for key, value in TRACE_HEADERS.get().items():
            metadata.set_all(key, [value])
        return details._replace(metadata=metadata)  # type: ignore[attr-defined, no-any-return]


# gRPC looks at the class of an interceptor to tell the kind of calls it is for: one class for each.


class _UnaryUnary(_Carrier, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self.load(client_call_details), request)


class _UnaryStream(_Carrier, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(self.load(client_call_details), request)


class _StreamUnary(_Carrier, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await continuation(self.load(client_call_details), request_iterator)


class _StreamStream(_Carrier, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(
        self, continuation: Any, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await continuation(self.load(client_call_details), request_iterator)


def _carriers(token: Callable[[], str] | None) -> list[grpc.aio.ClientInterceptor]:
    return [kind(token) for kind in (_UnaryUnary, _UnaryStream, _StreamUnary, _StreamStream)]
