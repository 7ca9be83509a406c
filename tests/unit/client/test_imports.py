"""The client stays light."""

import subprocess
import sys

import hashmatch_client
import pytest


def loaded_by(code):
    program = f"import sys\n{code}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import hashmatch_client",
        "from hashmatch_client import *",
        "import hashmatch_client.hashing, hashmatch_client.testing",
    ],
)
def test_the_library_loads_nothing_of_the_server_and_no_rich(code):
    modules = loaded_by(code)
    heavy = {"numpy", "PIL", "redis", "numba", "msgspec", "rich", "structlog", "xxhash", "cryptography", "shtab"}
    assert not modules & heavy
    ours = {name for name in modules if name.startswith("hashmatch.")}
    assert all(name == "hashmatch.v1" or name.startswith("hashmatch.v1.") for name in ours)


def test_the_command_starts_without_grpc():
    modules = loaded_by("import hashmatch_client.cli.main as m; m.build_parser()")
    assert not modules & {"grpc", "google.protobuf", "rich", "shtab", "numpy", "PIL"}


def test_digests_of_files_need_nothing_of_what_pictures_need(tmp_path):
    code = f"from hashmatch_client import hashing as h; h.images_available(); h.hash_file({str(tmp_path)!r})"
    assert not loaded_by(code) & {"numpy", "PIL"}


def test_every_public_name_exists_and_no_other():
    for name in hashmatch_client.__all__:
        assert getattr(hashmatch_client, name) is not None
    assert dir(hashmatch_client) == sorted(hashmatch_client.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = hashmatch_client.nothing
