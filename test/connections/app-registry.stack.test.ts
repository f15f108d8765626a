import { generateKeyPairSync, randomUUID, X509Certificate, type KeyObject } from 'node:crypto';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseAppCredentials, type AppCredentials } from '../../connections/app-credentials.ts';
import type { App, AppInput } from '../../connections/app.ts';
import type { VisibleTenants } from '../../connections/registry.ts';
import { Secret } from '../../platform/secret.ts';
import { issueCertificates } from '../support/certificates.ts';
import { createStoreFixture, type StoreFixture } from './store-fixture.ts';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await createStoreFixture();
});
afterAll(() => fixture.database.drop());

const tokenUrl = 'https://as.example.com/token';

function put(id: string, members: Partial<AppInput> = {}): Promise<{ app: App; created: boolean }> {
  return fixture.apps.put(id, {
    provider: 'generic',
    clientId: 'client',
    overrides: { token_url: tokenUrl },
    ...members,
  });
}

function secrets(...values: string[]): Secret[] {
  return values.map((value) => new Secret(value));
}

async function stored(id: string): Promise<Record<string, unknown>> {
  const { rows } = await fixture.pool.query<Record<string, unknown>>(
    'select * from apps where id = $1',
    [id],
  );
  const [row] = rows;
  if (row === undefined) throw new Error('there is no such app');
  return row;
}

function pemOf(key: KeyObject): Secret {
  return new Secret(key.export({ type: 'pkcs8', format: 'pem' }).toString());
}

function rsaPem(): Secret {
  return pemOf(generateKeyPairSync('rsa', { modulusLength: 2_048 }).privateKey);
}

async function openCredentials(id: string): Promise<AppCredentials> {
  const { sealed_client_secrets, generation } = await stored(id);
  const owner = { tenantId: '', id, generation: Number(generation) };
  const opened = await fixture.vault.open('client-secrets', owner, sealed_client_secrets as Buffer);
  return parseAppCredentials(opened);
}

async function openSecrets(id: string): Promise<string[]> {
  return (await openCredentials(id)).clientSecrets.map((secret) => secret.reveal());
}

async function addApp(members: Partial<AppInput> = {}): Promise<string> {
  const id = `app-${randomUUID()}`;
  await put(id, members);
  return id;
}

describe('an app', () => {
  it('is created once and then updated', async () => {
    const id = `app-${randomUUID()}`;
    const members = { limits: { concurrency: 5 }, tenantIds: ['t1'] };
    expect(await put(id, members)).toMatchObject({
      created: true,
      app: { id, provider: 'generic', clientId: 'client', clientSecretCount: 0, ...members },
    });
    const again = await fixture.apps.put(id, { provider: 'generic', clientId: 'other' });
    expect(again).toMatchObject({
      created: false,
      app: { clientId: 'other', overrides: { token_url: tokenUrl }, ...members },
    });
    expect(await fixture.apps.get(id, null)).toEqual(again.app);
  });

  it('is made once by ten at once, and the last writer’s values stay', async () => {
    const id = `app-${randomUUID()}`;
    const names = Array.from({ length: 4 }, (_, at) => `client-${at}`);
    const results = await Promise.all(names.map((clientId) => put(id, { clientId })));
    expect(results.filter(({ created }) => created)).toHaveLength(1);
    expect(names).toContain((await fixture.apps.get(id, null))?.clientId);
  });

  it('of an unknown provider, or with a definition that is not valid, is refused', async () => {
    const id = `app-${randomUUID()}`;
    const unknown = put(id, { provider: 'nobody' });
    await expect(unknown).rejects.toMatchObject({ code: 'provider_not_found' });
    const invalid = put(id, { overrides: { token_url: tokenUrl, client_auth: 'magic' } });
    await expect(invalid).rejects.toMatchObject({
      code: 'input_validation',
      errors: [{ pointer: '/overrides/client_auth' }],
    });
    expect(await fixture.apps.get(id, null)).toBeUndefined();
  });

  it('forgets its tenants only when told so', async () => {
    const id = await addApp({ tenantIds: ['t1'] });
    expect((await put(id)).app.tenantIds).toEqual(['t1']);
    expect((await put(id, { tenantIds: null })).app.tenantIds).toBeNull();
  });
});

