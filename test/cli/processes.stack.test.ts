import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { refreshWorkflowId } from '../../client/contract.ts';
import {
  startDemoProviderServer,
  type DemoProviderServer,
} from '../support/demo-provider-server.ts';
import { startFaultProxy, type FaultProxy } from '../support/fault-proxy.ts';
import { callerOf, createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';
import type { ServiceProcess } from '../support/service-process.ts';
import type { Answer } from '../support/test-stack.ts';

/** Enough for a request to have started or joined its refresh. */
const joinMs = 500;
/** Signals that come closer together count as one. */
const longerThanOneCtrlCMs = 600;
const oneExchange = { exchanges: 1, reuse: 0, family_revocations: 0 };

let cluster: ServiceCluster;
let provider: DemoProviderServer;
let proxy: FaultProxy;
let gateways: ServiceProcess[];
let workers: ServiceProcess[];
let appId: string;

beforeAll(async () => {
  [cluster, provider] = await Promise.all([createServiceCluster(), startDemoProviderServer()]);
  proxy = await startFaultProxy(new URL(provider.tokenUrl).origin);
  // One after the other: every one of them migrates, and two cores compile one at a time.
  const [first, second] = [
    await cluster.startReady('gateway'),
    await cluster.startReady('gateway'),
  ];
  gateways = [first, second];
  workers = [await cluster.startReady('worker'), await cluster.startReady('worker')];
  appId = await provider.registerApp(callerOf(first), `${proxy.origin}/token`);
}, 120_000);
afterAll(async () => {
  await cluster.close();
  await proxy.close();
  provider.close();
});

function gateway(index: number): ServiceProcess {
  const found = gateways[index % gateways.length];
  if (found === undefined) throw new Error('no gateway runs');
  return found;
}

async function addConnection(): Promise<string> {
  const [id] = await provider.addConnections(callerOf(gateway(0)), appId, 1);
  if (id === undefined) throw new Error('no connection was made');
  return id;
}

function getToken(of: ServiceProcess, id: string, waitSeconds = 30): Promise<Answer> {
  return callerOf(of).call('GET', `/v1/connections/${id}/token?wait_seconds=${waitSeconds}`);
}

function exchangesOf(id: string): unknown {
  return provider.stats().connections[id];
}

function distinct(values: unknown[]): unknown[] {
  return [...new Set(values)];
}

/** Runs of the refresh of a connection that Temporal knows. */
async function countRuns(id: string): Promise<number> {
  const connection = await Connection.connect({ address: inject('temporalAddress') });
  const client = new Client({ connection, namespace: inject('temporalNamespace') });
  const { count } = await client.workflow.count(`WorkflowId = "${refreshWorkflowId(id)}"`);
  await connection.close();
  return count;
}

/** The provider has the request and answers when `release` is called. */
function holdNextExchange(): { arrived: Promise<void>; release: () => void } {
  let release: () => void = () => undefined;
  const until = new Promise<void>((resolve) => (release = resolve));
  proxy.inject({ kind: 'hold', when: 'after', until });
  return { arrived: proxy.waitForRequests(proxy.truth().requests + 1), release };
}

describe('two gateway processes and two worker processes', () => {
  it('a thousand callers of one expired connection share one exchange, and none gets an error', async () => {
    const id = await addConnection();
    const answers = await Promise.all(
      Array.from({ length: 1_000 }, (_, index) => getToken(gateway(index), id)),
    );
    expect(distinct(answers.map(({ status }) => status))).toEqual([200]);
    expect(distinct(answers.map(({ body }) => body['access_token']))).toHaveLength(1);
    expect(distinct(answers.map(({ body }) => body['token_version']))).toEqual([2]);
    expect(exchangesOf(id)).toEqual(oneExchange);
  }, 60_000);

  it('a provider that takes 12 s gets one send from a hundred callers who wait 30 s, and all are served', async () => {
    const id = await addConnection();
    const before = proxy.truth().requests;
    proxy.inject({ kind: 'delay', when: 'after', ms: 12_000 });
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, index) => getToken(gateway(index), id)),
    );
    expect(distinct(answers.map(({ status }) => status))).toEqual([200]);
    expect(proxy.truth().requests - before).toBe(1);
    expect(exchangesOf(id)).toEqual(oneExchange);
  }, 60_000);

  it('a valid token forced through both is asked for six times a minute in all', async () => {
    const id = await addConnection();
    expect((await getToken(gateway(0), id)).status).toBe(200);
    const codes: unknown[] = [];
    for (let round = 0; round < 8; round += 1) {
      const path = `/v1/connections/${id}/token/refresh`;
      const asked = { force: true, wait_seconds: 30 };
      const { status, body } = await callerOf(gateway(round)).call('POST', path, asked);
      codes.push(status === 200 ? 200 : body['code']);
    }
    const limited = ['refresh_limited', 'refresh_limited'];
    expect(codes).toEqual([...Array.from({ length: 6 }, () => 200), ...limited]);
    expect(exchangesOf(id)).toEqual({ ...oneExchange, exchanges: 7 });
  }, 60_000);

  it('R41 a gateway killed during a refresh: callers who ask again join the same refresh', async () => {
    const id = await addConnection();
    const exchange = holdNextExchange();
    const doomed = await cluster.startReady('gateway');
    const lost = getToken(doomed, id).catch((error: unknown) => error);
    await exchange.arrived;
    doomed.kill('SIGKILL');
    expect(await lost).toBeInstanceOf(Error);
    const restarted = await cluster.startReady('gateway');
    const again = [getToken(restarted, id), getToken(gateway(0), id), getToken(gateway(1), id)];
    await sleep(joinMs);
    exchange.release();
    const answers = await Promise.all(again);
    expect(distinct(answers.map(({ status }) => status))).toEqual([200]);
    expect(distinct(answers.map(({ body }) => body['token_version']))).toEqual([2]);
    expect(exchangesOf(id)).toEqual(oneExchange);
    expect(await countRuns(id)).toBe(1);
    expect(await restarted.stop()).toEqual({ code: 0, signal: null });
  }, 60_000);

  it('SIGTERM of a worker in the middle of an exchange: its answer is stored, then it ends', async () => {
    const id = await addConnection();
    // Only the worker that is told to end may have the exchange.
    await Promise.all(workers.map((worker) => worker.stop()));
    const worker = await cluster.startReady('worker');
    const exchange = holdNextExchange();
    const asked = getToken(gateway(0), id);
    await exchange.arrived;
    const stopped = worker.stop();
    await worker.waitForOutput(/ending/);
    exchange.release();
    expect(await stopped).toEqual({ code: 0, signal: null });
    const { rows } = await cluster.database.pool.query<{ token_version: string }>(
      'select token_version from connections where id = $1',
      [id],
    );
    expect(Number(rows[0]?.token_version)).toBe(2);
    workers = [await cluster.startReady('worker')];
    expect((await asked).status).toBe(200);
    expect(exchangesOf(id)).toEqual(oneExchange);
  }, 180_000);

  it('SIGTERM of a gateway: the request that waits is answered, /ready says 503, no connection is taken', async () => {
    const id = await addConnection();
    const leaving = await cluster.startReady('gateway');
    const exchange = holdNextExchange();
    const asked = getToken(leaving, id);
    await exchange.arrived;
    const stopped = leaving.stop();
    await leaving.waitForOutput(/ending/);
    expect((await fetch(`${leaving.metricsOrigin}/ready`)).status).toBe(503);
    await expect(fetch(`${leaving.origin}/ping`)).rejects.toThrow('fetch failed');
    exchange.release();
    expect((await asked).body).toMatchObject({ token_version: 2, refreshed: true });
    expect(await stopped).toEqual({ code: 0, signal: null });
    expect(exchangesOf(id)).toEqual(oneExchange);
  }, 60_000);

  it('a second signal ends a draining gateway at once', async () => {
    const id = await addConnection();
    const leaving = await cluster.startReady('gateway');
    const exchange = holdNextExchange();
    const lost = getToken(leaving, id).catch((error: unknown) => error);
    await exchange.arrived;
    leaving.kill('SIGTERM');
    await leaving.waitForOutput(/ending/);
    await sleep(longerThanOneCtrlCMs);
    expect(leaving.hasExited()).toBe(false);
    leaving.kill('SIGTERM');
    expect(await leaving.exited).toEqual({ code: 143, signal: null });
    expect(await lost).toBeInstanceOf(Error);
    exchange.release();
    expect((await getToken(gateway(0), id)).status).toBe(200);
  }, 60_000);
});
