"""A hub of models that speaks Hugging Face's protocol: files go there with their page, and come from there checked."""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from lstn.errors import ArtifactError, LstnError, UsageError
from lstn.files import filling, sha256_of
from lstn.formats.inspection import inspect_file
from lstn.imports import require
from lstn.sharing.hub_page import hub_page
from lstn.sharing.shared_model import SharedModel
from lstn.sharing.signing import SIGNATURE, check_signature, verifier_of

PAGE = "README.md"
MOST_FILES = 64
MOST_BYTES = 16 << 30
"""Of all files of a model. The largest backbones have 2.5 GB in float32."""

_MODELS = (".onnx", ".safetensors", ".xml", ".plan")
_PARTNERS = {".bin": (".xml",), ".json": ("",), ".words": (".onnx", ".xml", ".plan")}
"""Suffix of a file that belongs to a model -> the suffixes of that; a plan's sidecar has .json behind the plan's name.
"""


def repository_named(name: str) -> str:
    """Return the name of a repository, if it can be one.

    Raises:
        UsageError: it is not USER/NAME.
    """
    part = r"\w(?:[\w.-]{0,94}\w)?"
    if not re.fullmatch(f"{part}/{part}", name, re.ASCII) or ".." in name or "--" in name:
        raise UsageError(f"{name!r:.100} can't name a repository", hint="write USER/NAME, as in ada/signs")
    return name


def push(
    model: SharedModel, repository: str, *, private: bool, licence: str, message: str, signature: bytes | None = None
) -> str:
    """Make `repository` if there is none, put the files and their page there as one commit, and return its address.

    signature: of the files (`lstn.sharing.signing`), which goes along

    Raises:
        MissingExtra: no huggingface_hub.
        LstnError: the hub can't be reached, or refuses.
    """
    hub = hub_client()
    page = hub_page(model, repository, licence).encode()
    added = [hub.CommitOperationAdd(PAGE, page)]
    added += [hub.CommitOperationAdd(each.name, str(each.path)) for each in model.files]
    if signature is not None:
        added.append(hub.CommitOperationAdd(SIGNATURE, signature))
    with _spoken(repository):
        api = _api(hub)
        api.create_repo(repository, private=private, exist_ok=True)
        made = api.create_commit(repository, added, commit_message=message)
    return str(made.commit_url)


def pull(repository: str, folder: Path, *, revision: str | None, key: Path | None = None) -> tuple[str, ...]:
    """Fetch the models of `repository` into a new `folder`, and return the names of its files, models first.

    Only files of the kinds that lstn writes are fetched. Each is compared with the hash that the hub has of it, and
    looked at as `lstn inspect` does, before any of them gets its place.

    revision: a branch, a tag or a commit; None for the main branch
    key:      a public key, by whose owner the files have to be signed

    Raises:
        MissingExtra: no huggingface_hub, or no model-signing for a key.
        UsageError: there is something at `folder`, or `key` is not a key.
        LstnError: the hub can't be reached, or has no such repository or revision.
        ArtifactError: there is no model in it, it is too large, a file is not what it should be, or nobody signed.
    """
    hub = hub_client()
    verifier = None if key is None else verifier_of(key)
    if folder.exists():
        raise UsageError(f"{folder} exists", hint="choose another folder with --out")
    with filling(folder) as making:
        with _spoken(repository):
            api = _api(hub)
            found = api.model_info(repository, revision=revision, files_metadata=True)
            files = {each.rfilename: each for each in found.siblings or ()}
            wanted = wanted_files(repository, {name: each.size or 0 for name, each in files.items()})
            if verifier is not None and SIGNATURE not in wanted:
                raise ArtifactError(f"{repository} is not signed: there is no {SIGNATURE}", hint="nothing was kept")
            for name in wanted:
                api.hf_hub_download(repository, name, revision=found.sha, local_dir=making)
        shutil.rmtree(making / ".cache", ignore_errors=True)  # the client's notes
        for name in wanted:
            _check(making / name, files[name].lfs)
        if verifier is not None:
            signed = {name: making / name for name in wanted if name not in (PAGE, SIGNATURE)}
            check_signature(signed, making / SIGNATURE, verifier)
    return wanted


