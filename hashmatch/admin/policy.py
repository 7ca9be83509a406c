"""`hashmatch-admin policy`: who may ask what."""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

from hashmatch_client import ConfigurationError

from hashmatch.admin.connection import connect
from hashmatch.admin.documents import instant
from hashmatch.admin.exits import Exit
from hashmatch.admin.locally import operations
from hashmatch.admin.output import in_epoch, outcome, print_result
from hashmatch.admin.proposing import act_or_propose
from hashmatch.v1 import policy_admin_service_pb2 as pb
from hashmatch.v1 import policy_admin_service_pb2_grpc

_MOST = 256 * 1024


def check(arguments: Namespace) -> Exit:
    """`policy check`."""
    operation = operations("policy")
    try:
        policy = operation.parse_policy(_read(arguments.file))
    except operation.PolicyError as error:
        for problem in error.problems:
            print(f"hashmatch-admin: {arguments.file}: {problem}", file=sys.stderr)
        return Exit.USAGE
    identities = sum(len(client.identities) for client in policy.clients.values())
    document = {"version": policy.version, "clients": sorted(policy.clients)}
    clients = f"{len(policy.clients)} clients with {identities} identities"
    print_result(arguments, document, f"{arguments.file}: version {policy.version}, {clients}.")
    return Exit.DONE


def activate(arguments: Namespace) -> Exit:
    """`policy activate`."""
    text = _read(arguments.file)
    with connect(arguments) as client:
        service = policy_admin_service_pb2_grpc.PolicyAdminServiceStub(client.channel)
        request = pb.ActivatePolicyRequest(document=text, reason=arguments.reason, validate_only=arguments.dry_run)
        response = act_or_propose(arguments, client, service.ActivatePolicy, request, activate_policy=request)
    if response is None:
        return Exit.PROPOSED
    found = {
        "added": list(response.added_clients),
        "changed": list(response.changed_clients),
        "removed": list(response.removed_clients),
        "unknown_lists": list(response.unknown_lists),
    }
    document = outcome(arguments, response.epoch) | {"version": response.version} | found
    done = "Would activate" if arguments.dry_run else "Activated"
    print_result(
        arguments,
        document,
        f"{done} version {response.version} of the policy{in_epoch(arguments, response.epoch)}.",
        *(f"{words}: {', '.join(found[kind])}." for kind, words in _WORDS.items() if found[kind]),
    )
    return Exit.DONE


def show(arguments: Namespace) -> Exit:
    """`policy show`."""
    with connect(arguments) as client:
        service = policy_admin_service_pb2_grpc.PolicyAdminServiceStub(client.channel)
        response = client.ask(service.GetPolicy, pb.GetPolicyRequest())
    if not response.version:
        print_result(arguments, {"version": None}, "No policy was ever activated.")
        return Exit.DONE
    document = {
        "version": response.version,
        "epoch": response.epoch,
        "activated_at": instant(response, "activated_at"),
        "activated_by": response.activated_by,
        "approvers": list(response.approvers),
        "document": response.document,
    }
    print_result(arguments, document, *response.document.splitlines())
    return Exit.DONE


_WORDS = {
    "added": "New",
    "changed": "May see something else than before, and everything counts as new to them",
    "removed": "May ask nothing any more",
    "unknown_lists": "Named and not defined",
}


def _read(file: str) -> str:
    try:
        content = sys.stdin.buffer.read(_MOST + 1) if file == "-" else Path(file).read_bytes()
        if len(content) > _MOST:
            raise ConfigurationError(f"{file}: a policy has at most {_MOST // 1024} KiB")
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not UTF-8") from None
