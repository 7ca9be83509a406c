"""The whole configuration: one frozen type a section, with defaults, ranges and descriptions.

The descriptions are the only reference there is: `docs/configuration.md` and `hashmatch-server config reference` are
made of them. Ranges stand with the fields; what involves several fields is in `config_problems`. Secrets are never
values here, only the paths of the files that hold them.
"""

from __future__ import annotations

from hashmatch.service.config_duties import (
    ApprovalsSection,
    AuditSection,
    BudgetsSection,
    CountsSection,
    FeedsSection,
    FloodsSection,
    LogsSection,
    MetricsSection,
    ProofSection,
    VettingSection,
)
from hashmatch.service.config_section import Section
from hashmatch.service.config_serving import (
    AccessSection,
    MatchingSection,
    SealingSection,
    ServerSection,
    StoreSection,
    TlsSection,
)


class Config(Section, frozen=True, kw_only=True):
    """The whole configuration."""

    server: ServerSection = ServerSection()
    tls: TlsSection = TlsSection()
    access: AccessSection = AccessSection()
    store: StoreSection = StoreSection()
    sealing: SealingSection = SealingSection()
    matching: MatchingSection = MatchingSection()
    vetting: VettingSection = VettingSection()
    approvals: ApprovalsSection = ApprovalsSection()
    feeds: FeedsSection = FeedsSection()
    metrics: MetricsSection = MetricsSection()
    counts: CountsSection = CountsSection()
    budgets: BudgetsSection = BudgetsSection()
    floods: FloodsSection = FloodsSection()
    audit: AuditSection = AuditSection()
    proof: ProofSection = ProofSection()
    logs: LogsSection = LogsSection()

    @property
    def refuses_excessive_rights(self) -> bool:
        """Whether a server must not serve whose user of the store may do too much."""
        rights = self.store.excessive_rights
        return rights == "refuse" or (rights == "auto" and bool(self.tls.certificate_file))

    @property
    def signatures_required(self) -> bool:
        """Whether approvals must be signed."""
        signatures = self.approvals.signatures
        return signatures == "required" or (signatures == "auto" and bool(self.tls.certificate_file))
