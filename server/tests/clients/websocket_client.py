"""Prints what arrives on a WebSocket, a message a line, and at the end how it was closed.

Usage: websocket_client.py URL
"""

import asyncio
import ssl
import sys

# Not the synchronous client: it reads and writes one TLS connection from two threads, which OpenSSL does not stand for,
# and one handshake in forty never sent its request.
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed


async def main():
    url = sys.argv[1]
    options = {}
    if url.startswith("wss:"):
        # The server's certificate is self-signed; what is tested is the protocol.
        options["ssl"] = ssl._create_unverified_context()
    async with connect(url, **options) as connection:
        try:
            while True:
                print(await connection.recv(), flush=True)
        except ConnectionClosed as closed:
            print(f"closed {closed.rcvd.code}" if closed.rcvd else "cut off", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
