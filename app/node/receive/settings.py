"""How the node receives: who may send, over what, and how much."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# PS3.5 6.2: at most 16 characters, no backslash, no control character, not only spaces.
AETitle = Annotated[
    str, StringConstraints(strip_whitespace=True, pattern=r"^[ -\[\]-~]{1,16}$", min_length=1)
]
_LARGEST_PDU = 1024 * 1024


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AllowedSender(_Section):
    """One sender that is accepted: by AE title and network address together.

    Attributes:
        ae_title: its AE title; ``*`` for any.
        addresses: networks or single addresses that it may send from, such as 10.1.2.0/24;
            write 0.0.0.0/0 where any address is meant.
        report_to: ``host:port`` at which it takes storage commitment reports on an association
            of their own; without it they go over the association that asked.
    """

    ae_title: AETitle
    addresses: tuple[IpNetwork, ...] = Field(min_length=1)
    report_to: Annotated[str, StringConstraints(pattern=r"^[^:\s]+:\d{1,5}$")] | None = None

    def matches(self, ae_title: str, address: str) -> bool:
        """Whether a sender of this AE title at this address is meant."""
        if self.ae_title not in ("*", ae_title):
            return False
        given = ipaddress.ip_address(address)
        if given.version == 6 and given.ipv4_mapped is not None:
            given = given.ipv4_mapped
        return any(given in network for network in self.addresses)


class TlsSettings(_Section):
    """TLS for associations (PS3.15 B.12: TLS 1.2 and later).

    Attributes:
        certificate: PEM file with the certificate of the node and what signed it.
        key: PEM file with its key.
        trusted: PEM file with the certificates that sign those of senders.
        require_client_certificate: accept only senders with such a certificate.
    """

    certificate: Path
    key: Path
    trusted: Path | None = None
    require_client_certificate: bool = False

    @model_validator(mode="after")
    def _check(self) -> TlsSettings:
        if self.require_client_certificate and self.trusted is None:
            raise ValueError(
                "client certificates are required but nobody is trusted to sign them: "
                "give 'trusted'"
            )
        return self

    def context(self) -> ssl.SSLContext:
        """The context of the server side.

        Raises:
            OSError: a file is missing or does not hold what it should.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key)
        if self.trusted is not None:
            context.load_verify_locations(self.trusted)
            required = self.require_client_certificate
            context.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
        return context


class ReceiveSettings(_Section):
    """Everything about receiving.

    Attributes:
        ae_titles: AE titles that the node answers to; anything else is rejected.
        host: network address to listen on.
        port: port of DICOM associations; 0 takes a free one.
        allow: who may send. An empty list accepts nobody.
        tls: encrypt associations; plain associations are then not accepted on this port.
        processes: receiver processes, over which associations are spread.
        most_associations: associations at a time, over all processes.
        longest_pdu: bytes of a P-DATA-TF PDU that are accepted (PS3.8 D.1).
        greeting_seconds: in which a connection must have asked for an association.
        idle_seconds: after which a silent association is aborted.
        stalled_seconds: in which a PDU that has begun must have arrived.
        evictable_seconds: where all associations are taken, one that has completed nothing for
            so long gives way to a new one.
        smallest_free_bytes: free disk below which associations and objects are refused.
        smallest_free_fraction: the same as a fraction of the disk.
        largest_object: bytes of one object, above which it is refused.
        unknown_classes: take SOP classes that no standard lists as storage, such as private
            ones, too.
        stow_token: bearer token for STOW-RS; without it STOW-RS is off.
    """

    ae_titles: tuple[AETitle, ...] = Field(default=("QUANTMAP",), min_length=1)
    host: str = "127.0.0.1"
    port: int = Field(default=11112, ge=0, le=65535)
    allow: tuple[AllowedSender, ...] = ()
    tls: TlsSettings | None = None
    processes: int = Field(default=2, ge=1, le=64)
    most_associations: int = Field(default=256, ge=1, le=4096)
    longest_pdu: int = Field(default=128 * 1024, ge=4096, le=_LARGEST_PDU)
    greeting_seconds: float = Field(default=10.0, gt=0)
    idle_seconds: float = Field(default=60.0, gt=0)
    stalled_seconds: float = Field(default=30.0, gt=0)
    evictable_seconds: float = Field(default=5.0, gt=0)
    smallest_free_bytes: int = Field(default=2 * 1024**3, ge=0)
    smallest_free_fraction: float = Field(default=0.02, ge=0, lt=1)
    largest_object: int = Field(default=4 * 1024**3, gt=0)
    unknown_classes: bool = True
    stow_token: SecretStr | None = None

    def sender(self, ae_title: str, address: str) -> AllowedSender | None:
        """The entry of the allow-list for a sender, or None where it is not accepted."""
        return next((one for one in self.allow if one.matches(ae_title, address)), None)
