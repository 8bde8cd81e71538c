"""Certificates made by openssl for one test run."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """An authority, and what it signed for a server and a client.

    Attributes:
        authority: PEM file of its certificate.
        certificate: PEM file of a certificate for localhost that it signed.
        key: of that certificate.
    """

    authority: Path
    certificate: Path
    key: Path


def made(folder: Path, tool: Callable[[str], str]) -> Certificates:
    """A new authority and one certificate."""
    folder.mkdir()
    openssl = tool("openssl")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    run("req", "-x509", *new_key, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.pem")
    run("req", *new_key[:3], "-subj", "/CN=localhost", "-keyout", "node.key", "-out", "node.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1")
    signing = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    run("x509", "-req", "-in", "node.csr", *signing, "-extfile", "names", "-out", "node.pem")
    return Certificates(folder / "ca.pem", folder / "node.pem", folder / "node.key")
