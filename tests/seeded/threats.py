"""What shows that each row of SECURITY.md's table holds: a guard taken out, and the test that fails for it.

A bug is a function that takes out one guard, named `module:function`, where the module lies beside this one. A test is
named as in the table. Every row has at least one of its tests here; `test_seeded_threats.py` plants the bug in every
process that the test starts, and sees the test fail.
"""

from __future__ import annotations

from typing import NamedTuple


class Proof(NamedTuple):
    """A guard that was taken out, and what notices."""

    bug: str
    test: str


_OWN = "threat_bugs"
_APPROVALS = "test_seeded_approval_bugs"
_EXCHANGE = "test_seeded_exchange_bugs"
_PROOF = "test_seeded_proof_bugs"
_TRUST = "test_seeded_trust_bugs"

PROOFS = tuple(
    Proof(f"tests.seeded.{module}:{bug}", test)
    for module, bug, test in (
        (
            _OWN,
            "ask_for_no_certificate",
            "integration/test_identity.py::test_nobody_gets_in_without_a_certificate_or_with_a_strangers",
        ),
        (
            _OWN,
            "ask_for_no_certificate",
            "integration/test_identity.py::test_an_expired_certificate_does_not_get_in",
        ),
        (_OWN, "take_the_first_uri", "integration/test_identity.py::test_a_certificate_with_two_uris_is_nobodys"),
        (
            _OWN,
            "forget_when_certificates_end",
            "unit/service/test_identity.py"
            "::test_a_certificate_that_expires_on_an_open_connection_names_nobody_from_then_on",
        ),
        (
            _OWN,
            "take_any_certificate_files",
            "integration/test_identity.py::test_certificates_that_are_no_good_do_not_replace_good_ones",
        ),
        (
            _TRUST,
            "let_anybody_ask",
            "unit/service/test_non_interference.py::test_who_is_in_no_policy_may_ask_nothing",
        ),
        (
            _OWN,
            "forget_when_permissions_end",
            "unit/service/test_non_interference.py::test_a_client_may_ask_only_in_its_time_and_for_its_purposes",
        ),
        (
            _TRUST,
            "see_every_list",
            "integration/test_non_interference.py::test_nothing_of_a_hidden_list_reaches_a_client",
        ),
        (
            _TRUST,
            "tell_the_epoch_of_everything",
            "unit/service/test_non_interference.py::test_no_single_change_of_a_hidden_list_shows",
        ),
        (_OWN, "take_older_policies", "integration/test_policy.py::test_a_bad_policy_never_replaces_a_good_one"),
        (
            _OWN,
            "spend_nothing_on_questions",
            "integration/test_budgets.py::test_two_servers_enforce_one_rate_across_restarts",
        ),
        (
            _OWN,
            "count_no_distinct_hashes",
            "integration/test_budgets.py::test_two_servers_count_distinct_hashes_together",
        ),
        (
            _OWN,
            "see_no_neighbours",
            "unit/service/test_budgets.py::test_probing_with_ten_thousand_neighbours_pauses_a_client_on_every_server",
        ),
        (
            _OWN,
            "answer_what_is_not_left",
            "integration/test_budgets.py::test_two_servers_hand_out_no_more_hits_than_one_budget_has",
        ),
        (
            _OWN,
            "keep_a_plain_copy_in_the_store",
            "unit/store/test_confidentiality.py::test_a_dump_shows_no_digest_in_any_form",
        ),
        (_OWN, "look_at_no_rights", "integration/test_store_rights.py::test_it_does_not_start"),
        (
            _OWN,
            "give_the_reader_everything",
            "unit/store/test_rights.py::test_whoever_has_the_readers_password_reads_sealed_blocks_and_nothing_else",
        ),
        (
            _OWN,
            "leave_segments_under_old_keys",
            "unit/ingest/test_resealing.py::test_nothing_is_left_under_the_old_key_and_every_answer_is_the_same",
        ),
        (
            _OWN,
            "take_what_is_under_another_key_for_spoilt",
            "unit/ingest/test_resealing.py::test_a_server_that_was_left_out_of_a_rotation_puts_nothing_older_back",
        ),
        ("bugs", "accept_an_older_manifest", "unit/store/test_floor.py::test_nothing_below_what_was_served_is_served"),
        (
            _OWN,
            "believe_what_the_store_says",
            "unit/store/test_manifest.py::test_a_manifest_that_was_changed_is_damage",
        ),
        (
            _OWN,
            "let_everybody_in_at_once",
            "unit/service/test_guard.py::test_load_above_the_limit_is_shed_and_the_place_comes_back",
        ),
        (
            _APPROVALS,
            "let_one_act_alone",
            "unit/ingest/test_approvals.py::test_no_act_that_changes_answers_is_done_by_one",
        ),
        (_OWN, "chain_nothing", "unit/operations/test_audit.py::test_a_byte_that_was_edited_is_found"),
        (
            _PROOF,
            "go_on_with_whatever_log_there_is",
            "unit/service/test_checkpointing.py::test_a_made_up_log_is_not_gone_on_with",
        ),
        (
            _PROOF,
            "go_on_with_whatever_log_there_is",
            "unit/service/test_checkpointing.py::test_a_log_whose_checkpoint_does_not_verify_is_not_gone_on_with",
        ),
        (
            _PROOF,
            "go_on_with_whatever_log_there_is",
            "integration/test_proof.py::test_a_log_that_was_cut_is_not_gone_on_with",
        ),
        (
            _PROOF,
            "give_answers_before_they_are_recorded",
            "integration/test_proof.py::test_synced_no_answer_is_given_that_is_not_recorded",
        ),
        (
            _APPROVALS,
            "take_any_signed_approval",
            "unit/ingest/test_approvals.py::test_an_approval_of_the_same_delivery_is_not_replayed_on_a_later_state",
        ),
        (
            _APPROVALS,
            "forget_what_was_carried_out",
            "unit/ingest/test_approvals.py::test_a_proposal_is_carried_out_once_also_if_the_store_forgets_that_it_was",
        ),
        (_APPROVALS, "forget_who_staged", "unit/ingest/test_approvals.py::test_who_staged_cannot_sign_it"),
        (
            _OWN,
            "let_the_last_write_win",
            "unit/ingest/test_overlapping.py::test_what_is_discarded_while_somebody_approves_it_stays_discarded",
        ),
        (
            _OWN,
            "discard_and_leave_it_at_that",
            "unit/ingest/test_overlapping.py::test_what_is_discarded_before_it_is_published_is_not",
        ),
        (
            _APPROVALS,
            "let_the_revoked_approve",
            "unit/ingest/test_approvals.py::test_an_approver_who_is_revoked_in_between_stops_it",
        ),
        (
            _APPROVALS,
            "skip_the_signature",
            "unit/ingest/test_approvals.py::test_what_the_store_made_of_an_approval_is_verified_when_it_takes_effect",
        ),
        (_EXCHANGE, "remember_nothing", "unit/trust/test_exchange.py::test_last_weeks_repository_is_a_rollback"),
        (_EXCHANGE, "never_expire", "unit/trust/test_exchange.py::test_a_repository_that_stands_still_is_a_freeze"),
        (_EXCHANGE, "take_any_signature", "unit/trust/test_exchange.py::test_too_few_signatures_are_refused"),
        (
            _EXCHANGE,
            "take_any_bundle",
            "unit/trust/test_exchange.py::test_a_bundle_that_was_changed_cut_or_exchanged_is_refused",
        ),
        (
            _EXCHANGE,
            "delegate_everything",
            "unit/trust/test_exchange.py::test_a_body_publishes_only_below_its_own_name",
        ),
        (_EXCHANGE, "begin_anew", "unit/trust/test_exchange.py::test_a_damaged_trust_state_is_not_begun_anew"),
        (_EXCHANGE, "lock_nothing", "unit/trust/test_exchange.py::test_a_trust_state_is_for_one_at_a_time"),
        (
            "test_seeded_feedback_bugs",
            "take_anything_for_a_match",
            "integration/test_feedback.py::test_what_is_no_match_is_not_kept",
        ),
        (
            "test_seeded_flood_bugs",
            "watch_no_columns",
            "integration/test_floods.py::test_what_suddenly_matches_is_told_and_counted",
        ),
        (
            _OWN,
            "expand_without_limits",
            "unit/formats/test_containers.py::test_bombs_are_refused_before_they_are_expanded",
        ),
        (
            _OWN,
            "believe_any_purpose",
            "unit/service/test_permissions.py::test_no_purpose_carries_a_digest_into_the_log_of_answers",
        ),
        (_OWN, "write_hashes_down", "unit/service/test_logs.py::test_no_spelling_of_a_hash_is_written"),
        (
            _OWN,
            "quote_what_is_wrong",
            "integration/test_secrets.py::test_a_file_with_something_wrong_in_it_is_named_and_not_quoted",
        ),
        (_OWN, "allow_dumps", "unit/trust/test_process_memory.py::test_no_core_and_nobody_attaches"),
    )
)
