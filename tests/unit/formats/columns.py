"""What the tests of the format `columns` share: profiles, rows, and what a reading came to."""

import hashlib

MD5, SHA1, SHA256, SHA512 = (
    hashlib.new(name, b"a benign file").hexdigest() for name in ("md5", "sha1", "sha256", "sha512")
)
SIMPLE = '[[hash]]\ncolumn = "MD5"\nalgorithm = "md5"\n'
FULL = """
delimiter = ";"
label = ["Severity", "Age"]
scheme = "Scheme"
jurisdiction = "Country"
key = ["ID"]
updated_on = { column = "Updated", formats = ["iso", "%d/%m/%Y"] }
deleted = { column = "Status", values = ["withdrawn", "deleted"] }

[[hash]]
column = "MD5"
algorithm = "md5"

[[hash]]
column = "Value"
algorithm_column = "Type"

[[flag]]
column = "Identified"
word = "victim-identified"

[[flag]]
column = "Tags"
separator = ","
"""
FULL_HEADER = "id;MD5;value;type;SEVERITY;age;scheme;country;updated;status;identified;tags"


def one_hash(column='"MD5"', algorithm="md5", form="auto", rest=""):
    return f'{rest}\n[[hash]]\ncolumn = {column}\nalgorithm = "{algorithm}"\nform = "{form}"\n'


def digests(reading):
    assert not reading.error
    return [(algorithm, digest) for algorithm, digest, _, _ in reading.added]


def refusals(reading):
    assert not reading.error
    assert not reading.added
    assert not reading.keyed
    return dict(reading.tally.quarantined)


def statements(reading):
    assert not reading.error
    return [statement for _, _, statement, _ in reading.added]


def full_row(**cells):
    names = FULL_HEADER.lower().split(";")
    assert cells.keys() <= set(names)
    return f"{FULL_HEADER}\n" + ";".join(cells.get(name, "") for name in names) + "\n"
