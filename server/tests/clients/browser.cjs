// A headless Chromium for the clients beside this file.

const { chromium } = require("playwright-core");

/// Runs `use(page)` in a new browser, closes it whatever happens, and ends with exit code 1 on an error.
exports.withPage = async (use) => {
  const browser = await chromium.launch({
    executablePath: process.env.LASTMILE_CHROMIUM || undefined,
    args: [
      "--disable-gpu",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
  try {
    await use(await browser.newPage());
  } catch (error) {
    console.error(error);
    process.exitCode = 1;
  } finally {
    await browser.close();
  }
};
