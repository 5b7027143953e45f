"""Who may use the server: tokens, hosts and certificates."""

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from lstn.errors import UsageError
from lstn.runtime.serving.requests.access import Certificate, Guard, check_host, read_certificate, read_guard

TOKEN = "0123456789abcdef"


def guard_of(tmp_path: Path, text: str) -> Guard:
    (tmp_path / "token").write_text(text)
    return read_guard(tmp_path / "token")


def test_only_who_knows_the_token_is_let_in(tmp_path: Path) -> None:
    guard = guard_of(tmp_path, f"  {TOKEN}\n")
    assert guard.digest == hashlib.sha256(TOKEN.encode()).digest()
    for right in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER   {TOKEN} "):
        assert guard.admits(right.encode())
    for wrong in ("", TOKEN, "Bearer", f"Basic {TOKEN}", f"Bearer {TOKEN}0", f"Bearer {TOKEN[:-1]}", f"Bearer{TOKEN}"):
        assert not guard.admits(wrong.encode())


def test_without_a_token_everyone_is_let_in() -> None:
    assert read_guard(None) == Guard(None)
    assert read_guard(None).admits(b"")
    assert read_guard(None).admits(b"Bearer x")


@pytest.mark.parametrize("count", [16, 17, 4096])
def test_a_token_has_16_to_4096_characters(tmp_path: Path, count: int) -> None:
    assert guard_of(tmp_path, "x" * count).admits(b"Bearer " + b"x" * count)


@pytest.mark.parametrize("text", ["", "x" * 15, "x" * 4097, "x" * 9999, "two words of a token", f"{TOKEN}\n{TOKEN}"])
def test_what_is_no_token_is_refused_without_being_shown(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match="expected one word of 16 to 4096 characters") as raised:
        guard_of(tmp_path, text)
    assert raised.value.hint == "make one with: openssl rand -hex 32 > token"
    assert not text or text not in raised.value.message


def test_a_token_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--token-file .*gone: No such file or directory"):
        read_guard(tmp_path / "gone")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "::1"])
def test_this_machine_needs_neither_a_token_nor_insecure(host: str) -> None:
    check_host(host, guarded=False, insecure=False)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_need_one_of_them(host: str) -> None:
    check_host(host, guarded=True, insecure=False)
    check_host(host, guarded=False, insecure=True)
    with pytest.raises(UsageError, match=f"--host {host}: other machines could use the server"):
        check_host(host, guarded=False, insecure=False)


def test_a_name_is_not_an_address() -> None:
    with pytest.raises(UsageError, match="--host example: not an address"):
        check_host("example", guarded=True, insecure=True)


def test_a_certificate_and_its_key_go_together(tmp_path: Path) -> None:
    cert, key = made(tmp_path, "one")
    other, _ = made(tmp_path, "other")
    assert read_certificate(None, None) is None
    assert read_certificate(cert, key) == Certificate(cert, key)
    for pair in ((cert, None), (None, key)):
        with pytest.raises(UsageError, match="--tls-cert and --tls-key go together"):
            read_certificate(*pair)
    with pytest.raises(UsageError, match="not a certificate and its key"):
        read_certificate(other, key)
    with pytest.raises(UsageError, match="No such file or directory"):
        read_certificate(tmp_path / "gone", key)


def made(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    openssl = shutil.which("openssl") or "openssl"
    words = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-subj",
        "/CN=localhost",
    ]
    subprocess.run([openssl, *words, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True)
    return cert, key
