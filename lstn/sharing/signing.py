"""Signatures of shared models, by OpenSSF Model Signing with keys of one's own: who holds the key made these files."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lstn.errors import ArtifactError, UsageError
from lstn.files import scratch_folder
from lstn.imports import require

SIGNATURE = "model.sig"
MOST_SIGNATURE_BYTES = 1 << 20

_UNREADABLE = (OSError, ValueError, TypeError, AttributeError)
"""What is raised for a key: no file, no PEM, one with a password, or of another kind."""

_KEYS = "openssl ecparam -name prime256v1 -genkey -noout -out key.pem; openssl ec -in key.pem -pubout -out key.pub.pem"


def signature_of(files: Mapping[str, Path], key: Path) -> bytes:
    """Return the signature of files, under the names that they have on a hub.

    key: a private key on an elliptic curve, a PEM file without a password

    Raises:
        MissingExtra: no model-signing.
        UsageError: it is not such a key.
    """
    config = _config("signing")
    try:
        config.use_elliptic_key_signer(private_key=key)
    except _UNREADABLE as error:
        raise UsageError(
            f"--sign {key}: not a private key on an elliptic curve, in a PEM file without a password",
            hint=f"to make a pair of keys: {_KEYS}",
        ) from error
    with scratch_folder() as folder, _together(files) as model:
        signed = folder / SIGNATURE
        config.sign(model, signed)
        return signed.read_bytes()


def verifier_of(key: Path) -> Any:
    """Return what `check_signature` checks with.

    key: a public key on an elliptic curve, a PEM file

    Raises:
        MissingExtra: no model-signing.
        UsageError: it is not such a key.
    """
    try:
        return _config("verifying").use_elliptic_key_verifier(public_key=key)
    except _UNREADABLE as error:
        raise UsageError(
            f"--key {key}: not a public key on an elliptic curve, in a PEM file", hint="ask who signed for theirs"
        ) from error


def check_signature(files: Mapping[str, Path], signature: Path, verifier: Any) -> None:
    """Check that whoever holds the private key signed these files under these names, and no others.

    Raises:
        ArtifactError: they didn't.
    """
    if signature.stat().st_size > MOST_SIGNATURE_BYTES:
        raise ArtifactError(f"{SIGNATURE} has more than {MOST_SIGNATURE_BYTES} bytes", hint="nothing was kept")
    with _together(files) as model:
        try:
            verifier.verify(model, signature)
        except Exception as error:  # a hostile one may raise anything
            raise ArtifactError(
                f"{SIGNATURE}: not of these files by the owner of this key", hint="nothing was kept"
            ) from error


@contextmanager
def _together(files: Mapping[str, Path]) -> Iterator[Path]:
    """Yield a folder in which the files lie together under their names."""
    with scratch_folder() as folder:
        for name, path in files.items():
            (folder / name).symlink_to(path.absolute())
        yield folder


def _config(part: str) -> Any:
    """Return the client's settings for signing or verifying, for folders of links."""
    client, hashing = (
        require(f"model_signing.{each}", extra="sign", package="model-signing") for each in (part, "hashing")
    )
    return client.Config().set_hashing_config(hashing.Config().set_allow_symlinks(True))
