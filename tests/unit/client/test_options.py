"""Settings that cannot work are refused where they are given."""

import copy
import json
import pickle

import pytest
from hashmatch_client import ApiError, ConfigurationError, HashmatchClient, Limits, Retry, Timeout, TLSOptions
from hashmatch_client._options import Connection
from hashmatch_client._transport import service_config


@pytest.mark.parametrize(
    "make",
    [
        lambda: Timeout(call=0),
        lambda: Timeout(stream=float("inf")),
        lambda: Limits(batch_items=1_001),
        lambda: Limits(bulk_digests=0),
        lambda: Limits(in_flight=0),
        lambda: Retry(attempts=6),
        lambda: Retry(initial_backoff=3, max_backoff=2),
        lambda: TLSOptions(cert_file="cert.pem"),
        lambda: HashmatchClient(""),
        lambda: HashmatchClient("host :1"),
        lambda: HashmatchClient("host:1", tls=TLSOptions(ca_file="/does/not/exist.pem")),
        lambda: HashmatchClient.from_environment({}),
        lambda: Connection.from_environment({"HASHMATCH_TARGET": "a:1", "HASHMATCH_TIMEOUT": "soon"}),
    ],
)
def test_a_setting_that_cannot_work_is_refused(make):
    with pytest.raises(ConfigurationError):
        make()


def test_the_environment_describes_a_connection():
    plain = Connection.from_environment({"HASHMATCH_TARGET": "host:1", "HASHMATCH_CA_FILE": ""})
    assert plain == Connection("host:1", None, Timeout())
    full = Connection.from_environment(
        {
            "HASHMATCH_TARGET": "host:1",
            "HASHMATCH_CA_FILE": "ca",
            "HASHMATCH_CERT_FILE": "cert",
            "HASHMATCH_KEY_FILE": "key",
            "HASHMATCH_TIMEOUT": "2.5",
            "HASHMATCH_PURPOSE": "upload",
        }
    )
    assert full == Connection("host:1", TLSOptions("ca", "cert", "key"), Timeout(call=2.5), "upload")


def test_the_service_config_retries_only_unavailable_and_never_holds_a_timeout():
    text = service_config("host:1", Retry())
    method = json.loads(text)["methodConfig"][0]
    assert method["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert "timeout" not in text
    assert "retryPolicy" not in service_config("host:1", Retry(attempts=1))


def test_only_network_targets_are_balanced():
    assert "round_robin" in service_config("host:1", Retry())
    assert "healthCheckConfig" in service_config("dns:///host:1", Retry())
    assert "round_robin" not in service_config("unix:/run/hashmatch.sock", Retry())


def test_an_error_survives_copying_and_pickling():
    error = ApiError("message", reason="REASON", retry_delay=1.0, request_id="id")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (str(twin), twin.reason, twin.retry_delay, twin.request_id) == (str(error), "REASON", 1.0, "id")
