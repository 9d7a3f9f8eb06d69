"""When to ask, and when to ask again: a rate, exponential back-off with jitter, and a deadline over all of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, final

from onnxfp.suspect.v2 import Refused

_FIRST_S = 0.25
_LONGEST_S = 30.0
"""Neither a back-off nor what an endpoint asks for is longer."""

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Clock:
    """Time and chance, replaceable."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = random.random


@dataclass
class _Turn:
    at: float = 0.0


@final
@dataclass(frozen=True)
class Pace:
    """How often to ask, and how often again."""

    retries: int
    rate_per_s: float = 0.0
    """Requests per second; 0 for as fast as they are answered."""
    clock: Clock = Clock()
    _turn: _Turn = field(default_factory=_Turn, repr=False)

    def persist(self, ask: Callable[[], Answer], until: float) -> Answer:
        """Ask until there is an answer, at most `retries` times more, and not beyond the deadline.

        Raises:
            Refused: the last refusal.
        """
        for attempt in range(self.retries):
            self._take_turn(until)
            try:
                return ask()
            except Refused as problem:
                wait = self._wait(attempt, problem.wait_s)
                if wait is None or self.clock.now() + wait >= until:
                    raise
                self.clock.sleep(wait)
        self._take_turn(until)
        return ask()

    def _wait(self, attempt: int, asked_s: float | None) -> float | None:
        if asked_s is None:
            return None
        backoff = _FIRST_S * 2.0**attempt * (0.5 + self.clock.jitter())
        return min(_LONGEST_S, max(backoff, asked_s))

    def _take_turn(self, until: float) -> None:
        now = self.clock.now()
        turn = max(now, self._turn.at)
        if turn >= until:
            raise Refused("not asked: the time for all questions was over")
        if turn > now:
            self.clock.sleep(turn - now)
        if self.rate_per_s:
            self._turn.at = turn + 1.0 / self.rate_per_s
