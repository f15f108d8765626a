import { writeFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createProgram } from '../../cli/create-program.ts';
import { findFreePort } from '../../dev/ports.ts';
import type { CommandEnd } from '../support/run-command.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';

const folder = mkdtempSync(join(tmpdir(), 'token-manager-operations-'));
let cluster: ServiceCluster;
let endpoint: ScriptedTokenEndpoint;

/** The command in this process: a process of its own takes seconds to begin. */
async function run(
  args: string[],
  { env = {}, body }: { env?: Record<string, string>; body?: unknown } = {},
): Promise<CommandEnd> {
  const [stdout, stderr]: [string[], string[]] = [[], []];
  for (const [name, value] of Object.entries({ ...cluster.env, ...env })) vi.stubEnv(name, value);
  vi.spyOn(console, 'log').mockImplementation((text) => void stdout.push(`${String(text)}\n`));
  vi.spyOn(console, 'error').mockImplementation((text) => void stderr.push(`${String(text)}\n`));
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => stderr.push(String(text)) > 0);
  vi.spyOn(process, 'exit').mockImplementation((code) => {
    throw new Error(`exit ${String(code)}`);
  });
  const file = join(folder, 'body.json');
  writeFileSync(file, JSON.stringify(body ?? null));
  try {
    const program = createProgram({
      build: { name: '', version: '0.0.0', commit: '', builtAt: null, node: '', temporalSdk: '' },
      workflowBundlePath: '',
      configFile: cluster.env['TEST_CONFIG_FILE'] ?? '',
      allowVolatileDatabase: true,
    });
    const given = body === undefined ? args : [...args, file];
    const exit = await program.parseAsync(given, { from: 'user' }).then(
      () => undefined,
      (error: unknown) => /^exit (\d)$/.exec((error as Error).message)?.[1] ?? String(error),
    );
    const code = Number(exit ?? process.exitCode ?? 0);
    return { code, stdout: stdout.join(''), stderr: stderr.join('') };
  } finally {
    process.exitCode = undefined;
    vi.restoreAllMocks();
    vi.unstubAllEnvs();
  }
}

/** Standard output of a command that must succeed, as JSON. */
async function json(args: string[], body?: unknown): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await run([...args, '--json'], { body });
  expect([code, stderr]).toEqual([0, expect.any(String)]);
  return JSON.parse(stdout) as Record<string, unknown>;
}

/** The audit lines of a command. */
function auditOf({ stderr }: CommandEnd): Record<string, unknown>[] {
  return stderr
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ audit }) => audit === true);
}

beforeAll(async () => {
  cluster = await createServiceCluster();
  endpoint = await startScriptedTokenEndpoint();
  const app = {
    provider: 'generic',
    client_id: 'client',
    client_secrets: ['client-secret-canary'],
    overrides: { token_url: endpoint.url },
  };
  const put = await run(['apps', 'put', 'a1'], { body: app });
  expect([put.code, put.stderr]).toEqual([0, expect.stringContaining('"audit":true')]);
  expect(put.stdout + put.stderr).not.toContain('canary');
  await cluster.startReady('worker');
}, 90_000);
afterAll(async () => {
  await cluster.close();
  await endpoint.close();
  rmSync(folder, { recursive: true });
});

describe('the commands of operators', () => {
  it('show and list apps and connections, as tables and as the service answers', async () => {
    for (const [id, tenant] of [
      ['c1', 'acme'],
      ['c2', 'globex'],
    ] as const) {
      const body = { tenant_id: tenant, app_id: 'a1', access_token: `at-canary-${id}` };
      expect(await json(['connections', 'put', id], body)).toMatchObject({ id });
    }
    expect(await json(['apps', 'show', 'a1'])).toMatchObject({ id: 'a1', client_secret_count: 1 });
    const table = await run(['connections', 'list', '--tenant', 'acme']);
    expect(table.stdout).toMatch(/^ID +TENANT +APP +STATUS[^\n]*\nc1 +acme +a1 +active[^\n]*\n$/);
    const page = await json(['connections', 'list', '--limit', '1']);
    expect(page).toMatchObject({ items: [{ id: 'c1' }] });
    const next = await json(['connections', 'list', '--cursor', String(page['next_cursor'])]);
    expect(next).toMatchObject({ items: [{ id: 'c2' }], next_cursor: null });
    const shown = await run(['connections', 'show', 'c1']);
    expect(shown.stdout).toMatch(/^status +active$/m);
    expect(shown.stdout + table.stdout).not.toContain('canary');
  });

  it('refresh, pause, resume and delete, each with a line of audit', async () => {
    const { accessToken, refreshToken } = endpoint.grant();
    const body = {
      tenant_id: 'acme',
      app_id: 'a1',
      access_token: accessToken,
      refresh_token: refreshToken,
    };
    await json(['connections', 'put', 'life'], body);
    const refreshed = await run(['connections', 'refresh', 'life']);
    expect([refreshed.code, refreshed.stderr]).toEqual([0, expect.any(String)]);
    expect(refreshed.stdout).toMatch(/^life has token version 2, valid until /);
    expect(endpoint.sendsOf(refreshToken)).toBe(1);
    expect(auditOf(refreshed)).toEqual([
      expect.objectContaining({
        action: 'POST /v1/connections/{id}/token/refresh',
        connection_id: 'life',
        caller: expect.stringMatching(/^cli:/) as string,
        outcome: 'done',
      }),
    ]);
    expect((await json(['connections', 'attempts', 'life']))['items']).toMatchObject([
      { outcome: 'refreshed', trigger: 'force' },
    ]);
    expect((await run(['connections', 'pause', 'life', 'nobody'])).stdout).toBe(
      'life is paused.\n',
    );
    const refused = await run(['connections', 'refresh', 'life']);
    expect([refused.code, refused.stderr]).toEqual([
      1,
      expect.stringMatching(/\(connection_paused of life\)\nWhat to do: /),
    ]);
    expect((await run(['connections', 'resume', 'life'])).stdout).toContain('resumed, and active');
    const gone = await run(['connections', 'delete', 'life', 'nobody']);
    expect(gone.code).toBe(1);
    expect(gone.stdout).toMatch(/^life is deleted/);
    expect(gone.stderr).toContain('nobody: There is no such connection. (connection_not_found');
    expect(auditOf(gone).map(({ outcome }) => outcome)).toEqual(['done', 'connection_not_found']);
    expect((await run(['apps', 'delete', 'a1'])).stderr).toContain('app_in_use');
    expect((await run(['apps', 'resume', 'a1'])).code).toBe(0);
  });

  it('tell what is wrong with a body, and with their own use', async () => {
    const bad = await run(['connections', 'put', 'c3'], { body: { tenant_id: 7 } });
    expect(bad.code).toBe(1);
    expect(bad.stderr).toContain('  /tenant_id: must be a string\n');
    expect(bad.stderr).toContain('  /app_id: is required\n');
    for (const args of [
      ['connections', 'list', '--limit', '0'],
      ['connections', 'nothing'],
      ['apps', 'show'],
    ]) {
      expect([args, (await run(args)).code]).toEqual([args, 2]);
    }
  });

  it('say so when PostgreSQL or Temporal is away', async () => {
    const port = await findFreePort();
    const env = { DATABASE_URL: `postgres://user:canary@127.0.0.1:${port}/tokens` };
    const dead = await run(['connections', 'list'], { env });
    expect(dead).toMatchObject({ code: 1, stdout: '' });
    expect(dead.stderr).toMatch(/^PostgreSQL at 127\.0\.0\.1:\d+\/tokens cannot be reached: .*\n$/);
    const body = { tenant_id: 'acme', app_id: 'a1', refresh_token: 'rt' };
    await json(['connections', 'put', 'stuck'], body);
    const away = await run(['connections', 'refresh', 'stuck'], {
      env: { TEMPORAL_ADDRESS: `127.0.0.1:${port}` },
    });
    expect([away.code, away.stderr]).toEqual([
      1,
      expect.stringContaining('(refresh_engine_unavailable of stuck)'),
    ]);
  });
});

