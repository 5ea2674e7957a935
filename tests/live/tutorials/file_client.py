"""The tutorials' file client: reads to the end, takes the JSON apart, saves the file. HOST PORT DIRECTORY."""

import sys
from base64 import b64decode
from json import loads
from socket import socket


def main() -> None:
    """Run it."""
    host, port, directory = sys.argv[1:]
    client = socket()
    client.connect((host, int(port)))
    received = b""
    data = client.recv(1024)
    while data:
        received += data
        data = client.recv(1024)
    found = loads(received.decode("utf-8"))
    with open(directory + "/" + found["filename"], "wb") as file:
        file.write(b64decode(found["filedata"].encode("utf-8")))
    print("saved")


if __name__ == "__main__":
    main()
