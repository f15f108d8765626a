import { chromium, type Browser, type Page } from 'playwright-core';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { composeGateway, type ComposedGateway } from '../../gateway/compose-gateway.ts';
import { findChromium } from '../support/find-chromium.ts';
import { accessTokenOf, createFakeGateway } from './gateway-fakes.ts';

/** A page of 2 MB of script, on a machine that does other things beside. */
const slowestMs = 120_000;
const fetchLimitMs = 300_000;

describe('/docs in a browser', () => {
  const gateway = createFakeGateway();
  let served: ComposedGateway;
  let browser: Browser;
  let missing: string | undefined;

  beforeAll(async () => {
    const found = await findChromium();
    if ('missing' in found) {
      missing = found.missing;
      return;
    }
    served = await composeGateway({
      ...gateway.dependencies,
      metrics: gateway.metrics,
      host: '127.0.0.1',
      port: 0,
      metricsPort: 0,
      bufferSizes: { readBufferSizeBytes: 4_096, writeBufferSizeBytes: 4_096 },
      checks: { postgres: () => Promise.resolve(), temporal: () => Promise.resolve() },
    });
    browser = await chromium.launch({
      executablePath: found.path,
      // Containers rarely allow the sandbox, and root never; the page is our own.
      args: ['--no-sandbox', '--disable-dev-shm-usage'],
    });
  }, fetchLimitMs);
  beforeEach((context) => context.skip(missing !== undefined, `left out: ${missing}`));
  afterAll(async () => {
    if (missing !== undefined) return;
    await browser.close();
    await served.close();
  });

  async function openPage(): Promise<Page> {
    const page = await browser.newPage();
    page.setDefaultTimeout(slowestMs / 2);
    return page;
  }

  it.each(['/docs', '/docs/'])(
    '%s shows every operation, and reads a token when it is tried',
    async (path) => {
      const page = await openPage();
      const troubles: string[] = [];
      page.on('console', (message) => {
        if (['error', 'warning'].includes(message.type())) troubles.push(message.text());
      });
      page.on('pageerror', (error) => troubles.push(String(error)));
      page.on('request', (request) => {
        const isOurs = request.url().startsWith(served.url) || request.url().startsWith('data:');
        if (!isOurs) troubles.push(`asked for ${request.url()}`);
      });
      page.on('requestfailed', (request) => troubles.push(`failed: ${request.url()}`));

      await page.goto(served.url + path);
      const token = page.locator('#operations-Tokens-readToken');
      await token.waitFor();
      const shown = await page.locator('.opblock').count();
      const document = await gateway.app.request('/openapi.json');
      const { paths } = (await document.json()) as { paths: Record<string, object> };
      expect(shown).toBe(Object.values(paths).flatMap((item) => Object.keys(item)).length);

      await token.locator('.opblock-summary').click();
      await token.getByRole('button', { name: 'Try it out' }).click();
      await token.getByPlaceholder('id', { exact: true }).fill('c1');
      const answered = page.waitForResponse((response) => response.url().includes('/v1/'));
      await token.getByRole('button', { name: 'Execute' }).click();
      expect((await answered).status()).toBe(200);
      const body = token.locator('.live-responses-table .response-col_description pre').first();
      await body.waitFor();
      expect(await body.textContent()).toContain(accessTokenOf(gateway.row));
      expect(troubles).toEqual([]);
      await page.close();
    },
    slowestMs,
  );

  it(
    '/problems/{code} is a page',
    async () => {
      const page = await openPage();
      await page.goto(`${served.url}/problems/refresh_uncertain`);
      expect(await page.title()).toBe('refresh_uncertain');
      expect(await page.getByText('What to do').count()).toBe(1);
      await page.close();
    },
    slowestMs,
  );
});
