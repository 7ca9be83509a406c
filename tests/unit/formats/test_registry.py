import pickle

import pytest

from hashmatch.formats.columns_profile import ColumnsParser
from hashmatch.formats.delivery import DeliveryError, ParserOptions
from hashmatch.formats.hash_text import HashTextParser
from hashmatch.formats.registry import FORMATS, open_parser
from hashmatch.model.errors import ErrorReason, HashmatchError

PROFILE = 'layout = "csv"\n[[hash]]\ncolumn = "MD5"\nalgorithm = "md5"'


def test_names_open_their_parsers():
    assert isinstance(open_parser("hash-text", ParserOptions()), HashTextParser)
    assert isinstance(open_parser("columns", ParserOptions(profile=PROFILE)), ColumnsParser)
    assert all(each.description for each in FORMATS.values())


@pytest.mark.parametrize("name", ["", "hash_text", "Columns", "xml"])
def test_other_names_are_refused_with_those_that_there_are(name):
    with pytest.raises(HashmatchError, match=r"columns, .*hash-text") as caught:
        open_parser(name, ParserOptions())
    assert caught.value.reason is ErrorReason.UNKNOWN_FORMAT


def test_profile_is_checked_on_opening():
    with pytest.raises(DeliveryError) as caught:
        open_parser("columns", ParserOptions())
    assert caught.value.reason is ErrorReason.INVALID_PROFILE


def test_errors_travel_between_processes_whole():
    error = pickle.loads(pickle.dumps(DeliveryError("truncated", record=7)))
    assert (type(error), error.message, error.record) == (DeliveryError, "record 7: truncated", 7)
    assert error.reason is ErrorReason.DELIVERY_MALFORMED
