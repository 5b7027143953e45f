"""Names of data sets as `--data` takes them: their parts, their folders, and what they mean from every folder."""

from pathlib import Path

from lstn.data.published.mnist import MNIST_SETS
from lstn.data.published.named_sets import NAMED
from lstn.errors import UsageError
from lstn.machine.caches import cache_folder
from lstn.report.wording import counted

FOLDER_PREFIX = "folder:"

SCENES_PREFIX = "scenes:"
DIGIT_SCENES, SIGN_SCENES = "scenes-digits", "scenes-signs"
DIGIT_NUMBERS = "numbers-digits"
DIGIT_CAPTIONS = "captions-digits"
CAPTIONS_PREFIX = "captions:"


def located(spec: str) -> str:
    """Return `spec` with absolute paths, so that it means the same from every working folder."""
    if spec.startswith(SCENES_PREFIX):
        return SCENES_PREFIX + ",".join(str(folder.absolute()) for folder in objects_and_backgrounds(spec))
    if spec.startswith(CAPTIONS_PREFIX):
        return CAPTIONS_PREFIX + ",".join(str(path.absolute()) for path in captions_and_images(spec))
    return f"{FOLDER_PREFIX}{folder_in(spec).absolute()}" if spec.startswith(FOLDER_PREFIX) else spec


def folder_of_images(spec: str) -> str:
    """Return `spec` with absolute paths; of scenes, the folder that their objects are cut from, as a set of its own."""
    return (
        f"{FOLDER_PREFIX}{objects_and_backgrounds(spec)[0].absolute()}"
        if spec.startswith(SCENES_PREFIX)
        else located(spec)
    )


def named(spec: str, root: Path | None) -> str:
    """Return `spec` as a run keeps it: the same from every working folder, and with the root of its files, if given.

    Raises:
        UsageError: a root, and this set has no files below one, or names its own.
    """
    return located(spec) if root is None else rooted(spec, root)


def well_named(spec: str) -> str:
    """Return `spec`, if it is a name that `--data` takes; nothing is opened or looked for.

    Raises:
        UsageError: it isn't.
    """
    if spec.startswith(SCENES_PREFIX):
        objects_and_backgrounds(spec)
    elif spec.startswith(FOLDER_PREFIX):
        folder_in(spec)
    elif spec.startswith(CAPTIONS_PREFIX):
        captions_and_images(spec)
    elif spec not in ("digits", DIGIT_SCENES, DIGIT_NUMBERS, DIGIT_CAPTIONS) and set_and_root(spec) is None:
        raise unknown_set(spec)
    return spec


def unknown_set(spec: str) -> UsageError:
    """Return what is said of a name that no data set has."""
    here = Path(spec).expanduser()
    return UsageError(
        f"unknown data set {spec!r}",
        hint=f"for the folder {here}: --data folder:{spec}"
        if here.is_dir()
        else f"use digits, {DIGIT_SCENES}, {', '.join(published_names())}, {SCENES_PREFIX}OBJECTS,BACKGROUNDS, or "
        "folder:PATH for images of your own",
    )


def folder_in(spec: str) -> Path:
    """Return the folder that `folder:PATH` names."""
    if spec == FOLDER_PREFIX:
        raise UsageError("folder: names no folder", hint="expected folder:PATH; the current folder is folder:.")
    return Path(spec[len(FOLDER_PREFIX) :]).expanduser()


def captions_and_images(spec: str) -> tuple[Path, Path]:
    """Return the file and the folder that `captions:FILE,FOLDER` names; `captions:FILE` has its images next to it.

    Raises:
        UsageError: it names none, or more than one of each.
    """
    file, *folders = spec[len(CAPTIONS_PREFIX) :].split(",")
    if not file or len(folders) > 1 or "" in folders:
        raise UsageError(
            f"{spec}: not a file and a folder",
            hint=f"{CAPTIONS_PREFIX}FILE, or {CAPTIONS_PREFIX}FILE,FOLDER; for a path with a comma, make a link",
        )
    path = Path(file).expanduser()
    return path, Path(*folders).expanduser() if folders else path.parent


def objects_and_backgrounds(spec: str) -> tuple[Path, Path]:
    """Return the two folders that `scenes:OBJECTS,BACKGROUNDS` names."""
    folders = spec[len(SCENES_PREFIX) :].split(",")
    if len(folders) != 2 or not all(folders):
        found = counted(len([each for each in folders if each]), "folder")
        raise UsageError(
            f"{spec}: {found}; expected two, with one comma between them",
            hint=f"{SCENES_PREFIX}OBJECTS,BACKGROUNDS; for a folder with a comma in its path, make a link without one",
        )
    objects, backgrounds = (Path(folder).expanduser() for folder in folders)
    if any("," in str(folder.absolute()) for folder in (objects, backgrounds)):  # a run keeps whole paths
        raise UsageError(
            f"{Path.cwd()}: a comma in the path of this folder", hint="name folders without one in scenes:"
        )
    return objects, backgrounds


def set_and_root(spec: str) -> tuple[str, Path] | None:
    """Split NAME or NAME:ROOT into the set's name and the folder of its files; None: no published set is meant.

    FILES_OF says whose files a set has that isn't published itself.
    """
    name, _, root = spec.partition(":")
    if name not in published_names():
        return None
    return name, Path(root).expanduser() if root else cache_folder() / "data"


def rooted(spec: str, root: Path) -> str:
    """Return `spec` with the folder of its files named in it, so that every later stage finds them there too.

    Raises:
        UsageError: this set has no files below a data root, or names its own.
    """
    if set_and_root(spec) is None:
        raise UsageError(
            f"--data-root is for {', '.join(published_names())}; {spec!r} is none of them", hint="leave it out"
        )
    if ":" in spec:
        raise UsageError(f"{spec!r} names its data root already", hint="leave --data-root out")
    return f"{spec}:{root.expanduser().absolute()}"


def published_names() -> tuple[str, ...]:
    """Return the names of sets whose files lie below a root."""
    return (*NAMED, *MNIST_SETS, SIGN_SCENES)