def wanted_files(repository: str, sizes: dict[str, int]) -> tuple[str, ...]:
    """Return which files of a repository are fetched: models, what belongs to them, the page, and the signature.

    sizes: of each file by its name in the repository, bytes

    Raises:
        ArtifactError: there is no model, or they are too many or too large.
    """
    plain = [name for name in sizes if Path(name).name == name and not name.startswith(".") and "\\" not in name]
    models = sorted(name for name in plain if Path(name).suffix in _MODELS)
    if not models:
        ends = ", ".join(_MODELS)
        raise ArtifactError(f"{repository}: no model of lstn there", hint=f"its name would end in one of {ends}")
    partners = sorted(name for name in plain if not _mains_of(name).isdisjoint(models))
    wanted = (*models, *partners, *(name for name in plain if name in (PAGE, SIGNATURE)))
    total = sum(sizes[name] for name in wanted)
    if len(wanted) > MOST_FILES or total > MOST_BYTES:
        raise ArtifactError(
            f"{repository}: {len(wanted)} files of {total / 1e9:.1f} GB, more than the limit of {MOST_FILES} files and "
            f"{MOST_BYTES / 1e9:.0f} GB",
            hint="fetch the files that you need by hand",
        )
    return wanted


def _mains_of(name: str) -> set[str]:
    """Return the names of the models to which a file would belong."""
    path = Path(name)
    return {path.with_suffix(suffix).name for suffix in _PARTNERS.get(path.suffix, ())}


def _check(path: Path, lfs: object) -> None:
    """Check that a file came whole, and that it is what its name says.

    lfs: what the hub knows of a large file, with its `sha256`; small ones it sends by themselves
    """
    expected = getattr(lfs, "sha256", None)
    if not path.is_file() or path.is_symlink() or (expected is not None and sha256_of(path) != expected):
        raise ArtifactError(f"{path.name}: not the file that the hub names", hint="pull again")
    if path.suffix in _MODELS and (problem := inspect_file(path).problem) is not None:
        raise ArtifactError(f"{path.name}: {problem.message}", hint="nothing was kept")


def hub_client() -> ModuleType:
    """Return the client.

    Raises:
        MissingExtra: no huggingface_hub.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # it looks when it is imported
    hub = require("huggingface_hub", extra="hub")
    if not sys.stderr.isatty():
        require("huggingface_hub.utils", extra="hub").disable_progress_bars()
    return hub


def _api(hub: ModuleType) -> Any:
    return hub.HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, library_name="lstn")


@contextmanager
def _spoken(repository: str) -> Iterator[None]:
    """Say in one line what a hub or the way to it refuses; the client's exceptions have many types, its network's too.

    Raises:
        LstnError: it raised something.
    """
    from huggingface_hub import errors

    try:
        yield
    except (LstnError, KeyboardInterrupt):
        raise
    except errors.LocalTokenNotFoundError as error:
        raise LstnError("no token for the hub", hint="run: hf auth login; or set HF_TOKEN") from error
    except errors.GatedRepoError as error:
        raise LstnError(f"{repository} asks who you are first", hint="accept its terms on its page") from error
    except errors.RevisionNotFoundError as error:
        raise LstnError(f"{repository} has no such revision", hint="name a branch, a tag or a commit") from error
    except errors.RepositoryNotFoundError as error:
        raise LstnError(
            f"there is no repository {repository}, or you may not see it",
            hint="check the name; a private one needs a token: hf auth login",
        ) from error
    except errors.HfHubHTTPError as error:
        status = getattr(getattr(error, "response", None), "status_code", None)
        told = error.server_message or f"status {status}"
        cure = "log in with a token that may write: hf auth login" if status in (401, 403) else "try again later"
        raise LstnError(f"{repository}: the hub refuses: {' '.join(told.split())[:200]}", hint=cure) from error
    except Exception as error:
        raise LstnError(
            f"{repository}: the hub can't be reached: {type(error).__name__}",
            hint="check the network, and HF_ENDPOINT if it is set",
        ) from error
