"""What tests of suspects share."""

from tests.suspect.servers import mlserver

__all__ = ["mlserver"]
