"""What an operator may state about a feed, and that no secret is part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from hashmatch.ingest.feeds.credentials import StopNciiCredentials, UserCredentials, read_credentials
from hashmatch.ingest.feeds.definition import NCMEC_ENVIRONMENTS, FeedDefinitionError, load_definitions
from hashmatch.ingest.feeds.errors import FeedError
from hashmatch.model.lists import ListNature
from hashmatch.service.config import Config
from hashmatch.service.config_duties import FeedsSection, VettingSection
from hashmatch.service.config_problems import problems
from hashmatch.service.config_serving import ServerSection
from hashmatch.service.feeds import feed_definitions

NCMEC = 'kind = "ncmec"\nlist = "a"\nenvironment = "industry"\ncredentials_file = "c.toml"\n'


def problem(file: Path, text: str) -> str:
    file.write_text(text)
    with pytest.raises(FeedDefinitionError) as caught:
        load_definitions(file)
    return str(caught.value)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "feeds.toml"


def test_an_environment_is_an_address_and_a_nature(file: Path):
    tables = [
        f'[feed.{name}]\nkind = "ncmec"\nlist = "{name}"\nenvironment = "{name}"\ncredentials_file = "c"\n'
        for name in NCMEC_ENVIRONMENTS
    ]
    file.write_text("".join(tables))
    feeds = load_definitions(file)
    assert len({feed.base_url for feed in feeds}) == len({feed.source for feed in feeds}) == 7
    for feed in feeds:
        exploitative = "exploitative" in feed.name
        assert feed.nature is (ListNature.EXPLOITATIVE if exploitative else ListNature.ILLEGAL)
        assert feed.fits(ListNature.TEST)
        assert not feed.fits(ListNature.ILLEGAL if exploitative else ListNature.EXPLOITATIVE)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ('environment = "elsewhere"', "environment: one of industry"),
        ('list = "No List"', "list: 1 to 63 characters"),
        ('url = "http://hashsharing.ncmec.org"', "url: plain http is for loopback only"),
        ('url = "https://user:pass@host/"', "url: credentials belong into credentials_file"),
        ('url = "https://host/?token=x"', "url: has a query"),
        ('url = "ftp://host/"', "url: expected https"),
        ('url = "https://[host/"', "url: is not a URL"),
        ("interval = 5", "interval"),
        ("atempts = 5", "atempts"),
        ('privacy_group = "1"', "privacy_group: ncmec has none"),
        ('kind = "iwf"', "kind"),
    ],
)
def test_what_cannot_be_is_refused_by_name(file: Path, changed: str, said: str):
    key = changed.split(" ")[0]
    kept = "".join(line for line in NCMEC.splitlines(keepends=True) if not line.startswith(f"{key} "))
    assert said in problem(file, f"[feed.one]\n{kept}{changed}\n")


def test_every_problem_is_told_at_once(file: Path):
    text = problem(file, f'stray = 1\n[feed.One]\n{NCMEC}\n[feed.two]\n{NCMEC}url = "ftp://host/"\n')
    assert "stray: belongs into a table" in text
    assert "feed.One: a feed's name" in text
    assert "feed.two: a is the list of feed.One already" in text
    assert "feed.two: url" in text


@pytest.mark.parametrize("content", [b"\xff", b"[feed", b"feed = 1\n", b"[feed]\nx = 1\n"])
def test_a_file_that_is_none_is_refused(file: Path, content: bytes):
    file.write_bytes(content)
    with pytest.raises(FeedDefinitionError):
        load_definitions(file)


def test_a_missing_file_is_said_to_be(tmp_path: Path):
    with pytest.raises(FeedDefinitionError, match="No such file"):
        load_definitions(tmp_path / "none.toml")


def test_credentials_are_read_and_never_shown(file: Path):
    file.write_text('username = "planted-user"\npassword = "planted pass"\n')
    file.chmod(0o600)
    known = read_credentials(str(file), UserCredentials)
    assert (known.username, known.password) == ("planted-user", "planted pass")
    assert "planted" not in repr(known)


@pytest.mark.parametrize(
    ("content", "mode"),
    [
        (b'username = "planted"\npassword = "planted"\n', 0o644),
        (b'username = "planted"\n', 0o600),
        (b'username = "planted"\npassword = "planted"\ntoken = "planted"\n', 0o600),
        (b'username = "pla\\nnted"\npassword = "planted"\n', 0o600),
        (b"username = planted\n", 0o600),
        (b"\xffplanted", 0o600),
    ],
    ids=["open to others", "lacking", "surplus", "with a line end", "no TOML", "no text"],
)
def test_a_file_that_is_not_right_is_refused_without_quoting_it(file: Path, content: bytes, mode: int):
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(FeedError) as caught:
        read_credentials(str(file), UserCredentials)
    assert caught.value.reason == "credentials"
    assert "planted" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_credentials_file_is_said_to_be(tmp_path: Path):
    with pytest.raises(FeedError, match="No such file"):
        read_credentials(str(tmp_path / "none"), StopNciiCredentials)


def configured(file: Path, approvals: int, *, automatic: bool) -> Config:
    file.write_text(f"[feed.one]\n{NCMEC}publish_automatically = {str(automatic).lower()}\n")
    return Config(feeds=FeedsSection(file=str(file)), vetting=VettingSection(approvals_required=approvals))


def test_a_feed_publishes_by_itself_only_where_nobody_has_to_approve(file: Path):
    with pytest.raises(FeedDefinitionError, match="publish_automatically"):
        feed_definitions(configured(file, 1, automatic=True))
    assert feed_definitions(configured(file, 0, automatic=True))[0].publish_automatically
    assert feed_definitions(configured(file, 2, automatic=False))
    assert feed_definitions(Config()) == ()


def test_a_server_without_administration_has_no_feeds():
    config = Config(server=ServerSection(admin_listen=""), feeds=FeedsSection(file="feeds.toml"))
    assert [problem.key for problem in problems(config)] == ["feeds.file"]
