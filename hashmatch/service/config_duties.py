"""What can be set of everything beside answering: deliveries, approvals, counts, budgets, records and logs."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from hashmatch.service.config_section import GIB, KIB, MIB, Section


class VettingSection(Section, frozen=True, kw_only=True):
    """What a delivery must fulfil before it is served."""

    approvals_required: Annotated[
        int,
        Meta(
            ge=0,
            le=10,
            description="How many people other than the one who staged must approve. Every answer states it, and fewer "
            "than two is shown as a relaxed policy.",
        ),
    ] = 2
    maximum_removed_fraction: Annotated[
        float, Meta(ge=0, le=1, description="The largest share of a list that a delivery may remove unremarked.")
    ] = 0.1
    maximum_added_fraction: Annotated[
        float,
        Meta(ge=0, le=1_000, description="The most that a delivery may add unremarked, as a share of the list."),
    ] = 0.5
    maximum_quarantined_fraction: Annotated[
        float, Meta(ge=0, le=1, description="The largest share of a delivery that may be unsound.")
    ] = 0.01
    maximum_superseded_fraction: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="The largest share of a delivery that it may replace itself, by later states of entries with "
            "the same key; judged from 1,000 fingerprints on.",
        ),
    ] = 0.1
    maximum_known_good_hashes: Annotated[
        int,
        Meta(
            ge=0,
            le=1 << 40,
            description="How many hashes of a delivery may be in known-good corpora without being suppressed.",
        ),
    ] = 0
    maximum_suppressed_hashes: Annotated[
        int, Meta(ge=0, le=1 << 40, description="How many suppressed hashes a delivery may add to its list.")
    ] = 0
    maximum_returned_entries: Annotated[
        int,
        Meta(
            ge=0,
            le=1 << 40,
            description="How many hashes and entries that were withdrawn at the body's word a delivery may bring back.",
        ),
    ] = 0
    maximum_disputed_fraction: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="The largest share of other lists' comparable opinions that may dispute a delivery's; judged "
            "from 1,000 such opinions on.",
        ),
    ] = 0.5
    maximum_near_duplicate_fraction: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="The largest share of a delivery's PDQ codes that may have a near duplicate; judged from 1,000 "
            "codes on.",
        ),
    ] = 0.5
    maximum_delivery_bytes: Annotated[
        int, Meta(ge=1, le=1 << 40, description="The largest delivery that is taken in.")
    ] = 8 * GIB
    maximum_open_stagings: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="How many staged generations of all lists may wait to be published or discarded.",
        ),
    ] = 500
    maximum_open_stagings_of_list: Annotated[
        int, Meta(ge=1, le=100_000, description="How many of one list may wait.")
    ] = 50
    discard_stagings_days: Annotated[
        int,
        Meta(
            ge=0,
            le=36_500,
            description="After how many days a staged generation that nobody published is discarded, as an act of "
            "`system:expiry`. 0: never.",
        ),
    ] = 30
    retained_generations: Annotated[
        int, Meta(ge=1, le=100, description="How many earlier generations of a list stay for a roll back.")
    ] = 3
    clock_skew_seconds: Annotated[
        float, Meta(ge=0, le=86_400, description="How far in the future a delivery's date may lie.")
    ] = 300.0


class ApprovalsSection(Section, frozen=True, kw_only=True):
    """How people agree to what takes effect; `vetting.approvals_required` says how many."""

    signatures: Annotated[
        Literal["auto", "required", "off"],
        Meta(
            description="Whether approvals are signed by enrolled approvers, and every act that changes answers needs "
            "them. `auto`: wherever there is TLS. `off`: whoever calls is believed, for deliveries alone; every "
            "answer states it."
        ),
    ] = "auto"
    first_approvers: Annotated[
        tuple[str, ...],
        Meta(
            description="The enrolments, files that `hashmatch-admin approver keygen` wrote, of those who are enrolled "
            "while nobody is. After that they are not looked at: approvers enrol others."
        ),
    ] = ()


class FeedsSection(Section, frozen=True, kw_only=True):
    """Where deliveries are pulled from. A server with administration runs the feeds; several share the work."""

    file: Annotated[
        str,
        Meta(description="The TOML file that defines the feeds; see `docs/feeds.md`. Empty means that there are none."),
    ] = ""


class MetricsSection(Section, frozen=True, kw_only=True):
    """The HTTP listener for Prometheus and probes."""

    listen: Annotated[
        str,
        Meta(
            description="Where `/metrics`, `/healthz`, `/readyz`, `/startupz` and the page `/status` are: "
            "`HOST:PORT`. Plain HTTP, and it tells the names and sizes of lists and the settings: keep it off public "
            "networks. Empty disables it."
        ),
    ] = "127.0.0.1:9464"


class CountsSection(Section, frozen=True, kw_only=True):
    """Daily counts, for reports: how many hashes were asked about and matched, by list and algorithm. Never which."""

    enabled: Annotated[
        bool, Meta(description="Whether they are kept. Each server puts its own into the store, sealed.")
    ] = True
    flush_seconds: Annotated[
        float,
        Meta(
            ge=1, le=3_600, description="How often they are kept: what a server that is killed counted since is lost."
        ),
    ] = 60.0
    retention_days: Annotated[
        int,
        Meta(
            ge=40,
            le=36_500,
            description="How long a server with administration keeps them in `server.data_dir`, where it copies those "
            "of all servers. The store keeps them for 40 days.",
        ),
    ] = 1_830


class BudgetsSection(Section, frozen=True, kw_only=True):
    """Budgets, which the policy states for each client; they are spent by all servers together."""

    settle_interval: Annotated[
        float,
        Meta(
            ge=0.05,
            le=60,
            description="Seconds between settlements with the store. What other servers answered since the last one a "
            "server does not know of: it bounds how far a client can overshoot.",
        ),
    ] = 0.5


class FloodsSection(Section, frozen=True, kw_only=True):
    """The flood guard: it tells operators of entries that suddenly match far more often than before."""

    window_seconds: Annotated[
        float,
        Meta(
            ge=1,
            le=86_400,
            description="The time in which matches are counted, by each process for itself. In the first window after "
            "a start there is nothing to compare with.",
        ),
    ] = 600.0
    minimum: Annotated[
        int, Meta(ge=1, le=1_000_000_000, description="From how many matches in a window an entry is told of.")
    ] = 100
    ratio: Annotated[
        float,
        Meta(
            ge=1,
            le=1_000_000,
            description="How many times as often as usual it must match. What is usual is what windows had before; it "
            "fades to a half in 36 windows.",
        ),
    ] = 10.0


class AuditSection(Section, frozen=True, kw_only=True):
    """The audit log of answers: who asked how many hashes, when, for what, and how many matched. Never which."""

    answers: Annotated[
        Literal["buffered", "synced", "off"],
        Meta(
            description="`buffered`: answers are recorded a moment after they are given; a crash loses the records of "
            "the last `audit.flush_seconds`. `synced`: an answer is given when its record is on the disk, and not at "
            "all if it cannot be written. `off`: answers are not recorded."
        ),
    ] = "buffered"
    flush_seconds: Annotated[
        float, Meta(ge=0.01, le=60, description="How often records that are buffered are written and synced.")
    ] = 0.5
    segment_bytes: Annotated[
        int, Meta(ge=64 * KIB, le=GIB, description="The size at which the log goes on in another file.")
    ] = 16 * MIB
    segment_days: Annotated[
        int, Meta(ge=1, le=366, description="The age at which the log goes on in another file, in days.")
    ] = 1
    retention_days: Annotated[
        int, Meta(ge=1, le=36_500, description="How long records of answers are kept, in whole files.")
    ] = 400
    maximum_bytes: Annotated[
        int,
        Meta(
            ge=MIB,
            le=1 << 50,
            description="How much all files together may have, for each process that answers; the oldest are deleted "
            "beyond that. A record takes about 350 bytes.",
        ),
    ] = 4 * GIB


class ProofSection(Section, frozen=True, kw_only=True):
    """What others can hold this server to: receipts for answers, and checkpoints of its audit logs, signed."""

    name: Annotated[
        str,
        Meta(
            description="What the server's key is known as: a name of your own without spaces or +, for example "
            "`hashmatch.example/server-1`. No two servers have the same."
        ),
    ] = ""
    key_file: Annotated[
        str,
        Meta(description="The file of the Ed25519 key, made by `hashmatch-admin audit keygen`. Empty signs nothing."),
    ] = ""
    receipts: Annotated[
        Literal["asked", "always", "off"],
        Meta(description="Who gets a receipt with an answer: callers who ask for one, all, or nobody."),
    ] = "asked"
    checkpoint_seconds: Annotated[
        float,
        Meta(ge=1, le=86_400, description="How often checkpoints are signed, into `checkpoints` in `server.data_dir`."),
    ] = 300.0


class LogsSection(Section, frozen=True, kw_only=True):
    """The log, one line an event, on standard error."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Meta(description="The least severe level that is written.")
    ] = "info"
    format: Annotated[
        Literal["json", "console"], Meta(description="One JSON object a line, or text for a person at a terminal.")
    ] = "json"
