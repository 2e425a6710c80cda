// Pictures of a report, as its readers have it before them:
//
//   node screenshots.cjs REPORT.html FOLDER

const { chromium } = require('playwright-core');
const { join } = require('node:path');

const [report, folder] = process.argv.slice(2);
const wide = { width: 1440, height: 900 };

/// Name, how the page is looked at, and the selectors of the first and the last thing in the picture.
const pictures = [
  ['report.png', { viewport: wide }, 'header', '#percentiles'],
  ['report-time.png', { viewport: wide }, '#heat', '#legs'],
  ['report-dark.png', { viewport: wide, colorScheme: 'dark' }, '#percentiles', '#percentiles'],
  ['report-phone.png', { viewport: { width: 390, height: 844 } }, 'header', '#results'],
];

(async () => {
  const browser = await chromium.launch({ executablePath: process.env.LASTMILE_CHROMIUM || undefined, args: ['--disable-gpu'] });
  try {
    for (const [name, options, first, last] of pictures) {
      const page = await browser.newPage(options);
      page.on('pageerror', (error) => { throw error; });
      await page.goto(`file://${report}`);
      const clip = await page.evaluate(([first, last]) => {
        const [from, to] = [first, last].map((selector) => document.querySelector(selector)?.getBoundingClientRect());
        if (!from || !to) return null;
        const top = Math.max(0, from.top - 32);
        return { x: 0, y: top, width: document.documentElement.clientWidth, height: to.bottom + 24 - top };
      }, [first, last]);
      if (clip) await page.screenshot({ path: join(folder, name), fullPage: true, clip });
      else console.error(`${name} was left as it is: this result has no ${first} or ${last}`);
      await page.close();
    }
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error); process.exitCode = 1; });
