"""The tutorials' file server: a thread a connection, the whole file in memory, encoded for each peer.

python threaded_files.py PORT FILE
"""

import base64
import json
import os
import socket
import sys
import threading


def send(connection, path):
    """What the tutorial does in each thread."""
    with connection:
        with open(path, "rb") as file:
            data = file.read()
        answer = {"filename": os.path.basename(path), "filedata": base64.b64encode(data).decode()}
        connection.sendall(json.dumps(answer).encode())


def main():
    """Accept for ever."""
    with socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128) as listening:
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=send, args=(connection, sys.argv[2]), daemon=True).start()


main()
