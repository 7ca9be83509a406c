"""What several servers answered is counted together, over restarts."""

import hashlib

from hashmatch.store.counts import CountFiles
from hashmatch.v1 import common_pb2
from tests.integration.serving import hash_text
from tests.integration.waiting import eventually

LISTED = [hashlib.sha256(b"listed %d" % number).digest() for number in range(50)]
OTHER = [hashlib.sha256(b"other %d" % number).digest() for number in range(50)]


def test_counts_are_exact_over_several_servers_and_restarts(make_server, own_valkey, scratch):
    administering = make_server("one", own_valkey.url, flush_seconds=1.0)
    answering = make_server("two", own_valkey.url, flush_seconds=1.0, admin_listen="")
    client = administering.start()
    client.define("alpha")
    client.define("beta")
    client.deliver(hash_text(LISTED), "alpha")
    epoch = client.deliver(hash_text(LISTED[:10]), "beta")
    other = answering.start()
    eventually(lambda: (client.epoch(), other.epoch()) == (epoch, epoch), "both serve the lists")

    for _ in range(2):
        client.bulk(common_pb2.ALGORITHM_SHA256, b"".join(LISTED + OTHER))
        client.ask(LISTED[0])
        client = administering.restart()
        other.bulk(common_pb2.ALGORITHM_SHA256, b"".join(LISTED[:20] + OTHER[:1]))
        other.ask(bytes(16))
        other = answering.restart()

    expected = {
        ("", "sha256", "match"): 2 * (50 + 1 + 20),
        ("", "sha256", "no_known_match"): 2 * (50 + 1),
        ("", "md5", "not_determined"): 2,
        ("alpha", "sha256", "match"): 2 * (50 + 1 + 20),
        ("beta", "sha256", "match"): 2 * (10 + 1 + 10),
    }
    files = CountFiles(scratch / "one/counts")

    def counted():
        result = {}
        for each in (count for day in files.days() for counts in files.runs(day).values() for count in counts):
            key = (each.list_id, each.algorithm, each.what)
            result[key] = result.get(key, 0) + each.count
        return result

    eventually(lambda: counted() == expected, "everything is counted")
