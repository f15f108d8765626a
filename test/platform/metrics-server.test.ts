import { afterEach, describe, expect, it } from 'vitest';
import { createMetrics } from '../../platform/metrics.ts';
import { createMetricsServer, type MetricsServer } from '../../platform/metrics-server.ts';
import type { Readiness } from '../../platform/readiness.ts';

const servers: MetricsServer[] = [];
afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

async function serve(port = 0, status: Readiness['status'] = 'ready') {
  const server = await createMetricsServer({
    host: '127.0.0.1',
    port,
    metrics: createMetrics({ subsystem: 'test' }),
    readiness: () => ({ status, checks: { postgres: 'ok' } }),
    log: { error: () => undefined },
  });
  servers.push(server);
  return server;
}

describe('the metrics server', () => {
  it('serves metrics, ping and ready', async () => {
    const { url } = await serve();
    const page = await fetch(`${url}/metrics`);
    expect(page.headers.get('Content-Type')).toContain('text/plain; version=0.0.4');
    expect(await page.text()).toContain('token_manager_http_requests_total');
    expect(await (await fetch(`${url}/ping`)).json()).toEqual({ status: 'ok' });
    const ready = await fetch(`${url}/ready?verbose`);
    expect(ready.status).toBe(200);
    expect(await ready.json()).toEqual({ status: 'ready', checks: { postgres: 'ok' } });
  });

  it('answers 503 while not ready, 404 and 405 to what it does not have', async () => {
    const { url } = await serve(0, 'not_ready');
    const ready = await fetch(`${url}/ready`);
    expect([ready.status, ready.headers.get('Retry-After')]).toEqual([503, '1']);
    expect((await fetch(`${url}/v1/connections`)).status).toBe(404);
    const posted = await fetch(`${url}/metrics`, { method: 'POST', body: 'x' });
    expect([posted.status, posted.headers.get('Allow')]).toEqual([405, 'GET, HEAD']);
  });

  it('says which setting to change when its port is in use', async () => {
    const { url } = await serve();
    const port = Number(new URL(url).port);
    await expect(serve(port)).rejects.toThrow(
      `Port ${port} on 127.0.0.1 is in use: end what uses it, or set METRICS_PORT to a free port.`,
    );
  });
});