it('an import refuses a file that is not there, and a folder', async () => {
  const missing = await run(['connections', 'import', join(folder, 'nothing')]);
  expect([missing.code, missing.stderr]).toEqual([
    1,
    expect.stringContaining('nothing cannot be read: ENOENT'),
  ]);
  expect((await run(['connections', 'import', folder])).stderr).toContain('is a folder');
});

describe('token-manager events', () => {
  it('lists the feed, and where it goes on', async () => {
    endpoint.script({ status: 400, body: { error: 'invalid_grant' } });
    const body = { tenant_id: 'acme', app_id: 'a1', refresh_token: 'rt-over' };
    await json(['connections', 'put', 'over'], body);
    expect((await run(['connections', 'refresh', 'over'])).stderr).toContain(
      '(reauthorization_required of over, revoked)',
    );
    const feed = await json(['events', 'list']);
    expect(feed['items']).toMatchObject([
      { type: 'connection.reauthorization_required', connection_id: 'over' },
    ]);
    const table = await run(['events', 'list', '--after', String(feed['next_cursor'])]);
    expect(table.stdout).toBe('There are no events there.\n');
    expect((await run(['events', 'list', '--after', 'x'])).code).toBe(1);
  });

  it('shows how endpoints fare and what they refused, and has it sent again', async () => {
    const file = join(folder, 'webhooks.json');
    const secret = `whsec_${Buffer.alloc(24).toString('base64')}`;
    const hook = { url: 'https://hooks.example.com/', secrets: [secret] };
    writeFileSync(
      file,
      JSON.stringify({
        endpoints: [
          { name: 'crm', ...hook },
          { name: 'new', ...hook },
        ],
      }),
    );
    const env = { WEBHOOKS_FILE: file };
    const { pool } = cluster.database;
    await pool.query(
      `insert into webhook_endpoints (name, xid, event_id, failing_since, failure_count, failure_code,
         next_attempt_at, parked_at)
       values ('crm', '1', 0, now() - interval '4 days', 40, 'http_500', now() + interval '1 h', now())`,
    );
    await pool.query(
      `insert into webhook_deliveries (endpoint, event_id, attempts, failure_code)
       select 'crm', id, 300, 'http_422' from events limit 1`,
    );
    const table = await run(['events', 'endpoints'], { env });
    expect(table.stdout).toMatch(/^crm +parked .* 40 +http_500 +0 +1$/m);
    expect(table.stdout).toMatch(/^new +not served yet/m);
    const refused = await json(['events', 'refused', 'crm']);
    expect(refused['items']).toMatchObject([
      { attempts: 300, failure_code: 'http_422', next_attempt_at: null },
    ]);
    const retried = await run(['events', 'retry', 'crm'], { env });
    expect(retried).toMatchObject({
      code: 0,
      stdout: expect.stringContaining('crm is parked no longer') as string,
    });
    expect(auditOf(retried)).toMatchObject([{ action: 'events retry', webhook: 'crm' }]);
    const { rows } = await pool.query(
      `select w.parked_at, w.next_attempt_at as pause, d.next_attempt_at <= now() as is_due
       from webhook_endpoints w join webhook_deliveries d on d.endpoint = w.name`,
    );
    expect(rows).toEqual([{ parked_at: null, pause: null, is_due: true }]);
    expect(await run(['events', 'retry', 'nobody'])).toMatchObject({ code: 1 });
  });
});
