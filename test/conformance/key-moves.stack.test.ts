import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startCountingProvider, type CountingProvider } from '../support/counting-provider.ts';
import { kmsKeyName, startKmsServer, type KmsServer } from '../support/kms-server.ts';
import { runCommand } from '../support/run-command.ts';
import { callerOf, createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import type { Answer } from '../support/test-stack.ts';

/*
 * The wrapping key moves, both ways, as docs/security.md says: each step is rolled out, process by process,
 * and traffic goes on.
 */
const otherKeyName = 'projects/other/locations/global/keyRings/tokens/cryptoKeys/data-keys';
const connectionCount = 30;
const loadPauseMs = 20;
const refreshShare = 0.1;

let cluster: ServiceCluster;
let kms: KmsServer;
let provider: CountingProvider;
let current: ServiceProcess;
const ids = Array.from({ length: connectionCount }, (_, at) => `c-${at}`);

beforeAll(async () => {
  [cluster, kms, provider] = await Promise.all([
    createServiceCluster(),
    startKmsServer({ keyNames: [kmsKeyName, otherKeyName] }),
    startCountingProvider({ answerMs: 20, expiresInSeconds: 3_600 }),
  ]);
  current = await start({});
  const put = async (path: string, body: object) =>
    expect((await call('PUT', path, body)).status).toBe(201);
  await put('/v1/apps/app', {
    provider: 'generic',
    client_id: 'client',
    client_secrets: ['secret'],
    overrides: { token_url: provider.url, limits: { min_interval_seconds: 0 } },
  });
  for (const id of ids) {
    await put(`/v1/connections/${id}`, {
      tenant_id: 'tenant',
      app_id: 'app',
      access_token: `at-${id}`,
      refresh_token: `rt-${id}`,
      expires_in: 3_600,
    });
  }
}, 240_000);
afterAll(async () => {
  await cluster.close();
  kms.close();
  await provider.close();
});

const call = (method: string, path: string, body?: unknown): Promise<Answer> =>
  callerOf(current).call(method, path, body);

async function start(env: Record<string, string>): Promise<ServiceProcess> {
  // Every read opens what it answers, and every process is cold when it starts.
  const service = await cluster.start('all-in-one', { TOKEN_CACHE_SECONDS: '0', ...env });
  await service.waitUntil('ready');
  return service;
}

/** Callers go to the new process, then the old one ends. */
async function rollOut(env: Record<string, string>): Promise<void> {
  const before = current;
  current = await start(env);
  expect(await before.stop()).toEqual({ code: 0, signal: null });
}

async function keys(command: string, env: Record<string, string>): Promise<string> {
  const { code, stdout, stderr } = await runCommand(['keys', command], { ...cluster.env, ...env });
  expect(code, stderr).toBe(0);
  return stdout;
}

/** The names of what wraps the data keys. */
async function wrappingKeys(): Promise<string[]> {
  const { rows } = await cluster.database.pool.query<{ name: string }>(
    `select distinct case key_provider when 'local' then 'local'
       else regexp_replace(key_version, '/cryptoKeyVersions/.*', '') end as name from data_keys`,
  );
  return rows.map(({ name }) => name);
}

/** Reads, and now and then forced refreshes, until it is stopped; answers what went wrong, and how many there were. */
function startLoad() {
  let isOver = false;
  const wrong: unknown[] = [];
  const counts = { reads: 0, refreshes: 0 };
  async function loop(): Promise<void> {
    for (let at = 0; !isOver; at += 1) {
      const id = ids[at % ids.length] ?? '';
      const isRefresh = Math.random() < refreshShare;
      const asking = isRefresh
        ? call('POST', `/v1/connections/${id}/token/refresh`, { force: true, wait_seconds: 30 })
        : call('GET', `/v1/connections/${id}/token`);
      const answer = await asking.catch((error: unknown) => error as Error);
      if (answer instanceof Error) wrong.push(answer);
      else if (answer.status === 200) counts[isRefresh ? 'refreshes' : 'reads'] += 1;
      // A refresh that was under way when its worker ended is asked for again; a read never is.
      else if (!isRefresh || answer.body['retryable'] !== true) wrong.push(answer.body);
      await sleep(loadPauseMs);
    }
  }
  const loops = [loop(), loop()];
  return async () => {
    isOver = true;
    await Promise.all(loops);
    return { wrong, ...counts };
  };
}

it('moves from the local file to Cloud KMS, to another crypto key, and all the way back, under traffic', async () => {
  const api = { KMS_API_ENDPOINT: kms.endpoint };
  const withoutFile = { ...api, LOCAL_KEY_FILE: '' };
  const stop = startLoad();

  // The local file to Cloud KMS.
  await rollOut({ ...api, KMS_KEY_NAME: kmsKeyName, KEY_PROVIDER: 'local' });
  const both = { ...api, KMS_KEY_NAME: kmsKeyName, KEY_PROVIDER: 'google-kms' };
  await rollOut(both);
  expect(await wrappingKeys()).toEqual(['local']);
  expect(await keys('rewrap', both)).toMatch(/rewrapped {2}\S+cryptoKeyVersions\/1/);
  expect(await wrappingKeys()).toEqual([kmsKeyName]);
  expect(await keys('rewrap', both)).toMatch(/unchanged/);

  // To a crypto key of another project, without the file.
  const first = { KMS_KEY_NAME: kmsKeyName, KMS_OTHER_KEY_NAMES: otherKeyName };
  await rollOut({ ...withoutFile, ...first });
  const second = { KMS_KEY_NAME: otherKeyName, KMS_OTHER_KEY_NAMES: kmsKeyName };
  await rollOut({ ...withoutFile, ...second });
  await keys('rewrap', { ...withoutFile, ...second });
  expect(await wrappingKeys()).toEqual([otherKeyName]);
  const status = await keys('status', { ...withoutFile, ...second });
  expect(status).toContain(otherKeyName);
  expect(status).not.toContain(kmsKeyName);

  // Back to the first one, and to the file.
  await rollOut({ ...withoutFile, ...first });
  await keys('rewrap', { ...withoutFile, ...first });
  expect(await wrappingKeys()).toEqual([kmsKeyName]);
  const home = { ...api, KMS_KEY_NAME: kmsKeyName, KEY_PROVIDER: 'local' };
  await rollOut(home);
  await keys('rewrap', home);
  expect(await wrappingKeys()).toEqual(['local']);
  kms.stop();
  await rollOut({});

  const { wrong, reads, refreshes } = await stop();
  expect(wrong).toEqual([]);
  expect(reads).toBeGreaterThan(100);
  expect(refreshes).toBeGreaterThan(10);
  const statuses = await Promise.all(
    ids.map(async (id) => (await call('GET', `/v1/connections/${id}/token`)).status),
  );
  expect(new Set(statuses)).toEqual(new Set([200]));
  // No refresh token was ever sent twice.
  const sent = provider.sends.map(({ refreshToken }) => refreshToken);
  expect(new Set(sent).size).toBe(sent.length);
}, 400_000);
