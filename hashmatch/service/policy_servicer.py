"""PolicyAdminService: checks what is asked, has it done, translates."""

from __future__ import annotations

from typing import Any, TypeAlias

import grpc.aio

from hashmatch.ingest.policies import Policies
from hashmatch.service import messages
from hashmatch.service.acting import Acting
from hashmatch.service.calls import annotate, current_call
from hashmatch.v1 import policy_admin_service_pb2, policy_admin_service_pb2_grpc

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class PolicyAdminServicer(policy_admin_service_pb2_grpc.PolicyAdminServiceServicer):
    """Has policies activated."""

    def __init__(self, policies: Policies, acting: Acting) -> None:
        self._policies = policies
        self._acting = acting

    async def GetPolicy(  # noqa: N802
        self,
        request: policy_admin_service_pb2.GetPolicyRequest,  # noqa: ARG002
        context: Context,  # noqa: ARG002
    ) -> policy_admin_service_pb2.GetPolicyResponse:
        """The policy in force."""
        found = await self._acting.run(self._policies.in_force)
        if found is None:
            return policy_admin_service_pb2.GetPolicyResponse()
        return policy_admin_service_pb2.GetPolicyResponse(
            document=found.document,
            version=found.version,
            epoch=found.epoch,
            activated_at=messages.timestamp(found.activated_at),
            activated_by=found.activated_by,
            approvers=found.approvers,
        )

    async def ActivatePolicy(  # noqa: N802
        self,
        request: policy_admin_service_pb2.ActivatePolicyRequest,
        context: Context,  # noqa: ARG002
    ) -> policy_admin_service_pb2.ActivatePolicyResponse:
        """Put a policy in force."""
        actor = current_call().caller.name
        change = await self._acting.act(
            "activate-policy",
            lambda: self._policies.activate(
                request.document, actor, request.reason, validate_only=request.validate_only
            ),
            validate_only=request.validate_only,
        )
        annotate(version=change.version, added=len(change.added), removed=len(change.removed))
        return policy_admin_service_pb2.ActivatePolicyResponse(
            version=change.version,
            epoch=change.epoch,
            added_clients=change.added,
            changed_clients=change.changed,
            removed_clients=change.removed,
            unknown_lists=change.unknown_lists,
        )
