"""`lstn push`."""

from pathlib import Path
from typing import Annotated

import typer

from lstn.cli.parsing.engine_choice import from_zoo
from lstn.errors import UsageError
from lstn.report.wording import counted
from lstn.sharing.hub import hub_client, repository_named
from lstn.sharing.hub import push as put_there
from lstn.sharing.hub_page import hub_page
from lstn.sharing.shared_model import shared_model
from lstn.sharing.signing import signature_of
from lstn.terminal import note


def push(
    files: Annotated[
        list[Path],
        typer.Argument(
            callback=from_zoo,
            metavar="FILE|RUN…",
            help="Files of one network: a run, a checkpoint, model.onnx, model.xml or model.plan; or zoo:NAME.",
            show_default=False,
        ),
    ],
    to: Annotated[
        str, typer.Option(callback=repository_named, metavar="USER/NAME", help="The repository; made if need be.")
    ],
    private: Annotated[bool, typer.Option("--private", help="Let nobody else see a repository that is made.")] = False,
    licence: Annotated[
        str, typer.Option("--license", metavar="ID", help="Terms of the model, as the hub calls them: apache-2.0, …")
    ] = "",
    sign: Annotated[
        Path | None,
        typer.Option(
            metavar="KEY", help="Sign the files with this private key: model.sig goes along.", show_default=False
        ),
    ] = None,
    message: Annotated[str, typer.Option(metavar="TEXT", help="Of the commit.")] = "A model of lstn",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Send nothing; print the page.")] = False,
) -> None:
    """Put a model on a hub, with a page.

    The page, README.md, is made of what the files say of themselves: what the model is, what it was trained on, how
    many test images it had right, and the hash of every file. The hub is Hugging Face's, or the one that HF_ENDPOINT
    names. It takes a token that may write: from hf auth login, or HF_TOKEN.
    """
    if licence and not licence.replace("-", "").replace(".", "").isalnum():
        raise UsageError(f"{licence!r:.60} can't be a licence's identifier", hint="write one such as apache-2.0")
    model = shared_model(files)
    if dry_run:
        typer.echo(hub_page(model, to, licence), nl=False)
        return
    signature = None if sign is None else signature_of({each.name: each.path for each in model.files}, sign)
    hub_client()  # before it is said that anything is sent
    total = sum(each.bytes for each in model.files)
    note(f"sending {counted(len(model.files), 'file')} of {total / 1e6:.1f} MB to {to}")
    note(put_there(model, to, private=private, licence=licence, message=message, signature=signature))
