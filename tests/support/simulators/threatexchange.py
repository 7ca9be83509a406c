"""ThreatExchange: JSON, a token in a header, updates in the order of their time, links that repeat the token."""

from __future__ import annotations

import json
from dataclasses import dataclass
from urllib.parse import urlencode

from tests.support.simulators.body import Body, Entry, Reply, Request

TOKEN = "1234567890|app-secret"
GROUP = "1012185296055235"
# Ids of indicators and of descriptors differ from each other and from the numbers of entries.
_INDICATORS, _DESCRIPTORS = 9_000, 5_000


@dataclass
class ThreatExchange(Body):
    kind = "threatexchange"
    settings = f'privacy_group = "{GROUP}"\n'
    path = "/v21.0"
    credentials = f'access_token = "{TOKEN}"\n'

    def label_of(self, entry: Entry) -> str:
        return "MALICIOUS" if entry.label == "first" else "SUSPICIOUS"

    def answer(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            return Reply(401)
        if request.method == "POST":
            return Reply(200, b'{"success": true}')
        if request.path.endswith("/descriptors"):
            return Reply(200, json.dumps(self._descriptors(request.path.split("/")[-2])).encode())
        if request.path.rstrip("/") != f"{self.path}/{GROUP}/threat_updates":
            return Reply(404)
        start = int(request.query.get("start_time", 0))
        after = float(request.query.get("after", 0))
        wanted = sorted(
            (each for each in self.entries.values() if int(each.changed_at) >= start and each.changed_at > after),
            key=lambda each: each.changed_at,
        )
        page = wanted[: min(self.page, int(request.query["limit"]))]
        answer: dict[str, object] = {"data": [self.update(entry) for entry in page]}
        if len(page) < len(wanted):
            query = {**request.query, "after": repr(page[-1].changed_at), "access_token": TOKEN}
            answer["paging"] = {"next": f"{self.url}/{GROUP}/threat_updates/?{urlencode(query)}"}
        return Reply(200, json.dumps(answer).encode() + b" " * self.padding)

    def _descriptors(self, indicator: str) -> dict[str, object]:
        """What members say of an indicator: one of them, unless there is no such entry."""
        number = int(indicator) - _INDICATORS
        return {"data": [{"id": str(_DESCRIPTORS + number)}] if number in self.entries else []}

    def update(self, entry: Entry) -> dict[str, object]:
        """How the body tells of an entry."""
        update: dict[str, object] = {
            "id": str(_INDICATORS + entry.number),
            "indicator": entry.digests["md5"].hex(),
            "type": "HASH_MD5",
            "last_updated": int(entry.changed_at),
            "should_delete": entry.withdrawn,
        }
        if not entry.withdrawn:
            descriptor = {
                "id": str(_DESCRIPTORS + entry.number),
                "owner": {"id": "77", "name": "An app"},
                "status": self.label_of(entry),
                "tags": [entry.label],
                "added_on": int(entry.changed_at),
            }
            update["descriptors"] = {"data": [descriptor]}
        return update
