"""ReportFeedback: what a caller says of matches is kept where they are matches, and costs what asking costs."""

from __future__ import annotations

from hashmatch.index.refresher import Served
from hashmatch.matching.findings import ItemAnswer
from hashmatch.matching.items import ItemsQuestion
from hashmatch.matching.scope import Scope, View
from hashmatch.model.access import Client
from hashmatch.model.errors import HashmatchError
from hashmatch.model.feedback import Judgement
from hashmatch.model.verdicts import Verdict
from hashmatch.service.answering import Answering
from hashmatch.service.attesting import Answer, Attesting
from hashmatch.service.budgets import Budgets
from hashmatch.service.calls import annotate, current_call
from hashmatch.service.feedback import FeedbackDesk
from hashmatch.service.feedback_messages import StatedFeedback, read_feedback
from hashmatch.service.permissions import narrowed
from hashmatch.service.searching import Searching
from hashmatch.service.spending import admit_items, outcome_of
from hashmatch.v1 import match_service_pb2


class Reporting:
    """Takes feedback in from callers."""

    def __init__(
        self,
        answering: Answering,
        searching: Searching,
        budgets: Budgets,
        desk: FeedbackDesk,
        attesting: Attesting,
    ) -> None:
        self._answering = answering
        self._searching = searching
        self._budgets = budgets
        self._desk = desk
        self._attesting = attesting

    async def report(
        self, request: match_service_pb2.ReportFeedbackRequest, served: Served, client: Client | None
    ) -> match_service_pb2.ReportFeedbackResponse:
        """Keep what is said, by whom the policy calls `client`. Raises `HashmatchError`."""
        stated = read_feedback(request.feedback)
        # Each is looked up in its list alone, as if the caller asked: nobody can speak of what they may not see, and
        # whether something is listed is told to nobody who could not have asked.
        scopes = [narrowed(Scope((each.list_id,)), request.purpose, client) for each in stated]
        views = [self._answering.view(served, scope) for scope in scopes]
        if client is not None:
            await admit_items(self._budgets, client, [[each.asked] for each in stated])
        answers = [await self._look_up(view, each) for view, each in zip(views, stated, strict=True)]
        hits, undetermined = outcome_of(answer for answer in answers if answer is not None)
        self._budgets.spend_hits(client, hits)
        told = Answer(b"", len(stated), hits, undetermined, served.snapshot.epoch, served.snapshot.manifest.epoch)
        try:
            await self._attesting.record(told, request.purpose)
        except HashmatchError:
            self._budgets.return_hits(client, hits)
            raise
        who = current_call().caller.name if client is None else client.name
        outcomes = [await self._keep(each, answer, who) for each, answer in zip(stated, answers, strict=True)]
        annotate(feedback=len(stated))
        return match_service_pb2.ReportFeedbackResponse(outcomes=outcomes)

    async def _look_up(self, view: View | None, stated: StatedFeedback) -> ItemAnswer | None:
        """The answer for the hash; None where none is needed: what is taken back may be listed no more."""
        if view is None or stated.judgement is Judgement.WITHDRAWN:
            return None
        question = ItemsQuestion(view, [[stated.asked]], self._searching.nearness(current_call(), view.scope))
        (answer,) = await self._answering.answer(question, 1, current_call().deadline)
        return answer

    async def _keep(
        self, stated: StatedFeedback, answer: ItemAnswer | None, who: str
    ) -> match_service_pb2.FeedbackOutcome.ValueType:
        if answer is not None and answer.verdict is Verdict.NOT_DETERMINED:
            return match_service_pb2.FEEDBACK_OUTCOME_NOT_DETERMINED
        if answer is not None and answer.verdict is not Verdict.MATCH:
            return match_service_pb2.FEEDBACK_OUTCOME_NO_MATCH
        opinions = () if answer is None else answer.findings[0].opinions
        if await self._desk.keep(stated.of(who, opinions, self._answering.clock.now())):
            return match_service_pb2.FEEDBACK_OUTCOME_RECORDED
        return match_service_pb2.FEEDBACK_OUTCOME_UNCHANGED
