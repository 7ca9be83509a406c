"""What the bytes of a proposed act mean: which act, upon which state, and how it is carried out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from google.protobuf.message import DecodeError

from hashmatch.ingest.approvals import Approved, approvers_base, list_base
from hashmatch.ingest.approvers import Approvers
from hashmatch.ingest.policies import Policies, policy_base
from hashmatch.ingest.proposals import PlannedAct
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.suppressor import Suppressor
from hashmatch.model.errors import invalid_field
from hashmatch.service import admin_requests
from hashmatch.store.manifest import Manifest
from hashmatch.v1 import approval_service_pb2 as pb

MAXIMUM_ACT = 512 * 1024

_Do = Callable[[str, bool, Approved | None], int]


class ActPlanner:
    """Reads proposed acts."""

    def __init__(self, publisher: Publisher, suppressor: Suppressor, policies: Policies, approvers: Approvers) -> None:
        self._publisher = publisher
        self._suppressor = suppressor
        self._policies = policies
        self._approvers = approvers

    def plan(self, content: bytes) -> PlannedAct:
        """The act that a serialized ProposedAct is. Raises `HashmatchError` INVALID_FIELD."""
        if len(content) > MAXIMUM_ACT:
            raise invalid_field("act", f"at most {MAXIMUM_ACT} bytes")
        try:
            message = pb.ProposedAct.FromString(content)
        except DecodeError:
            raise invalid_field("act", "not a ProposedAct") from None
        publisher, approvers = self._publisher, self._approvers
        match message.WhichOneof("act"):
            case "define_list":
                definition = admin_requests.definition(message.define_list.definition)
                definition.validate()

                def define(actor: str, check: bool, approved: Approved | None) -> int:
                    return publisher.define_list(definition, actor, validate_only=check, approved=approved).epoch

                return _upon_list("define-list", definition.list_id, define, makes_generation=False)
            case "roll_back":
                back = message.roll_back
                if not back.generation:
                    raise invalid_field("roll_back.generation", "name the generation, so that it is approved")

                def roll_back(actor: str, check: bool, approved: Approved | None) -> int:
                    return publisher.roll_back(
                        back.list_id,
                        back.generation,
                        actor,
                        back.reason,
                        accept_gates=tuple(back.accept_gates),
                        validate_only=check,
                        approved=approved,
                    )[1]

                return _upon_list("roll-back", back.list_id, roll_back)
            case "withdraw_list":
                whole = message.withdraw_list

                def withdraw_list(actor: str, check: bool, approved: Approved | None) -> int:
                    return publisher.withdraw_list(
                        whole.list_id, actor, whole.reason, validate_only=check, approved=approved
                    )

                return _upon_list("withdraw-list", whole.list_id, withdraw_list)
            case "withdraw_entries":
                entries = message.withdraw_entries
                hashes = admin_requests.withdrawn_hashes(entries.hashes)
                keys = admin_requests.source_keys(entries.source_keys)

                def withdraw_entries(actor: str, check: bool, approved: Approved | None) -> int:
                    return publisher.withdraw_entries(
                        entries.list_id, hashes, keys, actor, entries.reason, validate_only=check, approved=approved
                    )[1]

                return _upon_list("withdraw-entries", entries.list_id, withdraw_entries)
            case "suppress":
                return self._suppress(message)
            case "lift_suppression":
                return self._lift(message)
            case "activate_policy":
                policy = message.activate_policy

                def activate(actor: str, check: bool, approved: Approved | None) -> int:
                    return self._policies.activate(
                        policy.document, actor, policy.reason, validate_only=check, approved=approved
                    ).epoch

                return PlannedAct("activate-policy", "", _no_generation, policy_base, activate)
            case "enrol_approver":
                enrolment = message.enrol_approver

                def enrol(actor: str, check: bool, approved: Approved | None) -> int:
                    return approvers.enrol(
                        enrolment.enrolment, actor, enrolment.reason, validate_only=check, approved=approved
                    )

                return PlannedAct("enrol-approver", "", _no_generation, approvers_base, enrol)
            case "revoke_approver":
                leaving = message.revoke_approver

                def revoke(actor: str, check: bool, approved: Approved | None) -> int:
                    return approvers.revoke(leaving.name, actor, leaving.reason, validate_only=check, approved=approved)

                return PlannedAct("revoke-approver", "", _no_generation, approvers_base, revoke)
            case _:
                raise invalid_field("act", "says nothing that this server can do")

    def _suppress(self, message: pb.ProposedAct) -> PlannedAct:
        request = message.suppress
        hashes, lists = admin_requests.hashes(request.hashes), admin_requests.list_ids(request.list_ids)

        def suppress(actor: str, check: bool, approved: Approved | None) -> int:
            return self._suppressor.suppress(
                hashes, lists, actor, request.reason, validate_only=check, approved=approved
            )[0]

        return PlannedAct("suppress", _one(lists), _no_generation, self._base(hashes), suppress)

    def _lift(self, message: pb.ProposedAct) -> PlannedAct:
        request = message.lift_suppression
        hashes = admin_requests.hashes(request.hashes)

        def lift(actor: str, check: bool, approved: Approved | None) -> int:
            return self._suppressor.lift_suppression(
                hashes, actor, request.reason, validate_only=check, approved=approved
            )[0]

        return PlannedAct("lift-suppression", "", _no_generation, self._base(hashes), lift)

    def _base(self, hashes: Sequence[tuple[int, bytes]]) -> Callable[[Manifest], bytes]:
        return lambda manifest: self._suppressor.base(hashes, manifest)


def _upon_list(act: str, list_id: str, carry_out: _Do, *, makes_generation: bool = True) -> PlannedAct:
    def generation(manifest: Manifest) -> int:
        state = manifest.lists.get(list_id)
        return 1 + state.last_number if makes_generation and state is not None else 0

    return PlannedAct(act, list_id, generation, lambda manifest: list_base(manifest, list_id), carry_out)


def _no_generation(_manifest: Manifest) -> int:
    return 0


def _one(lists: Sequence[str]) -> str:
    return lists[0] if len(lists) == 1 else ""
