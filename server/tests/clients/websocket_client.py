"""Prints what arrives on a WebSocket, a message a line, and at the end how it was closed.

Usage: websocket_client.py URL
"""

import ssl
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


def main():
    url = sys.argv[1]
    options = {}
    if url.startswith("wss:"):
        # The server's certificate is self-signed; what is tested is the protocol.
        options["ssl"] = ssl._create_unverified_context()
    with connect(url, **options) as connection:
        try:
            while True:
                print(connection.recv(), flush=True)
        except ConnectionClosed as closed:
            print(f"closed {closed.rcvd.code}" if closed.rcvd else "cut off", flush=True)


if __name__ == "__main__":
    main()
