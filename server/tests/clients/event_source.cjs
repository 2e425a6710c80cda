// Chromium's EventSource. Prints `open`, `EVENT ID DATA` for each event, and `reconnecting` when the connection broke,
// until it is ended.
//
// Usage: event_source.cjs HTTP_ORIGIN PATH

const { withPage } = require("./browser.cjs");

const [httpOrigin, path] = process.argv.slice(2);

// Runs in the browser.
function listen(path) {
  const source = new EventSource(path);
  source.onopen = () => print_line("open");
  source.onerror = () => print_line(source.readyState === EventSource.CONNECTING ? "reconnecting" : "closed");
  for (const name of ["initial", "message"]) {
    source.addEventListener(name, (event) => print_line(`${name} ${event.lastEventId} ${event.data}`));
  }
}

withPage(async (page) => {
  await page.exposeFunction("print_line", (line) => console.log(line));
  await page.goto(`${httpOrigin}/healthz`);
  await page.evaluate(listen, path);
  await new Promise(() => {});
});
