"""Published data sets, fetched by torchvision: the files alone, which `lstn.data.dataset` then unpacks or reads."""

from pathlib import Path

from torchvision.datasets.utils import download_url

from lstn.data.dataset import FILES_OF, set_and_root
from lstn.data.published.mnist import MNIST_FILES, MNIST_SETS
from lstn.data.published.named_sets import NAMED, unpacked
from lstn.data.published.published_files import Published, md5_of, where_from
from lstn.errors import DataError, LstnError
from lstn.files import replacing
from lstn.terminal import note


def download(spec: str) -> None:
    """Fetch the files of the published set that `spec` names, unless they or what comes of them is there already.

    Raises:
        DataError: no source answers with the published file, or it can't be written; the error says what to put where.
    """
    named = set_and_root(spec)
    if named is None:
        return
    name, root = FILES_OF.get(named[0], named[0]), named[1]
    if name in NAMED and unpacked(name, root).is_dir():
        return
    files = MNIST_FILES if name in MNIST_SETS else NAMED[name].files
    missing = [file for file in files if not (root / file.path).is_file()]
    for file in missing:
        _fetch(file, root, missing)


def _fetch(file: Published, root: Path, missing: list[Published]) -> None:
    path = root / file.path
    reasons = []
    for url in file.urls:
        note(f"downloading {url}")
        try:
            with replacing(path) as temporary:
                reason = _fetched(url, temporary)
                if not reason and (found := md5_of(temporary)) != file.md5:
                    reason = f"a file with MD5 {found}, not {file.md5}"
                if reason:
                    raise _Refused
        except _Refused:
            reasons.append(f"{url}: {reason}")
        except LstnError as error:
            raise DataError(error.message, hint="name a folder that can be written with --data-root") from error
        else:
            return
    raise DataError(f"cannot download {'; '.join(reasons)}", hint=where_from(missing, root))


class _Refused(Exception):  # noqa: N818 - not told to anybody
    """What was fetched isn't to be kept."""


def _fetched(url: str, path: Path) -> str:
    """Download to `path`, and return what went wrong, or nothing."""
    try:
        download_url(url, str(path.parent), path.name)
    except PermissionError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # urllib's errors are OSErrors
        return str(getattr(error, "reason", error) or type(error).__name__)
    return ""
