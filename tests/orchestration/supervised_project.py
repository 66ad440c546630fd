"""`likeness start` on the definitions of daemon_project.py, without pages: the supervisor, code server and daemon."""

import signal
import sys

from orchestration.apps import services
from orchestration.apps.supervisor import ServiceError, Supervisor
from orchestration.config.addresses import Addresses
from orchestration.config.settings import Settings

SERVICES = ("code server", "daemon")


def main() -> int:
    services.DEFINITIONS = "tests.orchestration.daemon_project"
    groups = services.likeness_services(Settings(), Addresses())
    supervisor = Supervisor([[service for service in group if service.name in SERVICES] for group in groups], print)

    def end(number: int, frame: object) -> None:
        supervisor.stopping = True

    signal.signal(signal.SIGTERM, end)
    try:
        supervisor.start()
        supervisor.watch()
    except ServiceError as error:
        print(error)
        return 1
    finally:
        supervisor.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
