"""What the tests of the watching share: the event loop for servers of the integration tests."""

from tests.integration.conftest import background as background
from tests.integration.conftest import make_server as make_server
from tests.integration.conftest import own_valkey as own_valkey
from tests.integration.conftest import scratch as scratch
