import {
  generateKeyPairSync,
  randomUUID,
  verify,
  X509Certificate,
  type KeyObject,
} from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { issueCertificates } from '../support/certificates.ts';
import {
  startScriptedTokenEndpoint,
  type ReceivedRequest,
  type ScriptedTokenEndpoint,
} from '../support/scripted-token-endpoint.ts';
import { callerOf, createServiceCluster } from '../support/service-cluster.ts';
import { startTestStack, type TestStack } from '../support/test-stack.ts';

let stack: TestStack;
let endpoint: ScriptedTokenEndpoint;

beforeAll(async () => {
  [stack, endpoint] = await Promise.all([startTestStack(), startScriptedTokenEndpoint()]);
});
afterAll(async () => {
  await stack.close();
  await endpoint.close();
});
afterEach(() => {
  endpoint.clearScript();
});

const fresh = { access_token: 'at-new', token_type: 'Bearer', expires_in: 3600 };
const rsa = generateKeyPairSync('rsa', { modulusLength: 2_048 });
const p256 = generateKeyPairSync('ec', { namedCurve: 'P-256' });

function pemOf(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' }).toString();
}

function partsOf(jwt: unknown): [header: Record<string, unknown>, claims: Record<string, unknown>] {
  const [header = '', claims = ''] = String(jwt).split('.');
  const read = (part: string) =>
    JSON.parse(Buffer.from(part, 'base64url').toString('utf8')) as Record<string, unknown>;
  return [read(header), read(claims)];
}

async function putApp(overrides: Record<string, unknown>, members: Record<string, unknown> = {}) {
  const id = `app-${randomUUID()}`;
  const body = { provider: 'generic', client_id: 'client', overrides, ...members };
  const answer = await stack.call('PUT', `/v1/apps/${id}`, body);
  expect(answer.status).toBe(201);
  return { id, answer };
}

/** The requests that arrive from now on. */
function watch(): () => ReceivedRequest[] {
  const before = endpoint.requests.length;
  return () => endpoint.requests.slice(before);
}

describe('client authentication', () => {
  it('R19 a private_key_jwt client makes a new assertion for the retry of a 503', async () => {
    const app = await putApp(
      {
        token_url: endpoint.url,
        client_auth: 'private_key_jwt',
        assertion: { aud: 'https://as.example.com' },
      },
      { private_key: { pem: pemOf(rsa.privateKey), kid: 'k1' } },
    );
    expect(app.answer.body).toMatchObject({ client_secret_count: 0, has_private_key: true });
    expect(JSON.stringify(app.answer.body)).not.toContain('PRIVATE');

    const id = await stack.addConnection(app.id, endpoint.grant());
    const received = watch();
    endpoint.script({ status: 503, body: '' });
    const startedAtSeconds = Math.floor(Date.now() / 1_000);
    expect((await stack.getToken(id, '?wait_seconds=30')).status).toBe(200);
    const assertions = received().map(({ params }) => String(params['client_assertion']));
    expect(assertions).toHaveLength(2);
    const ids = assertions.map((assertion) => {
      const [header, claims] = partsOf(assertion);
      expect(header).toMatchObject({ alg: 'RS256', kid: 'k1' });
      expect(claims).toMatchObject({ iss: 'client', sub: 'client', aud: 'https://as.example.com' });
      const { iat, exp, jti } = claims as { iat: number; exp: number; jti: string };
      expect(iat).toBeGreaterThanOrEqual(startedAtSeconds);
      expect(exp - iat).toBeLessThanOrEqual(300);
      const at = assertion.lastIndexOf('.');
      const signature = Buffer.from(assertion.slice(at + 1), 'base64url');
      expect(verify('sha256', Buffer.from(assertion.slice(0, at)), rsa.publicKey, signature)).toBe(
        true,
      );
      return jti;
    });
    expect(new Set(ids).size).toBe(2);
    expect(received()[1]?.params).not.toHaveProperty('client_secret');
  });

  it('R21 a client shows its certificate to the provider, and its id in the body', async () => {
    const [server, client] = await Promise.all([
      issueCertificates(['127.0.0.1']),
      issueCertificates(['app']),
    ]);
    const folder = mkdtempSync(join(tmpdir(), 'token-manager-authority-'));
    const authorityFile = join(folder, 'authority.pem');
    writeFileSync(authorityFile, server.authority);
    const tls = await startScriptedTokenEndpoint({
      tls: server,
      clientAuthority: client.authority,
    });
    const cluster = await createServiceCluster();
    try {
      const service = await cluster.start('all-in-one', { NODE_EXTRA_CA_CERTS: authorityFile });
      await service.waitUntil('ready');
      const caller = callerOf(service);
      const app = await caller.call('PUT', '/v1/apps/a1', {
        provider: 'generic',
        client_id: 'client',
        client_certificate: { certificate: client.cert, private_key: client.key },
        overrides: { token_url: tls.url, client_auth: 'tls' },
      });
      const { fingerprint256, validTo } = new X509Certificate(client.cert);
      expect(app.body).toMatchObject({
        client_certificate_expires_at: new Date(validTo).toISOString(),
      });
      const granted = tls.grant();
      await caller.call('PUT', '/v1/connections/c1', {
        tenant_id: 'tenant',
        app_id: 'a1',
        refresh_token: granted.refreshToken,
      });
      expect((await caller.call('GET', '/v1/connections/c1/token')).status).toBe(200);
      expect(tls.requests).toHaveLength(1);
      expect(tls.requests[0]).toMatchObject({
        clientFingerprint: fingerprint256,
        params: {
          grant_type: 'refresh_token',
          refresh_token: granted.refreshToken,
          client_id: 'client',
        },
      });
    } finally {
      await cluster.close();
      await tls.close();
      rmSync(folder, { recursive: true });
    }
  }, 90_000);

  it('a connection proves possession of its key, with the nonce that the provider gave last', async () => {
    const app = await putApp({ token_url: endpoint.url, client_auth: 'none', dpop: true });
    const granted = endpoint.grant();
    const connection = { tenant_id: 'tenant', app_id: app.id, refresh_token: granted.refreshToken };
    const id = `c-${randomUUID()}`;
    const refused = await stack.call('PUT', `/v1/connections/${id}`, connection);
    expect([refused.status, refused.body['errors']]).toEqual([
      400,
      [{ pointer: '/dpop_key', detail: 'is required by the provider' }],
    ]);
    const put = await stack.call('PUT', `/v1/connections/${id}`, {
      ...connection,
      dpop_key: p256.privateKey.export({ format: 'jwk' }),
    });
    expect(put.body).toMatchObject({ has_dpop_key: true });

    const received = watch();
    const answer = { ...fresh, token_type: 'DPoP' };
    endpoint.script({ body: answer, headers: { 'dpop-nonce': 'n-1' } }, { body: answer });
    expect((await stack.getToken(id)).body).toMatchObject({ token_type: 'DPoP' });
    await stack.expire(id);
    expect((await stack.getToken(id)).body).toMatchObject({ token_version: 2 });
    const proofs = received().map(({ headers }) => partsOf(headers['dpop']));
    expect(proofs.map(([, claims]) => claims['nonce'])).toEqual([undefined, 'n-1']);
    const { x, y } = p256.publicKey.export({ format: 'jwk' });
    for (const [header, claims] of proofs) {
      expect(header).toMatchObject({ typ: 'dpop+jwt', alg: 'ES256', jwk: { x, y } });
      expect(header['jwk']).not.toHaveProperty('d');
      expect(claims).toMatchObject({ htm: 'POST', htu: endpoint.url });
    }
    expect(proofs[0]?.[1]['jti']).not.toBe(proofs[1]?.[1]['jti']);
  });
});

