"""The node as a whole: what it is made of, in which order it starts, and how it ends."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

from dbos import DBOS, DBOSConfig
from pydantic import SecretStr

from app.config import Settings
from app.node.arrival import Arrival
from app.node.audit import AuditTrail
from app.node.commands import Commands
from app.node.completer import Completer
from app.node.courier import Courier
from app.node.deliver.commitments import Commitments
from app.node.deliver.delivery import deliver
from app.node.heads import Heads
from app.node.health import problems
from app.node.intake import Intake
from app.node.ledger import Ledger, driver_url, sqlite_url
from app.node.membership import Membership
from app.node.page.application import Parts, create_app
from app.node.page.settings import PageSettings
from app.node.receive.receiver import Receiver
from app.node.receive.stow import stow_router
from app.node.retention import Retention
from app.node.runner import JobRunner, worker_environments
from app.node.spool import Spool
from app.node.web_server import WebServer
from app.node.worker_pool import WorkerPool
from app.node.workflow_log import take_over_log
from app.node.workflows import NodeWorkflows, open_queues
from app.node.worklist.service import NodeJobs, WorklistService

_LOG = logging.getLogger(__name__)
_WORKFLOW_VERSION = "1"
"""Changes with the steps of the workflows; unfinished ones of another version are not resumed."""
_AT_A_TIME = 1000
_ALONE = "node"


class NodeInUseError(RuntimeError):
    """Another process is this node."""


class Node:
    """Everything that runs in the process of a node.

    Args:
        settings: the whole of ``app.yaml``.
        models: folder of the networks.

    Raises:
        NodeInUseError: another process is this node.
        ValueError: the page would be open to a network with nobody signing in.
    """

    def __init__(self, settings: Settings, models: Path) -> None:
        own = settings.node
        self.folder = own.folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        database = own.database
        self.machine = own.name or (_ALONE if database is None else socket.gethostname())
        self._lock = self._take_lock()
        self.settings = settings
        self.ledger = Ledger(database or sqlite_url(self.folder / "ledger.sqlite"))
        self._system_url = driver_url(database or _write_ahead(self.folder / "workflows.sqlite"))
        # A folder of its own for each machine: at start a spool clears away half-written files.
        self.spool = Spool(self.folder / "spool" / self.machine)
        self.pool = WorkerPool(
            worker_environments(own.jobs), own.jobs.keep_warm_seconds, own.jobs.jobs_per_worker
        )
        heads = Heads()
        self._intake = Intake(self.ledger, self.folder, own.completeness, heads.of)
        self.runner = JobRunner(
            self.ledger,
            self.pool,
            self.folder,
            settings,
            models,
            smallest_free_bytes=own.receive.smallest_free_bytes // 2,
        )
        self.audit = AuditTrail(self.folder / "audit" / self.machine, self.machine)
        commitments = Commitments()
        courier = Courier(
            self.ledger,
            self.runner.results,
            own.targets,
            partial(deliver, commitments=commitments),
            self.audit,
        )
        self._dbos = DBOS(config=self._dbos_config())
        take_over_log()
        self.workflows = NodeWorkflows(
            self.ledger, self.runner, courier, self.machine, own.jobs.starts, self.audit
        )
        self.completer = Completer(
            self.ledger, self.folder, own, settings.ingest, self.workflows, heads
        )
        self.commands = Commands(self.ledger, self.workflows, self.completer.wake)
        self.membership = Membership(self.ledger, self.machine, len(self.pool), self._take_over)
        self._retention = Retention(
            self.ledger, self.folder, self.runner.results, own.retention, self.audit
        )
        self.receiver = Receiver(
            own.receive,
            self.spool,
            self.on_arrivals,
            on_event=self.audit.association,
            on_commitment=commitments.take,
        )
        self.worklist = self._worklist()
        self.web = self._web_server() if own.page.enabled else None

    def start(self) -> None:
        """Find out what is there, resume what was under way, then open the doors."""
        self.audit.started()
        recovered = sum(self._recover(arrivals) for arrivals in _chunks(self.spool.recover()))
        if recovered:
            _LOG.info("%d objects found in the spool that were not in the ledger", recovered)
        self.membership.join_others()
        DBOS.launch()
        open_queues(len(self.pool))
        self.membership.start()
        self.completer.start()
        self._retention.start()
        self.receiver.start()
        if self.worklist is not None:
            self.worklist.start()
        if self.web is not None:
            self.web.start()
        _LOG.info(
            "node ready",
            extra={
                "machine": self.machine,
                "port": self.receiver.port,
                "page": None if self.web is None else self.web.port,
                "pid": os.getpid(),
            },
        )

    def stop(self) -> None:
        """Close the doors, and give running jobs some time to finish.

        What is not finished then is left as after a kill: it resumes at the next start.
        """
        _LOG.info("node is to end")
        if self.web is not None:
            self.web.stop()
        if self.worklist is not None:
            self.worklist.stop()
        self.receiver.stop()
        self.completer.stop()
        self._retention.stop()
        self.membership.stop()
        # It waits for running workflows, and takes up no others.
        ending = threading.Thread(target=self._end_workflows, daemon=True)
        ending.start()
        ending.join(self.settings.node.shutdown_seconds + 15)
        self.ledger.close()
        self.audit.stopped()
        _LOG.info("node ended")

    def on_arrivals(self, arrivals: Sequence[Arrival]) -> None:
        """Enter what was received; may be called again with the same."""
        if self._intake.enter(arrivals):
            self.completer.wake()
        self.audit.received(arrivals)

    def _recover(self, arrivals: Sequence[Arrival]) -> int:
        entered = self._intake.enter(arrivals)
        if entered:
            self.audit.received(arrivals)
        return entered

    def _worklist(self) -> WorklistService | None:
        own = self.settings.node
        if own.worklist is None:
            return None
        folder = self.folder / "worklist" / self.machine
        orders = NodeJobs(self.commands, self.ledger, self.runner.results)
        return WorklistService(own.worklist, folder, orders, own.targets, self.machine)

    def _web_server(self) -> WebServer:
        settings = self.settings.node.page
        stow = stow_router(self.spool, self.settings.node.receive, self.on_arrivals)
        application = create_app(
            Parts(
                ledger=self.ledger,
                commands=self.commands,
                results=self.runner.results,
                settings=settings,
                machine=self.machine,
                problems=lambda: list(problems(self)),
                on_action=lambda user, action, what: self.audit.asked(action, what, user),
                routers=[stow],
            )
        )
        return WebServer(application, settings.host, settings.port)

    def _end_workflows(self) -> None:
        DBOS.destroy(workflow_completion_timeout_sec=int(self.settings.node.shutdown_seconds))

    def _take_over(self, machine: str) -> None:
        # The public way to do this is DBOS's commercial control plane.
        DBOS._recover_pending_workflows([machine])

    def _dbos_config(self) -> DBOSConfig:
        return {
            "name": "quantmap-node",
            "system_database_url": self._system_url,
            "application_version": _WORKFLOW_VERSION,
            "executor_id": self.machine,
            "enable_otlp": False,
            "log_level": "WARNING",
            "sys_db_pool_size": 10,
        }

    def _take_lock(self) -> int:
        """Ends with the process, however that ends."""
        path = self.folder / f"{self.machine}.lock"
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise NodeInUseError(
                f"a node named {self.machine} runs in {self.folder} already; "
                "give each machine its own node.name"
            ) from None
        return lock


def from_environment(settings: Settings) -> Settings:
    """The settings with what the environment says before them: secrets that no file holds."""
    node = settings.node
    database = os.environ.get("QUANTMAP_DATABASE")
    if database:
        node = node.model_copy(update={"database": database})
    token = os.environ.get("QUANTMAP_PAGE_TOKEN")
    if token:
        page = PageSettings.model_validate(node.page.model_dump() | {"token": token})
        node = node.model_copy(update={"page": page})
    stow_token = os.environ.get("QUANTMAP_STOW_TOKEN")
    if stow_token:
        receive = node.receive.model_copy(update={"stow_token": SecretStr(stow_token)})
        node = node.model_copy(update={"receive": receive})
    return settings.model_copy(update={"node": node})


def _write_ahead(file: Path) -> str:
    """Address of an SQLite database that logs what it writes ahead; DBOS leaves the choice.

    Its many threads then read without waiting for the one that writes, and commits are faster.
    """
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    return sqlite_url(file)


def _chunks(arrivals: Iterable[Arrival]) -> Iterable[list[Arrival]]:
    rest = iter(arrivals)
    while chunk := list(islice(rest, _AT_A_TIME)):
        yield chunk
