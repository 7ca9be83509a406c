"""Every link inside the repository leads somewhere, and the runbook knows every event of the log."""

import re
from pathlib import Path

import pytest

from hashmatch.service.logs import Event

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/**/*.md")])
LINK = re.compile(r"\[[^][]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def anchors_of(document):
    text = CODE.sub("", document.read_text("utf-8"))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(text)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    for link in LINK.findall(CODE.sub("", document.read_text("utf-8"))):
        place, _, anchor = link.partition("#")
        if "://" in place:
            continue
        target = document if not place else document.parent / place
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_the_runbook_knows_every_event_of_the_log():
    section = re.search(
        r"^## The log\n(.*?)^## ", (ROOT / "docs/runbook.md").read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    first_cells = re.findall(r"^\| (`[^|]+) \|", section[1], re.MULTILINE)
    told = [event for cell in first_cells for event in re.findall(r"`([^`]+)`", cell)]
    assert sorted(told) == sorted(Event)
