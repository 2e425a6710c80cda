// Looks at the overview, and at a page as its server goes away. Prints `overview STATE`, then `overview ROUND_ID LINKS`
// for the game Crash; then follows its first link and prints `page TOPIC STATE` as that page gets connected, loses its
// server and gets it back, `page problem TEXT` for what it says of that, and `page reconnects COUNT`.
//
// Usage: overview_client.cjs HTTP_ORIGIN

const { withPage } = require("./browser.cjs");

const [httpOrigin] = process.argv.slice(2);

withPage(async (page) => {
  page.on("pageerror", (error) => console.log(`problem ${error.message}`));
  await page.goto(`${httpOrigin}/`);
  await page.waitForSelector("#status[data-state=open]");
  console.log("overview open");
  const round = page.locator("#game-crash td[data-title=Round]");
  await page.waitForFunction(() => /\d/.test(document.querySelector("#game-crash td[data-title=Round]").textContent));
  const links = page.locator("#game-crash a");
  console.log(`overview ${await round.textContent()} ${await links.count()}`);
  await links.first().click();

  const panel = await page.waitForSelector("#ws");
  const topic = await page.locator("#topic").inputValue();
  for (const state of ["open", "failed", "open"]) {
    await panel.waitForSelector(`.status[data-state=${state}]`);
    console.log(`page ${topic} ${state}`);
    if (state === "failed") {
      const problem = await panel.waitForSelector(".problem");
      // Behind the time of day.
      console.log(`page problem ${(await problem.textContent()).replace(/^.*?\d\d:\d\d.*?: /, "")}`);
    }
  }
  const reconnects = await panel.waitForSelector(".reconnects");
  console.log(`page reconnects ${await reconnects.textContent()}`);
});
