"""Run the connector: `pipeline-connector` or `python -m connector`."""

from connector.app import SERVICE, create_app
from connector.settings import Settings
from pipeline_service_defaults.serve import run
from pipeline_service_defaults.settings import load
from pipeline_service_defaults.telemetry import configure_logging


def main() -> None:
    """Read the settings, or say which are wrong; then serve until told to stop."""
    settings = load(Settings)
    configure_logging(SERVICE, settings.log_level)
    run(create_app, settings)


if __name__ == "__main__":
    main()
