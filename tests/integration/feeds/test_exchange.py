"""Lists from one instance to another: signed, pulled by a feed, staged and approved like any delivery."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main
from hashmatch.formats.bundle import VERSION, BundleHeader, written
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import ListDefinition, ListNature
from hashmatch.model.opinions import Statement
from hashmatch.service.feeds import Feeds
from hashmatch.trust.trust_state import begin_trust
from hashmatch.v1 import common_pb2, list_admin_service_pb2
from tests.integration.conftest import MakeServer
from tests.integration.feeds.conftest import NEVER
from tests.integration.serving import Client
from tests.integration.waiting import eventually
from tests.support.exchange import TARGET, Hotline

DIGESTS = tuple(os.urandom(32) for _ in range(3))


def bundle(*digests: bytes) -> bytes:
    definition = ListDefinition(list_id="theirs", body="Hotline", nature=ListNature.TEST, max_age=86_400.0)
    header = BundleHeader(hashmatch_bundle=VERSION, definition=definition, generation=1, as_of=1.0)
    entries = [("", [(Algorithm.SHA256, digest, 0)]) for digest in digests]
    return b"".join(written(header, [Statement(label="A1", scheme="own")], entries))


@pytest.fixture
def hotline(scratch: Path) -> Hotline:
    hotline = Hotline(scratch / "repository")
    hotline.publish(bundle(*DIGESTS[:2]))
    begin_trust(scratch / "trust", hotline.first_root)
    return hotline


@pytest.fixture
def client(make_server: MakeServer, scratch: Path, hotline: Hotline, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client of an instance that subscribes to the hotline's list, and pulls it only when it is asked."""
    monkeypatch.setattr(Feeds, "_due_at", lambda *_: NEVER)
    feeds = scratch / "feeds.toml"
    feeds.write_text(
        f'[feed.theirs]\nkind = "exchange"\nlist = "theirs"\ninterval = 2_000_000\n'
        f'directory = "{hotline.directory}"\ntarget = "{TARGET}"\ntrust_state = "{scratch / "trust"}"\n'
    )
    client = make_server(file=str(feeds)).start()
    client.define("theirs", nature=common_pb2.LIST_NATURE_TEST)
    return client


def run(client: Client, **asked: bool) -> list_admin_service_pb2.Feed:
    return client.act("RunFeed", list_admin_service_pb2.RunFeedRequest(name="theirs", **asked)).feed


def publish(client: Client, feed: list_admin_service_pb2.Feed) -> None:
    request = list_admin_service_pb2.GetStagingRequest(staging_id=feed.staging_id)
    staging = client.act("GetStaging", request).staging
    client.approve(staging)
    epoch = client.publish(staging, accept=[gate.name for gate in staging.report.gates if not gate.passed]).epoch
    eventually(lambda: client.epoch() >= epoch, "what was pulled is served")


def listed(client: Client) -> list[bool]:
    return [client.ask(digest).verdict == common_pb2.VERDICT_MATCH for digest in DIGESTS]


def test_a_list_is_pulled_approved_and_served_and_later_replaced(client: Client, hotline: Hotline) -> None:
    feed = run(client)
    assert (feed.outcome, feed.full) == (list_admin_service_pb2.FEED_OUTCOME_STAGED, True)
    publish(client, feed)
    assert listed(client) == [True, True, False]
    assert client.ask(DIGESTS[0]).opinions[0].label == "A1"
    hotline.publish(bundle(*DIGESTS[1:]))
    publish(client, run(client))
    assert listed(client) == [False, True, True]


def test_what_does_not_verify_is_not_staged_and_says_why(client: Client, hotline: Hotline, scratch: Path) -> None:
    before = hotline.copy(scratch / "before")
    hotline.publish(bundle(*DIGESTS))
    publish(client, run(client))
    for path in hotline.directory.glob("metadata/timestamp.json"):
        path.write_bytes((before / "metadata" / "timestamp.json").read_bytes())
    feed = run(client)
    assert (feed.outcome, feed.failure) == (list_admin_service_pb2.FEED_OUTCOME_FAILED, "rollback")
    assert listed(client) == [True, True, True]


