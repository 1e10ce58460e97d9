"""The help of a command with very many options: what the first day needs in full, and the names of all the rest."""

from typing import Any

import typer
from rich.table import Table
from rich.text import Text
from typer.core import TyperCommand, TyperOption

from transfer.cli.console import out

__all__ = ["BriefHelp", "HelpAll"]


class BriefHelp(TyperCommand):
    """A command whose `--help` fits on one screen: options in panels of their own are listed by their names alone."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        out.print(f"Usage: {ctx.command_path} [OPTIONS] [DATA]", markup=False)
        out.print(f"{self.help}\n", soft_wrap=True)
        explained = Table.grid(padding=(0, 2))
        explained.add_column(style="cyan")
        panels: dict[str, list[str]] = {}
        for parameter in sorted(self.get_params(ctx), key=lambda parameter: isinstance(parameter, TyperOption)):
            panel = getattr(parameter, "rich_help_panel", None)
            if panel is not None:
                panels.setdefault(panel, []).append(parameter.opts[0])
            elif isinstance(parameter, TyperOption):
                value = f" {parameter.metavar}" if parameter.metavar else ""
                explained.add_row(Text(f"{max(parameter.opts, key=len)}{value}"), parameter.help or "")
            else:
                explained.add_row(Text("DATA"), getattr(parameter, "help", ""))
        out.print(explained)
        out.print()
        for panel, names in panels.items():
            out.print(Text.assemble((f"{panel}: ", "bold"), (" ".join(names), "cyan")))


def _show_all(ctx: typer.Context, wanted: bool) -> None:
    """Prints the help with every option explained, and ends."""
    if wanted:
        TyperCommand.format_help(ctx.command, ctx, ctx.make_formatter())  # type: ignore[arg-type]
        raise typer.Exit


HelpAll: Any = typer.Option(
    "--help-all", help="Explain all options, those named below too.", callback=_show_all, is_eager=True, is_flag=True
)
