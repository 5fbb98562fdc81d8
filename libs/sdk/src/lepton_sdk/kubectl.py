"""A cluster as its user reaches it: through kubectl, with the rights and the context that it has.

kubectl says what is wrong in words; they become the errors that every other command ends with.
"""

import asyncio
import base64
import contextlib
import json
import re
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lepton_common.errors import (
    DependencyUnavailable,
    InvalidField,
    LeptonError,
    NotFound,
    PermissionDenied,
    Unauthenticated,
)

ANSWER_SECONDS = 15
STOP_SECONDS = 3.0

KINDS: tuple[tuple[str, type[LeptonError]], ...] = (
    (r"\(Forbidden\)|is forbidden", PermissionDenied),
    (r"\(Unauthorized\)|must be logged in|provide credentials", Unauthenticated),
    (r"\(NotFound\)|not found", NotFound),
    (
        r"was refused|[Uu]nable to connect|no such host|i/o timeout|TLS handshake timeout|deadline exceeded|"
        r"[Uu]nable to listen|pod is not running|timed out waiting|lost connection",
        DependencyUnavailable,
    ),
)
"""What kubectl's words mean; the first that fits. All else is a wrong question: an unknown context, say."""


def error_of(said: str) -> LeptonError:
    """The error that kubectl tells of on stderr."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    # Before it gives up it logs its attempts, each behind a time.
    told = [line for line in lines if not re.match(r"[EIW]\d{4} ", line)] or lines or ["it ended"]
    message = re.sub(r"^(error|Error from server( \(\w+\))?): ", "", told[-1])
    for pattern, kind in KINDS:
        if re.search(pattern, said):
            return kind(f"kubectl: {message}")
    return InvalidField(f"kubectl: {message}")


@dataclass(frozen=True, kw_only=True)
class Kubectl:
    """kubectl, pointed at a namespace."""

    namespace: str = ""
    """Empty: the context's."""
    context: str = ""
    """Empty: the kubeconfig's current one."""

    async def start(self, *words: str) -> Process:
        """Start `kubectl WORDS`, with pipes for what it writes.

        Raises:
            DependencyUnavailable: there is no kubectl.
        """
        options = [
            *(("--namespace", self.namespace) if self.namespace else ()),
            *(("--context", self.context) if self.context else ()),
        ]
        try:
            return await asyncio.create_subprocess_exec(
                "kubectl", *options, *words, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
            )
        except FileNotFoundError as missing:
            raise DependencyUnavailable(
                "kubectl is not on the PATH: install it to reach a cluster"
            ) from missing

    async def read(self, *words: str) -> str:
        """What `kubectl WORDS` prints.

        Raises:
            LeptonError: kubectl failed; the class says how.
        """
        process = await self.start(f"--request-timeout={ANSWER_SECONDS}s", *words)
        try:
            out, said = await process.communicate()
        finally:
            await end(process)
        if process.returncode:
            raise error_of(said.decode(errors="replace"))
        return out.decode()

    async def found(self, kind: str, names: Sequence[str]) -> list[str]:
        """Those of the names that there is a resource of this kind of."""
        told = await self.read("get", kind, *names, "--ignore-not-found", "--output=name")
        return [line.partition("/")[2] for line in told.split()]

    async def secret(self, name: str) -> dict[str, bytes]:
        """The content of a Secret; empty if there is none."""
        told = await self.read("get", "secret", name, "--ignore-not-found", "--output=json")
        document: dict[str, Any] = json.loads(told) if told.strip() else {}
        return {key: base64.b64decode(value) for key, value in (document.get("data") or {}).items()}

    async def check_namespace(self) -> None:
        """Raises:
        NotFound: there is no such namespace; who may not see it is not told.
        """
        if not self.namespace:
            return
        try:
            await self.read("get", "namespace", self.namespace, "--output=name")
        except PermissionDenied:
            return


async def end(process: Process) -> None:
    """End a kubectl that still runs."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
