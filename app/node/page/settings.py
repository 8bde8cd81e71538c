"""Where the page listens, and who may see it."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


class PageSettings(BaseModel):
    """Section ``node.page`` of ``app.yaml``.

    Attributes:
        enabled: whether there is a page at all.
        host: network address to listen on.
        port: of HTTP; 0 takes a free one.
        token: what people sign in with, and what programs send as bearer token. The environment
            variable QUANTMAP_PAGE_TOKEN goes before it.
        user_header: header in which a reverse proxy names the user whom it has signed in.
        trusted_proxies: networks from which that header is believed.
        names: host names, besides those of this machine's loopback, under which browsers may
            ask for the page; needed where neither token nor proxy protects it.
        open_metrics: whether ``/metrics`` is answered without signing in.
        session_hours: after which people sign in again.
        secure_cookie: whether the session's cookie is sent over HTTPS alone; set it behind a
            reverse proxy that ends TLS.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    token: SecretStr | None = Field(default=None, min_length=16)
    user_header: Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")] | None = None
    trusted_proxies: tuple[IpNetwork, ...] = ()
    names: tuple[str, ...] = ()
    open_metrics: bool = False
    session_hours: float = Field(default=12, gt=0)
    secure_cookie: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.user_header and not self.trusted_proxies:
            raise ValueError("user_header needs trusted_proxies: anybody could send the header")
        return self

    @property
    def is_protected(self) -> bool:
        """Whether somebody must sign in."""
        return self.token is not None or self.user_header is not None

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the page."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check_exposure(self) -> None:
        """Refuse to show the page to a network without anybody signing in.

        Raises:
            ValueError: ``host`` is not loopback, and there is neither token nor proxy.
        """
        if self.enabled and not self.is_protected and not self.is_local:
            raise ValueError(
                f"node.page.host {self.host} can be reached from the network, and nobody would "
                "have to sign in: set node.page.token (or QUANTMAP_PAGE_TOKEN), or user_header "
                "with trusted_proxies, or host: 127.0.0.1"
            )
