"""A process that looks things up on the real reactor: a task as JSON on standard input, its result on standard output.

{"servers": ["127.0.0.1:5353"], "trust": "loopback", "timeout": 5, "ask": [["mx", "a.example"], ...]}
{"servers": [...], "sts": {"domain": "a.example", "port": 443, "roots": PATH, "state": DIRECTORY, "timeout": 60}}
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor as real_reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import formatEvent, globalLogPublisher

from netsvc.services.smtp_client.routing.resolver import Resolver
from netsvc.services.smtp_client.routing.servers import named, server
from netsvc.services.smtp_client.routing.sts_fetch import Fetcher
from netsvc.services.smtp_client.routing.sts_policies import StsPolicies

reactor: Any = real_reactor


def run(task: dict[str, Any]) -> Any:
    """Let a child do a task; its result."""
    child = subprocess.run(
        [sys.executable, "-m", "tests.services.smtp_client.routing.route_child"],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[4],
    )
    assert (child.returncode, child.stderr) == (0, ""), child.stderr
    return json.loads(child.stdout)


def resolver(task: dict[str, Any]) -> Resolver:
    """The resolver that a task describes."""
    servers = named([server(one) for one in task["servers"]], task.get("trust", "loopback"))
    return Resolver(reactor, lambda: servers, random=random.random, timeout=task.get("timeout", 5.0))


async def work(task: dict[str, Any]) -> Any:
    """What the task asks for."""
    names = resolver(task)
    if "sts" in task:
        return await sts(names, **task["sts"])
    found = []
    for kind, *arguments in task["ask"]:
        answer = await getattr(names, kind)(*arguments)
        found.append(attrs.asdict(answer, value_serializer=lambda _, __, value: str_of(value)))
    return found


async def sts(names: Resolver, *, domain: str, **rest: Any) -> Any:
    """The policy of a domain, and what was logged meanwhile."""
    lines: list[str] = []
    globalLogPublisher.addObserver(lambda event: lines.append(formatEvent(event)))
    policy = await policies(names, **rest).policy(domain)
    return {"policy": policy and attrs.asdict(policy), "log": "\n".join(lines)}


def policies(names: Resolver, *, port: int, roots: str, state: str, timeout: float = 60.0) -> StsPolicies:
    """As a service makes them."""
    return StsPolicies(
        names,
        Fetcher(reactor, names, trust_roots=Path(roots), port=port, timeout=timeout),
        path=Path(state, "mta-sts.json"),
        now=time.time,
        seconds=reactor.seconds,
        in_thread=deferToThread,
    )


def str_of(value: Any) -> Any:
    """Octets in hexadecimal digits."""
    return value.hex() if isinstance(value, bytes) else value


async def main() -> None:
    """Do it and end the reactor; a fault is a traceback and a status of 1."""
    try:
        print(json.dumps(await work(json.load(sys.stdin))), flush=True)
    except BaseException:
        traceback.print_exc()
        sys.stdout.write("{")
    finally:
        reactor.stop()


if __name__ == "__main__":
    reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()))
    reactor.run()
