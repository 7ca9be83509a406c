"""Debian's Prometheus with the shipped configuration, in which nothing but the addresses of the servers is changed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.integration.waiting import eventually

SHIPPED = Path(__file__).parents[2] / "deploy/prometheus"
PROGRAM = shutil.which("prometheus")
_TIMEOUT = 30.0
_STEP = 0.5


class Prometheus:
    """One process that watches servers, given by the addresses of their metrics."""

    def __init__(self, directory: Path, targets: list[str]) -> None:
        self._log = directory / "prometheus.log"
        config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text("utf-8"))
        config["rule_files"] = [str(SHIPPED / pattern) for pattern in config["rule_files"]]
        ((job),) = config["scrape_configs"]
        job["static_configs"] = [{"targets": targets}]
        self._config = directory / "prometheus.yml"
        self._config.write_text(yaml.safe_dump(config), "utf-8")
        self._data = directory / "data"
        self._targets = targets
        self._process: subprocess.Popen[bytes] | None = None
        self._address = ""

    def __enter__(self) -> Self:
        assert PROGRAM
        command = [PROGRAM, f"--config.file={self._config}", f"--storage.tsdb.path={self._data}"]
        with self._log.open("wb") as output:
            self._process = subprocess.Popen(
                [*command, "--web.listen-address=127.0.0.1:0", "--log.format=json"], stdout=output, stderr=output
            )
        try:
            self._address = eventually(self._listening, "Prometheus listens")
            eventually(self._is_ready, "Prometheus is ready", step=_STEP)
            eventually(self._all_scraped, "every server is scraped", patience=120.0, step=_STEP)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(_TIMEOUT)

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return {each["labels"]["alertname"] for each in self._ask("alerts")["alerts"] if each["state"] == "firing"}

    def query(self, expression: str) -> list[Any]:
        """What an expression gives now."""
        result: list[Any] = self._ask("query", query=expression)["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        """The rules, with how their last evaluation went."""
        return [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=_TIMEOUT) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            error.close()
            return False

    def _all_scraped(self) -> bool:
        up = [each["health"] for each in self._ask("targets")["activeTargets"]]
        return up == ["up"] * len(self._targets)

    def _listening(self) -> str:
        assert self._process is not None
        text = self._log.read_text("utf-8")
        assert self._process.poll() is None, text
        found = re.search(r'"address":"([^"]+)".*"msg":"Listening on"', text)
        return found[1] if found else ""

    def _ask(self, what: str, **parameters: str) -> Any:
        url = f"http://{self._address}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:
            told = json.load(answer)
        assert told["status"] == "success"
        return told["data"]
