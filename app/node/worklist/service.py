"""The worklist and what belongs to it, as the node starts and stops it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sqlalchemy import select

from app.node import history
from app.node.commands import CommandError, Commands
from app.node.deliver.settings import TargetSettings
from app.node.ledger import Ledger
from app.node.records import CollectionState, NodeJob
from app.node.tables import COLLECTIONS
from app.node.worklist.notifier import Notifier
from app.node.worklist.order import WorkOrder
from app.node.worklist.performer import NotHereYet, Output, Performer
from app.node.worklist.puller import Puller
from app.node.worklist.settings import WorklistSettings
from app.node.worklist.workitem_store import WorkitemStore
from app.node.worklist.worklist import Worklist
from app.result_file import ResultFile
from operators.vocabulary.refusal import hashed_uid


class NodeJobs:
    """The jobs of the node, as performers of work items want them.

    Args:
        commands: order and cancel.
        ledger: says where jobs stand.
        results: folder of the results of every job.
    """

    def __init__(self, commands: Commands, ledger: Ledger, results: Path) -> None:
        self._commands = commands
        self._ledger = ledger
        self._results = results

    def has(self, study_instance_uid: str) -> bool:
        """Whether a study has been received and is complete."""
        states = self._ledger.rows(
            select(COLLECTIONS.c.state).where(
                COLLECTIONS.c.study_instance_uid == study_instance_uid,
                COLLECTIONS.c.state != CollectionState.REMOVED,
            ),
            lambda row: CollectionState(row.state),
        )
        return bool(states) and CollectionState.OPEN not in states

    def order(self, order: WorkOrder, workitem_uid: str) -> str:
        """Order a run, once for each work item; its id.

        Raises:
            NotHereYet: the study has not been received, or is not complete yet.
        """
        if not self.has(order.study_instance_uid):
            raise NotHereYet("the study is not complete")
        try:
            return self._commands.order(
                order.study_instance_uid,
                ordered_by=f"work item {hashed_uid(workitem_uid)}",
                key=workitem_uid,
                pipelines=order.pipelines,
                targets=order.targets,
                priority=order.priority,
            )
        except CommandError as error:
            raise NotHereYet(str(error)) from None

    def cancel(self, job: str) -> None:
        """Cancel a job; one that has ended is left alone."""
        try:
            self._commands.cancel(job)
        except CommandError:
            return

    def job(self, identifier: str) -> NodeJob | None:
        """Where a job stands."""
        return history.job(self._ledger, identifier)

    def outputs(self, job: NodeJob) -> list[Output]:
        """What a job made, as long as its results are kept."""
        result = ResultFile.read(self._results / job.result_folder / "result.json")
        if not job.result_folder or result is None:
            return []
        return [
            Output(entry.series_instance_uid, entry.sop_class_uid, entry.sop_instance_uid)
            for entry in result.outputs
            if entry.sop_instance_uid
        ]


class WorklistService:
    """Store, notifier, performers and server of the worklist.

    Args:
        settings: of the worklist.
        folder: of the work items.
        jobs: of the node.
        targets: of the node.
        name: of this node.
    """

    def __init__(
        self,
        settings: WorklistSettings,
        folder: Path,
        jobs: NodeJobs,
        targets: Mapping[str, TargetSettings],
        name: str,
    ) -> None:
        store = WorkitemStore(folder)
        self._notifier = Notifier(settings)
        self._performer = Performer(settings, store, self._notifier, jobs, targets, name)
        pulled = WorkitemStore(folder / "pulled")
        self._puller = Puller(settings, pulled, jobs, targets, name)
        self.worklist = Worklist(
            settings,
            store,
            self._notifier,
            check=self._performer.check,
            cancel=self._performer.cancel,
            wake=self._performer.wake,
        )

    def start(self) -> None:
        """Go on with work items that are there, then listen.

        Raises:
            OSError: as ``Worklist.start``.
        """
        self._notifier.start()
        self._performer.start()
        self._puller.start()
        self.worklist.start()

    def stop(self) -> None:
        """Take no more requests; work items stay as they are."""
        self.worklist.stop()
        self._puller.stop()
        self._performer.stop()
        self._notifier.stop()
