import { Writable } from 'node:stream';
import { NativeConnection } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { composeServices, type Services } from '../../cli/compose-services.ts';
import { TokenManagerError } from '../../client/contract.ts';
import { systemClock } from '../../platform/clock.ts';
import { loadConfig } from '../../platform/config.ts';
import { createLogger } from '../../platform/log.ts';
import { createIdTracer } from '../../platform/tracer.ts';
import { createMetrics } from '../../platform/metrics.ts';
import { createKeyProviders, type KeyProvider } from '../../vault/key-provider.ts';
import { createVault } from '../../vault/create-vault.ts';
import { loadLocalKey } from '../../vault/local-key-file.ts';
import { createLocalKeyProvider } from '../../vault/local-key-provider.ts';
import { composeWorker, type ComposedWorker } from '../../worker/compose-worker.ts';
import {
  startScriptedTokenEndpoint,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { callerOf, createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';

const connectionCount = 5;

let cluster: ServiceCluster;
let endpoint: ScriptedTokenEndpoint;
let services: Services;
let worker: ComposedWorker;
let caller: ReturnType<typeof callerOf>;
const ids = Array.from({ length: connectionCount }, (_, index) => `c-${index}`);
let isAway = true;

/** The local keys, as a service that can be away. */
async function createFailingKeyProvider(keyFile: string) {
  const local = createLocalKeyProvider(await loadLocalKey(keyFile));
  const away = (): never => {
    throw new TokenManagerError('key_service_unavailable');
  };
  const provider: KeyProvider = {
    name: local.name,
    wrap: (key, context) => (isAway ? away() : local.wrap(key, context)),
    unwrap: (key, context) => (isAway ? away() : local.unwrap(key, context)),
  };
  return provider;
}

beforeAll(async () => {
  [cluster, endpoint] = await Promise.all([createServiceCluster(), startScriptedTokenEndpoint()]);
  caller = callerOf(await cluster.startReady('gateway'));
  await caller.call('PUT', '/v1/apps/app', {
    provider: 'generic',
    client_id: 'client',
    client_secrets: ['secret'],
    overrides: { token_url: endpoint.url },
  });
  for (const id of ids) {
    const { accessToken, refreshToken } = endpoint.grant();
    await caller.call('PUT', `/v1/connections/${id}`, {
      tenant_id: 'tenant',
      app_id: 'app',
      access_token: accessToken,
      refresh_token: refreshToken,
      expires_in: 0,
    });
  }

  const configFile = cluster.env['TEST_CONFIG_FILE'] ?? '';
  const config = loadConfig({ env: cluster.env, configFile });
  const destination = new Writable({ write: (_chunk, _encoding, done) => done() });
  const log = createLogger({ subsystem: 'test', level: 'error', pretty: false, destination });
  const metrics = createMetrics({ subsystem: 'test' });
  services = await composeServices({ config, log, metrics, tracer: createIdTracer() });
  await services.prepare({ allowVolatile: true, signal: new AbortController().signal });
  const keyFile = config.keys.localKeyFile ?? '';
  // A worker that has just started holds no data key yet.
  worker = composeWorker({
    ...services,
    vault: createVault({
      pool: services.pool,
      keyProviders: createKeyProviders(await createFailingKeyProvider(keyFile)),
      clock: systemClock,
      metrics,
      log,
    }),
    connect: () => NativeConnection.connect({ address: inject('temporalAddress') }),
    workflowBundlePath: inject('workflowBundlePath'),
  });
  await worker.firstAttempt;
}, 120_000);
afterAll(async () => {
  await worker.close();
  await services.close();
  await cluster.close();
  await endpoint.close();
});

function askAll() {
  return Promise.all(ids.map((id) => caller.call('GET', `/v1/connections/${id}/token`)));
}

describe('while the key service is away', () => {
  it('R39 nothing is spent that could not be sealed, and callers hear when to ask again', async () => {
    for (const { status, body, headers } of await askAll()) {
      expect([status, body['code']]).toEqual([503, 'key_service_unavailable']);
      expect(body).toMatchObject({ retryable: true, remedy: 'retry' });
      expect(headers.get('retry-after')).not.toBeNull();
    }
    expect(endpoint.truth()).toMatchObject({ exchanges: 0, connections: 0 });
    for (const id of ids) {
      const { body } = await caller.call('GET', `/v1/connections/${id}`);
      expect(body).toMatchObject({ status: 'active', reason: 'key_service_unavailable' });
    }

    isAway = false;
    const countFresh = async () => (await askAll()).filter(({ status }) => status === 200).length;
    await expect.poll(countFresh, { timeout: 60_000 }).toBe(connectionCount);
    expect(endpoint.truth()).toMatchObject({ exchanges: connectionCount, reuse: 0 });
  }, 120_000);
});
