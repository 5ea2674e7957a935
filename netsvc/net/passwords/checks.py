"""PasswordChecks: slow by design, so they run in threads, few at a time; some wait in line, more are refused."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from netsvc.net.passwords import htpasswd

AT_ONCE = max(1, min(4, (os.cpu_count() or 1) // 2))  # threads; the others and the reactor need processors as well
WAITING = 64  # checks in line; some seconds of work


class PasswordChecks:
    """Checks passwords for all scopes of a service. Requests that wait for the same answer share one check.

    :param in_thread: (function, arguments ...) -> Deferred of its result.
    """

    def __init__(self, in_thread: Callable[..., Deferred[Any]], at_once: int = AT_ONCE) -> None:
        self._in_thread = in_thread
        self._free = at_once
        self._line: deque[tuple[Any, str, str]] = deque()
        self._answers: dict[Any, list[Callable[[object], None]]] = {}
        self._waiting = 0

    def check(self, key: Any, hashed: str, password: str, answer: Callable[[object], None]) -> bool:
        """Check a password.

        :param key: the same for what is the same check.
        :param answer: called once, perhaps at once, with True, False, or the Failure of the check itself.
        :return: False when too many wait; then answer is not called.
        """
        if self._waiting >= WAITING:
            return False
        self._waiting += 1
        same = self._answers.get(key)
        if same is not None:
            same.append(answer)
            return True
        self._answers[key] = [answer]
        self._line.append((key, hashed, password))
        self._go_on()
        return True

    def _go_on(self) -> None:
        while self._free and self._line:
            self._free -= 1
            key, hashed, password = self._line.popleft()
            self._in_thread(htpasswd.check, hashed, password).addBoth(self._done, key)

    def _done(self, result: object, key: Any) -> None:
        self._free += 1
        answers = self._answers.pop(key)
        self._waiting -= len(answers)
        self._go_on()
        for answer in answers:
            answer(result)
