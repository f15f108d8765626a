import { describe, expect, it } from 'vitest';
import { call, createFakeGateway } from './gateway-fakes.ts';

const tokenPath = '/v1/connections/c1/token';

describe('request ids', () => {
  it('are the caller’s when sane, in header, problem and log alike', async () => {
    const { app, lines } = createFakeGateway();
    const headers = { 'X-Request-Id': 'trace-42/a' };
    const answer = await call(app, 'GET', '/v1/connections/none/token', undefined, { headers });
    expect(answer.headers.get('X-Request-Id')).toBe('trace-42/a');
    expect(answer.json['request_id']).toBe('trace-42/a');
    expect(lines.join('')).toContain('"request_id":"trace-42/a"');
  });

  it.each(['', 'a b', 'x'.repeat(129), '"quote', 'ü'])(
    'are made anew instead of %j',
    async (id) => {
      const { app } = createFakeGateway({ newRequestId: () => 'made-here' });
      const answer = await call(app, 'GET', tokenPath, undefined, {
        headers: { 'X-Request-Id': id },
      });
      expect(answer.headers.get('X-Request-Id')).toBe('made-here');
    },
  );
});

describe('the log', () => {
  it('has one line a request, with the template and never the query', async () => {
    const { app, lines } = createFakeGateway();
    await call(app, 'GET', `${tokenPath}?min_ttl_seconds=61`);
    const requests = lines.filter((each) => each.includes('"msg":"request"'));
    expect(requests).toHaveLength(1);
    const line = JSON.parse(requests[0] ?? '') as Record<string, unknown>;
    expect(line).toMatchObject({
      msg: 'request',
      method: 'GET',
      route: '/v1/connections/{id}/token',
      status: 200,
      connection_id: 'c1',
    });
    expect(typeof line['duration_ms']).toBe('number');
    expect(lines.join()).not.toContain('min_ttl_seconds');
    expect(lines.join()).not.toContain('access-c1-7');
  });

  it('is silent about requests when told so', async () => {
    const { app, lines } = createFakeGateway({ logHttpRequests: false });
    await call(app, 'GET', tokenPath);
    expect(lines.join()).not.toContain('"msg":"request"');
  });
});

describe('metrics', () => {
  it('count by template, status and problem, with sizes and durations', async () => {
    const { app, metrics } = createFakeGateway();
    await call(app, 'GET', tokenPath);
    await call(app, 'GET', '/v1/connections/none/token');
    await call(app, 'PATCH', tokenPath);
    await call(app, 'GET', '/v1/a-path-of-the-callers-choice');
    await call(app, 'PROPFIND', '/ping');
    await call(app, 'POST', `${tokenPath}/refresh`, { min_ttl_seconds: 1 });
    const { body } = await metrics.page();
    const counted = (labels: string) => {
      const parts = labels.split(',');
      return body
        .split('\n')
        .some(
          (line) =>
            line.startsWith('token_manager_http_requests_total{') &&
            parts.every((part) => line.includes(part)) &&
            line.endsWith(' 1'),
        );
    };
    const route = 'route="/v1/connections/{id}/token"';
    expect(counted(`method="GET",${route},status="200",problem=""`)).toBe(true);
    expect(counted(`method="GET",${route},status="404",problem="connection_not_found"`)).toBe(true);
    expect(counted(`method="PATCH",${route},status="405",problem="method_not_allowed"`)).toBe(true);
    expect(counted('route="unmatched",status="404",problem="not_found"')).toBe(true);
    expect(counted('method="OTHER",route="/ping",status="405"')).toBe(true);
    expect(body).not.toContain('callers-choice');
    expect(body).toMatch(/http_response_size_bytes_sum\{.*status="200".*\} [1-9]\d\d/);
    expect(body).toMatch(/http_request_size_bytes_sum\{.*refresh".*\} 21/);
    expect(body).toMatch(/token_reads_total\{.*source="store".*\} 2/);
  });
});
