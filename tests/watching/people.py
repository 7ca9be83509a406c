"""The people of a server as the operator's guide sets it up: certificates, keys to approve with, and their commands."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import grpc

from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main
from tests.integration.waiting import eventually

CLIENT = "spiffe://hashmatch.test/clients/uploads"
_OPERATOR = "spiffe://hashmatch.test/operators/{}"
_APPROVERS = ("ann", "bob")
_PEOPLE = ("importer", *_APPROVERS)


class People:
    """An importer who proposes, and two who approve, each with `hashmatch-admin`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._pki = directory / "pki"
        self._target = ""
        self._tls = self._run("", "pki", "init", self._pki)["tls"]
        for name in _PEOPLE:
            self._run("", "approver", "keygen", name, "--identity", _OPERATOR.format(name), "--directory", directory)

    @property
    def settings(self) -> dict[str, Any]:
        """What a server is configured with."""
        enrolments = tuple(str(self._directory / f"{name}.approver.json") for name in _PEOPLE)
        return {"signatures": "auto", "first_approvers": enrolments, **self._tls}

    def credentials(self, kind: str, name: str) -> grpc.ChannelCredentials:
        """Those of a caller (`clients`) or of one of `operators`."""
        own = self._pki / kind / name
        return grpc.ssl_channel_credentials(
            (self._pki / "servers-ca.pem").read_bytes(),
            own.with_suffix(".key").read_bytes(),
            own.with_suffix(".pem").read_bytes(),
        )

    def work_at(self, target: str) -> None:
        """Work at a server from here on, once all are enrolled there."""
        self._target = target
        enrolled: Callable[[], bool] = lambda: len(self.do("approver", "list")["approvers"]) == len(_PEOPLE)  # noqa: E731
        eventually(enrolled, "the first approvers are enrolled")

    def do(self, *command: object) -> dict[str, Any]:
        """What the importer's command says."""
        return self._run("importer", *command)

    def agree(self, *command: object) -> None:
        """Have the importer propose something, the others approve it, and the importer carry it out."""
        proposal = self._run("importer", *command, "--reason", "a test", expected=Exit.PROPOSED)["proposal_id"]
        self._approve(proposal)
        self.do("proposal", "carry-out", proposal)

    def publish(self, staging_id: str, *, accept: Sequence[str] = ()) -> int:
        """Approve and publish a staging. Returns the epoch."""
        self._approve(staging_id)
        accepted = [part for gate in accept for part in ("--accept-gate", gate)]
        reason = ["--reason", "a test"] if accept else []
        return int(self.do("staging", "publish", staging_id, *accepted, *reason)["epoch"])

    def _approve(self, what: str) -> None:
        for name in _APPROVERS:
            self._run(name, "approve", what, "--approver-key", self._directory / f"{name}.key", "--yes-i-read-it")

    def _run(self, name: str, *command: object, expected: Exit = Exit.DONE) -> dict[str, Any]:
        own = self._pki / "operators" / name
        environment = {
            "HASHMATCH_ADMIN_TARGET": self._target,
            "HASHMATCH_CA_FILE": str(self._pki / "servers-ca.pem"),
            "HASHMATCH_CERT_FILE": f"{own}.pem",
            "HASHMATCH_KEY_FILE": f"{own}.key",
        }
        said, complaint = io.StringIO(), io.StringIO()
        with (
            mock.patch.dict("os.environ", environment if name else {}),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(complaint),
        ):
            code = main([*map(str, command), "--output", "json"])
        assert code == expected, complaint.getvalue()
        answer = json.loads(said.getvalue())
        assert isinstance(answer, dict)
        return answer