def test_a_trust_state_that_is_lost_or_set_back_needs_a_person(client: Client, hotline: Hotline, scratch: Path) -> None:
    file = scratch / "trust" / "trust.json"
    begun = file.read_bytes()
    publish(client, run(client))
    file.write_bytes(begun)
    assert run(client).failure == "trust-state-outdated"
    # Also where everything is asked for anew.
    assert run(client, full=True).failure == "trust-state-outdated"
    file.unlink()
    assert run(client).failure == "trust-state-missing"
    assert not file.exists()


# ---- the commands


@pytest.fixture
def admin(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: object) -> tuple[int, str, str]:
        code = main(["exchange", *(str(word) for word in words)])
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return run


def test_a_repository_from_its_keys_to_a_pulled_list_and_a_rotation(admin, tmp_path: Path) -> None:
    names = ("root-1", "root-2", "root-3", "targets-1", "targets-2", "body-1", "body-2", "online")
    for name in names:
        assert admin("keygen", name, "--directory", tmp_path)[0] == Exit.DONE
    public = {name: tmp_path / f"{name}.pub" for name in names}
    private = {name: tmp_path / f"{name}.key" for name in names}
    repository, state = tmp_path / "repository", tmp_path / "state"
    roots = [word for name in names[:3] for word in ("--root", public[name])]
    targets = [word for name in names[3:5] for word in ("--targets", public[name])]
    thresholds = ("--root-threshold", 2, "--targets-threshold", 2)
    assert admin("init", repository, *roots, *targets, *thresholds, "--online", public["online"])[0] == Exit.DONE
    bodies = ("--key", public["body-1"], "--key", public["body-2"], "--threshold", 1)
    assert admin("delegate", repository, "hotline", *bodies)[0] == Exit.DONE
    theirs = tmp_path / "theirs.bundle"
    theirs.write_bytes(bundle(*DIGESTS))
    assert admin("publish", repository, "hotline", "known", theirs)[0] == Exit.DONE
    code, _, err = admin("release", repository, "--key", private["online"])
    assert (code, "lacks signatures" in err) == (Exit.USAGE, True)
    for name in ("root-1", "root-3", "targets-1", "targets-2", "body-2"):
        assert admin("sign", repository, "--key", private[name])[0] == Exit.DONE
    assert admin("release", repository, "--key", private["online"])[0] == Exit.DONE

    assert admin("subscribe", state, "--root", repository / "metadata" / "1.root.json")[0] == Exit.DONE
    pulled = tmp_path / "pulled.bundle"
    assert admin("pull", state, repository, "hotline/known.bundle", pulled)[0] == Exit.DONE
    assert pulled.read_bytes() == theirs.read_bytes()
    assert pulled.stat().st_mode & 0o777 == 0o600

    shown = json.loads(admin("show", repository, "--output", "json")[1])["roles"]
    key = json.loads(admin("keygen", "root-4", "--directory", tmp_path, "--output", "json")[1])
    old = shown[0]["keys"][0]
    rotated = admin("rotate", repository, "root", "--add", key["public_file"], "--remove", old)
    assert rotated[0] == Exit.DONE
    for name in ("root-1", "root-2", "root-3", "root-4"):
        admin("sign", repository, "--key", tmp_path / f"{name}.key")
    assert admin("release", repository, "--key", private["online"])[1].startswith("Released: root 2, ")
    assert admin("pull", state, repository, "hotline/known.bundle", tmp_path / "again.bundle")[0] == Exit.DONE

    timestamp = repository / "metadata" / "timestamp.json"
    timestamp.write_bytes(timestamp.read_bytes().replace(b'"version": 2', b'"version": 9'))
    code, _, err = admin("pull", state, repository, "hotline/known.bundle", tmp_path / "no.bundle")
    assert (code, "too-few-signatures" in err) == (Exit.REFUSED, True)
    assert not (tmp_path / "no.bundle").exists()
