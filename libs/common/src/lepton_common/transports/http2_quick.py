"""Calls that a plain function answers: what stands around others, without a task for each.

The stages of `interceptors` wait for each other, which costs more than the whole answer of a small model.
Here is what they do for a call that succeeds, or that the function itself refuses. Any other call (of a
stranger, while the server drains) is left to the stages, so that it is refused in the same words.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from lepton_common.auth import ANYONE, Credentials, Identity
from lepton_common.errors import Code, LeptonError
from lepton_common.interceptors.access import certificate_names, check_permission
from lepton_common.interceptors.answers import fitting_status, trailing_metadata, unexpected
from lepton_common.interceptors.call import Method
from lepton_common.interceptors.chain import CallChain
from lepton_common.interceptors.lifetime import Lifetime
from lepton_common.interceptors.observation import is_logged, log_call
from lepton_common.methods import Quick, Service
from lepton_common.request_id import KEY, REQUEST_ID, accept, make_up
from lepton_common.settings import ServerSettings
from lepton_common.telemetry.metrics import CALLS
from lepton_common.transports.http2_context import certificate_properties, check_size, peer_name
from lepton_http2.grpc import Call, RpcError, StatusCode, error_block, trailers_block

First = Callable[[Call, bytes | memoryview], bool]
"""What `lepton_http2.grpc.unary` asks first."""

_OK = Code.OK
_KEY = KEY.encode()
_AUTHORIZATION = b"authorization"
# The trailers of a success end with the length of the request id, one octet for all ids that are taken,
# and the id itself: what is in front of them is always the same.
_TRAILERS = trailers_block(StatusCode.OK, metadata=[(KEY, "id")]).removesuffix(b"\x02id")
_LENGTHS = [bytes([length]) for length in range(0x80)]
# The same for those of a refusal. So many of them are kept.
_MOST_REFUSALS = 256
_REFUSALS: dict[tuple[type[LeptonError], str, float | None], bytes] = {}


def gates(
    services: Iterable[Service],
    settings: ServerSettings,
    *,
    chain: CallChain,
    lifetime: Lifetime,
    credentials: Credentials | None,
) -> dict[str, First]:
    """What is asked first, by path."""
    return {
        path: QuickGate(
            chain.method(path),
            quick,
            lifetime=lifetime,
            credentials=credentials,
            max_message_bytes=settings.max_message_bytes,
        )
        for service in services
        for path, quick in service.quick_paths()
    }


class QuickGate:
    """Lets calls of one method through to a function.

    Args:
        method: what is known of it.
        quick: the function.
        lifetime: of the server.
        credentials: who may call. None: everyone.
        max_message_bytes: the largest response.
    """

    def __init__(
        self,
        method: Method,
        quick: Quick,
        *,
        lifetime: Lifetime,
        credentials: Credentials | None,
        max_message_bytes: int,
    ) -> None:
        self.method = method
        self.lifetime = lifetime
        self.figures = CALLS.of(method.kind, method.service, method.name)
        self.max_message_bytes = max_message_bytes
        self.endings = {code: (code.name, is_logged(method, code)) for code in Code}
        """By the codes of answers: their names, and whether they are logged."""
        self.clock = asyncio.get_running_loop().time
        self._quick = quick
        self._credentials = credentials

    def __call__(self, call: Call, message: bytes | memoryview) -> bool:
        """Has the function take a call, or gives False."""
        if self.lifetime.draining:
            return False
        offered = call.field(_KEY)
        caller = ANYONE
        if self._credentials is not None:
            authorization = call.field(_AUTHORIZATION) or b""
            names = certificate_names(certificate_properties(call))
            try:
                caller = self._credentials.authenticate(authorization.decode("latin-1"), names)
                check_permission(caller, self.method)
            except LeptonError:
                return False
        request_id = accept(offered.decode("latin-1")) if offered else make_up()
        quick = _QuickCall(self, call, request_id, caller)
        self.figures.begin()
        self.lifetime.begin(quick)
        if self._quick(quick, message):
            return True
        quick.leave()
        return False


class _QuickCall:
    """See `methods.QuickCall` and `lifetime.Taskless`."""

    __slots__ = ("_call", "_caller", "_gate", "_request_id", "arrived", "on_cancel")

    def __init__(self, gate: QuickGate, call: Call, request_id: str, caller: Identity) -> None:
        self._gate: QuickGate | None = gate
        self._call = call
        self._request_id = request_id
        self._caller = caller
        self.arrived = gate.clock()
        self.on_cancel: Callable[[], None] | None = None
        call.on_cancel = self._cancelled

    @property
    def deadline(self) -> float | None:
        return self._call.deadline

    @property
    def has_deadline(self) -> bool:
        return self._call.deadline is not None

    def reply(self, message: bytes) -> None:
        gate = self._gate
        if gate is None:
            return
        request_id = self._request_id
        if len(message) > gate.max_message_bytes:
            self._refuse_size(message)
        else:
            self._call.reply(message, trailers=_TRAILERS + _value(request_id))
        self._finish(_OK)

    def end(self, error: BaseException) -> None:
        gate = self._gate
        if gate is None:
            return
        if not isinstance(error, LeptonError):
            error = unexpected(error, gate.method, self._request_id)
        self._call.refuse(_refusal(error) + _value(self._request_id))
        self._finish(error.code)
        if self.on_cancel is not None:
            self.on_cancel()

    def leave(self) -> None:
        """The function did not take it."""
        gate, self._gate = self._gate, None
        if gate is not None:
            self._call.on_cancel = None
            gate.figures.in_flight -= 1
            gate.lifetime.finished(self)

    def _refuse_size(self, message: bytes) -> None:
        assert self._gate is not None
        try:
            check_size(message, self._gate.max_message_bytes)
        except RpcError as error:
            self._call.abort(error.code, error.message, metadata=[(KEY, self._request_id)])

    def _cancelled(self) -> None:
        remaining = self._call.time_remaining()
        expired = remaining is not None and remaining <= 0
        self._finish(Code.DEADLINE_EXCEEDED if expired else Code.CANCELLED)
        if self.on_cancel is not None:
            self.on_cancel()

    def _finish(self, code: Code) -> None:
        gate, self._gate = self._gate, None
        if gate is None:
            return
        self._call.on_cancel = None
        seconds = gate.clock() - self.arrived
        name, logged = gate.endings[code]
        gate.figures.end(name, seconds)
        gate.lifetime.finished(self)
        if logged:
            token = REQUEST_ID.set(self._request_id)
            log_call(gate.method, code, seconds, caller=self._caller, peer=partial(peer_name, self._call))
            REQUEST_ID.reset(token)


def _refusal(error: LeptonError) -> bytes:
    """The answer of a refusal, up to the request id. A server with too much to do says the same to most."""
    if error.metadata or error.violations:
        return _encode_refusal(error)
    said = (type(error), error.message, error.retry_after_seconds)
    block = _REFUSALS.get(said)
    if block is None:
        if len(_REFUSALS) >= _MOST_REFUSALS:
            _REFUSALS.clear()
        block = _REFUSALS[said] = _encode_refusal(error)
    return block


def _encode_refusal(error: LeptonError) -> bytes:
    status = fitting_status(error)
    # The request id is the first of the metadata, and goes behind the others here.
    _, *metadata = trailing_metadata(error, "")
    block = error_block(status.code, status.message, status.SerializeToString(), (*metadata, (KEY, "id")))
    return block.removesuffix(b"\x02id")


def _value(request_id: str) -> bytes:
    """A request id as a header value, behind its name."""
    return _LENGTHS[len(request_id)] + request_id.encode()
