// Opens a report as an engineer would, and does what one does: looks, points, switches, zooms, saves. Every finding
// that should not be is printed as a line; none is success.
//
//   node report.cjs FILE KIND       KIND: run or comparison

const { chromium } = require('playwright-core');
const { readFileSync } = require('node:fs');

const [file, kind] = process.argv.slice(2);
const findings = [];
const expect = (holds, what) => { if (!holds) findings.push(what); };

// A browser that hangs fails the test instead of holding it up; a busy machine has time enough.
setTimeout(() => { console.log('it took longer than 4 minutes'); process.exit(1); }, 240_000).unref();

/// A page in which every complaint and every request is a finding.
const open = async (browser, options, javaScriptEnabled = true) => {
  const context = await browser.newContext({ acceptDownloads: true, javaScriptEnabled, ...options });
  const page = await context.newPage();
  page.on('console', (message) => findings.push(`console: ${message.text()}`));
  page.on('pageerror', (error) => findings.push(`error: ${error.message}`));
  page.on('request', (request) => {
    const url = request.url();
    if (url !== `file://${file}` && !/^(data|blob):/.test(url)) findings.push(`request: ${url}`);
  });
  await page.goto(`file://${file}`);
  return page;
};

const fits = async (page, where) => {
  const [content, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  expect(content <= window, `${where}: the page is ${content} px wide in a window of ${window}`);
};

const accessible = async (page, where) => {
  // Past the page's policy, which lets no script in but its own.
  await page.evaluate(readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8'));
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  for (const { id, impact, help, nodes } of violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')) {
    findings.push(`${where}: axe ${impact} ${id}: ${help}, ${nodes.length} times, as in ${nodes[0].html.slice(0, 200)} (${nodes[0].failureSummary})`);
  }
};

const looks = async (browser) => {
  for (const [where, options] of Object.entries({
    wide: { viewport: { width: 1440, height: 900 } },
    dark: { viewport: { width: 1440, height: 900 }, colorScheme: 'dark' },
    phone: { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true },
  })) {
    const page = await open(browser, options);
    await fits(page, where);
    await accessible(page, where);
    if (where === 'phone' && kind === 'run') {
      const [verdict, results, summary] = await page.evaluate(() => ['.verdict', '#results', '.summary'].map((part) => document.querySelector(part).getBoundingClientRect().top));
      expect(verdict < results && results < summary, 'phone: the matrix does not follow the verdict');
    }
    // Names stay within their plots, however long they are and whichever font is there.
    const cut = await page.evaluate(() => [...document.querySelectorAll('svg.plot text')].filter((text) => {
      const [inner, outer] = [text, text.ownerSVGElement].map((element) => element.getBoundingClientRect());
      return inner.width > 0 && (inner.left < outer.left - 1 || inner.right > outer.right + 1);
    }).map((text) => text.textContent));
    expect(cut.length === 0, `${where}: cut at the edge of a plot: ${cut.join(', ')}`);
    await page.context().close();
  }
  const page = await open(browser, { viewport: { width: 1440, height: 900 } }, false);
  expect(await page.locator('.verdict strong').isVisible(), 'without script: no verdict');
  expect(await page.locator('svg.plot').first().isVisible(), 'without script: no plot');
  expect((await page.locator('button').count()) === 0, 'without script: buttons that do nothing');
  const printed = await page.pdf({ format: 'A4' });
  expect(printed.length > 20_000, 'nothing was printed');
  await page.context().close();
};

const switches = async (page) => {
  const toggle = page.locator('.legend button').first();
  const name = await toggle.getAttribute('data-name');
  const off = () => page.evaluate((name) => {
    const parts = [...document.querySelectorAll('.plot .series')].filter((part) => part.dataset.name === name);
    return [parts.length, parts.filter((part) => part.classList.contains('off')).length];
  }, name);
  await toggle.click();
  const [parts, hidden] = await off();
  expect(parts > 2 && hidden === parts, `${name}: ${hidden} of ${parts} parts are off`);
  expect((await toggle.getAttribute('aria-pressed')) === 'false', 'a switch that is off says it is on');
  await toggle.press('Enter');
  expect((await off())[1] === 0, `${name} does not come back, by keyboard`);
};

const scales = async (page) => {
  const figure = page.locator('figure', { has: page.locator('svg.plot.wide') }).filter({ hasText: 'Linear scale' }).first();
  const plot = figure.locator('svg.plot.wide');
  const state = () => plot.evaluate((plot) => [plot.querySelector('.axis.y').textContent, plot.querySelector('.line').getAttribute('d')]);
  const before = await state();
  const button = figure.getByRole('button', { name: 'Linear scale' });
  await button.click();
  const linear = await state();
  expect(linear[0].includes('0') && linear[0] !== before[0] && linear[1] !== before[1], 'the linear scale changes nothing');
  await button.click();
  const after = await state();
  expect(after[0] === before[0], 'the logarithmic axis does not come back');
};

const pointing = async (page) => {
  const plot = page.locator('svg.plot.wide').filter({ has: page.locator('.band') }).first();
  await plot.scrollIntoViewIfNeeded();
  await plot.hover();
  const tip = page.locator('.tip');
  expect(/^p[\d.]+/.test(await tip.textContent()) && /[µm]s/.test(await tip.textContent()), `the tip says ${await tip.textContent()}`);
  await page.mouse.move(2, 2);
  expect(await tip.isHidden(), 'the tip stays');
  await plot.focus();
  await page.keyboard.press('ArrowRight');
  expect(await tip.isVisible(), 'no tip by keyboard');
  await page.keyboard.press('Escape');
  expect(await tip.isHidden(), 'the tip stays by keyboard');
  const head = page.locator('thead th[data-words]').nth(1);
  await head.scrollIntoViewIfNeeded();
  await head.hover();
  expect((await tip.isVisible()) && (await tip.textContent()).length > 10, 'a column does not explain itself');
};

const zoom = async (page) => {
  const timed = page.locator('svg.plot[data-kind=seconds]');
  const plot = timed.first();
  await plot.scrollIntoViewIfNeeded();
  const axes = () => timed.evaluateAll((plots) => plots.slice(0, 2).map((plot) => plot.querySelector('.axis.x').textContent));
  const before = await axes();
  const box = await plot.boundingBox();
  await page.mouse.move(box.x + box.width * 0.35, box.y + box.height * 0.4);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.8, box.y + box.height * 0.4, { steps: 4 });
  const crosses = await page.locator('.cross[d]').count();
  expect(crosses >= 2, `${crosses} plots are marked, and more should be linked`);
  await page.mouse.up();
  const closer = await axes();
  expect(closer[0] !== before[0] && closer[1] !== before[1], 'dragging does not zoom the linked plots');
  await plot.dblclick();
  const after = await axes();
  expect(after.join() === before.join(), 'double-clicking does not zoom out');
  await plot.focus();
  for (const key of ['ArrowRight', 'ArrowRight', '+']) await page.keyboard.press(key);
  expect((await axes()).join() !== before.join(), 'no zoom by keyboard');
  await page.keyboard.press('0');
  expect((await axes()).join() === before.join(), 'no way back by keyboard');
};

const saved = async (page, button) => {
  const [download] = await Promise.all([page.waitForEvent('download'), button.click()]);
  return [download.suggestedFilename(), readFileSync(await download.path())];
};

const files = async (page) => {
  const figure = page.locator('figure', { has: page.locator('svg.plot.wide') }).first();
  const [svgName, svg] = await saved(page, figure.getByRole('button', { name: 'Save SVG' }));
  expect(svgName.endsWith('.svg') && svg.toString().startsWith('<svg') && /stroke: rgb/.test(svg), `${svgName} is no picture by itself`);
  const [pngName, png] = await saved(page, figure.getByRole('button', { name: 'Save PNG' }));
  expect(pngName.endsWith('.png') && png.subarray(1, 4).toString() === 'PNG' && png.length > 10_000, `${pngName} is no picture`);
  const copy = page.getByRole('button', { name: 'Copy command' }).first();
  await copy.click();
  const copying = page.getByRole('button', { name: /^(Copied|Selected)/ });
  await copying.first().waitFor();
  if (kind !== 'run') return;
  const [jsonName, json] = await saved(page, page.getByRole('button', { name: 'Save result.json' }));
  const result = JSON.parse(json.toString());
  expect(jsonName === 'result.json' && result.schema === 'lastmile.result/1', 'the saved result is none');
  const [logName, log] = await saved(page, page.getByRole('button', { name: 'Save histograms' }));
  const histograms = log.toString().split('\n').filter((line) => line.startsWith('Tag='));
  expect(logName === 'latency.hlog' && histograms.length === result.cases.length, `${histograms.length} histograms of ${result.cases.length} cases`);
};

(async () => {
  const browser = await chromium.launch({
    executablePath: process.env.LASTMILE_CHROMIUM || undefined,
    args: ['--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  try {
    await looks(browser);
    const page = await open(browser, { viewport: { width: 1440, height: 900 } });
    for (const act of [switches, scales, pointing, zoom, files]) await act(page);
  } catch (error) {
    findings.push(error.stack);
  } finally {
    await browser.close();
  }
  findings.forEach((finding) => console.log(finding));
  process.exitCode = findings.length ? 1 : 0;
})();
