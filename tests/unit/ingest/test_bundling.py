"""Bundles between instances: what one store holds of a list arrives in another, and makes the same bytes again."""

from __future__ import annotations

import hashlib
import itertools
import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hashmatch.ingest.acts import Acts
from hashmatch.ingest.bundling import bundle_of
from hashmatch.ingest.publisher import Publisher
from hashmatch.ingest.staging import Stager
from hashmatch.matching.items import AskedHash, ItemsQuestion
from hashmatch.matching.scope import EVERYTHING, view
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason, HashmatchError
from hashmatch.model.lists import ListNature
from hashmatch.model.vetting import DeliveryMode, VettingPolicy
from hashmatch.model.videos import Frame, SharedFrames
from hashmatch.store.store import Store
from hashmatch.trust.sealing import KEY_SIZE, SealingKey
from tests.support.memory import MemoryAudit, MemoryFloor
from tests.support.office import UNKEYED_PROFILE, Office, row

_RUN = "import sys; from hashmatch.service.entry import main; sys.exit(main())"
SEALING = bytes(range(KEY_SIZE))


def digest(name: str, number: int) -> bytes:
    return hashlib.new(name, b"benign %d" % number).digest()


@pytest.fixture
def elsewhere(connection, clock) -> Office:
    """The people around another store: another key, other placements."""
    store = Store(connection, SealingKey(bytes(KEY_SIZE - 1) + b"!"), "elsewhere")
    acts = Acts(store, clock, VettingPolicy(), MemoryAudit(), MemoryFloor())
    return Office(store, clock, Publisher(acts), Stager(store, clock, VettingPolicy()))


# Lists of their own for the examples of one test.
FRESH = (f"list-{number}" for number in itertools.count())


def exported(office: Office, list_id: str = "list") -> bytes:
    return b"".join(bundle_of(office.store, list_id))


def content(bundle: bytes) -> list[bytes]:
    """The lines without the first, in which the generation of the exporter stands, and its share in the last."""
    *lines, end = bundle.splitlines()[1:]
    return [*lines, end.partition(b',"sha256":')[0]]


def imported(elsewhere: Office, bundle: bytes, list_id: str = "list") -> None:
    staging = elsewhere.stage([bundle], list_id, format="bundle")
    assert not staging.report.quarantined
    elsewhere.publish(staging)


def test_everything_that_a_list_says_arrives_elsewhere(office, elsewhere):
    for each in (office, elsewhere):
        each.define()
    office.deliver(
        row(key="1", label="A1", md5=digest("md5", 1), sha256=digest("sha256", 1))
        + row(key="2", label="B2", md5=digest("md5", 1))
        + row(key="3", label="A1", md5=digest("md5", 3))
    )
    office.deliver(
        row(key="3", removed=True) + row(key="4", label="é", md5=digest("md5", 4)), mode=DeliveryMode.INCREMENTAL
    )
    bundle = exported(office)
    imported(elsewhere, bundle)
    again = exported(elsewhere)
    assert content(again) == content(bundle)
    assert digest("md5", 3).hex().encode() not in bundle
    assert bundle.count(digest("md5", 1).hex().encode()) == 2


VIDEOS = """
layout = "jsonl"
key = ["id"]
label = ["label"]
[[hash]]
column = "frames"
algorithm = "vpdq"
[[hash]]
column = "md5"
algorithm = "md5"
"""


def test_videos_arrive_elsewhere_with_their_frames_and_match_there(office, elsewhere):
    for each in (office, elsewhere):
        each.define()
    frames = [digest("sha256", number) for number in range(5)]
    films = {"one": frames[:4], "two": frames[2:], "three": frames[:1]}
    text = "".join(
        json.dumps(
            {"id": key, "label": key, "md5": digest("md5", 1).hex(), "frames": [f"{each.hex()},100,0" for each in film]}
        )
        + "\n"
        for key, film in films.items()
    )
    office.deliver(text, profile=VIDEOS)
    bundle = exported(office)
    imported(elsewhere, bundle)
    assert content(exported(elsewhere)) == content(bundle)
    for each in (office, elsewhere):
        asked = AskedHash(Algorithm.VPDQ, b"", frames=[Frame(frame, 100) for frame in frames[:4]])
        question = ItemsQuestion(view(each.snapshot(), EVERYTHING, now=each.clock.now()), [[asked]])
        question.probe()
        (opinion,) = question.confirm()[0].findings[0].opinions
        assert (opinion.source_key, opinion.video) == ("one", SharedFrames(4, 4, 4, 4))


def test_the_same_state_makes_the_same_bytes(office):
    office.define()
    office.deliver_hashes(digest("md5", number) for number in range(50))
    first = exported(office)
    assert exported(office) == first


