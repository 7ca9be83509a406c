"""A report adds up exactly what was counted, names what laws ask for, and says what it does not know."""

import csv
import hashlib
import io
import json
from html.parser import HTMLParser

import pytest

from hashmatch.admin.exits import Exit
from hashmatch.admin.main import main
from hashmatch.model.counts import Count, day_of
from hashmatch.model.lists import ListNature
from hashmatch.operations.access import load_config
from hashmatch.operations.figures import figures
from hashmatch.operations.figures_page import page
from hashmatch.operations.regulators import DSA, EU_INTERIM, OFCOM, named_fields
from hashmatch.store.counts import CountFiles
from hashmatch.store.floor import EpochFloor
from tests.support.office import ACTOR

DIGESTS = [hashlib.sha256(b"%d" % number).digest() for number in range(100)]
FIRST, LAST = "2027-01-01", "2027-01-31"


@pytest.fixture
def reported(machine, office, suppressor, clock):
    """A machine on which two lists were published, one of them a test list, and something was counted."""
    office.define("alpha", "Body <One>")
    office.define("fixtures", nature=ListNature.TEST)
    office.deliver_hashes(DIGESTS, "alpha")
    office.deliver_hashes(DIGESTS[:60], "alpha")
    office.deliver_hashes(DIGESTS[:2], "fixtures")
    office.publisher.roll_back("alpha", 0, ACTOR, reason="a test")
    EpochFloor(machine.data_dir / "epoch.json").raise_to(office.store.manifests.load())
    files = CountFiles(machine.data_dir / "counts")
    rows = (
        Count("", "sha256", "match", 7),
        Count("", "sha256", "no_known_match", 90),
        Count("", "pdq", "not_determined", 3),
        Count("alpha", "sha256", "match", 6),
        Count("fixtures", "sha256", "match", 1),
        Count("gone", "md5", "match", 2),
    )
    files.merge("2027-01-01", {"run": rows, "other": rows[:2]})
    files.merge("2027-01-31", {"run": rows})
    for outside in ("2026-12-31", "2027-02-01"):
        files.merge(outside, {"run": (Count("", "sha256", "match", 1_000_000),)})
    return machine


@pytest.fixture
def made(reported, clock):
    return figures(load_config(str(reported.config_file), ()).config, FIRST, LAST, clock)


def test_the_days_of_the_period_and_no_others_add_up(made):
    assert (made.period.days, made.period.counted) == (31, 2)
    volumes = {
        each.algorithm: (each.asked, each.match, each.no_known_match, each.not_determined) for each in made.volumes
    }
    assert volumes == {"pdq": (6, 0, 0, 6), "sha256": (291, 21, 270, 0)}
    assert any("29 days" in limit for limit in made.limits)


def test_matches_are_told_by_list_and_those_of_test_lists_are_no_findings(made):
    by_list = {
        each.list_id: {technology.algorithm: technology.matches for technology in each.technologies}
        for each in made.lists
    }
    assert by_list == {"alpha": {"sha256": 12}, "fixtures": {"sha256": 2}, "gone": {"md5": 4}}
    assert {each.algorithm: each.matches for each in made.technologies} == {"md5": 4, "sha256": 12}


def test_owners_publications_and_retractions_are_told(made):
    alpha, fixtures, gone = made.lists
    assert (alpha.body, alpha.nature, alpha.hashes) == ("Body <One>", "illegal", {"sha256": 100})
    assert (alpha.publications, alpha.added, alpha.removed, alpha.roll_backs) == (2, 100, 40, 1)
    assert (fixtures.nature, fixtures.publications) == ("test", 1)
    assert (gone.body, gone.hashes) == ("", None)


def test_acts_outside_the_period_are_not_told(reported, clock):
    config = load_config(str(reported.config_file), ()).config
    day = day_of(clock.now())
    assert day not in ("2027-01-16", "2027-01-31")
    later = figures(config, "2027-01-16", "2027-01-31", clock)
    assert [each.publications for each in later.lists] == [0, 0, 0]


