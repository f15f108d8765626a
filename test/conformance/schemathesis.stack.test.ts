import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { mayBeLeftOut } from '../../dev/pinned-tools.mjs';
import { findSchemathesis } from '../../dev/schemathesis.mjs';
import { scopes } from '../../gateway/caller.ts';
import { keyHashOf } from '../../gateway/callers.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

const root = join(import.meta.dirname, '..', '..');
const settings = join(import.meta.dirname, 'schemathesis');
/** Nothing listens there: what a refresh of a generated app would call. */
const deadTokenUrl = 'http://127.0.0.1:9/token';
/** May do everything; without it every route but the public ones is 401, which is tried too. */
const key = 'the-key-of-the-test';
const folder = mkdtempSync(join(tmpdir(), 'schemathesis-'));
const installLimitMs = 300_000;
/** A minute and a half alone; longer beside other tests. */
const runLimitMs = 480_000;

let stack: TestStack;
let command: string | undefined;
let missing = '';

beforeAll(async () => {
  try {
    command = findSchemathesis(root, join(settings, 'requirements.txt'));
  } catch (error) {
    if (!mayBeLeftOut(error)) throw error;
    missing = String(error);
  }
  const policy = join(folder, 'callers.json');
  const caller = { name: 'schemathesis', key_hashes: [keyHashOf(key)], scopes, tenants: '*' };
  writeFileSync(policy, JSON.stringify({ callers: [caller] }));
  stack = await startTestStack({ env: { CALLERS_FILE: policy, HOST: '127.0.0.1' }, key });
  // What the examples of the document name.
  await stack.call('PUT', '/v1/apps/demo', {
    provider: 'generic',
    client_id: 'client',
    overrides: { token_url: deadTokenUrl, client_auth: 'none' },
  });
  await stack.call('PUT', '/v1/apps/salesforce', { provider: 'salesforce', client_id: 'client' });
  await stack.call('PUT', '/v1/connections/demo', {
    tenant_id: 't1',
    app_id: 'demo',
    access_token: 'a',
    refresh_token: 'r',
    expires_in: 86_400,
  });
}, installLimitMs);
afterAll(async () => {
  await stack.close();
  rmSync(folder, { recursive: true });
});

describe('the OpenAPI document, tried by Schemathesis', () => {
  it(
    'has nothing that the service does not do, and the service does nothing that it does not say',
    async (context) => {
      if (command === undefined) context.skip(`left out: ${missing}`);
      const end = await runSchemathesis(command ?? '', `${stack.origin}/openapi.json`);
      expect(end.failed, end.output).toBe(false);
      expect(end.output).toMatch(/Test cases:\s+\d{4} generated, \d{4} passed/);
    },
    runLimitMs,
  );
});

function runSchemathesis(program: string, document: string) {
  const args = [
    '--config-file',
    join(settings, 'schemathesis.toml'),
    'run',
    document,
    '--no-color',
    ...['--header', `Authorization: Bearer ${key}`],
  ];
  return new Promise<{ failed: boolean; output: string }>((resolve) => {
    // What it keeps for its own commands lies where it runs.
    const cwd = join(root, '.token-manager', 'cache');
    const options = { timeout: runLimitMs, maxBuffer: 2 ** 26, cwd };
    execFile(program, args, options, (error, stdout, stderr) => {
      resolve({ failed: error !== null, output: `${stdout}${stderr}` });
    });
  });
}
