"""Where results go, and how long it is tried."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from app.node.receive.settings import AETitle

_SECONDS_PER_DAY = 86_400.0


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BackOff(_Section):
    """When a failed delivery is tried again.

    Attributes:
        initial: seconds before the second attempt.
        factor: by which the wait grows from attempt to attempt.
        longest: seconds that a wait never exceeds.
        give_up_after: seconds after the first attempt at which no more is made.
    """

    initial: float = Field(default=2.0, gt=0)
    factor: float = Field(default=2.0, ge=1)
    longest: float = Field(default=300.0, gt=0)
    give_up_after: float = Field(default=3 * _SECONDS_PER_DAY, ge=0)

    def delay(self, attempt: int, elapsed: float) -> float | None:
        """Seconds to wait before the next attempt; None where no more is made.

        Args:
            attempt: number of the attempt that failed, from 1.
            elapsed: seconds since the first attempt.
        """
        if attempt < 1:
            raise ValueError(f"attempts are counted from 1, got {attempt}")
        # The exponent is bounded: beyond it every wait is the longest, and floats overflow.
        wait = min(self.initial * self.factor ** min(attempt - 1, 64), self.longest)
        return None if elapsed + wait > self.give_up_after else wait


class ClientTls(_Section):
    """TLS towards a target.

    Attributes:
        trusted: PEM file with the certificates that sign the target's; the system's where
            absent.
        certificate: PEM file with the certificate that the node shows, if the target asks.
        key: PEM file with its key.
        check_host_name: whether the target's certificate must name its host.
    """

    trusted: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    check_host_name: bool = True

    @model_validator(mode="after")
    def _check(self) -> ClientTls:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("a certificate and its key belong together: give both or neither")
        return self

    def context(self) -> ssl.SSLContext:
        """The context of the client side.

        Raises:
            OSError: a file is missing or does not hold what it should.
        """
        context = ssl.create_default_context(cafile=self.trusted)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.check_host_name
        if self.certificate is not None:
            context.load_cert_chain(self.certificate, self.key)
        return context


class _Target(_Section):
    """What all targets have.

    Attributes:
        back_off: when a failed delivery is tried again.
    """

    back_off: BackOff = BackOff()


class CStoreTarget(_Target):
    """A DICOM node that takes C-STORE.

    Attributes:
        kind: of target.
        ae_title: of the target.
        host: of the target.
        port: of the target.
        calling_ae: AE title of this node towards it.
        tls: encrypt the association.
        commitment: ask the target to commit itself to keep the objects (PS3.4 annex J); an
            object counts as delivered when it has.
        commitment_seconds: to wait for its report.
        seconds: to wait for any answer.
    """

    kind: Literal["c-store"] = "c-store"
    ae_title: AETitle
    host: str
    port: int = Field(ge=1, le=65535)
    calling_ae: AETitle = "QUANTMAP"
    tls: ClientTls | None = None
    commitment: bool = False
    commitment_seconds: float = Field(default=60.0, gt=0)
    seconds: float = Field(default=30.0, gt=0)


class StowTarget(_Target):
    """A DICOMweb server that takes STOW-RS (PS3.18 10.5).

    Attributes:
        kind: of target.
        url: base of its DICOMweb services, such as https://pacs.example/dicom-web.
        token: bearer token to show.
        user: name for basic authentication.
        password: for ``user``.
        tls: files for https.
        seconds: to wait for any answer.
    """

    kind: Literal["stow-rs"] = "stow-rs"
    url: str = Field(pattern=r"^https?://[^\s]+$")
    token: SecretStr | None = None
    user: str | None = None
    password: SecretStr | None = None
    tls: ClientTls | None = None
    seconds: float = Field(default=60.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> StowTarget:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together: give both or neither")
        if self.token is not None and self.user is not None:
            raise ValueError("give either a token or a user, not both")
        return self


class FolderTarget(_Target):
    """A folder, such as a mounted share.

    Attributes:
        kind: of target.
        folder: must exist; objects are put below it by study and series.
    """

    kind: Literal["folder"] = "folder"
    folder: Path


TargetSettings = Annotated[CStoreTarget | StowTarget | FolderTarget, Field(discriminator="kind")]
