// npm run pictures: runs the stack as npm start does, makes a few refreshes, and takes the pictures of the
// documentation with a headless Chromium (dev/chromium.mjs).
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

import { chromium } from 'playwright-core';

import { findChromium } from './chromium.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const pictures = join(root, 'docs', 'pictures');
const pictureMaxBytes = 300 * 1_024;
const refreshes = 3;
const startLimitMs = 300_000;
const pageLimitMs = 30_000;
/** For what a page draws after its texts are there. */
const settleMs = 1_500;

const browserPath = findChromium(root);
const stack = await startStack();
try {
  await takePictures(stack.address);
} finally {
  await stack.stop();
}

async function takePictures({ gateway, temporal_ui: ui, namespace }) {
  const runId = await refreshDemo(gateway);
  mkdirSync(pictures, { recursive: true });
  const browser = await chromium.launch({
    executablePath: browserPath,
    // Chromium refuses its sandbox to root, which CI's machines run as.
    chromiumSandbox: process.getuid?.() !== 0,
  });
  try {
    const page = await browser.newPage({
      viewport: { width: 1_440, height: 900 },
      timezoneId: 'UTC',
      locale: 'en-GB',
    });
    page.setDefaultTimeout(pageLimitMs);
    const workflow = `${ui}/namespaces/${namespace}/workflows/${encodeURIComponent('refresh/demo')}`;
    await page.goto(`${workflow}/${runId}/history`);
    await page.getByRole('button', { name: 'Compact' }).click();
    await page.getByText('refreshToken').first().waitFor();
    await shoot(page, 'temporal-run');
    const docs = await fetch(`${gateway}/docs`);
    if (docs.ok) {
      await page.goto(`${gateway}/docs`);
      await page.getByText('/v1/connections/{id}/token').first().waitFor();
      await shoot(page, 'docs-page');
    } else {
      console.log(`docs-page … left out: ${gateway}/docs answers ${docs.status}`);
    }
    console.log('dashboard … left out: no package registry carries Grafana');
  } finally {
    await browser.close();
  }
}

async function shoot(page, name) {
  await sleep(settleMs);
  const path = join(pictures, `${name}.png`);
  await page.screenshot({ path });
  const { size } = statSync(path);
  if (size > pictureMaxBytes)
    throw new Error(`${path} has ${size} bytes: ${pictureMaxBytes} at most`);
  console.log(`${name} … ${Math.ceil(size / 1_024)} KiB`);
}

/** Refreshes the demo connection; answers the run of the last. */
async function refreshDemo(gateway) {
  const url = `${gateway}/v1/connections/demo`;
  for (let count = 0; count < refreshes; count += 1) {
    const answer = await fetch(`${url}/token/refresh`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"force": true}',
    });
    if (!answer.ok) throw new Error(`a refresh answered ${answer.status}: ${await answer.text()}`);
  }
  const { items } = await (await fetch(`${url}/attempts?limit=1`)).json();
  return items[0].run_id;
}

async function startStack() {
  const bootstrap = join(root, 'dev', 'bootstrap.mjs');
  const child = spawn(process.execPath, [bootstrap, 'start'], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise((resolve) => void child.on('exit', resolve));
  const ready = new Promise((resolve) => {
    let said = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      said += text;
      if (said.includes('\nReady.')) resolve(true);
    });
  });
  const limit = sleep(startLimitMs, false, { ref: false });
  const isReady = await Promise.race([ready, ended.then(() => false), limit]);
  const stop = async () => {
    child.kill('SIGINT');
    await ended;
  };
  if (!isReady) {
    await stop();
    throw new Error('the stack did not start');
  }
  const file = join(root, '.token-manager', 'stack.json');
  return { address: JSON.parse(readFileSync(file, 'utf8')), stop };
}
