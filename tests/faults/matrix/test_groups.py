"""Clusters are resharded and primaries are lost, while servers answer and publish."""

from __future__ import annotations

from tests.faults.harness.groups import ClusterOfProcesses, WatchedBySentinels
from tests.faults.harness.history import UNDETERMINED
from tests.faults.harness.table import row
from tests.faults.harness.trial import Trial
from tests.integration.waiting import eventually

ONLY_LATENCY = "every answer as always, at most later; acts are done once or not at all"
_PATIENCE = 60.0


def begin(trial: Trial, group: ClusterOfProcesses | WatchedBySentinels) -> None:
    """Two servers on the group. What was answered before there were lists is not looked at."""
    trial.begin(None, group=group, servers=2)
    account = trial.history.check()
    account.verdicts.clear()
    account.reasons.clear()
    account.failures.clear()


def assert_only_later(trial: Trial) -> None:
    """No call failed, and everything was determined."""
    trial.finish()
    account = trial.history.account
    assert not account.failures
    assert not account.verdicts[UNDETERMINED], account.summary()


@row("slots of a cluster moved from one server to another", ONLY_LATENCY)
def test_resharded(trial: Trial) -> None:
    cluster = ClusterOfProcesses(trial.directory / "cluster")
    begin(trial, cluster)
    with trial.acts.going_on() as outcomes, trial.fault():
        moved = cluster.move_slots(0.05)
        trial.load.more(40)
    trial.note(f"{moved} slots moved, {len(outcomes)} acts meanwhile")
    assert not any(outcomes)
    assert_only_later(trial)


@row("a primary of a cluster killed, which has a replica", ONLY_LATENCY)
def test_primary_of_a_cluster_killed(trial: Trial) -> None:
    cluster = ClusterOfProcesses(trial.directory / "cluster", replicas=True)
    begin(trial, cluster)
    for key in (b"hashmatch:manifest", b"hashmatch:stagings"):
        with trial.acts.going_on(), trial.fault():
            cluster.owner(key).kill()
            eventually(cluster.is_well, "a replica takes its place", patience=_PATIENCE)
            trial.load.more(60)
        trial.acts.one_succeeds()
    assert_only_later(trial)


@row("a primary that sentinels watch killed", ONLY_LATENCY)
def test_primary_behind_sentinels_killed(trial: Trial) -> None:
    group = WatchedBySentinels(trial.directory / "group")
    begin(trial, group)
    before = group.primary()
    with trial.acts.going_on(), trial.fault():
        before.kill()
        eventually(lambda: group.primary() is not before, "another takes its place", patience=_PATIENCE)
        trial.load.more(60)
    trial.acts.one_succeeds()
    assert_only_later(trial)