describe('credentials other than a refresh token', () => {
  it('client credentials need no token, and are sent once for each token', async () => {
    const overrides = { token_url: endpoint.url, credential: 'client', scope: { send: true } };
    const app = await putApp(overrides, { client_secrets: ['secret-1'] });
    const id = `c-${randomUUID()}`;
    const body = { tenant_id: 'tenant', app_id: app.id, scope: 'read' };
    expect((await stack.call('PUT', `/v1/connections/${id}`, body)).body).toMatchObject({
      status: 'active',
      token_version: 0,
    });
    const received = watch();
    endpoint.script({ body: fresh }, { body: { ...fresh, access_token: 'at-2' } });
    const answers = await Promise.all(Array.from({ length: 10 }, () => stack.getToken(id)));
    expect(answers.map(({ body: { access_token } }) => access_token)).toEqual(
      Array.from({ length: 10 }, () => 'at-new'),
    );
    expect(received().map(({ params }) => params)).toEqual([
      {
        grant_type: 'client_credentials',
        scope: 'read',
        client_id: 'client',
        client_secret: 'secret-1',
      },
    ]);
    await stack.expire(id);
    expect((await stack.getToken(id)).body).toMatchObject({
      access_token: 'at-2',
      token_version: 2,
    });
    expect(received()).toHaveLength(2);
  });

  it('an access token is exchanged for the next one, by a query with names of its own', async () => {
    const app = await putApp(
      {
        token_url: endpoint.url,
        credential: 'access_token',
        grant_type: 'fb_exchange_token',
        request: {
          method: 'GET',
          body_format: 'query',
          rename: { access_token: 'fb_exchange_token' },
        },
      },
      { client_secrets: ['secret-1'] },
    );
    const id = `c-${randomUUID()}`;
    await stack.call('PUT', `/v1/connections/${id}`, {
      tenant_id: 'tenant',
      app_id: app.id,
      access_token: 'at-imported',
      expires_in: 3_600,
    });
    const received = watch();
    endpoint.script({ body: fresh }, { body: { ...fresh, access_token: 'at-2' } });
    expect((await stack.refresh(id, { force: true })).body).toMatchObject({
      access_token: 'at-new',
    });
    await stack.expire(id);
    await stack.getToken(id);
    const sent = {
      grant_type: 'fb_exchange_token',
      client_id: 'client',
      client_secret: 'secret-1',
    };
    expect(received().map(({ method, params }) => ({ method, params }))).toEqual([
      { method: 'GET', params: { ...sent, fb_exchange_token: 'at-imported' } },
      { method: 'GET', params: { ...sent, fb_exchange_token: 'at-new' } },
    ]);
  });
});
