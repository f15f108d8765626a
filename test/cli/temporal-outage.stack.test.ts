import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { findFreePort } from '../../dev/ports.ts';
import type { TemporalDevServer } from '../../dev/temporal-dev-server.ts';
import {
  startDemoProviderServer,
  type DemoProviderServer,
} from '../support/demo-provider-server.ts';
import { callerOf, createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import { startTestTemporal } from '../support/temporal-server.ts';

const outageMs = 65_000;
/** What a refresh may take to fail while Temporal is away. */
const failLimitMs = 6_000;
/** Longest pauses after an outage: probes 5 s, reconnecting 2 s, a worker that is created again 30 s. */
const returnLimitMs = 45_000;

const folder = mkdtempSync(join(tmpdir(), 'token-manager-outage-'));
let temporal: TemporalDevServer;
let cluster: ServiceCluster;
let provider: DemoProviderServer;
let port: number;

function startTemporal(): Promise<TemporalDevServer> {
  return startTestTemporal({
    cliPath: process.env['TEMPORAL_CLI_PATH'],
    namespace: inject('temporalNamespace'),
    directory: folder,
    port,
    dbFilename: join(folder, 'temporal.db'),
  });
}

beforeAll(async () => {
  port = await findFreePort();
  temporal = await startTemporal();
  [cluster, provider] = await Promise.all([
    createServiceCluster({ temporalAddress: temporal.address }),
    startDemoProviderServer(),
  ]);
}, 60_000);
afterAll(async () => {
  await cluster.close();
  provider.close();
  await temporal.stop();
  rmSync(folder, { recursive: true, force: true });
});

function getToken(gateway: ServiceProcess, id: string) {
  return callerOf(gateway).call('GET', `/v1/connections/${id}/token`);
}

describe('Temporal stopped for more than a minute', () => {
  it('fresh reads go on, refreshes fail soon, and both return without a restart of ours', async () => {
    const gateway = await cluster.startReady('gateway');
    const worker = await cluster.startReady('worker');
    const appId = await provider.registerApp(callerOf(gateway));
    const ids = await provider.addConnections(callerOf(gateway), appId, 3);
    const [fresh = '', expired = '', expiredToo = ''] = ids;
    expect((await getToken(gateway, fresh)).status).toBe(200);

    await temporal.stop();
    const stoppedAtMs = performance.now();
    await Promise.all([gateway.waitUntil('degraded'), worker.waitUntil('degraded')]);
    expect((await fetch(`${gateway.origin}/ready`)).status).toBe(200);
    expect((await getToken(gateway, fresh)).body).toMatchObject({ refreshed: false });

    const askedAtMs = performance.now();
    const refused = await getToken(gateway, expired);
    expect(performance.now() - askedAtMs).toBeLessThan(failLimitMs);
    expect(refused).toMatchObject({
      status: 503,
      body: { code: 'refresh_engine_unavailable', retryable: true },
    });
    expect(refused.headers.get('retry-after')).not.toBeNull();

    const lateGateway = await cluster.start('gateway');
    const lateWorker = await cluster.start('worker');
    await lateGateway.waitUntil('degraded');
    expect((await getToken(lateGateway, fresh)).status).toBe(200);
    await lateWorker.waitForOutput(/the worker does not poll/);
    await lateWorker.waitUntil('degraded');

    await sleep(outageMs - (performance.now() - stoppedAtMs));
    // Still asking, so that the pauses between attempts to connect have grown.
    expect((await getToken(gateway, expired)).status).toBe(503);
    temporal = await startTemporal();
    const all = [gateway, worker, lateGateway, lateWorker];
    await Promise.all(all.map((service) => service.waitUntil('ready', returnLimitMs)));
    // What the worker of before cannot do is not to be done by the other.
    expect(await lateWorker.stop()).toEqual({ code: 0, signal: null });
    for (const [asked, id] of [
      [gateway, expired],
      [lateGateway, expiredToo],
    ] as const) {
      const answer = await getToken(asked, id);
      expect(answer.status, JSON.stringify(answer.body)).toBe(200);
      expect(answer.body).toMatchObject({ refreshed: true });
    }
    expect(all.map((service) => service.hasExited())).toEqual([false, false, false, true]);
    expect(provider.stats().total).toMatchObject({ exchanges: 3, reuse: 0 });
  }, 180_000);
});