def test_precision_rests_on_what_callers_said_and_errors_on_all_matches(made, reported, clock):
    assert {(each.confirmed, each.disputed, each.precision) for each in made.technologies} == {(0, 0, None)}
    said = (Count("alpha", "sha256", "disputed", 3), Count("alpha", "sha256", "confirmed", 1))
    CountFiles(reported.data_dir / "counts").merge("2027-01-02", {"run": said})
    again = figures(load_config(str(reported.config_file), ()).config, FIRST, LAST, clock)
    by_algorithm = {each.algorithm: (each.disputed, each.precision, each.error_ratio) for each in again.technologies}
    assert by_algorithm == {"md5": (0, None, 0.0), "sha256": (3, 0.25, 0.25)}
    fields = list(named_fields(again))
    (field,) = [each for each in fields if each.reference == "Art. 3(1)(g)(vii)(6)"]
    assert "sha256: 3 of 12 matches disputed (25.0000%)" in field.answer
    (field,) = [each for each in fields if "precision" in each.asked]
    assert "sha256: 1 of 4 reviewed (25.00%)" in field.answer


def test_every_field_is_answered_or_says_what_is_to_be_added(made):
    fields = named_fields(made)
    assert {field.law for field in fields} == {EU_INTERIM, DSA, OFCOM}
    numbered = [field.reference for field in fields if field.law == EU_INTERIM]
    assert numbered == [f"Art. 3(1)(g)(vii)({number})" for number in range(1, 10)]
    assert {"Art. 15(1)(c)", "Art. 15(1)(e)", "Art. 24(1)(a)"} <= {field.reference for field in fields}
    for field in fields:
        assert field.asked
        assert field.answer or field.note
    (cases,) = [field for field in fields if field.reference == "Art. 3(1)(g)(vii)(4)"]
    assert "material: 12 matches" in cases.answer


def test_the_page_is_whole_and_loads_nothing(made):
    class Tags(HTMLParser):
        def __init__(self):
            super().__init__()
            self.open, self.seen = [], set()

        def handle_starttag(self, tag, attributes):
            self.seen.add(tag)
            assert not {"src", "href"} & {name for name, _ in attributes}
            if tag != "meta":
                self.open.append(tag)

        def handle_endtag(self, tag):
            assert self.open.pop() == tag

    text = page(made, named_fields(made))
    tags = Tags()
    tags.feed(text)
    assert tags.open == []
    assert not tags.seen & {"script", "img", "link"}
    assert "Body &lt;One&gt;" in text
    assert "Body <One>" not in text
    assert "Art. 15(1)(e)" in text


def test_the_command_tells_it_in_every_form(reported, capsys):
    def told(*options):
        command = ["report", "--from", FIRST, "--to", LAST, "--config", str(reported.config_file), *options]
        assert main(command) is Exit.DONE
        return capsys.readouterr().out

    document = json.loads(told("--output", "json"))
    assert document["volumes"][1]["asked"] == 291
    assert len(document["named_fields"]) > 20
    rows = list(csv.DictReader(io.StringIO(told("--output", "csv"))))
    (alpha,) = [row for row in rows if (row["list"], row["algorithm"]) == ("alpha", "sha256")]
    assert (alpha["match"], alpha["disputed"], alpha["precision"]) == ("12", "0", "")
    assert told("--output", "html").startswith("<!DOCTYPE html>")
    assert "Precision" in told()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--from", "2027-02-30", "--to", LAST), Exit.USAGE, "must be a date"),
        (("--from", LAST, "--to", FIRST), Exit.USAGE, "--from is after --to"),
        (("--from", FIRST, "--to", LAST, "--set", "server.admin_listen="), Exit.FAILED, "no administration"),
    ],
)
def test_what_cannot_be_reported_is_said(reported, capsys, options, code, said):
    assert main(["report", "--config", str(reported.config_file), *options]) == code
    assert said in capsys.readouterr().err


def test_a_damaged_day_is_said_and_not_left_out(reported, capsys):
    (reported.data_dir / "counts/2027-01-01.json").write_text("{")
    command = ["report", "--config", str(reported.config_file), "--from", FIRST, "--to", LAST]
    assert main(command) is Exit.FAILED
    assert "cannot read" in capsys.readouterr().err


def test_a_report_needs_neither_store_nor_server_nor_publication(machine, clock):
    config = load_config(str(machine.config_file), ["store.url=unix:///nowhere.sock"]).config
    empty = figures(config, FIRST, LAST, clock)
    assert (empty.volumes, empty.lists, empty.period.counted) == ((), (), 0)
    assert all(field.answer or field.note for field in named_fields(empty))
    assert "None." in page(empty, named_fields(empty))
