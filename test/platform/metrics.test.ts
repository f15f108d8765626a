import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../platform/metrics.ts';

const createTestMetrics = () => createMetrics({ subsystem: 'test' });

describe('the metrics page', () => {
  it('has every metric under the prefix, and those of the process', async () => {
    const metrics = createTestMetrics();
    metrics.collectConnections(() => Promise.resolve({ active: 3 }));
    const { body, contentType } = await metrics.page();
    const types = new Map(
      [...body.matchAll(/^# TYPE token_manager_(\w+) (\w+)$/gm)].map(([, name, type]) => [
        name,
        type,
      ]),
    );
    expect(Object.fromEntries(types)).toEqual({
      certificate_expiry_seconds: 'gauge',
      http_requests_total: 'counter',
      http_request_duration_seconds: 'histogram',
      http_request_size_bytes: 'histogram',
      http_response_size_bytes: 'histogram',
      token_reads_total: 'counter',
      refreshes_total: 'counter',
      refresh_duration_seconds: 'histogram',
      refresh_joined_total: 'counter',
      provider_requests_total: 'counter',
      data_key_operations_total: 'counter',
      refreshed_but_not_stored: 'gauge',
      unseal_failures_total: 'counter',
      connections: 'gauge',
      sweep_lag_seconds: 'gauge',
      webhook_deliveries_total: 'counter',
    });
    expect(body).toContain('process_cpu_seconds_total');
    expect(contentType).toContain('text/plain');
  });

  it('shows at 0 what must be 0', async () => {
    const { body } = await createTestMetrics().page();
    expect(body).toContain('token_manager_refreshed_but_not_stored{subsystem="test"} 0');
    expect(body).toContain('token_manager_unseal_failures_total{subsystem="test"} 0');
  });

  it('counts by labels, in a registry of its own', async () => {
    const [one, other] = [createTestMetrics(), createTestMetrics()];
    const labels = { method: 'GET', route: '/v1/connections/{id}/token', status: 200 };
    one.httpRequests.inc({ ...labels, problem: '' });
    one.httpRequestDurationSeconds.observe(labels, 0.002);
    const { body } = await one.page();
    expect(body).toMatch(/http_requests_total\{method="GET",route="[^"]+",status="200",.*\} 1/);
    expect(body).toMatch(/http_request_duration_seconds_bucket\{le="0.0025",.*\} 1/);
    expect((await other.page()).body).not.toContain('method="GET"');
  });

  it('shows every status of connections, with 0 where there is none', async () => {
    const metrics = createTestMetrics();
    metrics.collectConnections(() => Promise.resolve({ active: 3, uncertain: 1 }));
    const { body } = await metrics.page();
    const counts = [...body.matchAll(/_connections\{status="(\w+)",.*\} (\d+)/g)];
    expect(Object.fromEntries(counts.map(([, status, count]) => [status, count]))).toEqual({
      active: '3',
      uncertain: '1',
      paused: '0',
      reauthorization_required: '0',
      revoking: '0',
    });
  });

  it('tells how far the sweep is behind, while PostgreSQL can be asked', async () => {
    const metrics = createTestMetrics();
    const lag = async () =>
      /^token_manager_sweep_lag_seconds\S* (\S+)$/m.exec((await metrics.page()).body)?.[1];
    expect(await lag()).toBeUndefined();
    metrics.collectSweepLag(() => Promise.resolve(12.5));
    expect(await lag()).toBe('12.5');
    metrics.collectSweepLag(() => Promise.reject(new Error('away')));
    expect(await lag()).toBeUndefined();
  });

  it('comes without connections when they cannot be counted, and forgets what they were', async () => {
    const metrics = createTestMetrics();
    metrics.collectConnections(() => Promise.resolve({ active: 3 }));
    expect((await metrics.page()).body).toContain('status="active"');
    metrics.collectConnections(() => Promise.reject(new Error('away')));
    expect((await metrics.page()).body).not.toContain('status="active"');
  });

  it('does not wait long for a count that hangs', async () => {
    const metrics = createTestMetrics();
    metrics.collectConnections(() => new Promise(() => undefined));
    const startedAtMs = performance.now();
    expect((await metrics.page()).body).not.toContain('status="active"');
    expect(performance.now() - startedAtMs).toBeLessThan(5_000);
  });
});