def test_the_header_says_whose_list_it_is(office):
    office.define()
    office.deliver_hashes([digest("md5", 1)])
    header = exported(office).splitlines()[0]
    assert b'"body":"body of list"' in header
    assert b'"nature":1' in header


@pytest.mark.parametrize("nature", ListNature)
@pytest.mark.parametrize("other", ListNature)
def test_a_bundle_goes_to_a_list_of_its_own_nature_or_to_a_test_list(office, elsewhere, nature, other):
    office.define(nature=nature)
    elsewhere.define(nature=other)
    office.deliver_hashes([digest("md5", 1)])
    bundle = exported(office)
    if other in (nature, ListNature.TEST):
        imported(elsewhere, bundle)
        assert content(exported(elsewhere)) == content(bundle)
        return
    with pytest.raises(HashmatchError, match=f"nature {nature.title}") as caught:
        elsewhere.stage([bundle], format="bundle")
    assert caught.value.reason is ErrorReason.INVALID_FIELD
    assert list(caught.value.fields) == ["header.list_id"]
    assert elsewhere.store.stagings.all() == []


def test_a_bundle_of_another_nature_is_not_read_to_its_end(office, elsewhere):
    office.define(nature=ListNature.EXPLOITATIVE)
    elsewhere.define()
    office.deliver_hashes(digest("md5", number) for number in range(3_000))
    bundle = exported(office)
    asked = []

    def pieces():
        for start in range(0, len(bundle), 1 << 16):
            asked.append(start)
            yield bundle[start : start + (1 << 16)]

    with pytest.raises(HashmatchError, match="nature exploitative"):
        elsewhere.stage(pieces(), format="bundle")
    assert len(asked) == 1


def test_what_is_not_there_is_told(office):
    with pytest.raises(HashmatchError) as caught:
        exported(office)
    assert caught.value.reason is ErrorReason.LIST_NOT_FOUND
    office.define()
    with pytest.raises(HashmatchError) as caught:
        exported(office)
    assert caught.value.reason is ErrorReason.GENERATION_NOT_FOUND


records = st.lists(
    st.tuples(st.sampled_from(["", "", "k1", "k2", "k3"]), st.sampled_from("ABC"), st.integers(0, 9), st.booleans()),
    min_size=1,
    max_size=12,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=st.lists(records, min_size=1, max_size=3), keyed=st.booleans())
def test_any_list_makes_the_same_entries_after_a_journey(office, elsewhere, rounds, keyed):
    list_id = next(FRESH)
    for each in (office, elsewhere):
        each.define(list_id)
    for number, delivered in enumerate(rounds):
        text = "".join(
            row(
                key=(key or f"own {place}") if keyed else "",
                label=label,
                md5=digest("md5", which),
                sha256=digest("sha256", which) if both else b"",
            )
            for place, (key, label, which, both) in enumerate(delivered)
        )
        mode = DeliveryMode.INCREMENTAL if number else DeliveryMode.FULL
        options = {} if keyed else {"profile": UNKEYED_PROFILE}
        office.deliver(text, list_id, mode=mode, **options)
    bundle = exported(office, list_id)
    imported(elsewhere, bundle, list_id)
    assert content(exported(elsewhere, list_id)) == content(bundle)


class TestCommand:
    def run(self, tmp_path: Path, url: str, *arguments: str):
        key = tmp_path / "sealing.key"
        if not key.exists():
            key.write_text(SEALING.hex())
            key.chmod(0o600)
        settings_given = [f"store.url={url}", f"sealing.key_file={key}", f"server.data_dir={tmp_path}"]
        options = [part for each in settings_given for part in ("--set", each)]
        return subprocess.run(
            [sys.executable, "-c", _RUN, *options, "bundle", "export", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    def test_a_list_goes_to_a_file_of_its_owner(self, office, valkey_url, tmp_path):
        office.define()
        office.deliver_hashes([digest("md5", 1)])
        target = tmp_path / "list.bundle"
        run = self.run(tmp_path, valkey_url, "list", str(target))
        assert (run.returncode, run.stderr) == (0, "")
        assert target.read_bytes() == exported(office)
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
        again = self.run(tmp_path, valkey_url, "list", str(target))
        assert again.returncode == 1
        assert "exists" in again.stderr

    def test_what_fails_leaves_no_file(self, office, valkey_url, tmp_path):
        office.define()
        run = self.run(tmp_path, valkey_url, "other", str(tmp_path / "x"))
        assert run.returncode == 1
        assert "no such list" in run.stderr
        assert not (tmp_path / "x").exists()
