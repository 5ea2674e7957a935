"""aiohttp on uvloop, with its static route.

python http_aiohttp.py PORT DIRECTORY
"""

import sys

import uvloop
from aiohttp import web


async def application():
    app = web.Application()
    app.router.add_static("/", sys.argv[2])
    return app


web.run_app(
    application(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, loop=uvloop.new_event_loop(), print=None
)
