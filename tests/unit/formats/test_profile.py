import pytest

from hashmatch.formats.delivery import DeliveryError
from hashmatch.formats.profile import MAXIMUM_PROFILE, parse_profile
from hashmatch.model.algorithms import Algorithm
from hashmatch.model.errors import ErrorReason

HASH = '[[hash]]\ncolumn = "MD5"\nalgorithm = "md5"\n'


def problem_of(text):
    with pytest.raises(DeliveryError) as caught:
        parse_profile(text)
    assert caught.value.reason is ErrorReason.INVALID_PROFILE
    return caught.value.message


def test_shortest_profile():
    profile = parse_profile(f'layout = "csv"\n{HASH}')
    assert profile.columns == ("MD5",)
    assert (profile.separator, profile.quotation) == (",", '"')


def test_columns_are_listed_once():
    profile = parse_profile(
        'layout = "tsv"\nlabel = ["L", 3]\nkey = ["K", "L"]\nscheme = "S"\njurisdiction = "J"\n'
        'updated_on = { column = "U" }\ndeleted = { column = "S" }\n'
        '[[flag]]\ncolumn = "F"\nword = "w"\n'
        '[[hash]]\ncolumn = "V"\nalgorithm_column = "A"\n'
    )
    assert profile.columns == ("V", "A", "L", 3, "K", "S", "J", "U", "F")


def test_names_of_algorithms():
    text = 'layout = "jsonl"\n[[hash]]\ncolumn = "v"\nalgorithm_column = "t"\nnames = { HASH_MD5 = "md5" }\n'
    (column,) = parse_profile(text).hashes
    assert column.fixed_algorithm is None
    assert column.algorithms_by_name == {"hash_md5": Algorithm.MD5}


@pytest.mark.parametrize("text", ["", "  \n"])
def test_missing(text):
    assert "state one" in problem_of(text)


def test_not_toml():
    assert "Invalid" in problem_of("layout = ")


def test_nested_too_deeply():
    problem_of("layout = " + "[" * 20_000)


def test_half_a_pair():
    problem_of("layout = '\ud800'")


def test_too_long():
    assert str(MAXIMUM_PROFILE) in problem_of("#" * (MAXIMUM_PROFILE + 1))


def test_unknown_key():
    assert "lable" in problem_of(f'layout = "csv"\nlable = ["A"]\n{HASH}')


def test_unknown_key_of_a_part():
    assert "kolumn" in problem_of(f'layout = "csv"\ndeleted = {{ column = "A", kolumn = "B" }}\n{HASH}')


def test_unknown_layout():
    assert "layout" in problem_of(f'layout = "xml"\n{HASH}')


def test_unknown_encoding():
    assert "encoding" in problem_of(f'layout = "csv"\nencoding = "cp1252"\n{HASH}')


def test_no_hash_column():
    assert "hash" in problem_of('layout = "csv"')


def test_empty_list_of_hash_columns():
    assert "hash" in problem_of('layout = "csv"\nhash = []')


def test_unknown_algorithm():
    assert "no such algorithm" in problem_of('layout = "csv"\n[[hash]]\ncolumn = 1\nalgorithm = "md4"')


def test_unknown_algorithm_behind_a_name():
    assert "no such algorithm" in problem_of(
        'layout = "csv"\n[[hash]]\ncolumn = 1\nalgorithm_column = 2\nnames = { a = "b" }'
    )


def test_neither_algorithm_nor_its_column():
    assert "algorithm_column" in problem_of('layout = "csv"\n[[hash]]\ncolumn = 1')


def test_both_algorithm_and_its_column():
    assert "algorithm_column" in problem_of(
        'layout = "csv"\n[[hash]]\ncolumn = 1\nalgorithm = "md5"\nalgorithm_column = 2'
    )


def test_names_with_a_fixed_algorithm():
    assert "algorithm_column" in problem_of(
        'layout = "csv"\n[[hash]]\ncolumn = 1\nalgorithm = "md5"\nnames = { a = "md5" }'
    )


def test_unknown_form():
    assert "form" in problem_of('layout = "csv"\n[[hash]]\ncolumn = 1\nalgorithm = "md5"\nform = "base58"')


def test_column_zero():
    assert "column" in problem_of('layout = "csv"\n[[hash]]\ncolumn = 0\nalgorithm = "md5"')


def test_column_without_a_name():
    assert "column" in problem_of('layout = "csv"\n[[hash]]\ncolumn = ""\nalgorithm = "md5"')


def test_names_without_a_header():
    assert "numbers" in problem_of(f'layout = "csv"\nheader = false\n{HASH}')


def test_numbers_in_json():
    assert "paths" in problem_of('layout = "jsonl"\n[[hash]]\ncolumn = 1\nalgorithm = "md5"')


@pytest.mark.parametrize("line", ['delimiter = ";"', 'quote = ""', "header = false", 'short_rows = "blank"'])
def test_rows_of_json(line):
    assert "jsonl" in problem_of(f'layout = "jsonl"\n{line}\n{HASH}')


def test_delimiter_of_tsv():
    assert "tsv" in problem_of(f'layout = "tsv"\ndelimiter = ";"\n{HASH}')


@pytest.mark.parametrize("delimiter", ["", ";;", "é", "\\n", "\\r", "\\u0000"])
def test_delimiter_that_cannot_be(delimiter):
    assert "ASCII" in problem_of(f'layout = "csv"\ndelimiter = "{delimiter}"\n{HASH}')


def test_delimiter_that_is_the_quote():
    assert "differ" in problem_of(f'layout = "csv"\ndelimiter = \'"\'\n{HASH}')


@pytest.mark.parametrize("date_format", ["%Q", "%Y-%m", "%", "%Y%Y-%m-%d", "day", "%H:%M"])
def test_date_format_that_gives_no_date(date_format):
    assert "date format" in problem_of(
        f'layout = "csv"\nupdated_on = {{ column = "U", formats = ["{date_format}"] }}\n{HASH}'
    )


def test_flag_without_word_or_separator():
    assert "separator" in problem_of(f'layout = "csv"\n{HASH}[[flag]]\ncolumn = "F"')


def test_flag_with_word_and_separator():
    assert "separator" in problem_of(f'layout = "csv"\n{HASH}[[flag]]\ncolumn = "F"\nword = "w"\nseparator = ","')
