"""Registration over HTTP (protocol section 1)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter

from studio_worker.wire.base import WireModel, bounded_text, matching
from studio_worker.wire.capabilities import Capabilities

InstallId: TypeAlias = Annotated[str, matching(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", "a UUID")]
SecretHash: TypeAlias = Annotated[
    str, matching(r"[0-9a-fA-F]{64}", "the SHA-256 of the secret as 64 hexadecimal digits")
]


class RegisterRequest(WireModel):
    """A worker asks to be admitted; of its secret only the SHA-256 leaves the machine."""

    install_id: InstallId
    registration_secret_hash: SecretHash
    capabilities: Capabilities
    user_agent: Annotated[str, bounded_text(1_024, may_be_blank=True)] = ""


class RegisterAnswer(WireModel):
    """The studio has taken the request."""

    request_id: Annotated[str, bounded_text(256)]
    status: Literal["pending"] = "pending"


class Pending(WireModel):
    """Nobody has decided yet."""

    status: Literal["pending"] = "pending"


class Approved(WireModel):
    """Admitted. The token rotates with every poll: persist it before anything else."""

    status: Literal["approved"] = "approved"
    worker_id: Annotated[str, bounded_text(256)]
    auth_token: Annotated[str, matching(r"[!-~]{1,4096}", "a token of visible ASCII characters")] = Field(repr=False)


class Rejected(WireModel):
    """Refused, with the operator's reason."""

    status: Literal["rejected"] = "rejected"
    reason: Annotated[str, BeforeValidator(lambda text: text or ""), bounded_text(10_000, may_be_blank=True)] = ""


PollAnswer: TypeAlias = Annotated[Pending | Approved | Rejected, Field(discriminator="status")]

POLL_ANSWER: TypeAdapter[Pending | Approved | Rejected] = TypeAdapter(
    PollAnswer, config=ConfigDict(hide_input_in_errors=True)
)
"""Validates the answer of a poll; its errors repeat no token."""
