import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { findFreePort } from '../../dev/ports.ts';
import type { TemporalDevServer } from '../../dev/temporal-dev-server.ts';
import {
  startDemoProviderServer,
  type DemoProviderServer,
} from '../support/demo-provider-server.ts';
import { callerOf, createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';
import { startTestTemporal } from '../support/temporal-server.ts';

const folder = mkdtempSync(join(tmpdir(), 'token-manager-lost-'));
let temporal: TemporalDevServer | undefined;
let cluster: ServiceCluster | undefined;
let provider: DemoProviderServer | undefined;

afterAll(async () => {
  await cluster?.close();
  provider?.close();
  await temporal?.stop();
  rmSync(folder, { recursive: true, force: true });
});

it('a worker whose Temporal refuses its polls is created again once Temporal takes them', async () => {
  const port = await findFreePort();
  const startTemporal = (namespace: string) =>
    startTestTemporal({
      cliPath: process.env['TEMPORAL_CLI_PATH'],
      namespace,
      directory: folder,
      port,
    });
  temporal = await startTemporal('ours');
  cluster = await createServiceCluster({ temporalAddress: temporal.address });
  provider = await startDemoProviderServer();
  const env = { TEMPORAL_NAMESPACE: 'ours' };
  const gateway = await cluster.start('gateway', env);
  const worker = await cluster.start('worker', env);
  await Promise.all([gateway.waitUntil('ready'), worker.waitUntil('ready')]);

  await temporal.stop();
  temporal = await startTemporal('somebody-elses');
  // NotFound is no outage to the SDK: it ends the worker.
  await worker.waitForOutput(/the worker does not poll/, 60_000);
  await worker.waitUntil('degraded');
  await temporal.stop();
  temporal = await startTemporal('ours');
  await worker.waitUntil('ready', 60_000);

  const appId = await provider.registerApp(callerOf(gateway));
  const [id = ''] = await provider.addConnections(callerOf(gateway), appId, 1);
  const answer = await callerOf(gateway).call('GET', `/v1/connections/${id}/token`);
  expect(answer.status, JSON.stringify(answer.body)).toBe(200);
  expect(worker.hasExited()).toBe(false);
  expect(await worker.stop()).toEqual({ code: 0, signal: null });
}, 180_000);
