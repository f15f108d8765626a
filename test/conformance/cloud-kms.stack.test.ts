import type { KeyManagementServiceClient } from '@google-cloud/kms';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkKeys } from '../../cli/doctor/check-keys.ts';
import { loadConfig } from '../../platform/config.ts';
import { createKmsAdmin, setVersionEnabled } from '../support/kms-admin.ts';
import { kmsKeyName, startKmsServer, type KmsServer } from '../support/kms-server.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { callerOf, createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';
import type { ServiceProcess } from '../support/service-process.ts';

/** A hundred in CI; KMS_TEST_CONNECTIONS=10000 (npm run kms-test) is what the issue asks for. */
const connectionCount = Number(process.env['KMS_TEST_CONNECTIONS'] ?? 100);
const concurrency = 20;
const longMs = 120_000 + connectionCount * 100;
const firstVersion = `${kmsKeyName}/cryptoKeyVersions/1`;

let cluster: ServiceCluster;
let kms: KmsServer;
let admin: KeyManagementServiceClient;
let endpoint: ScriptedTokenEndpoint;
let kmsEnv: Record<string, string>;
let warm: ServiceProcess;
const ids = Array.from({ length: connectionCount }, (_, index) => `c-${index}`);

beforeAll(async () => {
  [cluster, kms, endpoint] = await Promise.all([
    createServiceCluster(),
    startKmsServer(),
    startScriptedTokenEndpoint(),
  ]);
  admin = createKmsAdmin(kms.endpoint);
  kmsEnv = {
    LOCAL_KEY_FILE: '',
    KMS_KEY_NAME: kmsKeyName,
    KMS_API_ENDPOINT: kms.endpoint,
    // Every read opens what it answers.
    TOKEN_CACHE_SECONDS: '0',
  };
  warm = await start('all-in-one');
}, longMs);
afterAll(async () => {
  await cluster.close();
  await admin.close();
  kms.close();
  await endpoint.close();
});

async function start(command: 'gateway' | 'all-in-one', env: Record<string, string> = {}) {
  const service = await cluster.start(command, { ...kmsEnv, ...env });
  await service.waitUntil('ready');
  return service;
}

/** Calls for each of the ids, some at a time; answers in their order. */
async function forEach<Result>(all: string[], call: (id: string) => Promise<Result>) {
  const results: Result[] = [];
  for (let at = 0; at < all.length; at += concurrency) {
    results.push(...(await Promise.all(all.slice(at, at + concurrency).map(call))));
  }
  return results;
}

const read = (service: ServiceProcess, id: string) =>
  callerOf(service).call('GET', `/v1/connections/${id}/token`);
const statusesOf = (answers: { status: number }[]) => [
  ...new Set(answers.map(({ status }) => status)),
];
const expireAll = (some: string[]) =>
  cluster.database.pool.query(
    `update connections set expires_at = now() - interval '1 s', next_attempt_at = null where id = any($1)`,
    [some],
  );
const kmsCalls = () => kms.calls().encrypt + kms.calls().decrypt;
/** What doctor says of the keys, in the environment of a process. */
async function doctor(env: Record<string, string> = {}) {
  const { keys } = loadConfig({ env: { ...cluster.env, ...kmsEnv, ...env } });
  const findings = await checkKeys(keys, cluster.database.pool);
  return findings.map(({ state, message, remedy }) => `${state} ${message}: ${remedy ?? ''}`);
}

