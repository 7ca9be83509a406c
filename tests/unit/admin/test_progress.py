"""The bar is for people: standard output stays for the result."""

import pytest

from hashmatch.admin.progress import progress


@pytest.mark.parametrize("show", [True, False])
def test_nothing_of_it_is_on_standard_output(capsys, show):
    with progress(show=show, no_color=True) as shown:
        shown.begin("reading", 10)
        shown.advance(10)
        shown.begin("vetting", None)
    assert capsys.readouterr().out == ""
