"""Authentication and TLS of the server."""

import hashlib
import hmac
import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path

from lstn.errors import UsageError

_LEAST_TOKEN, _MOST_TOKEN = 16, 4096


@dataclass(frozen=True, slots=True)
class Guard:
    """Lets in who knows the token; everyone, if there is none. Only the token's hash is kept."""

    digest: bytes | None = None

    def admits(self, authorization: bytes) -> bool:
        """Whether `Bearer …` holds the token; takes as long for a near miss as for any other."""
        if self.digest is None:
            return True
        scheme, _, token = authorization.partition(b" ")
        same = hmac.compare_digest(hashlib.sha256(token.strip()).digest(), self.digest)
        return same and scheme.lower() == b"bearer"


def read_guard(token_file: Path | None) -> Guard:
    """Read the token, a file's text without the space around it.

    Raises:
        UsageError: the file can't be read, or holds no token worth the name.
    """
    if token_file is None:
        return Guard()
    try:
        with token_file.open("rb") as file:
            token = file.read(_MOST_TOKEN + 1).strip()
    except OSError as error:
        raise UsageError(f"--token-file {token_file}: {error.strerror or error}") from error
    if not _LEAST_TOKEN <= len(token) <= _MOST_TOKEN or len(token.split()) != 1:
        raise UsageError(
            f"--token-file {token_file}: expected one word of {_LEAST_TOKEN} to {_MOST_TOKEN} characters",
            hint="make one with: openssl rand -hex 32 > token",  # never into this file, which may be another's
        )
    return Guard(hashlib.sha256(token).digest())


def check_host(host: str, *, guarded: bool, insecure: bool) -> None:
    """Refuse to be reached from other machines by whoever likes.

    Raises:
        UsageError: `host` isn't this machine's own, and neither a token nor --insecure is given.
    """
    if host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError as error:
        raise UsageError(f"--host {host}: not an address", hint="give one such as 127.0.0.1 or 0.0.0.0") from error
    if not loopback and not guarded and not insecure:
        raise UsageError(
            f"--host {host}: other machines could use the server",
            hint="add --token-file FILE, or --insecure if that is meant",
        )


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain and its key, PEM."""

    cert: Path
    key: Path


def read_certificate(cert: Path | None, key: Path | None) -> Certificate | None:
    """Check that both or neither are given, and that they fit together.

    Raises:
        UsageError: they aren't, or don't.
    """
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        raise UsageError("--tls-cert and --tls-key go together", hint="give both, or neither")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password="")
    except ssl.SSLError as error:
        raise UsageError(
            f"--tls-cert {cert} --tls-key {key}: not a certificate and its key",
            hint="expected two PEM files that belong together, the key unencrypted",
        ) from error
    except OSError as error:
        raise UsageError(f"--tls-cert {cert} --tls-key {key}: {error.strerror or error}") from error
    return Certificate(cert, key)
