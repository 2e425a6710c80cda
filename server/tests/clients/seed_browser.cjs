// Runs the seed document's client in a page of the server, and prints what it logs, a line each, until it
// is ended.
//
// Usage: seed_browser.cjs HTTP_ORIGIN SCRIPT

const { readFileSync } = require("node:fs");
const { withPage } = require("./browser.cjs");

const [httpOrigin, script] = process.argv.slice(2);

withPage(async (page) => {
  page.on("console", async (message) => {
    // What the browser itself says has no arguments: that there is no favicon.
    if (message.args().length === 0) return;
    // Objects as JSON: the console's own spelling of them differs from one version to the next.
    const words = await Promise.all(message.args().map(async (argument) => {
      const value = await argument.jsonValue();
      return typeof value === "string" ? value : JSON.stringify(value);
    }));
    console.log(words.join(" "));
  });
  page.on("pageerror", (error) => console.log(`problem ${error.message}`));
  await page.goto(`${httpOrigin}/healthz`);
  await page.evaluate(readFileSync(script, "utf8"));
  await new Promise(() => {});
});
