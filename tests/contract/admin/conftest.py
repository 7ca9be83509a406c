"""A server that records what the operator's command asks of it, and answers or fails as a test says."""

from __future__ import annotations

import hashlib
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from hashmatch.admin.main import main
from hashmatch.v1 import common_pb2, list_admin_service_pb2_grpc, list_service_pb2, list_service_pb2_grpc
from hashmatch.v1 import list_admin_service_pb2 as pb

LONG_AGO = Timestamp(seconds=1_767_225_600)  # 2026-01-01T00:00:00Z
APPROVAL_DIGEST = hashlib.sha256(b"the report").digest()


def generation(number=4, **changed):
    fields = {
        "number": number,
        "epoch": 10 + number,
        "published_at": LONG_AGO,
        "as_of": LONG_AGO,
        "counts": [list_service_pb2.AlgorithmCount(algorithm=common_pb2.ALGORITHM_SHA256, hashes=1_000)],
        "vetting": common_pb2.Vetting(approvals=2, approvals_required=2),
    }
    return list_service_pb2.Generation(**fields | changed)


def staging(**changed):
    """A sound staged generation that nobody has approved."""
    fields = {
        "staging_id": "0123456789abcdef",
        "list_id": "alpha",
        "state": pb.STAGING_STATE_STAGED,
        "base_generation": 3,
        "mode": pb.DELIVERY_MODE_FULL,
        "staged_by": "loopback:importer",
        "staged_at": LONG_AGO,
        "as_of": LONG_AGO,
        "file_name": "delivery.txt",
        "delivery_bytes": 1_234,
        "report": pb.VettingReport(
            records=1_002,
            read=1_002,
            stored=1_000,
            duplicates=1,
            quarantined=1,
            counts=[list_service_pb2.AlgorithmCount(algorithm=common_pb2.ALGORITHM_SHA256, hashes=1_000)],
            quarantine=[pb.QuarantineCount(reason="wrong-length", count=1, example_records=[17])],
            added=10,
            removed=5,
            unchanged=990,
            labels=[pb.LabelCount(label="A1", scheme="own", count=1_000)],
            gates=[pb.VettingGate(name="not-empty", passed=True, detail="the list will have 1000 hashes")],
        ),
        "approvals_required": 2,
        "approval_digest": APPROVAL_DIGEST,
    }
    return pb.Staging(**fields | changed)


def failing_gate(name="removals", *, acceptable=True):
    return pb.VettingGate(name=name, passed=False, acceptable=acceptable, detail="too many")


class Failure:
    """An error that the server answers with."""

    def __init__(self, code, reason="", message="no", *, field="", retry=None):
        self.status = status_pb2.Status(code=code.value[0], message=message)
        if reason:
            self.status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="hashmatch"))
        if field:
            violation = error_details_pb2.BadRequest.FieldViolation(field=field, description="is not right")
            self.status.details.add().Pack(error_details_pb2.BadRequest(field_violations=[violation]))
        if retry is not None:
            self.status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=Duration(seconds=retry)))


@dataclass
class Upload:
    """What came in a Stage call. `whole` is set only if the caller sent an end."""

    header: pb.StageHeader | None = None
    chunks: list[bytes] = field(default_factory=list)
    begun: threading.Event = field(default_factory=threading.Event)
    whole: bool = False
    over: threading.Event = field(default_factory=threading.Event)


class FakeServer(
    list_admin_service_pb2_grpc.ListAdminServiceServicer,
    list_service_pb2_grpc.ListServiceServicer,
):
    def __init__(self):
        self.requests = []
        self.metadata = []
        self.remaining = []
        self.upload = Upload()
        self.answers = {}
        self.failures = []  # one a call; None lets it pass
        self.staging = staging()
        self.target = ""

    def _called(self, context, request=None):
        self.metadata.append(dict(context.invocation_metadata()))
        self.remaining.append(context.time_remaining())
        if request is not None:
            self.requests.append(request)
        failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            context.abort_with_status(rpc_status.to_status(failure.status))

    def Stage(self, request_iterator, context):  # noqa: N802
        context.add_callback(self.upload.over.set)
        self.upload.header = next(request_iterator).header
        self._called(context)
        for request in request_iterator:
            assert not self.upload.whole
            if request.WhichOneof("part") == "end":
                self.upload.whole = True
                continue
            assert request.WhichOneof("part") == "chunk"
            self.upload.chunks.append(request.chunk)
            self.upload.begun.set()
        answer = pb.Staging()
        answer.CopyFrom(self.staging)
        if not answer.delivery_sha256:
            answer.delivery_sha256 = hashlib.sha256(b"".join(self.upload.chunks)).digest()
        return pb.StageResponse(staging=answer)

    def __getattribute__(self, name):
        """Every other call answers what stands under its name in `answers`, or what `_default` has."""
        if name[:1].isupper() and name != "Stage":

            def answer(request, context):
                self._called(context, request)
                answers = self.answers.get(name)
                if isinstance(answers, list):
                    return answers.pop(0)
                return self._default(name) if answers is None else answers

            return answer
        return super().__getattribute__(name)

    def _default(self, name):
        match name:
            case "GetStaging" | "Approve" | "DiscardStaging":
                return getattr(pb, f"{name}Response")(staging=self.staging)
            case "Publish" | "RollBack":
                return getattr(pb, f"{name}Response")(generation=generation(), epoch=14)
            case "DefineList":
                return pb.DefineListResponse(definition=self.requests[-1].definition, epoch=1)
            case "ListLists" | "GetList":
                return getattr(list_service_pb2, f"{name}Response")()
            case _:
                return getattr(pb, f"{name}Response")()


@pytest.fixture
def fake():
    servicer = FakeServer()
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool)
        list_admin_service_pb2_grpc.add_ListAdminServiceServicer_to_server(servicer, server)
        list_service_pb2_grpc.add_ListServiceServicer_to_server(servicer, server)
        servicer.target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        yield servicer
        server.stop(None).wait()


@dataclass
class Done:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def admin(fake, capsys, monkeypatch):
    """Runs `hashmatch-admin` with these arguments against the fake server."""
    for name in ("TARGET", "ADMIN_TARGET", "OPERATOR", "CA_FILE", "CERT_FILE", "KEY_FILE"):
        monkeypatch.delenv(f"HASHMATCH_{name}", raising=False)
    monkeypatch.setenv("HASHMATCH_ADMIN_TARGET", fake.target)
    monkeypatch.setenv("HASHMATCH_TARGET", fake.target)
    monkeypatch.setenv("GRPC_VERBOSITY", "NONE")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        code = main([str(each) for each in arguments])
        written = capsys.readouterr()
        assert "Traceback" not in written.err
        return Done(int(code), written.out, written.err)

    return run
