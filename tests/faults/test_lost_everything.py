"""Redis is lost and the disk of the server that administers as well: a backup brings back what was published."""

import hashlib

import pytest

from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main
from hashmatch.v1 import common_pb2
from tests.integration.serving import hash_text
from tests.integration.waiting import eventually

LISTED = [hashlib.sha256(b"listed %d" % number).digest() for number in range(5_000)]
MATCH, NO_MATCH = common_pb2.VERDICT_MATCH, common_pb2.VERDICT_NO_KNOWN_MATCH


@pytest.mark.parametrize("name", ["backup.tar", "backup.tar.zst"])
def test_a_backup_that_was_made_while_the_server_ran_answers_as_before(make_server, own_valkey, scratch, capsys, name):
    lost = make_server("lost", own_valkey.url)
    client = lost.start()
    client.define()
    epoch = client.deliver(hash_text(LISTED))
    eventually(lambda: client.epoch() == epoch, "the list is served")
    settings = [
        f"--set=server.data_dir={scratch / 'lost'}",
        f"--set=store.url={own_valkey.url}",
        f"--set=sealing.key_file={scratch / 'sealing.key'}",
    ]
    assert main(["backup", str(scratch / name), *settings]) is Exit.DONE
    before = client.ask(LISTED[17])
    lost.stop()
    own_valkey._process.kill()
    own_valkey.stop()
    for file in sorted((scratch / "store/valkey").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    own_valkey.start()

    assert main(["restore", str(scratch / name), "--data-dir", str(scratch / "new")]) is Exit.DONE
    again = make_server("new", own_valkey.url)
    client = again.start()
    eventually(client.is_ready, "the store is filled from the archive")
    assert client.epoch() == epoch
    after = client.ask(LISTED[17])
    assert after.verdict == MATCH
    assert [each.list_id for each in after.opinions] == [each.list_id for each in before.opinions]
    assert client.ask(bytes(32)).verdict == NO_MATCH
    assert client.deliver(hash_text(LISTED[:4_990]), mode=1) > epoch