describe('client secrets', () => {
  it('are sealed in their order, and never come back', async () => {
    const id = `app-${randomUUID()}`;
    const { app } = await put(id, { clientSecrets: secrets('cs-new', 'cs-old') });
    expect(app.clientSecretCount).toBe(2);
    expect(inspect([app, await fixture.apps.get(id, null)], { depth: 9 })).not.toContain('cs-');
    expect((await stored(id))['sealed_client_secrets']?.toString()).not.toContain('cs-');
    expect(await openSecrets(id)).toEqual(['cs-new', 'cs-old']);
  });

  it('stay, with their generation, when a PUT brings none', async () => {
    const id = await addApp({ clientSecrets: secrets('cs-1') });
    const before = await stored(id);
    const { app } = await put(id, { limits: { concurrency: 2 } });
    expect(app.clientSecretCount).toBe(1);
    const { generation, sealed_client_secrets, client_secrets_key_id } = before;
    expect(await stored(id)).toMatchObject({
      generation,
      sealed_client_secrets,
      client_secrets_key_id,
    });
    expect(await openSecrets(id)).toEqual(['cs-1']);
  });

  it('that are new begin a generation, and the old ones do not open any more', async () => {
    const id = await addApp({ clientSecrets: secrets('cs-1') });
    const { sealed_client_secrets } = await stored(id);
    await put(id, { clientSecrets: secrets('cs-2') });
    expect(await stored(id)).toMatchObject({ generation: '2' });
    expect(await openSecrets(id)).toEqual(['cs-2']);
    const owner = { tenantId: '', id, generation: 2 };
    const old = fixture.vault.open('client-secrets', owner, sealed_client_secrets as Buffer);
    await expect(old).rejects.toMatchObject({ code: 'internal' });
  });

  it('written by several at once are those of the generation that is stored', async () => {
    const id = await addApp({ clientSecrets: secrets('cs-0') });
    const values = ['cs-a', 'cs-b', 'cs-c'];
    await Promise.all(values.map((value) => put(id, { clientSecrets: secrets(value) })));
    expect(await stored(id)).toMatchObject({ generation: '4' });
    const [value] = await openSecrets(id);
    expect(values).toContain(value);
  });

  it('heal an app whose seal does not open, if the body brings all that is stored', async () => {
    const id = await addApp({ clientSecrets: secrets('cs-1') });
    await fixture.pool.query('update apps set sealed_client_secrets = $2 where id = $1', [id, 'x']);
    await put(id, { clientSecrets: secrets('cs-2') });
    expect(await openSecrets(id)).toEqual(['cs-2']);
  });

  it('can be taken away by an empty list', async () => {
    const id = await addApp({ clientSecrets: secrets('cs-1') });
    expect((await put(id, { clientSecrets: [] })).app.clientSecretCount).toBe(0);
    expect(await openSecrets(id)).toEqual([]);
  });
});

describe('an endpoint on another host', () => {
  const elsewhere = { token_url: 'https://evil.example.net/token' };
  const refused = { code: 'input_validation', errors: [{ pointer: '/client_secrets' }] };

  it.each([
    ['the token endpoint', elsewhere],
    ['the refresh endpoint', { token_url: tokenUrl, refresh_url: 'https://evil.example.net/r' }],
    ['the revocation endpoint', { token_url: tokenUrl, revoke_url: 'https://evil.example.net/x' }],
    ['another port', { token_url: 'https://as.example.com:8443/token' }],
    ['another scheme', { token_url: 'http://as.example.com/token' }],
    [
      'a host with a variable',
      {
        token_url: 'https://${host}.example.com/token',
        variables: { host: { pattern: '^[a-z]+$' } },
      },
    ],
  ])('is refused without the secrets: %s', async (_name, overrides) => {
    const id = await addApp({ clientSecrets: secrets('cs-1') });
    const before = await stored(id);
    await expect(put(id, { overrides })).rejects.toMatchObject(refused);
    expect(await stored(id)).toEqual(before);
    expect((await put(id, { overrides, clientSecrets: secrets('cs-1') })).created).toBe(false);
  });

  it('is refused as another provider too', async () => {
    const id = await addApp({ clientSecrets: secrets('cs-1') });
    const other = put(id, { provider: 'hubspot', overrides: {} });
    await expect(other).rejects.toMatchObject(refused);
  });

  it('is fine on the same host, and where no secret is stored', async () => {
    const withSecret = await addApp({ clientSecrets: secrets('cs-1') });
    const path = { token_url: 'https://as.example.com/v2/token' };
    expect((await put(withSecret, { overrides: path })).app.overrides).toEqual(path);
    const withoutSecret = await addApp();
    expect((await put(withoutSecret, { overrides: elsewhere })).app.overrides).toEqual(elsewhere);
  });
});

