// Opens a WebTransport session for each delivery in a browser. Prints `DELIVERY open` for each, then what arrives,
// `DELIVERY ROUND` a line, until each has received COUNT rounds.
//
// Usage: webtransport_client.cjs HTTP_ORIGIN WEBTRANSPORT_ORIGIN CERTIFICATE_SHA256 COUNT DELIVERY…

const { withPage } = require("./browser.cjs");

const [httpOrigin, webTransportOrigin, hash, count, ...deliveries] = process.argv.slice(2);

// Runs in the browser.
async function receive({ origin, hash, count, deliveries }) {
  const value = Uint8Array.from(hash.match(/../g), (digits) => parseInt(digits, 16));

  function varint(bytes) {
    if (bytes.length === 0) return null;
    const size = 1 << (bytes[0] >> 6);
    if (bytes.length < size) return null;
    return { size, value: bytes.slice(1, size).reduce((sum, byte) => sum * 256 + byte, bytes[0] & 0x3f) };
  }

  // The rounds of a stream on which each stands behind its length.
  async function* prefixed(stream) {
    let pending = [];
    for await (const chunk of stream) {
      pending = [...pending, ...chunk];
      for (let length; (length = varint(pending)) && pending.length >= length.size + length.value; ) {
        const end = length.size + length.value;
        yield new TextDecoder().decode(Uint8Array.from(pending.slice(length.size, end)));
        pending = pending.slice(end);
      }
    }
  }

  async function* whole(streams) {
    for await (const stream of streams) yield await new Response(stream).text();
  }

  async function* datagrams(readable) {
    for await (const datagram of readable) yield new TextDecoder().decode(datagram);
  }

  const rounds = {
    stream: async function* (session) {
      for await (const stream of session.incomingUnidirectionalStreams) yield* prefixed(stream);
    },
    streams: (session) => whole(session.incomingUnidirectionalStreams),
    datagram: (session) => datagrams(session.datagrams.readable),
  };

  await Promise.all(deliveries.map(async (delivery) => {
    const session = new WebTransport(`${origin}/wt/crash?delivery=${delivery}`, {
      serverCertificateHashes: [{ algorithm: "sha-256", value }],
    });
    await session.ready;
    await window.print_line(`${delivery} open`);
    let received = 0;
    for await (const round of rounds[delivery](session)) {
      await window.print_line(`${delivery} ${round}`);
      received += 1;
      if (received === count) break;
    }
    session.close();
  }));
}

withPage(async (page) => {
  await page.exposeFunction("print_line", (line) => console.log(line));
  // Any document of a trustworthy origin will do: WebTransport exists nowhere else.
  await page.goto(`${httpOrigin}/healthz`);
  await page.evaluate(receive, { origin: webTransportOrigin, hash, count: Number(count), deliveries });
});
