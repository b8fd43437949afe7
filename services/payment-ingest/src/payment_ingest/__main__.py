"""Start payment-ingest: `python -m payment_ingest`."""

from payment_ingest.app import create_app
from payment_ingest.settings import Settings
from pipeline_service_defaults.serve import run
from pipeline_service_defaults.settings import load
from pipeline_service_defaults.telemetry import configure_logging


def main() -> None:
    """Serve until SIGTERM; settings come from the environment."""
    settings = load(Settings)
    configure_logging("payment-ingest", settings.log_level)
    run(create_app, settings)


if __name__ == "__main__":
    main()
