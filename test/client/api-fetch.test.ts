import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  TokenManagerClient,
  type TokenManagerClientOptions,
} from '../../client/token-manager-client.ts';
import { startScriptedGateway, type ScriptedGateway } from './scripted-gateway.ts';

interface Api {
  origin: string;
  seen: { path: string; authorization: string | undefined; body: string }[];
  close: () => void;
}

let gateway: ScriptedGateway;
let api: Api;
let elsewhere: Api;
let handle: (request: IncomingMessage, response: ServerResponse) => void;
let version: number;
let client: TokenManagerClient;

async function startApi(): Promise<Api> {
  const seen: Api['seen'] = [];
  const server = createServer((request, response) => {
    void text(request).then((body) => {
      const { authorization } = request.headers;
      seen.push({ path: request.url ?? '', authorization, body });
      handle(request, response);
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

function createClient(options: Partial<TokenManagerClientOptions> = {}): TokenManagerClient {
  return new TokenManagerClient({
    baseUrl: gateway.origin,
    allowedOrigins: [api.origin],
    ...options,
  });
}

/** Takes only the newest token. */
function acceptOnly(token: () => string) {
  return ({ headers }: IncomingMessage, response: ServerResponse): void => {
    response.writeHead(headers.authorization === `Bearer ${token()}` ? 200 : 401).end('answer');
  };
}

beforeAll(async () => {
  [gateway, api, elsewhere] = await Promise.all([startScriptedGateway(), startApi(), startApi()]);
});
beforeEach(() => {
  for (const { seen } of [api, elsewhere]) seen.length = 0;
  gateway.requests.length = 0;
  version = 7;
  gateway.answer(({ method }) => {
    if (method === 'POST') version = 8;
    return { token: { token_version: version, access_token: `token-${version}` } };
  });
  handle = acceptOnly(() => 'token-8');
  client = createClient();
});
afterEach(() => client.close());
afterAll(async () => {
  for (const { close } of [api, elsewhere]) close();
  await gateway.close();
});

describe('fetch', () => {
  it('on 401 refreshes the version that was refused, and sends once more', async () => {
    const answer = await client.fetch('c1', `${api.origin}/contacts`, {
      method: 'POST',
      body: new URLSearchParams({ name: 'a' }),
      headers: { 'x-own': '1' },
    });
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe('answer');
    expect(api.seen).toEqual([
      { path: '/contacts', authorization: 'Bearer token-7', body: 'name=a' },
      { path: '/contacts', authorization: 'Bearer token-8', body: 'name=a' },
    ]);
    expect(gateway.requests.at(-1)?.body).toMatchObject({ rejected_token_version: 7 });
  });

  it('a herd of 401s is one refresh', async () => {
    const call = () => client.fetch('c1', api.origin).then(({ status }) => status);
    const statuses = await Promise.all(Array.from({ length: 100 }, call));
    expect(new Set(statuses)).toEqual(new Set([200]));
    expect(gateway.requests.filter(({ method }) => method === 'POST')).toHaveLength(1);
  });

  it('answers the 401 of a new token too, after one retry', async () => {
    handle = acceptOnly(() => 'none');
    expect((await client.fetch('c1', api.origin)).status).toBe(401);
    expect(api.seen).toHaveLength(2);
  });

  it('does not send a stream again, but refreshes for the next call', async () => {
    const body = new Blob(['streamed']).stream();
    const answer = await client.fetch('c1', api.origin, {
      method: 'POST',
      body,
      duplex: 'half',
    });
    expect(answer.status).toBe(401);
    expect(api.seen).toHaveLength(1);
    await vi.waitUntil(() => gateway.requests.some(({ method }) => method === 'POST'));
    expect((await client.fetch('c1', api.origin)).status).toBe(200);
  });

  it.each(['refresh_limited', 'refresh_not_possible', 'forbidden'] as const)(
    'answers the 401 itself where a refresh is refused as %s',
    async (problem) => {
      client.close();
      client = createClient({ deadlineMs: 1_000 });
      gateway.answer(({ method }) =>
        method === 'POST' ? { problem, retryAfterSeconds: 9 } : { token: {} },
      );
      expect((await client.fetch('c1', api.origin)).status).toBe(401);
    },
  );

  it('throws where the customer is needed', async () => {
    gateway.answer(({ method }) =>
      method === 'POST'
        ? { problem: 'reauthorization_required', reason: 'revoked' }
        : { token: {} },
    );
    await expect(client.fetch('c1', api.origin)).rejects.toMatchObject({
      name: 'ReauthorizationRequiredError',
      reason: 'revoked',
    });
  });

  it('a redirect within the origin keeps the token, one to another drops it', async () => {
    handle = (request, response) => {
      const to = { '/a': '/b', '/b': `${elsewhere.origin}/c` }[request.url ?? ''];
      if (to === undefined) response.writeHead(401).end('not for you');
      else response.writeHead(307, { location: to }).end();
    };
    const answer = await client.fetch('c1', `${api.origin}/a`);
    expect(answer.status).toBe(401);
    expect(api.seen.map(({ authorization }) => authorization)).toEqual([
      'Bearer token-7',
      'Bearer token-7',
    ]);
    expect(elsewhere.seen).toEqual([{ path: '/c', authorization: undefined, body: '' }]);
    // What another origin says without the token is no word on the token.
    expect(gateway.requests.filter(({ method }) => method === 'POST')).toEqual([]);
  });

  it.each([
    ['another origin', () => elsewhere.origin],
    ['another port of the host', () => 'http://127.0.0.1:1/'],
    ['http of a host that has https allowed', () => 'http://api.example.com/'],
    ['a host that begins like an allowed one', () => 'https://api.example.com.evil.test/'],
  ])('sends nothing to %s', async (_what, url) => {
    client.close();
    client = createClient({ allowedOrigins: [api.origin, 'https://api.example.com'] });
    await expect(client.fetch('c1', url())).rejects.toMatchObject({
      name: 'InvalidRequestError',
      code: 'origin_not_allowed',
    });
    expect(elsewhere.seen).toEqual([]);
  });

  it('asks for no token for an origin that is no https and not named', async () => {
    await expect(client.fetch('c1', elsewhere.origin)).rejects.toMatchObject({
      code: 'origin_not_allowed',
    });
    expect(gateway.requests).toEqual([]);
  });

  it('sends to the instance_url of the connection, if that is https', async () => {
    const sent: string[] = [];
    const apiFetch: typeof fetch = (url, init) => {
      sent.push(`${(url as URL).href} ${new Headers(init?.headers).get('authorization') ?? ''}`);
      return Promise.resolve(new Response('ok'));
    };
    client.close();
    client = createClient({ allowedOrigins: [], apiFetch });
    const withInstance = (instanceUrl: string) =>
      gateway.answer(() => ({ token: { metadata: { instance_url: instanceUrl } } }));
    withInstance('https://acme.my.example.com/base');
    await client.fetch('c1', 'https://acme.my.example.com/services/data');
    expect(sent).toEqual(['https://acme.my.example.com/services/data Bearer token-canary-1']);
    withInstance(elsewhere.origin);
    await expect(client.fetch('c2', elsewhere.origin)).rejects.toMatchObject({
      code: 'origin_not_allowed',
    });
  });

  it('takes origins by connection', async () => {
    client.close();
    client = createClient({ allowedOrigins: (id) => (id === 'c1' ? [api.origin] : []) });
    expect((await client.fetch('c1', api.origin)).status).toBe(200);
    await expect(client.fetch('c2', api.origin)).rejects.toMatchObject({
      code: 'origin_not_allowed',
      connectionId: 'c2',
    });
  });

  it('refuses an Authorization of the caller', async () => {
    const init = { headers: { authorization: 'Bearer mine' } };
    await expect(client.fetch('c1', api.origin, init)).rejects.toMatchObject({
      code: 'input_validation',
    });
  });

  it('ends with its signal', async () => {
    handle = () => undefined;
    const aborting = new AbortController();
    const call = client.fetch('c1', api.origin, { signal: aborting.signal });
    await vi.waitUntil(() => api.seen.length === 1);
    aborting.abort(new Error('enough'));
    await expect(call).rejects.toThrow('enough');
  });
});