describe('where the variables of a host may lead', () => {
  const overrides = {
    token_url: 'https://${host}.example.com/${path}',
    variables: { host: { pattern: '^[a-z]+$' }, path: { pattern: '^[a-z]+$' } },
    allowed_hosts: ['a.example.com', 'b.example.com'],
  };

  it.each([
    [
      'another pattern',
      { ...overrides, variables: { ...overrides.variables, host: { pattern: '^.*$' } } },
    ],
    [
      'one more host',
      { ...overrides, allowed_hosts: [...overrides.allowed_hosts, 'c.example.com'] },
    ],
    ['any host', { ...overrides, allowed_hosts: null }],
  ])('is widened with all credentials only: %s', async (_name, wider) => {
    const given = { clientSecrets: secrets('cs-1'), privateKey: { key: rsaPem(), kid: null } };
    const id = await addApp({ overrides, ...given });
    await expect(put(id, { overrides: wider })).rejects.toMatchObject({
      errors: [{ pointer: '/client_secrets' }, { pointer: '/private_key' }],
    });
    await expect(put(id, { overrides: wider, clientSecrets: [] })).rejects.toMatchObject({
      errors: [{ pointer: '/private_key' }],
    });
    expect((await put(id, { overrides: wider, ...given })).created).toBe(false);
  });

  it('is narrowed, and the pattern of another variable changed, without them', async () => {
    const id = await addApp({ overrides, clientSecrets: secrets('cs-1') });
    const variables = { ...overrides.variables, path: { pattern: '^.*$' } };
    const narrower = { ...overrides, variables, allowed_hosts: ['a.example.com'] };
    expect((await put(id, { overrides: narrower })).created).toBe(false);
  });
});

describe('a private key and a client certificate', () => {
  const signed = { token_url: tokenUrl, client_auth: 'private_key_jwt' };

  it('are sealed beside the client secrets, and each may be replaced or taken away alone', async () => {
    const { cert, key } = await issueCertificates(['client']);
    const certificate = { certificate: cert, privateKey: new Secret(key) };
    const id = `app-${randomUUID()}`;
    const { app } = await put(id, {
      overrides: signed,
      clientSecrets: secrets('cs-1'),
      privateKey: { key: rsaPem(), kid: 'k1' },
      clientCertificate: certificate,
    });
    expect(app).toMatchObject({ clientSecretCount: 1, privateKeyType: 'RSA' });
    expect(app.clientCertificateExpiresAt).toEqual(new Date(new X509Certificate(cert).validTo));
    expect(inspect([app, await fixture.apps.get(id, null)], { depth: 9 })).not.toContain(
      'PRIVATE KEY',
    );

    await put(id, { overrides: signed, clientSecrets: secrets('cs-2') });
    expect(await openCredentials(id)).toMatchObject({ privateKey: { kid: 'k1', type: 'RSA' } });
    const without = await put(id, { overrides: signed, privateKey: null, clientCertificate: null });
    expect(without.app).toMatchObject({ privateKeyType: null, clientCertificateExpiresAt: null });
    expect(await openSecrets(id)).toEqual(['cs-2']);
  });

  it('as a JWK brings its key id', async () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const jwk = JSON.stringify({ ...privateKey.export({ format: 'jwk' }), kid: 'k2' });
    const overrides = { ...signed, assertion: { alg: 'ES256' } };
    const id = await addApp({ overrides, privateKey: { key: new Secret(jwk), kid: null } });
    expect(await openCredentials(id)).toMatchObject({ privateKey: { kid: 'k2', type: 'P-256' } });
  });

  it('are refused where they cannot do what they are for', async () => {
    const refusal = (members: Partial<AppInput>, pointer: string) =>
      expect(put(`app-${randomUUID()}`, { overrides: signed, ...members })).rejects.toMatchObject({
        code: 'input_validation',
        errors: [{ pointer }],
      });
    const { privateKey: p256 } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const { privateKey: short } = generateKeyPairSync('rsa', { modulusLength: 1_024 });
    const [one, other] = await Promise.all([issueCertificates(['a']), issueCertificates(['b'])]);
    const certificate = (cert: string, key: string) => ({
      clientCertificate: { certificate: cert, privateKey: new Secret(key) },
    });
    await refusal({ privateKey: { key: new Secret('no key'), kid: null } }, '/private_key');
    await refusal({ privateKey: { key: new Secret('{"kty":"oct"}'), kid: null } }, '/private_key');
    await refusal({ privateKey: { key: pemOf(p256), kid: null } }, '/private_key');
    await refusal({ privateKey: { key: pemOf(short), kid: null } }, '/private_key');
    await refusal(certificate('no certificate', one.key), '/client_certificate/certificate');
    await refusal(certificate(one.cert, 'no key'), '/client_certificate/private_key');
    await refusal(certificate(one.cert, other.key), '/client_certificate/private_key');
  });

  it('a key that stays must fit the algorithm that a PUT asks for', async () => {
    const id = await addApp({ overrides: signed, privateKey: { key: rsaPem(), kid: null } });
    const overrides = { ...signed, assertion: { alg: 'ES256' } };
    await expect(put(id, { overrides })).rejects.toMatchObject({
      errors: [{ pointer: '/private_key', detail: 'must be P-256 to sign ES256' }],
    });
  });

  it('a list of secrets as it was stored before there were others is still read', () => {
    const { clientSecrets, ...others } = parseAppCredentials(new Secret('["cs-1","cs-2"]'));
    expect(clientSecrets.map((secret) => secret.reveal())).toEqual(['cs-1', 'cs-2']);
    expect(others).toEqual({ privateKey: null, clientCertificate: null });
  });
});

