"""Tech Against Terrorism: JSON, a token that runs out, records in the order of their last change."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from tests.support.simulators.body import Body, Entry, Reply, Request

USER, PASSWORD = "platform", "pass word"


@dataclass
class TechAgainstTerrorism(Body):
    """`token_requests` is how many requests a token is good for."""

    kind = "tech-against-terrorism"
    credentials = f'username = "{USER}"\npassword = "{PASSWORD}"\n'
    algorithms = ("sha256",)

    token_requests: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        self._tokens: dict[str, int] = {}

    def answer(self, request: Request) -> Reply:
        if request.method == "POST" and request.path == "/token-auth/tcap/":
            form = dict(parse_qsl(request.body.decode()))
            if (form.get("username"), form.get("password")) != (USER, PASSWORD):
                return Reply(401)
            token = f"token-{len(self._tokens)}"
            self._tokens[token] = self.token_requests
            return Reply(200, json.dumps({"token": token, "user": {}}).encode())
        token = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not self._tokens.get(token):
            return Reply(403, b"Authentication error: Token has expired. Please refresh.")
        self._tokens[token] -= 1
        if request.path != "/api/hash-list/v2/all" or request.query.get("order") != "asc":
            return Reply(404)
        after = request.query.get("after", "0,0").split(",")
        wanted = sorted(
            (
                each
                for each in self.entries.values()
                if (each.changed_at, each.number) > (float(after[0]), int(after[1]))
            ),
            key=lambda each: (each.changed_at, each.number),
        )
        page = wanted[: self.page]
        answer = {
            "count": len(wanted),
            "next": "limit=10&offset=10" if len(page) < len(wanted) else None,
            "previous": None,
            "checkpoint": f"{page[-1].changed_at!r},{page[-1].number}" if page else None,
            "results": [_record(entry) for entry in page],
        }
        return Reply(200, json.dumps(answer).encode() + b" " * self.padding)


def _record(entry: Entry) -> dict[str, object]:
    return {
        "hash_digest": entry.digests["sha256"].hex(),
        "algorithm": "SHA256",
        "ideology": entry.label,
        "file_type": "mp4",
        "deleted": entry.withdrawn,
        "updated_on": entry.changed_at,
        "created_on": datetime.fromtimestamp(entry.changed_at, UTC).isoformat(),
        "id": entry.number,
    }
