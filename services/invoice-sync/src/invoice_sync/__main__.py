"""Start invoice-sync: `python -m invoice_sync`."""

from invoice_sync.app import create_app
from invoice_sync.settings import InvoiceSyncSettings
from pipeline_service_defaults.serve import run
from pipeline_service_defaults.settings import load
from pipeline_service_defaults.telemetry import configure_logging


def main() -> None:
    """Serve until SIGTERM; settings come from the environment."""
    settings = load(InvoiceSyncSettings)
    configure_logging(
        "invoice-sync", settings.log_level, extra_fields=("kind", "effect", "failures")
    )
    run(create_app, settings)


if __name__ == "__main__":
    main()
