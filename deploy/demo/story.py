"""What the demonstration shows: from a delivered list to answers, to a correction."""

from __future__ import annotations

import json
import re
import time

from deploy.demo.server import COMMAND, DemoServer
from deploy.demo.shell import DemoError, Shell

RANDOM_DIGESTS = 100_000
_DIGEST_BYTES = 32
# Exit codes of `hashmatch check` and `hashmatch-admin`, as their --help states them.
_NOTHING_KNOWN, _MATCH, _REFUSED = 0, 10, 5
_METRICS_SHOWN = re.compile(
    r"^hashmatch_(ready|epoch|approvals_required|hashes_total|undetermined_total|list_entries|list_stale)\b.*$",
    re.MULTILINE,
)


def tell(shell: Shell) -> None:
    """Run the whole demonstration. Raises `DemoError`."""
    shell.title("A server of your own, with its store inside")
    shell.say("It listens on loopback and keeps everything in one directory. On a new machine the first start and the")
    shell.say("first delivery also compile the kernels: half a minute, once.")
    shell.show(f"{COMMAND} &")
    began = time.monotonic()
    with DemoServer(shell) as server:
        shell.say(f"It is up after {time.monotonic() - began:.1f} s.")
        try:
            _use(shell, server)
        except DemoError:
            # A server that died says more than the command that missed it.
            server.check()
            raise
        shell.title("The end")
        shell.show("kill %1")
        code = server.stop()
        if code:
            raise DemoError(f"the server ended with exit code {code} when it was told to stop")
        shell.say("The server stopped cleanly. `make run` starts one that stays.")


def _use(shell: Shell, server: DemoServer) -> None:
    shell.export({"HASHMATCH_TARGET": server.matching, "HASHMATCH_ADMIN_TARGET": server.administration})
    _deliver(shell)
    _publish(shell, server, _staged(shell))
    _ask(shell)
    _correct(shell, server)
    _look(shell, server)


def _deliver(shell: Shell) -> None:
    shell.title("A list, as a body would deliver it")
    shell.say(
        f"The digests of four harmless files, and {RANDOM_DIGESTS:,} random ones so that there is something to it."
    )
    shell.run("sha256sum listed/* > list.txt")
    size = RANDOM_DIGESTS * _DIGEST_BYTES
    shell.run(f"head -c {size} /dev/urandom | od -An -v -tx1 -w{_DIGEST_BYTES} | tr -d ' ' >> list.txt")
    shell.run("wc -l list.txt && head -n 5 list.txt")

    shell.title("Define it and stage it")
    shell.say("Its nature is `test`: a match on it says that the system works, and nothing about the file.")
    shell.run(
        "hashmatch-admin list define demo-list --body 'Demo Hotline' --nature test --max-age 30d --operator alice"
    )
    shell.say("\nStaging parses, compares and vets; nobody is served from it yet. The report is what people approve.")
    shell.run(
        "hashmatch-admin stage list.txt --list demo-list --format hash-text --mode full"
        " --label fixture --scheme demo --operator alice"
    )


def _staged(shell: Shell) -> tuple[str, str]:
    (staging,) = json.loads(shell.read("hashmatch-admin staging list --operator alice --output json"))["stagings"]
    return staging["staging_id"], staging["approval_digest"]


def _publish(shell: Shell, server: DemoServer, staged: tuple[str, str]) -> None:
    staging_id, digest = staged
    before = server.epoch()
    shell.title("Two other people approve it")
    shell.say("Alice, who staged it, cannot publish it alone:")
    shell.run(f"hashmatch-admin staging publish {staging_id} --operator alice", expected=(_REFUSED,))
    shell.say("\nBob and Carol have read the report; the digest names exactly that report.")
    for approver in ("bob", "carol"):
        shell.run(f"hashmatch-admin staging approve {staging_id} --digest {digest} --operator {approver}")
    shell.say("\nPublishing reads every block back, verifies it, and then changes one pointer.")
    shell.run(f"hashmatch-admin staging publish {staging_id} --operator alice")
    server.wait_for_epoch(before + 1)
    shell.say("\nWhoever asks sees whose list it is and how old. No call hands out its entries.")
    shell.run("hashmatch lists")


def _ask(shell: Shell) -> None:
    shell.title("Check a folder of files")
    shell.say("The files are hashed here; only hashes travel. Exit code 10 says that there is a match.")
    shell.run("hashmatch check --all report-17", expected=(_MATCH,))

    shell.title("Check hashes instead: all three verdicts")
    shell.say("One is listed and one is not. The list has no MD5, and `c0ffee` is no hash: not determined is not a no.")
    shell.run("head -n 1 list.txt > asked.txt")
    shell.run("sha256sum report-17/letter.txt >> asked.txt")
    shell.run("md5sum listed/rings.png >> asked.txt")
    shell.run("echo 'c0ffee' >> asked.txt")
    shell.run("hashmatch check --all --hashes - < asked.txt", expected=(_MATCH,))
    shell.say("\nEvery answer names the epoch that it is exact for, and what that epoch was made of:")
    shell.run("hashmatch snapshot")


def _correct(shell: Shell, server: DemoServer) -> None:
    shell.title("Correct a mistake at once")
    shell.say("Say the notice should never have been listed. A suppression is live within a second and survives the")
    shell.say("next delivery. The folder's text file is not a match any more:")
    before = server.epoch()
    shell.run("grep notice list.txt > mistaken.txt")
    shell.run(
        "hashmatch-admin suppress --hashes mistaken.txt --list demo-list --reason 'a harmless notice' --operator alice"
    )
    server.wait_for_epoch(before + 1)
    shell.run("hashmatch check --all report-17/mail", expected=(_NOTHING_KNOWN,))


def _look(shell: Shell, server: DemoServer) -> None:
    shell.title("What an operator sees")
    shell.say("Who did what, newest first; the audit log in the data directory holds the same, chained by hash.")
    shell.run("hashmatch-admin history --operator alice")
    shell.say(f"\nFor Prometheus, from {server.metrics_url}:\n")
    shell.say("\n".join(found[0] for found in _METRICS_SHOWN.finditer(server.metrics())))
