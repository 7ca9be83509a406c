"""What is known of what callers said, kept up to date piece by piece."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hashmatch.model.feedback import DisputeReason, Feedback, Judgement
from hashmatch.service.feedback import _Said

IDS = st.sampled_from("abcdef")
SAID = st.builds(
    Feedback,
    list_id=st.sampled_from(("one", "two")),
    algorithm=st.just(3),
    value=st.sampled_from((bytes(32), bytes(range(32)))),
    client=st.sampled_from(("uploads", "rescan")),
    judgement=st.sampled_from((Judgement.CONFIRMED, Judgement.DISPUTED)),
    reason=st.just(DisputeReason(0)),
    note=st.just(""),
    said_at=st.just(0.0),
    generation=st.just(1),
    source_keys=st.just(()),
    near=st.just(False),
)


@given(st.lists(st.tuples(IDS, st.none() | SAID)))
def test_piece_by_piece_it_comes_to_what_all_of_it_at_once_does(acts: list[tuple[str, Feedback | None]]):
    said = _Said({})
    for feedback_id, each in acts:
        if each is not None:
            said.put(feedback_id, each)
        elif feedback_id in said.known:
            said.drop(feedback_id)
    anew = _Said(dict(said.known))
    assert said.counts == anew.counts
    assert +said.of_client == anew.of_client
    assert sum(sum(counts) for lists in said.counts.values() for counts in lists.values()) == len(said.known)
