"""A WebTransport session by aioquic. Prints `open`, then each round as it arrives, and at the end `ended`.

Usage: aioquic_client.py HOST PORT PATH DELIVERY
"""

import asyncio
import ssl
import sys

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.buffer import Buffer, BufferReadError
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DatagramReceived, HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated


class Session(QuicConnectionProtocol):
    """One session on a connection of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None
        self.negotiated = asyncio.get_running_loop().create_future()
        self.streams = {}
        self.delivery = None

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic, enable_webtransport=True)
            self.negotiated.set_result(None)
        elif isinstance(event, ConnectionTerminated):
            print(f"ended {event.error_code} {event.reason_phrase}".rstrip(), flush=True)
        if self.http is not None:
            for http_event in self.http.handle_event(event):
                self.http_event_received(http_event)

    def http_event_received(self, event):
        if isinstance(event, HeadersReceived):
            status = dict(event.headers)[b":status"].decode()
            print("open" if status == "200" else f"refused {status}", flush=True)
        elif isinstance(event, DatagramReceived):
            print(event.data.decode(), flush=True)
        elif isinstance(event, WebTransportStreamDataReceived):
            received = self.streams.setdefault(event.stream_id, bytearray())
            received += event.data
            if self.delivery == "stream":
                self.print_prefixed(received)
            elif event.stream_ended:
                print(received.decode(), flush=True)

    @staticmethod
    def print_prefixed(received):
        """Prints and removes the whole rounds, each of which stands behind its length."""
        while True:
            buffer = Buffer(data=bytes(received))
            try:
                message = buffer.pull_bytes(buffer.pull_uint_var())
            except BufferReadError:
                return
            print(message.decode(), flush=True)
            del received[: buffer.tell()]

    def ask(self, authority, path, delivery):
        self.delivery = delivery
        stream_id = self._quic.get_next_available_stream_id()
        headers = {
            ":method": "CONNECT",
            ":scheme": "https",
            ":authority": authority,
            ":path": f"{path}?delivery={delivery}",
            ":protocol": "webtransport",
        }
        self.http.send_headers(stream_id, [(name.encode(), value.encode()) for name, value in headers.items()])
        self.transmit()


async def main():
    host, port, path, delivery = sys.argv[1:]
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=H3_ALPN,
        max_datagram_frame_size=65536,
        # The server's certificate is self-signed; what is tested is the protocol.
        verify_mode=ssl.CERT_NONE,
    )
    async with connect(host, int(port), configuration=configuration, create_protocol=Session) as session:
        await session.negotiated
        session.ask(f"{host}:{port}", path, delivery)
        await session.wait_closed()


asyncio.run(main())
