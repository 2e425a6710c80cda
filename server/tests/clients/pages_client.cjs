// Looks at the server's pages in a browser, one after the other. Prints `PAGE open` once every stream of a page is
// connected, `PAGE STREAM ROUND_ID` for the round each stream shows of those published after that, `PAGE closed` once
// its button has disconnected all, and `problem …` for whatever the browser complains about.
//
// A query is given to the first page only, and must be gone from its address then.
//
// Usage: pages_client.cjs HTTP_ORIGIN [QUERY]

const { withPage } = require("./browser.cjs");

let [httpOrigin, query = ""] = process.argv.slice(2);
const PAGES = ["websocket", "sse", "webtransport", "test"];

withPage(async (page) => {
  const problem = (text) => console.log(`problem ${text}`);
  page.on("console", (message) => message.type() === "error" && problem(message.text()));
  page.on("pageerror", (error) => problem(error.message));
  page.on("request", (request) => new URL(request.url()).origin === httpOrigin ||
    request.url().startsWith("data:") || problem(`${request.url()} is requested from elsewhere`));

  for (const name of PAGES) {
    await page.goto(`${httpOrigin}/${name}.html${query}`);
    query = "";
    await page.waitForSelector("section");
    if (page.url().includes("token")) problem(`${page.url()} shows the token`);
    const streams = await page.$$eval("section", (sections) => sections.map((section) => section.id));
    const reached = async (state) => {
      for (const stream of streams) await page.waitForSelector(`#${stream} .status[data-state=${state}]`);
      console.log(`${name} ${state}`);
    };
    await reached("open");
    for (const stream of streams) {
      const cell = await page.waitForSelector(`#${stream} tbody td`);
      console.log(`${name} ${stream} ${await cell.textContent()}`);
    }
    await page.click("#toggle");
    await reached("closed");
  }
});