describe('with keys in Cloud KMS', () => {
  it(
    'refreshes and reads ask it for less than one key in a thousand',
    async () => {
      const caller = callerOf(warm);
      const app = await caller.call('PUT', '/v1/apps/app', {
        provider: 'generic',
        client_id: 'client',
        client_secrets: ['secret'],
        overrides: { token_url: endpoint.url },
      });
      expect(app.status, warm.output()).toBe(201);
      const imported = await forEach(ids, (id) => {
        const { accessToken, refreshToken } = endpoint.grant();
        return caller.call('PUT', `/v1/connections/${id}`, {
          tenant_id: 'tenant',
          app_id: 'app',
          access_token: accessToken,
          refresh_token: refreshToken,
          expires_in: 0,
        });
      });
      expect(statusesOf(imported)).toEqual([201]);
      // A data key for each of the five purposes: wrapped, and read back.
      expect(kms.calls()).toMatchObject({ encrypt: 5, decrypt: 5 });

      const before = kmsCalls();
      const startedAtMs = performance.now();
      expect(statusesOf(await forEach(ids, (id) => read(warm, id)))).toEqual([200]);
      expect(statusesOf(await forEach(ids, (id) => read(warm, id)))).toEqual([200]);
      expect(endpoint.truth()).toMatchObject({ exchanges: connectionCount, reuse: 0 });
      const operations = 2 * connectionCount;
      process.stderr.write(
        `Cloud KMS: ${operations} refreshes and reads in ${(performance.now() - startedAtMs).toFixed(0)} ms, ` +
          `${kmsCalls() - before} calls\n`,
      );
      expect(kmsCalls() - before).toBeLessThanOrEqual(operations / 1_000);
    },
    longMs,
  );

  it(
    'a cold gateway unwraps the one data key that its reads need, once',
    async () => {
      const cold = await start('gateway');
      const before = kms.calls();
      const answers = await Promise.all(ids.slice(0, 200).map((id) => read(cold, id)));
      expect(statusesOf(answers)).toEqual([200]);
      expect(kms.calls().decrypt - before.decrypt).toBe(1);
      expect(kms.calls().encrypt).toBe(before.encrypt);
      await cold.stop();
    },
    longMs,
  );

  it(
    'doctor tells a wrong name, a missing permission, a disabled and a destroyed version apart, and so does the log',
    async () => {
      expect(await doctor()).toEqual([
        expect.stringMatching(/^ok Cloud KMS wraps and unwraps with .*cryptoKeyVersions\/1/),
        expect.stringMatching(/^ok all 5 data keys/),
      ]);
      const cold = await start('gateway');
      const [id = ''] = ids;
      /** The reason, as the log of a cold gateway has it after a read, and doctor's sentences. */
      async function diagnose(reason: string) {
        expect((await read(cold, id)).body).toMatchObject({
          status: 503,
          code: 'key_service_unavailable',
          retryable: true,
        });
        await cold.waitForOutput(
          new RegExp(`"reason":"${reason}".*"msg":"a data key cannot be unwrapped"`),
        );
        // Nobody asks again within a second of a failure.
        await new Promise((resolve) => setTimeout(resolve, 1_100));
        return (await doctor()).join('\n');
      }

      kms.setFaults({ denied: ['decrypt'] });
      expect(await diagnose('permission_denied')).toMatch(
        /fault .*asked to decrypt.* denies it.*grant it roles\/cloudkms\.cryptoKeyDecrypter/,
      );
      kms.setFaults({});
      await setVersionEnabled(admin, firstVersion, false);
      expect(await diagnose('key_disabled')).toMatch(
        /fault 5 of 5 data keys do not open.*cryptoKeyVersions\/1, says that the key version is disabled: enable/,
      );
      await admin.destroyCryptoKeyVersion({ name: firstVersion });
      expect(await diagnose('key_destroyed')).toMatch(/fault .*destroyed or about to be: restore/);
      await admin.restoreCryptoKeyVersion({ name: firstVersion });
      await setVersionEnabled(admin, firstVersion, true);
      await expect.poll(async () => (await read(cold, id)).status).toBe(200);
      await cold.stop();

      const misspelt = { KMS_KEY_NAME: `${kmsKeyName}-misspelt` };
      expect((await doctor(misspelt)).join('\n')).toMatch(
        /fault .*asked to encrypt.*finds no such key: correct KMS_KEY_NAME/,
      );
      const wrong = await start('gateway', misspelt);
      // What is stored names its key and opens; what is new would be wrapped by a key that is not there.
      expect((await read(wrong, id)).status).toBe(200);
      await cluster.database.pool.query(
        `update data_keys set retired_at = now() where purpose = 'app'`,
      );
      const put = await callerOf(wrong).call('PUT', '/v1/apps/other', {
        provider: 'generic',
        client_id: 'client',
        client_secrets: ['secret'],
        overrides: { token_url: endpoint.url },
      });
      expect(put.body).toMatchObject({ status: 503, code: 'key_service_unavailable' });
      await wrong.waitForOutput(/"reason":"key_not_found".*"msg":"a data key cannot be wrapped"/);
      await wrong.stop();
    },
    longMs,
  );

  it(
    'R39 while it is down: warm processes go on, cold ones spend nothing, and all recover without a restart',
    async () => {
      const some = ids.slice(0, 20);
      const before = endpoint.truth();
      kms.stop();
      expect(statusesOf(await forEach(some, (id) => read(warm, id)))).toEqual([200]);
      await expireAll(some);
      expect(statusesOf(await forEach(some, (id) => read(warm, id)))).toEqual([200]);
      expect(endpoint.truth()).toMatchObject({
        exchanges: before.exchanges + some.length,
        reuse: 0,
      });

      const cold = await start('all-in-one');
      for (const { status, body, headers } of await forEach(some, (id) => read(cold, id))) {
        expect([status, body['code']]).toEqual([503, 'key_service_unavailable']);
        expect(headers.get('retry-after')).not.toBeNull();
      }
      // From here on there is only the cold worker.
      await warm.stop();
      await expireAll(some);
      const spent = endpoint.truth();
      for (const { status, body } of await forEach(some, (id) => read(cold, id))) {
        expect([status, body['code']]).toEqual([503, 'key_service_unavailable']);
      }
      expect(endpoint.truth()).toEqual(spent);
      const { body } = await callerOf(cold).call('GET', `/v1/connections/${some[0] ?? ''}`);
      expect(body).toMatchObject({ status: 'active', reason: 'key_service_unavailable' });

      await kms.resume();
      const freshOnes = async () =>
        (await forEach(some, (id) => read(cold, id))).filter(({ status }) => status === 200).length;
      await expect.poll(freshOnes, { timeout: 90_000, interval: 1_000 }).toBe(some.length);
      expect(endpoint.truth()).toMatchObject({
        exchanges: spent.exchanges + some.length,
        reuse: 0,
      });
    },
    longMs,
  );
});
