"""Whether an association is accepted, and for which presentation contexts (PS3.8 7.1)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, negotiate_as_acceptor
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

from app.node.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from app.node.receive.connection import ProtocolViolation
from app.node.receive.settings import AllowedSender, ReceiveSettings

VERIFICATION = "1.2.840.10008.1.1"
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
# GE's private one is implicit big endian inside; Papyrus 3 and the real-time video streams
# (SMPTE ST 2110) are not for C-STORE. Their data sets could not be read.
_REFUSED_TRANSFER_SYNTAXES = frozenset(
    (
        "1.2.840.113619.5.2",
        "1.2.840.10008.1.20",
        *(f"1.2.840.10008.1.2.7.{number}" for number in (1, 2, 3)),
    )
)
_PLAIN_TRANSFER_SYNTAXES = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
# The media directory is listed with the storage classes of files, never of the network.
_MEDIA_DIRECTORY = "1.2.840.10008.1.3.10"


@dataclass(frozen=True)
class Rejection:
    """An association that is not accepted (PS3.8 table 9-21).

    Attributes:
        result: 1 permanent, 2 transient.
        source: 1 service user, 2 provider (ACSE), 3 provider (presentation).
        diagnostic: reason within the source.
        reason: for the log and the audit trail.
    """

    result: int
    source: int
    diagnostic: int
    reason: str

    def encode(self) -> bytes:
        """The A-ASSOCIATE-RJ PDU."""
        primitive = A_ASSOCIATE()
        primitive.result = self.result
        primitive.result_source = self.source
        primitive.diagnostic = self.diagnostic
        return A_ASSOCIATE_RJ(primitive).encode()


NO_DISK = Rejection(2, 3, 1, "the disk is almost full")
NO_ROOM = Rejection(2, 3, 2, "all associations are taken")
UNKNOWN_CALLED = Rejection(1, 1, 7, "called AE title not served")
UNKNOWN_CALLING = Rejection(1, 1, 3, "sender not on the allow-list")
UNKNOWN_APPLICATION_CONTEXT = Rejection(1, 1, 2, "application context not supported")


@dataclass(frozen=True)
class AcceptedContext:
    """A presentation context that both sides agreed on.

    Attributes:
        abstract_syntax: SOP class.
        transfer_syntax: how data sets are encoded.
    """

    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True)
class Terms:
    """What an accepted association may do.

    Attributes:
        calling_ae: of the requestor.
        called_ae: of this node.
        sender: its entry of the allow-list.
        contexts: by presentation context ID.
        longest_pdu: bytes of a P-DATA-TF PDU that the peer takes; 0 for any.
        acceptance: the A-ASSOCIATE-AC PDU.
    """

    calling_ae: str
    called_ae: str
    sender: AllowedSender
    contexts: dict[int, AcceptedContext]
    longest_pdu: int
    acceptance: bytes


def decoded_request(payload: bytes) -> A_ASSOCIATE:
    """An A-ASSOCIATE-RQ PDU.

    Args:
        payload: what follows its six bytes of header.

    Raises:
        ProtocolViolation: it cannot be decoded.
    """
    header = bytes((1, 0)) + len(payload).to_bytes(4, "big")
    try:
        pdu = A_ASSOCIATE_RQ()
        pdu.decode(header + payload)
        return pdu.to_primitive()
    except Exception:  # noqa: BLE001 - whatever a stranger's bytes make of the decoder
        raise ProtocolViolation("an association request that cannot be decoded") from None


def negotiate(
    request: A_ASSOCIATE,
    settings: ReceiveSettings,
    peer_address: str,
    obstacle: Callable[[], Rejection | None],
) -> Terms | Rejection:
    """Decide on an association request.

    Args:
        request: what is asked for.
        settings: who is allowed.
        peer_address: network address of the requestor.
        obstacle: why nobody can be accepted at the moment; asked of allowed senders only.
    """
    calling, called = _title(request.calling_ae_title), _title(request.called_ae_title)
    if request.application_context_name != "1.2.840.10008.3.1.1.1":
        return UNKNOWN_APPLICATION_CONTEXT
    if called not in settings.ae_titles:
        return UNKNOWN_CALLED
    sender = settings.sender(calling, peer_address)
    if sender is None:
        return UNKNOWN_CALLING
    rejection = obstacle()
    if rejection is not None:
        return rejection
    proposed = request.presentation_context_definition_list
    results, roles = negotiate_as_acceptor(
        proposed, supported_contexts(proposed, settings), _proposed_roles(request)
    )
    return Terms(
        calling_ae=calling,
        called_ae=called,
        sender=sender,
        contexts={
            cast(int, context.context_id): AcceptedContext(
                str(context.abstract_syntax), str(context.transfer_syntax[0])
            )
            for context in results
            if context.result == 0
        },
        longest_pdu=_longest_pdu(request),
        acceptance=_acceptance(request, results, roles, settings),
    )


def supported_contexts(
    proposed: Sequence[PresentationContext], settings: ReceiveSettings
) -> list[PresentationContext]:
    """The proposed contexts that this node supports, with their transfer syntaxes.

    The order is the sender's, whose objects are kept as they come; only big endian, which
    hardly anybody reads any more, comes last.
    """
    syntaxes: dict[str, list[str]] = {}
    for context in proposed:
        abstract_syntax = str(context.abstract_syntax)
        known = syntaxes.setdefault(abstract_syntax, [])
        known += [s for s in map(str, context.transfer_syntax) if s not in known]
    supported = []
    for abstract_syntax, transfer_syntaxes in syntaxes.items():
        accepted = _accepted_syntaxes(abstract_syntax, transfer_syntaxes, settings)
        if not accepted:
            continue
        context = PresentationContext()
        context.abstract_syntax = UID(abstract_syntax)
        context.transfer_syntax = [UID(syntax) for syntax in accepted]
        if abstract_syntax == STORAGE_COMMITMENT:
            # As provider for senders, as user for the archives to which the node delivers.
            context.scu_role = context.scp_role = True
        supported.append(context)
    return supported


def _accepted_syntaxes(
    abstract_syntax: str, proposed: Sequence[str], settings: ReceiveSettings
) -> list[str]:
    if abstract_syntax in (VERIFICATION, STORAGE_COMMITMENT):
        return [syntax for syntax in _PLAIN_TRANSFER_SYNTAXES if syntax in proposed]
    if not is_storage(abstract_syntax, unknown_classes=settings.unknown_classes):
        return []
    accepted = [syntax for syntax in proposed if is_transfer_syntax_taken(syntax)]
    return sorted(accepted, key=lambda syntax: syntax == "1.2.840.10008.1.2.2")


def is_storage(abstract_syntax: str, *, unknown_classes: bool) -> bool:
    """Whether objects of a SOP class are taken.

    Args:
        abstract_syntax: the SOP class.
        unknown_classes: take private ones and those of later editions too.
    """
    if abstract_syntax == _MEDIA_DIRECTORY:
        return False
    service = uid_to_service_class(abstract_syntax)
    if service is StorageServiceClass:
        return True
    if service is not ServiceClass or not unknown_classes:
        return False
    # A UID that is registered has a name: retired storage classes say what they are.
    name = UID(abstract_syntax).name
    return name == abstract_syntax or "Storage" in name


def is_transfer_syntax_taken(transfer_syntax: str) -> bool:
    """Whether objects of a transfer syntax are taken."""
    return transfer_syntax not in _REFUSED_TRANSFER_SYNTAXES


def _title(text: str | None) -> str:
    return (text or "").strip()


def _user_items(request: A_ASSOCIATE, kind: type) -> list[Any]:
    return [item for item in request.user_information if isinstance(item, kind)]


def _proposed_roles(request: A_ASSOCIATE) -> dict[UID, tuple[bool | None, bool | None]]:
    items = _user_items(request, SCP_SCU_RoleSelectionNegotiation)
    return {item.sop_class_uid: (item.scu_role, item.scp_role) for item in items}


def _longest_pdu(request: A_ASSOCIATE) -> int:
    items = _user_items(request, MaximumLengthNotification)
    return int(items[0].maximum_length_received or 0) if items else 0


def _acceptance(
    request: A_ASSOCIATE,
    results: list[PresentationContext],
    roles: list[SCP_SCU_RoleSelectionNegotiation],
    settings: ReceiveSettings,
) -> bytes:
    length = MaximumLengthNotification()
    length.maximum_length_received = settings.longest_pdu
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = UID(IMPLEMENTATION_CLASS_UID)
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    primitive = A_ASSOCIATE()
    primitive.application_context_name = request.application_context_name
    primitive.calling_ae_title = request.calling_ae_title
    primitive.called_ae_title = request.called_ae_title
    primitive.result = 0
    primitive.result_source = 1
    primitive.presentation_context_definition_results_list = results
    primitive.user_information = [length, implementation, version, *roles]
    return A_ASSOCIATE_AC(primitive).encode()
