"""StopNCII: JSON, two keys in headers, records in the order of their last change."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tests.support.simulators.body import Body, Entry, Reply, Request

SUBSCRIPTION, FETCH, FEEDBACK = "subscription-key", "fetch-key", "feedback-key"


@dataclass
class StopNcii(Body):
    kind = "stopncii"
    path = "/v1"
    credentials = f'subscription_key = "{SUBSCRIPTION}"\nfetch_key = "{FETCH}"\nfeedback_key = "{FEEDBACK}"\n'

    def label_of(self, entry: Entry) -> str:  # noqa: ARG002
        return "Active"

    def answer(self, request: Request) -> Reply:
        if request.headers.get("ocp-apim-subscription-key") != SUBSCRIPTION:
            return Reply(401)
        function = request.path.rpartition("/")[2]
        if request.headers.get("x-functions-key") != {"FetchHashes": FETCH, "SubmitFeedback": FEEDBACK}.get(function):
            return Reply(401)
        if function == "SubmitFeedback":
            return Reply(200, b"{}")
        after = float(request.query.get("nextPageToken", "").removeprefix("token-") or 0)
        start = int(request.query["startTimestamp"])
        wanted = sorted(
            (each for each in self.entries.values() if int(each.changed_at) >= start and each.changed_at > after),
            key=lambda each: each.changed_at,
        )
        page = wanted[: min(self.page, int(request.query["pageSize"]))]
        more = len(page) < len(wanted)
        answer = {
            "count": len(page),
            "hashRecords": [_record(entry) for entry in page],
            "hasMoreRecords": more,
            "nextPageToken": f"token-{page[-1].changed_at!r}" if more else None,
            "nextSetTimestamp": int(page[-1].changed_at) if page else start,
        }
        return Reply(200, json.dumps(answer).encode() + b" " * self.padding)


def _record(entry: Entry) -> dict[str, object]:
    status = "Withdrawn" if entry.withdrawn else "Active"
    return {
        "lastModtimestamp": int(entry.changed_at),
        "hashValue": entry.digests["md5"].hex(),
        "hashStatus": status,
        "caseNumbers": {f"case-{entry.number}": status},
        "signalType": "VideoMD5",
        "hashRegions": [],
        "CSPFeedbacks": [],
    }
