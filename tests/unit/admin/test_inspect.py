"""`hashmatch-admin inspect`: what a file is, without a server."""

import gzip
import hashlib
import io
import json
import subprocess
import sys

import pytest

from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main
from hashmatch.admin.parser import _FORMATS
from hashmatch.formats.bundle import VERSION, BundleHeader, written
from hashmatch.formats.registry import FORMATS
from hashmatch.model.lists import ListDefinition, ListNature

MD5 = hashlib.md5(b"a benign file").hexdigest()
PDQ = hashlib.sha256(b"a benign picture").hexdigest()
STOPNCII = {
    "count": 4,
    "hashRecords": [
        {"lastModtimestamp": 1, "hashValue": PDQ, "hashStatus": "Active", "signalType": "ImagePDQ"},
        {"lastModtimestamp": 2, "hashValue": MD5, "hashStatus": "Deleted", "signalType": "VideoMD5"},
        {"lastModtimestamp": 3, "hashValue": "x", "hashStatus": "Active", "signalType": "URL"},
    ],
}


@pytest.fixture
def inspect(tmp_path, capsys):
    def inspect(content, *options):
        path = tmp_path / "delivery"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        code = main(["inspect", str(path), *options])
        return code, *capsys.readouterr()

    return inspect


def test_the_formats_of_the_command_line_are_those_of_the_registry():
    assert sorted(_FORMATS) == sorted(FORMATS)


def test_it_says_what_is_in_a_delivery(inspect):
    data = json.dumps(STOPNCII).encode()
    code, out, err = inspect(data, "--output", "json")
    assert (code, err) == (Exit.DONE, "")
    document = json.loads(out)
    assert document == {
        "format": "stopncii",
        "known_good": False,
        "sha256": hashlib.sha256(data).hexdigest(),
        "bytes": len(data),
        "bytes_expanded": len(data),
        "records": 3,
        "declared_records": 4,
        "declared_nature": None,
        "read": 3,
        "quarantined": 1,
        "removals": 1,
        "hashes": {"PDQ": 1},
        "keyed_records": 1,
        "removed_keys": 1,
        "removed_hashes": 0,
        "labels": [{"label": "Active", "scheme": "stopncii", "count": 1}],
        "jurisdictions": [],
        "flags": [],
        "quarantine": [{"reason": "algorithm-not-served", "count": 1, "example_records": [3]}],
    }


def test_people_read_the_same(inspect):
    code, out, err = inspect(STOPNCII)
    assert (code, err) == (Exit.DONE, "")
    for part in ("stopncii", "3, 4 declared: THEY DIFFER", "3 read = 1 sound + 1 quarantined + 1 removal", "1 PDQ"):
        assert part in out
    assert "algorithm-not-served" in out


def test_containers_are_opened(inspect):
    code, out, _ = inspect(gzip.compress(json.dumps(STOPNCII).encode()), "--output", "json")
    document = json.loads(out)
    assert (code, document["format"]) == (Exit.DONE, "stopncii")
    assert document["bytes"] < document["bytes_expanded"] or document["bytes_expanded"] == len(json.dumps(STOPNCII))


def test_a_table_is_read_by_a_profile(inspect, tmp_path):
    profile = tmp_path / "profile.toml"
    profile.write_text('layout = "csv"\nlabel = ["L"]\n[[hash]]\ncolumn = "H"\nalgorithm = "md5"\n')
    code, out, _ = inspect(f"H,L\n{MD5},A1\n".encode(), "--profile", str(profile), "--output", "json")
    assert code is Exit.DONE
    assert json.loads(out)["labels"] == [{"label": "A1", "scheme": "", "count": 1}]


def test_profiles_that_come_along_are_known_by_name(inspect):
    table = f"Image ID;MD5;SHA1;PhotoDNA\n1;{MD5}\n".encode()
    code, out, _ = inspect(table, "--profile", "builtin:baseline-like", "--output", "json")
    assert (code, json.loads(out)["hashes"]) == (Exit.DONE, {"MD5": 1})
    code, _, err = inspect(table, "--profile", "builtin:other")
    assert code is Exit.USAGE
    assert "builtin:iwf-like" in err


@pytest.mark.parametrize(
    ("content", "options", "code", "said"),
    [
        (b"nothing that anybody knows", (), Exit.USAGE, "--format"),
        (b"", (), Exit.USAGE, "--format"),
        (json.dumps(STOPNCII).encode()[:-9], (), Exit.REFUSED, "truncated"),
        (b"x", ("--format", "columns"), Exit.USAGE, "--profile"),
        (b"x", ("--format", "icse"), Exit.REFUSED, "header"),
        (gzip.compress(b"x" * 99, mtime=0)[:-9], ("--format", "hash-text"), Exit.REFUSED, "gzip"),
    ],
)
def test_what_cannot_be_read_is_told(inspect, content, options, code, said):
    found, out, err = inspect(content, *options)
    assert (found, out) == (code, "")
    assert said in err


def test_a_profile_that_is_none_is_wrong_usage(inspect, tmp_path):
    (tmp_path / "profile.toml").write_text("layout = 5")
    assert inspect(b"x", "--profile", str(tmp_path / "profile.toml"))[0] is Exit.USAGE


def test_corpora_of_known_good_files_are_marked(inspect):
    row = f'"{hashlib.sha1(b"harmless").hexdigest()}","{MD5}","0","n",1,1,"1",""'
    code, out, _ = inspect(f'"SHA-1","MD5","CRC32"\n{row}\n'.encode())
    assert code is Exit.DONE
    assert "never a list of illegal content" in out


def test_what_a_bundle_says_that_it_is_of_is_shown(inspect):
    definition = ListDefinition(list_id="a", body="b", nature=ListNature.SELF_REPORTED, max_age=1.0)
    header = BundleHeader(hashmatch_bundle=VERSION, definition=definition, generation=1, as_of=1.0)
    data = b"".join(written(header, [], []))
    _, out, _ = inspect(data)
    assert "nature           self reported" in out
    _, out, _ = inspect(data, "--output", "json")
    assert json.loads(out)["declared_nature"] == "SELF_REPORTED"


def test_standard_input(monkeypatch, tmp_path):
    code = "import sys; from hashmatch.admin.main import main; sys.exit(main(['inspect', '-', '--output', 'json']))"
    run = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(STOPNCII).encode(), capture_output=True, check=True
    )
    assert json.load(io.BytesIO(run.stdout))["records"] == 3


def test_it_says_what_to_install_where_the_parsers_cannot_run():
    code = (
        "import sys; sys.modules['numpy'] = None\n"
        "from hashmatch.admin.main import main; sys.exit(main(['inspect', '/dev/null']))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == Exit.USAGE
    assert "hashmatch[server]" in run.stderr
    assert "Traceback" not in run.stderr
