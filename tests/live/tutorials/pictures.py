"""The tutorials' picture downloader: a thread for each picUrl of a feed, saved as its URL ends. FEED DIRECTORY."""

import json
import sys
from threading import Thread
from urllib.request import urlopen


class Download(Thread):
    def __init__(self, url: str, directory: str) -> None:
        super().__init__()
        self.url = url
        self.directory = directory

    def run(self) -> None:
        filename = self.url[self.url.rfind("/") + 1 :]
        with urlopen(self.url) as answer, open(self.directory + "/" + filename, "wb") as file:
            file.write(answer.read())


def main() -> None:
    """Run it."""
    feed, directory = sys.argv[1:]
    with urlopen(feed) as answer:
        whole = json.loads(answer.read().decode("utf-8"))
    for one in whole["newslist"]:
        Download(one["picUrl"], directory).start()


if __name__ == "__main__":
    main()
