import { randomBytes } from 'node:crypto';
import { Client, Connection } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { findFreePort } from '../../dev/ports.ts';
import { refreshHeaderNames, refreshWorkflowId } from '../../client/contract.ts';
import {
  startDemoProviderServer,
  type DemoProviderServer,
} from '../support/demo-provider-server.ts';
import { seriesAskedFor } from '../support/asked-series.ts';
import { parseMetrics } from '../support/parse-metrics.ts';
import { callerOf, createServiceCluster, type ServiceCluster } from '../support/service-cluster.ts';
import type { ServiceProcess } from '../support/service-process.ts';

/** Every metric of our own, by docs/operations.md. */
const ours = {
  http_requests_total: ['method', 'problem', 'route', 'status'],
  http_request_duration_seconds: ['method', 'route', 'status'],
  http_request_size_bytes: ['method', 'route', 'status'],
  http_response_size_bytes: ['method', 'route', 'status'],
  token_reads_total: ['source'],
  refreshes_total: ['outcome', 'provider', 'trigger'],
  refresh_duration_seconds: ['phase', 'provider'],
  refresh_joined_total: [],
  provider_requests_total: ['class', 'provider'],
  connections: ['status'],
  sweep_lag_seconds: [],
  data_key_operations_total: ['op', 'outcome', 'provider'],
  refreshed_but_not_stored: [],
  unseal_failures_total: [],
};

/** Those of the SDK that operators watch. */
const ofTheSdk = [
  'temporal_request_total',
  'temporal_request_latency_seconds',
  'temporal_long_request_total',
  'temporal_activity_schedule_to_start_latency_seconds',
  'temporal_activity_execution_latency_seconds',
  'temporal_workflow_task_schedule_to_start_latency_seconds',
  'temporal_workflow_endtoend_latency_seconds',
  'temporal_workflow_completed_total',
  'temporal_worker_task_slots_available',
  'temporal_worker_task_slots_used',
  'temporal_num_pollers',
  'temporal_sticky_cache_size',
];

const traceId = randomBytes(16).toString('hex');
const traceparent = `00-${traceId}-${randomBytes(8).toString('hex')}-01`;
const requestId = 'observed-request';

let cluster: ServiceCluster;
let provider: DemoProviderServer;
let service: ServiceProcess;
let pprofPort: number;
let connectionId: string;
let answerHeaders: Headers;

beforeAll(async () => {
  [cluster, provider] = await Promise.all([createServiceCluster(), startDemoProviderServer()]);
  pprofPort = await findFreePort();
  service = await cluster.start('all-in-one', {
    LOG_HTTP_REQUESTS: 'true',
    PPROF_PORT: String(pprofPort),
  });
  await service.waitUntil('ready');
  const appId = await provider.registerApp(callerOf(service));
  [connectionId = ''] = await provider.addConnections(callerOf(service), appId, 1);
  const answer = await fetch(`${service.origin}/v1/connections/${connectionId}/token`, {
    headers: { traceparent, 'X-Request-Id': requestId },
  });
  expect(await answer.json()).toMatchObject({ refreshed: true });
  answerHeaders = answer.headers;
  // A caller is answered before its run has ended; lines and metrics tell of the end too.
  await vi.waitUntil(
    async () => (await scrape()).families.has('temporal_workflow_completed_total'),
    { timeout: 30_000 },
  );
}, 120_000);
afterAll(async () => {
  await cluster.close();
  provider.close();
});

async function scrape() {
  const page = await fetch(`${service.metricsOrigin}/metrics`);
  return parseMetrics(await page.text());
}

