"""starlette's StaticFiles under uvicorn, with uvloop and httptools.

python http_starlette.py PORT DIRECTORY
"""

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

uvicorn.run(
    Starlette(routes=[Mount("/", StaticFiles(directory=sys.argv[2]))]),
    host="127.0.0.1",
    port=int(sys.argv[1]),
    loop="uvloop",
    http="httptools",
    access_log=False,
    log_level="error",
)
