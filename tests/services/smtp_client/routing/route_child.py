"""A process that looks things up on the real reactor: a task as JSON on standard input, its result on standard output.

{"servers": ["127.0.0.1:5353"], "trust": "loopback", "timeout": 5, "ask": [["mx", "a.example"], ...]}
{"servers": [...], "sts": {"domain": "a.example", "port": 443, "roots": PATH, "state": DIRECTORY, "timeout": 60}}
{"servers": [...], "route": [["a.example", "me@here.example"], ...], "routes": TEXT, "policies": TEXT,
 "names": [OURS, ...], "sts": ...}
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

from netsvc.config.options import Context
from netsvc.services.smtp_client.routing.ourselves import Ourselves
from netsvc.services.smtp_client.routing.places import ToMX
from netsvc.services.smtp_client.routing.policy import Policies
from netsvc.services.smtp_client.routing.resolver import Resolver
from netsvc.services.smtp_client.routing.route import Router, Rules
from netsvc.services.smtp_client.routing.servers import named, server
from netsvc.services.smtp_client.routing.sts_fetch import Fetcher
from netsvc.services.smtp_client.routing.sts_policies import StsPolicies
from netsvc.services.smtp_client.routing.table import routes, tls_policies
from netsvc.services.smtp_client.terms import Relay

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
    if "route" in task:
        return await route(names, task)
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


async def route(names: Resolver, task: dict[str, Any]) -> Any:
    """Where messages go; twice, to see what the second time costs."""
    here = Context(Path("/"))
    sts = dict(task["sts"])
    sts.pop("domain")
    router = Router(
        rules=Rules(
            routes=routes().parse(task.get("routes", ""), here),
            default=ToMX(),
            smarthost=Relay(host="", port=25, tls="verify"),
        ),
        resolver=names,
        policies=Policies(
            table=tls_policies().parse(task.get("policies", ""), here),
            resolver=names,
            sts=policies(names, **sts).policy,
            trust_roots=None,
            port=25,
        ),
        ourselves=Ourselves(task.get("names", ())),
        random=random.random,
    )
    found = [await router.route(destination, sender) for destination, sender in task["route"] * 2]
    return [
        {"kind": type(one).__name__, **attrs.asdict(one, value_serializer=lambda _, __, value: str_of(value))}
        for one in found
    ]


def str_of(value: Any) -> Any:
    """Octets in hexadecimal digits, paths as text."""
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, Path) else value


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
