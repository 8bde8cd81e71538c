"""Who asks: signed in with the token, named by a reverse proxy, or sitting at this machine."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import time
from urllib.parse import urlsplit

from fastapi import Request, Response

from app.node.page.settings import PageSettings

COOKIE = "quantmap_session"
_BEARER = "bearer "
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_LOCAL_USER = "local user"
_TOKEN_USER = "token"


class AccessDeniedError(Exception):
    """The request is not answered.

    Args:
        status: HTTP status, 401 where signing in helps.
        reason: for the person.
    """

    def __init__(self, status: int, reason: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(reason)


class Access:
    """Decides who a request comes from.

    Args:
        settings: of the page.
    """

    def __init__(self, settings: PageSettings) -> None:
        self._settings = settings
        token = settings.token.get_secret_value() if settings.token else ""
        self._token = token.encode()
        # Sessions end when the token changes, and outlive a restart of the node.
        self._key = hashlib.sha256(b"quantmap session\0" + self._token).digest()

    def require(self, request: Request) -> None:
        """Dependency of every protected route: ``request.state.user`` names whoever asks.

        Raises:
            AccessDeniedError: as :meth:`user`.
        """
        request.state.user = self.user(request)

    def user(self, request: Request) -> str:
        """Name of whoever asks, for the audit trail.

        Raises:
            AccessDeniedError: nobody has signed in, or the request comes from a foreign page.
        """
        user = self._who(request)
        if request.method not in ("GET", "HEAD", "OPTIONS") and not self._has_token(request):
            self._check_origin(request)
        return user

    def matches(self, token: str) -> bool:
        """Whether this is the token."""
        return bool(self._token) and hmac.compare_digest(token.strip().encode(), self._token)

    def new_session(self) -> str:
        """Value of the cookie of somebody who has just signed in."""
        until = str(int(time.time() + 3600 * self._settings.session_hours))
        return f"{until}.{self._signature(until)}"

    def set_session(self, response: Response) -> None:
        """Sign somebody in: set the cookie, which no script and no other site can use."""
        response.set_cookie(
            COOKIE,
            self.new_session(),
            max_age=int(3600 * self._settings.session_hours),
            httponly=True,
            samesite="strict",
            secure=self._settings.secure_cookie,
        )

    def _who(self, request: Request) -> str:
        settings = self._settings
        if not settings.is_protected:
            host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
            if host not in (*_LOCAL_NAMES, *settings.names):
                # A foreign page whose name was made to point here (DNS rebinding).
                raise AccessDeniedError(403, "the page is not served under this host name")
            return _LOCAL_USER
        if self._has_token(request) or self._has_session(request):
            return _TOKEN_USER
        if settings.user_header and self._is_proxy(request):
            user = request.headers.get(settings.user_header, "").strip()
            if user:
                return user[:64]
        raise AccessDeniedError(401, "sign in first")

    def _has_token(self, request: Request) -> bool:
        given = request.headers.get("authorization", "")
        return given.lower().startswith(_BEARER) and self.matches(given[len(_BEARER) :])

    def _has_session(self, request: Request) -> bool:
        until, _, signature = request.cookies.get(COOKIE, "").partition(".")
        if not self._token or not until.isdecimal():
            return False
        signed = hmac.compare_digest(signature.encode(), self._signature(until).encode())
        return signed and int(until) > time.time()

    def _is_proxy(self, request: Request) -> bool:
        peer = request.client.host if request.client else ""
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._settings.trusted_proxies)

    def _signature(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    @staticmethod
    def _check_origin(request: Request) -> None:
        """Refuse what a page of another site makes a browser send."""
        fetched_from = request.headers.get("sec-fetch-site")
        if fetched_from is not None:
            foreign = fetched_from not in ("same-origin", "none")
        else:
            origin = urlsplit(request.headers.get("origin", "")).netloc
            foreign = bool(origin) and origin != request.headers.get("host", "")
        if foreign:
            raise AccessDeniedError(403, "the request comes from a page of another site")
