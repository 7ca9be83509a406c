"""NCMEC's hash sharing: XML, a user and a password, pages that are in no order of time."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlencode
from xml.sax.saxutils import escape

from tests.support.simulators.body import Body, Entry, Reply, Request

NAMESPACE = "https://hashsharing.ncmec.org/hashsharing/v2"
USER, PASSWORD = "hotline", "pass word"
MEMBER = 42
_AUTHORIZATION = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


@dataclass
class Ncmec(Body):
    kind = "ncmec"
    settings = 'environment = "industry"\n'
    path = "/hashsharing"
    credentials = f'username = "{USER}"\npassword = "{PASSWORD}"\n'
    algorithms = ("md5", "sha1")

    reasons: tuple[tuple[str, str], ...] = (("0123-4567", "Not what it is said to be"),)

    def answer(self, request: Request) -> Reply:
        if request.headers.get("authorization") != _AUTHORIZATION:
            return Reply(401)
        if request.method == "PUT":
            return Reply(200)
        if request.path.endswith("/reasons"):
            kind = request.path.split("/")[-2]
            stated = "".join(f'<reason guid="{guid}" name="{name}" type="{kind}"/>' for guid, name in self.reasons)
            return Reply(
                200, f'<availableFeedbackReasons xmlns="{NAMESPACE}">{stated}</availableFeedbackReasons>'.encode()
            )
        if request.path != f"{self.path}/v2/entries":
            return Reply(404)
        return Reply(200, self._page(request.query))

    def _page(self, query: dict[str, str]) -> bytes:
        low, high = _seconds(query["from"]), _seconds(query["to"])
        wanted = sorted(
            (
                entry
                for entry in self.entries.values()
                if low <= int(entry.changed_at) <= high and _place(entry) >= int(query.get("start", 0))
            ),
            key=_place,
        )
        page, rest = wanted[: self.page], wanted[self.page :]
        groups = "".join(
            f'<{kind}s count="{len(members)}">{"".join(members)}</{kind}s>'
            for kind, members in (
                ("image", [_xml(entry, "image") for entry in page if entry.number % 3]),
                ("video", [_xml(entry, "video") for entry in page if not entry.number % 3]),
            )
        )
        paging = ""
        if rest:
            link = {**query, "start": str(_place(rest[0])), "size": str(self.page)}
            paging = f"<paging><next>{escape('/v2/entries?' + urlencode(link))}</next></paging>"
        return (
            f'<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n<queryResult xmlns="{NAMESPACE}">'
            f"{groups}{' ' * self.padding}{paging}</queryResult>"
        ).encode()


def _place(entry: Entry) -> int:
    """Where an entry stands in a range: in some order that has nothing to do with time."""
    return entry.number * 7_919 % 1_009


def _xml(entry: Entry, kind: str) -> str:
    moment = datetime.fromtimestamp(entry.changed_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    named = f'<member id="{MEMBER}">A member</member><timestamp>{moment}</timestamp><id>entry{entry.number}</id>'
    if entry.withdrawn:
        return f"<deleted{kind.title()}>{named}</deleted{kind.title()}>"
    prints = "".join(f"<{name}>{digest.hex()}</{name}>" for name, digest in entry.digests.items())
    return (
        f"<{kind}>{named}<classification>{entry.label}</classification><fingerprints>{prints}</fingerprints></{kind}>"
    )


def _seconds(text: str) -> int:
    return int(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp())
