"""The first approvers: enrolled from the configuration while nobody is, because nobody could approve them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from structlog.typing import FilteringBoundLogger

from hashmatch.ingest.approvers import Approvers
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.service.logs import Event
from hashmatch.service.secrets import SecretError
from hashmatch.trust.signing import MAXIMUM_ENVELOPE, EnvelopeError, SignatureError, read_enrolment


class FirstApprovers:
    """Enrols those whom the configuration names. `settled` says that there is nothing left to do."""

    def __init__(
        self, approvers: Approvers, files: Iterable[str], logger: FilteringBoundLogger, *, wanted: bool
    ) -> None:
        """`wanted` says whether approvals must be signed. Raises `SecretError` for a file that cannot be read."""
        self._approvers = approvers
        self._enrolments = [_read(file) for file in files]
        self._logger = logger
        self.settled = not wanted

    def enrol(self) -> int:
        """Enrol them unless somebody is enrolled. Returns how many were; raises what `Approvers` raises."""
        if self._approvers.enrolled():
            self.settled = True
            return 0
        if not self._enrolments:
            self._logger.warning(
                Event.NOBODY_ENROLLED, why="approvals must be signed, and approvals.first_approvers names nobody"
            )
            self.settled = True
            return 0
        try:
            done = self._approvers.enrol_first(self._enrolments)
        except HashmatchError as error:
            # What is wrong with them does not go away by itself; what is wrong with the store does.
            self.settled = error.reason is ErrorReason.INVALID_FIELD
            raise
        self.settled = True
        return len(self._enrolments) if done else 0


def _read(file: str) -> bytes:
    try:
        with Path(file).open("rb") as opened:
            enrolment = opened.read(MAXIMUM_ENVELOPE + 1)
        read_enrolment(enrolment)
    except OSError as error:
        raise SecretError(f"cannot read the enrolment {file}: {error.strerror}") from error
    except (EnvelopeError, SignatureError) as error:
        raise SecretError(f"{file} is no enrolment: {error}") from error
    return enrolment
