import { connect } from 'node:net';
import { Agent, request } from 'node:http';
import { describe, expect, it, vi } from 'vitest';
import { createComposer } from './compose-for-test.ts';
import { connectionRow, expired, refreshRow } from './gateway-fakes.ts';

const compose = createComposer();

/** Sends bytes as they are and returns what comes back until the connection ends. */
function sendRaw(url: string, bytes: string): Promise<string> {
  const { port, hostname } = new URL(url);
  return new Promise((resolve, reject) => {
    let received = '';
    const socket = connect(Number(port), hostname, () => socket.write(bytes));
    socket.on('data', (chunk) => (received += chunk.toString()));
    socket.on('end', () => resolve(received));
    socket.on('error', reject);
  });
}

describe('a composed gateway', () => {
  it('answers over HTTP', async () => {
    const { gateway } = await compose();
    const response = await fetch(`${gateway.url}/v1/connections/c1/token`);
    expect(response.status).toBe(200);
    expect(await response.json()).toMatchObject({ access_token: 'access-c1-7' });
    expect((await fetch(`${gateway.url}/ready`)).status).toBe(200);
  });

  it('takes a body in chunks, and refuses one that grows beyond the limit', async () => {
    const { gateway } = await compose();
    const send = (text: string) =>
      fetch(`${gateway.url}/v1/connections/c1`, {
        method: 'PUT',
        headers: { 'Content-Type': 'application/json' },
        body: new Blob([text]).stream(),
        duplex: 'half',
      });
    expect((await send('{"tenant_id":"t1","app_id":"a1"}')).status).toBe(200);
    expect((await send(`{"tenant_id":"${'x'.repeat(1_100_000)}"}`)).status).toBe(413);
  });

  it('says which setting to change when the port is in use', async () => {
    const { gateway } = await compose();
    const port = Number(new URL(gateway.url).port);
    await expect(compose({ port })).rejects.toThrow(
      `Port ${port} on 127.0.0.1 is in use: end what uses it, or set PORT to a free port.`,
    );
  });

  it.each([
    ['what is not HTTP', 'nonsense\r\n\r\n', 400, 'input_validation'],
    [
      'a Host that is none',
      'GET /ping HTTP/1.1\r\nHost: a b/c\r\nConnection: close\r\n\r\n',
      400,
      'input_validation',
    ],
    [
      'headers of more than FIBER_READ_BUFFER_SIZE',
      `GET /ping HTTP/1.1\r\nHost: x\r\nX: ${'a'.repeat(4_096)}\r\n\r\n`,
      431,
      'headers_too_large',
    ],
  ])('R51 answers %s with a problem', async (_what, bytes, status, code) => {
    const { gateway } = await compose();
    const received = await sendRaw(gateway.url, bytes);
    expect(received).toContain(`HTTP/1.1 ${status}`);
    expect(received.toLowerCase()).toContain('content-type: application/problem+json');
    expect(received.toLowerCase()).toContain('cache-control: no-store');
    expect(received).toContain(`"type":"/problems/${code}"`);
  });

  it('a caller that hangs up ends its own wait only', async () => {
    const { gateway, engine, rows, lines } = await compose({ row: connectionRow(expired) });
    const url = `${gateway.url}/v1/connections/c1/token`;
    const leaver = new AbortController();
    const left = fetch(url, { signal: leaver.signal }).catch(() => 'left');
    const stays = fetch(url);
    await vi.waitFor(() => expect(engine.calls).toHaveLength(1));
    await new Promise((resolve) => setTimeout(resolve, 50));
    leaver.abort();
    expect(await left).toBe('left');
    // Its log line shows that the server noticed.
    await vi.waitFor(() =>
      expect(lines.filter((line) => line.includes('"request"'))).toHaveLength(1),
    );
    expect(engine.calls[0]?.signal.aborted).toBe(false);
    engine.calls[0]?.resolve(refreshRow(rows));
    expect((await stays).status).toBe(200);
  });

  it('does not wait for a connection that never carried a request', async () => {
    const { gateway } = await compose();
    const { port, hostname } = new URL(gateway.url);
    const idle = connect(Number(port), hostname);
    await new Promise((resolve) => idle.once('connect', resolve));
    const ended = new Promise((resolve) => idle.once('close', resolve));
    idle.on('error', () => undefined);
    const startedMs = performance.now();
    await gateway.close();
    await ended;
    expect(performance.now() - startedMs).toBeLessThan(2_000);
  });

  it('drains: finishes what it has begun, accepts nothing more, ends kept-alive connections', async () => {
    const { gateway, engine, rows } = await compose({ row: connectionRow(expired) });
    const agent = new Agent({ keepAlive: true });
    const answer = new Promise<number>((resolve, reject) => {
      request(`${gateway.url}/v1/connections/c1/token`, { agent }, (response) => {
        response.resume();
        response.on('end', () => resolve(response.statusCode ?? 0));
      })
        .on('error', reject)
        .end();
    });
    await vi.waitFor(() => expect(engine.calls).toHaveLength(1));
    let closed = false;
    const closing = gateway.close().then(() => {
      closed = true;
    });
    // Longer than the sweep that ends idle connections takes to come round.
    await new Promise((resolve) => setTimeout(resolve, 250));
    expect(closed).toBe(false);
    await expect(fetch(`${gateway.url}/ping`)).rejects.toThrow();
    engine.calls[0]?.resolve(refreshRow(rows));
    expect(await answer).toBe(200);
    await closing;
    agent.destroy();
  });
});
