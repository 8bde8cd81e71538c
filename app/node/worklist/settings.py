"""Who orders runs as Unified Procedure Steps, here or in a list of theirs, and what codes mean."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from app.node.deliver.settings import ClientTls
from app.node.receive.settings import AETitle, AllowedSender, TlsSettings

OWN_SCHEME = "99QUANTMAP"


class ManagerSettings(BaseModel):
    """A workflow manager of whose worklist this node performs steps.

    Attributes:
        ae_title: of its worklist.
        host: of its worklist.
        port: of its worklist.
        calling_ae: AE title of this node towards it.
        tls: encrypt associations.
        seconds_between_looks: at its list.
        seconds: to wait for any answer.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ae_title: AETitle
    host: str
    port: int = Field(ge=1, le=65535)
    calling_ae: AETitle = "QUANTMAP"
    tls: ClientTls | None = None
    seconds_between_looks: float = Field(default=15, gt=0)
    seconds: float = Field(default=30, gt=0)


class WorklistSettings(BaseModel):
    """The worklist of the node, at a port of its own.

    Attributes:
        ae_title: of the worklist.
        host: network address to listen on.
        port: of the worklist; 0 takes a free one.
        allow: who may use it; an empty list accepts nobody. Reports of events go to the
            ``report_to`` of a subscriber.
        tls: encrypt associations.
        perform: the node performs work items itself. Without this it only keeps the list, for
            others to claim from.
        workitems: pipelines meant by a Scheduled Workitem Code, written ``SCHEME:VALUE``. The
            codes ``99QUANTMAP:NAME`` mean the pipeline of that name without being listed; a
            work item without a code means every pipeline.
        managers: workflow managers by name, of whose own worklists the node performs what names
            one of the codes above and a study that it has.
        kept_days: after which work items that have ended are forgotten.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ae_title: AETitle = "QUANTMAP"
    host: str = "127.0.0.1"
    port: int = Field(default=11113, ge=0, le=65535)
    allow: tuple[AllowedSender, ...] = ()
    tls: TlsSettings | None = None
    perform: bool = True
    workitems: dict[str, tuple[str, ...]] = {}
    managers: dict[str, ManagerSettings] = {}
    kept_days: float = Field(default=30, gt=0)
