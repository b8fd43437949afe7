"""`pipeline-xero`: what operators ask and do, over the services' public HTTP APIs and Kafka alone."""

import os
import sys
from typing import Annotated

import typer

from pipeline_operator.commands import (
    dead_letters,
    deliveries,
    failures,
    invoices,
    keys,
    mappings,
    reconcile,
    status,
    topics,
)
from pipeline_operator.failure import Failure, Status
from pipeline_operator.session import Session

app = typer.Typer(
    name="pipeline-xero",
    help="Look after Pipeline and Xero. Exit statuses and settings: docs/operate/cli.md.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(status.status)
app.command()(invoices.explain)
app.command()(invoices.preview)
app.command()(invoices.payments)
app.command()(reconcile.reconcile)
app.command("rotate-keys")(keys.rotate_keys)
app.add_typer(failures.app, name="failures")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(mappings.app, name="mappings")
app.add_typer(topics.app, name="topics")


@app.callback()
def _start(
    context: typer.Context,
    profile: Annotated[
        str | None,
        typer.Option(
            envvar="PIPELINE_XERO_PROFILE", help="Of ~/.config/pipeline-xero/config.toml."
        ),
    ] = None,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from standard input.")
    ] = False,
) -> None:
    if not isinstance(context.obj, Session):
        context.obj = Session()
    context.obj.profile, context.obj.token_stdin = profile, token_stdin


def main(arguments: list[str] | None = None) -> None:
    """Run one command and end with its status; whatever happens is told in a sentence."""
    session = Session()
    try:
        app(arguments, obj=session)
    except Failure as failure:
        session.screen.failure(failure)
        sys.exit(failure.status)
    except BrokenPipeError:
        # Whoever read our output has had enough; nothing more may be written at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Status.DONE)
    except Exception as error:
        if os.environ.get("PIPELINE_XERO_DEBUG"):
            raise
        session.screen.failure(
            Failure(
                Status.UNREACHABLE,
                f"pipeline-xero met something it does not expect ({type(error).__name__}).",
                "Run it again with PIPELINE_XERO_DEBUG=1 and give the trace to whoever looks after it.",
            )
        )
        sys.exit(Status.UNREACHABLE)


if __name__ == "__main__":
    main()
