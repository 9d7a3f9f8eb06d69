"""What tests of the command line share."""

from tests.suspect.servers import mlserver

__all__ = ["mlserver"]
