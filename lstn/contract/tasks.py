"""Tasks: what a model answers, and what is said to whoever asks it for something else."""

from enum import Enum

from lstn.errors import UsageError


class Task(str, Enum):
    """What a model answers: the class of an image; all labels that an image has, of which there may be none, one or
    several; its objects, each with its class and where it is; its text, with where each symbol is; vectors of its
    regions, which are near those of the words that are said of them; or, asked for a class, a picture of it, with where
    its object is."""

    CLASSIFY = "classify"
    TAG = "tag"
    DETECT = "detect"
    READ = "read"
    ALIGN = "align"
    GENERATE = "generate"


WHOLE_IMAGE = (Task.CLASSIFY, Task.TAG)
"""Tasks of which an answer is about the whole image, a logit of each label; those of others are about its parts."""

_VERBS = {
    Task.CLASSIFY: ("classify", "classifies"),
    Task.TAG: ("tag", "tags"),
    Task.DETECT: ("detect", "detects"),
    Task.READ: ("read", "reads"),
    Task.ALIGN: ("align", "aligns"),
    Task.GENERATE: ("generate", "generates"),
}
"""Of several models, and of one."""


def does(task: Task) -> str:
    """Return what a model of a task does, as a verb."""
    return _VERBS[task][1]


def meant_for(wanted: Task, task: Task, what: str) -> str:
    """Return that `what` is for models of one task, and this one has another."""
    return f"{what} is for models that {_VERBS[wanted][0]}, and this one {does(task)}"


_OF_LOOKING = "lstn infer, evaluate, export, serve and bench take models that look at images"
"""What may be done with a model that looks at pictures, instead of what is for models that classify."""

_OF_GENERATORS = "lstn infer --count N, export, bench and inspect take generators"
"""What may be done with a model that paints pictures."""

_OF_ALIGNERS = "lstn infer --sentence TEXT, evaluate, export and bench take models that align"
"""What may be done with a model that knows what a sentence is about."""


def _elsewhere(task: Task) -> str:
    """Return what may be done with a model of a task instead of what is for others."""
    return {Task.GENERATE: _OF_GENERATORS, Task.ALIGN: _OF_ALIGNERS}.get(task, _OF_LOOKING)


def check_task(task: Task, wanted: Task, what: str, *, hint: str = "") -> None:
    """Check that a model has the task that `what` is for: an option, a command or a method.

    hint: what to do instead; empty for what may be done with a model of that task

    Raises:
        UsageError: it has another.
    """
    if task is not wanted:
        raise UsageError(meant_for(wanted, task, what), hint=hint or _elsewhere(task))


def check_sees(task: Task, source: object) -> None:
    """Refuse a generator where a model that looks at images is wanted; `source` names its file.

    Raises:
        UsageError: it is one.
    """
    if task is Task.GENERATE:
        raise UsageError(f"{source}: a generator, which looks at no image", hint=_OF_GENERATORS)
