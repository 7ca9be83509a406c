"""Every file is hashed once, in order, or handed out as unreadable."""

import hashlib
import os
import threading

import pytest
from hashmatch_client import Algorithm
from hashmatch_client.hashing import (
    DIGEST_ALGORITHMS,
    FileHashes,
    Stopped,
    UnreadableFile,
    Walk,
    available_cores,
    hash_file,
    hash_files,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture
def tree(tmp_path):
    """A folder with files, a link to one, a link to nothing, a link in a circle and a FIFO."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2").write_bytes(b"two")
    (tmp_path / "b" / "1").write_bytes(b"one")
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "c").symlink_to("a")
    (tmp_path / "nowhere").symlink_to("not-there")
    (tmp_path / "b" / "circle").symlink_to("..")
    os.mkfifo(tmp_path / "fifo")
    return tmp_path


def names(walk, base):
    return [(each if isinstance(each, str) else each.path).removeprefix(f"{base}/") for each in walk]


@given(st.binary(max_size=4096), st.lists(st.sampled_from(DIGEST_ALGORITHMS), unique=True, min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_reading_gives_every_hash(tmp_path, content, algorithms):
    path = tmp_path / "file"
    path.write_bytes(content)
    found = hash_file(path, algorithms)
    assert isinstance(found, FileHashes)
    assert found.size == len(content)
    assert [(each.algorithm, each.hex) for each in found.hashes] == [
        (algorithm, hashlib.new(algorithm.value, content).hexdigest()) for algorithm in algorithms
    ]


def test_a_file_longer_than_the_buffer_is_read_to_its_end(tmp_path):
    content = os.urandom(3 * 1024 * 1024 + 7)
    (tmp_path / "file").write_bytes(content)
    assert hash_file(tmp_path / "file", (Algorithm.SHA256,)).hashes[0].value == hashlib.sha256(content).digest()


def test_a_walk_is_in_order_and_passes_over_links_and_special_files(tree):
    walk = Walk([tree])
    assert names(walk, tree) == ["a", "b/1", "b/2"]
    assert walk.skipped == 4


def test_a_walk_can_be_taken_again(tree):
    walk = Walk([tree])
    assert list(walk) == list(walk)
    assert walk.skipped == 4


def test_a_name_that_no_file_can_have_is_unreadable(tree):
    named = f"{tree}/a\0b"
    assert [each.path for each in Walk([named])] == [named]
    assert "NUL" in hash_file(named).problem


def test_a_walk_that_follows_links_enters_a_folder_once_and_reports_what_leads_nowhere(tree):
    walk = Walk([tree], follow_symlinks=True)
    found = list(walk)
    assert names(found, tree) == ["a", "b/1", "b/2", "c", "nowhere"]
    assert isinstance(found[-1], UnreadableFile)
    assert walk.skipped == 1


def test_what_was_named_itself_is_never_passed_over(tree):
    named = [tree / "c", tree / "fifo", tree / "missing", tree / "a"]
    found = list(Walk(named))
    assert [type(each) for each in found] == [UnreadableFile, UnreadableFile, UnreadableFile, str]
    assert "symbolic link" in found[0].problem
    assert "regular" in found[1].problem
    assert found[2].problem == os.strerror(2)


def test_a_path_that_turned_into_something_else_is_unreadable_and_nobody_waits(tree):
    assert isinstance(hash_file(tree / "fifo"), UnreadableFile)
    assert isinstance(hash_file(tree / "c"), UnreadableFile)
    assert isinstance(hash_file(tree / "b"), UnreadableFile)
    assert isinstance(hash_file(tree / "c", follow_symlinks=True), FileHashes)


@pytest.mark.parametrize("jobs", [1, 3, None])
def test_files_come_in_order_with_the_unreadable_in_their_place(tmp_path, jobs):
    for n in range(40):
        (tmp_path / f"{n:02}").write_bytes(bytes([n]))
    paths = [tmp_path / f"{n:02}" for n in range(40)]
    paths.insert(20, tmp_path / "missing")
    with hash_files(Walk(paths), (Algorithm.MD5,), jobs=jobs) as files:
        found = list(files)
    assert [each.path for each in found] == [str(path) for path in paths]
    assert [each for each in found if isinstance(each, UnreadableFile)] == [found[20]]


def test_reading_ahead_is_bounded(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield str(tmp_path / "file")

    with hash_files(endless(), (Algorithm.MD5,), jobs=2) as files:
        for _ in range(10):
            next(files)
    assert taken <= 10 + 4 * 2


def test_leaving_stops_the_reading(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        hash_file(tmp_path / "file", stop=stop)


def test_an_algorithm_that_is_not_computed_here_is_refused(tmp_path):
    with pytest.raises(ValueError, match="PhotoDNA"):
        hash_file(tmp_path / "file", (Algorithm.PHOTODNA,))


def test_there_is_at_least_one_core():
    assert available_cores() >= 1
