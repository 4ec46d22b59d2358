"""`perdure completion`: the set-up for a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from perdure.cli.main import root


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print what makes SHELL complete commands, options, flow names and execution ids.

    \b
    bash: perdure completion bash > ~/.local/share/bash-completion/completions/perdure
    zsh:  perdure completion zsh > "${fpath[1]}/_perdure"
    fish: perdure completion fish > ~/.config/fish/completions/perdure.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(root, {}, "perdure", "_PERDURE_COMPLETE").source())
