"""Data set and contract of a run: what its images are, what its model is, and by what both are known again."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from lstn.contract import IMAGENET_MEAN, At, Contract, Loc, ThetaForm
from lstn.data.dataset import DataSet, Split, check_labels
from lstn.data.task_sets import open_for
from lstn.errors import UsageError
from lstn.imaging.framing import Framing, framing_of, outside_of
from lstn.nn.backbones import FOREIGN, backbone_named
from lstn.nn.models import Model
from lstn.nn.pretrained import contract_of_weights
from lstn.nn.sources.backbone import Backbone
from lstn.terminal import note_once
from lstn.train.objectives.distillation import digest_of
from lstn.train.objectives.supervision import poses_digest
from lstn.train.runs.options import Options


def opened(options: Options, given: Model | None = None) -> DataSet:
    """Open the data set with all three splits: a broken test set is to be known before training."""
    image_hw = options.image_size if given is None else given.contract.image_hw
    framing = _framing(options) if given is None else framing_of(given.contract)
    data = open_for(options.task, options.data, image_hw=image_hw, seed=options.seed, framing=framing)
    if data.found:
        note_once(data.found)
    _ = data.train, data.val, data.test
    return data


def _framing(options: Options) -> Framing:
    """Return how the model to be trained wants its photos; all sets of photos are normalised alike."""
    published = _published(options)
    return Framing(options.fit, outside_of(IMAGENET_MEAN if published is None else published.mean))


def _published(options: Options) -> Backbone | Contract | None:
    """Return what says by what images are normalised, if there are weights, or may be, that were trained so."""
    if (run := contract_of_weights(options.weights)) is not None:
        return run
    theirs = options.weights or options.model.startswith(FOREIGN)
    return backbone_named(options.model) if theirs else None


def described_contract(options: Options, data: DataSet, given: Model | None = None) -> Contract:
    """Return what the model is, or will be.

    Published weights want the normalisation that they were trained with, others the data set's own.
    """
    if given is not None:
        check_labels(given.contract, data, options.data)
        return replace(given.contract, temperature=1.0, thresholds=())  # they are fitted to what the weights will be
    chosen = (options.recipe.theta, options.iterations, options.at)
    if options.loc in (Loc.NONE, Loc.IDENTITY) and chosen != (ThetaForm.AFFINE, 1, At.INPUT):
        raise UsageError(
            f"a model of loc {options.loc.value} has no localizer", hint="leave out --theta, --iterations and --at"
        )
    usual = _published(options) or data
    contract = replace(options.contract(data.labels, usual.mean, usual.std), separator=data.separator)
    contract.check()
    # What can't be read back, such as labels too long together, is to be known before the first epoch.
    return Contract.from_json(contract.to_json(), source=f"--data {options.data}")


def identity(contract: Contract, splits: Sequence[Split], *, supervised: bool = False, teacher: str = "") -> str:
    """Return the SHA-256 of what a run may not change while it lasts: the model and the images.

    supervised: and the true poses of the training images, which come first
    teacher:    and the contents of this file, if it is named
    """
    parts = [contract.to_json(), *(split.fingerprint for split in splits)]
    if supervised:
        parts.append(poses_digest(splits[0]))
    if teacher:
        parts.append(digest_of(teacher))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
