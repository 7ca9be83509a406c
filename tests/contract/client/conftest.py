import hashlib
from datetime import timedelta

import pytest
from hashmatch_client import AsyncHashmatchClient, HashmatchClient, ListNature, Retry
from hashmatch_client.testing import FakeHashmatch, FakeList

NO_RETRY = Retry(attempts=1)


def digest(text, algorithm="sha256"):
    return hashlib.new(algorithm, str(text).encode()).digest()


KNOWN = digest("known")
FIXTURE = digest("fixture")
DISPUTED = digest("disputed")
UNKNOWN = digest("unknown")


@pytest.fixture
def fake():
    """Two bodies, which agree on nothing, and a test list."""
    lists = {
        "alpha": FakeList({KNOWN.hex(): "A1", DISPUTED.hex(): "A2", digest("known", "md5").hex(): "A1"}, body="Alpha"),
        "beta": FakeList({DISPUTED.hex(): "1"}, body="Beta", scheme="vic", age=timedelta(hours=3)),
        "selftest": FakeList({FIXTURE.hex(): "fixture"}, body="Operator", nature=ListNature.TEST, algorithms=()),
    }
    with FakeHashmatch(lists) as server:
        yield server


@pytest.fixture
def client(fake):
    with HashmatchClient(fake.target, retry=NO_RETRY) as connected:
        yield connected


@pytest.fixture
async def async_client(fake):
    async with AsyncHashmatchClient(fake.target, retry=NO_RETRY) as connected:
        yield connected