describe('deleting an app', () => {
  it('is refused while connections use it, tombstones too', async () => {
    const id = await addApp();
    const connection = await fixture.addConnection({ appId: id });
    await expect(fixture.apps.delete(id)).rejects.toMatchObject({ code: 'app_in_use' });
    await fixture.set(connection, 'deleted_at = now()');
    await expect(fixture.apps.delete(id)).rejects.toMatchObject({ code: 'app_in_use' });
  });

  it('that nobody uses removes it; one that is not there is not found', async () => {
    const id = await addApp();
    await fixture.apps.delete(id);
    expect(await fixture.apps.get(id, null)).toBeUndefined();
    await expect(fixture.apps.delete(id)).rejects.toMatchObject({ code: 'app_not_found' });
  });
});

it('a list of apps holds every app once', async () => {
  const seen: string[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await fixture.apps.list({ visibleTo: null, limit: 4, ...(cursor && { cursor }) });
    seen.push(...page.items.map(({ id }) => id));
    cursor = page.nextCursor;
  } while (cursor !== null);
  const { rows } = await fixture.pool.query<{ id: string }>('select id from apps order by id');
  expect(seen).toEqual(rows.map(({ id }) => id));
});

it('an app for some tenants is not there for the rest', async () => {
  const [open, closed] = [`open-${randomUUID()}`, `closed-${randomUUID()}`];
  const registration = { provider: 'demo', clientId: 'client' };
  await fixture.apps.put(open, registration);
  await fixture.apps.put(closed, { ...registration, tenantIds: ['t1', 't2'] });
  const seenBy = async (visibleTo: VisibleTenants) => ({
    open: (await fixture.apps.get(open, visibleTo))?.id,
    closed: (await fixture.apps.get(closed, visibleTo))?.id,
    listed: (await fixture.apps.list({ limit: 500, visibleTo })).items
      .map(({ id }) => id)
      .filter((id) => id === open || id === closed),
  });
  const both = { open, closed, listed: [closed, open] };
  expect(await seenBy(null)).toEqual(both);
  expect(await seenBy(new Set(['t2', 't3']))).toEqual(both);
  expect(await seenBy(new Set(['t3']))).toEqual({ open, closed: undefined, listed: [open] });
  expect(await seenBy(new Set())).toEqual({ open, closed: undefined, listed: [open] });
});