/** The lines so far, each of which is JSON. */
function lines(): Record<string, unknown>[] {
  return service
    .output()
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

describe('the metrics page of a running service', () => {
  it('has exactly our metrics and their labels, and those of the SDK beside them', async () => {
    const { families } = await scrape();
    const found = [...families.values()]
      // Without TLS there is no certificate to expire; what is not fed is missing below.
      .filter(({ name, labels }) => name.startsWith('token_manager_') && labels.size > 0)
      .map(({ name, labels }) => [name.replace('token_manager_', ''), [...labels].toSorted()]);
    expect(Object.fromEntries(found)).toEqual(
      Object.fromEntries(
        Object.entries(ours).map(([name, labels]) => [name, [...labels, 'subsystem'].toSorted()]),
      ),
    );
    expect([...families.keys()]).toEqual(expect.arrayContaining(ofTheSdk));
  });

  it('has every series that the dashboard and the alerts ask for, with the labels they name', async () => {
    const { families } = await scrape();
    const asked = seriesAskedFor();
    expect(asked.length).toBeGreaterThan(40);
    const familyOf = (name: string) =>
      families.get(name) ?? families.get(name.replace(/_(?:bucket|sum|count)$/, ''));
    const missing = asked.filter(({ name }) => familyOf(name) === undefined);
    // It counts what has not happened here.
    expect([...new Set(missing.map(({ name }) => name))]).toEqual([
      'temporal_workflow_failed_total',
    ]);
    const strange = asked.filter(({ name, labels }) => {
      const found = familyOf(name)?.labels ?? new Set();
      return found.size > 0 && labels.some((label) => !found.has(label));
    });
    expect(strange).toEqual([]);
  });

  it('has nothing that Prometheus would complain of', async () => {
    expect((await scrape()).complaints).toEqual([]);
  });

  it('is fed by a refresh: every phase, the outcome, the provider, the keys', async () => {
    const { valueOf } = await scrape();
    const counts = ['queue', 'provider', 'commit'].map((phase) =>
      valueOf('token_manager_refresh_duration_seconds_count', { phase }),
    );
    expect(counts).toEqual([1, 1, 1]);
    const queued = valueOf('token_manager_refresh_duration_seconds_sum', { phase: 'queue' });
    expect(queued).toBeGreaterThan(0);
    expect(queued).toBeLessThan(30);
    const refreshed = { outcome: 'refreshed', trigger: 'read' };
    expect(valueOf('token_manager_refreshes_total', refreshed)).toBe(1);
    expect(valueOf('token_manager_provider_requests_total', { class: 'none' })).toBe(1);
    expect(valueOf('token_manager_token_reads_total', { source: 'refresh' })).toBe(1);
    expect(
      valueOf('token_manager_data_key_operations_total', { op: 'wrap', outcome: 'ok' }),
    ).toBeGreaterThan(0);
    expect(valueOf('token_manager_unseal_failures_total', {})).toBe(0);
    expect(valueOf('token_manager_connections', { status: 'active' })).toBe(1);
    expect(
      valueOf('temporal_workflow_completed_total', { workflow_type: 'refreshConnection' }),
    ).toBe(1);
  });

  it('counts what does not open', async () => {
    await cluster.database.pool.query(
      `update connections set sealed_access_token = set_byte(sealed_access_token,
         length(sealed_access_token) - 1,
         get_byte(sealed_access_token, length(sealed_access_token) - 1) # 1) where id = $1`,
      [connectionId],
    );
    const refused = await callerOf(service).call(
      'POST',
      `/v1/connections/${connectionId}/token/refresh`,
    );
    expect(refused.status).toBe(500);
    expect((await scrape()).valueOf('token_manager_unseal_failures_total', {})).toBe(1);
  });
});

describe('the trace of a request', () => {
  it('is answered, with the request id', () => {
    expect(answerHeaders.get('traceparent')).toBe(traceparent);
    expect(answerHeaders.get('X-Request-Id')).toBe(requestId);
  });

  it('is in the gateway’s line of the request and in the Activity’s of the refresh', () => {
    const request = lines().find(
      ({ msg, request_id }) => msg === 'request' && request_id === requestId,
    );
    expect(request).toMatchObject({ msg: 'request', trace_id: traceId, status: 200 });
    const refresh = lines().find(({ msg }) => msg === 'refresh');
    expect(refresh).toMatchObject({
      connection_id: connectionId,
      trace_id: traceId,
      outcome: 'refreshed',
      trigger: 'read',
    });
    expect(refresh?.['run_id']).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('goes with the run in a header, beside the input and not in it', async () => {
    const connection = await Connection.connect({ address: inject('temporalAddress') });
    const client = new Client({ connection, namespace: inject('temporalNamespace') });
    const { events } = await client.workflow
      .getHandle(refreshWorkflowId(connectionId))
      .fetchHistory();
    await connection.close();
    const started = events?.[0]?.workflowExecutionStartedEventAttributes;
    const carried = started?.header?.fields?.[refreshHeaderNames.trace]?.data;
    expect(Buffer.from(carried ?? []).toString()).toBe(JSON.stringify({ traceparent }));
    expect(Buffer.from(started?.input?.payloads?.[0]?.data ?? []).toString()).not.toContain(
      traceId,
    );
  });
});

it('profiles of a running service are served on PPROF_PORT', async () => {
  const profile = await fetch(`http://127.0.0.1:${pprofPort}/debug/pprof/heap`);
  expect([profile.status, profile.headers.get('Content-Type')]).toEqual([
    200,
    'application/octet-stream',
  ]);
  const other = await cluster.start('gateway', { PPROF_PORT: String(pprofPort) });
  expect((await other.exited).code).toBe(1);
  expect(other.output()).toContain(
    `Port ${pprofPort} on 127.0.0.1 is in use: end what uses it, or set PPROF_PORT to a free port.`,
  );
});
