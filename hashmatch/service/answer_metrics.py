"""The metrics of answers: hashes by verdict, causes, matches by list, and what the filter let through.

Like those of calls (see `call_metrics`) they are counted with every answer, so they are plain numbers that only the
event loop changes, and become metrics when somebody scrapes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from hashmatch.model.algorithms import Algorithm
from hashmatch.model.lists import ListNature
from hashmatch.model.verdicts import UndeterminedReason, Verdict

_Matches = tuple[str, Algorithm, ListNature]


class AnswerMetrics(Collector):
    """The numbers of all answers. `candidates` and `false_alarms` are for whoever asks the filter to increase."""

    def __init__(self) -> None:
        self.candidates = 0
        self.false_alarms = 0
        self._hashes: dict[tuple[Algorithm | None, Verdict], int] = {}
        self._undetermined: dict[UndeterminedReason, int] = {}
        self._matches: dict[_Matches, int] = {}

    def count_hashes(self, algorithm: Algorithm | None, verdict: Verdict, amount: int = 1) -> None:
        """Count hashes answered with `verdict`; `algorithm` is None if it is unknown."""
        key = (algorithm, verdict)
        self._hashes[key] = self._hashes.get(key, 0) + amount

    def count_undetermined(self, reason: UndeterminedReason, amount: int = 1) -> None:
        """Count hashes that were not determined because of `reason`."""
        self._undetermined[reason] = self._undetermined.get(reason, 0) + amount

    def count_matches(self, list_id: str, algorithm: Algorithm, nature: ListNature, amount: int = 1) -> None:
        """Count hashes that matched in a list."""
        key = (list_id, algorithm, nature)
        self._matches[key] = self._matches.get(key, 0) + amount

    def forget_lists(self, list_ids: Collection[str]) -> None:
        """End the series of these lists."""
        self._matches = {key: count for key, count in self._matches.items() if key[0] not in list_ids}

    def by_verdict(self) -> Mapping[Verdict, int]:
        """How many hashes were answered with each verdict; only verdicts that there were."""
        counts: dict[Verdict, int] = {}
        for (_, verdict), count in self._hashes.items():
            counts[verdict] = counts.get(verdict, 0) + count
        return counts

    def describe(self) -> Iterable[Metric]:
        """The metrics without values, for the registry."""
        return AnswerMetrics().collect()

    def collect(self) -> Iterator[Metric]:
        """The metrics."""
        hashes = CounterMetricFamily(
            "hashmatch_hashes_total", "Hashes answered, by verdict.", labels=("algorithm", "verdict")
        )
        undetermined = CounterMetricFamily(
            "hashmatch_undetermined_total", "Hashes not determined, by cause.", labels=("reason",)
        )
        matches = CounterMetricFamily(
            "hashmatch_matches_total",
            "Hashes matched, by list; a hash on several lists counts for each.",
            labels=("list_id", "algorithm", "nature"),
        )
        # Copies, because the event loop may add a series while another thread scrapes.
        for (algorithm, verdict), count in self._hashes.copy().items():
            hashes.add_metric((algorithm_label(algorithm), verdict.name.lower()), count)
        for reason, count in self._undetermined.copy().items():
            undetermined.add_metric((reason.name.lower(),), count)
        for (list_id, carried, nature), count in self._matches.copy().items():
            matches.add_metric((list_id, algorithm_label(carried), nature.name.lower()), count)
        yield from (hashes, undetermined, matches)
        yield CounterMetricFamily(
            "hashmatch_filter_candidates_total",
            "Hashes that the in-memory table could not rule out.",
            value=self.candidates,
        )
        yield CounterMetricFamily(
            "hashmatch_filter_false_alarms_total",
            "Candidates that turned out not to be listed.",
            value=self.false_alarms,
        )


def algorithm_label(algorithm: Algorithm | None) -> str:
    """What metrics call an algorithm."""
    return "unknown" if algorithm is None else algorithm.name.lower()
