import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { TokenManagerError } from '../../client/contract.ts';
import type { ConnectionInput, ImportResult } from '../../connections/registry.ts';
import { dpopKeyGeneration } from '../../connections/token-vault.ts';
import { Secret } from '../../platform/secret.ts';
import {
  claimRequest,
  createStoreFixture,
  record,
  settlement,
  takeClaim,
  tenantId,
  verdict,
  type StoreFixture,
} from './store-fixture.ts';

let fixture: StoreFixture;
/** Of class F, the strictest. */
let appId: string;
beforeAll(async () => {
  fixture = await createStoreFixture();
  appId = await fixture.addApp();
});
afterAll(() => fixture.database.drop());

function put(id: string, members: Partial<ConnectionInput>): Promise<ImportResult> {
  return fixture.connections.put(id, { tenantId, appId, ...members });
}

function tokens(name: string): { accessToken: Secret; refreshToken: Secret } {
  return { accessToken: new Secret(`at-${name}`), refreshToken: new Secret(`rt-${name}`) };
}

/** Tokens that no other test uses. */
function ownTokens(): { accessToken: Secret; refreshToken: Secret } {
  return tokens(randomUUID());
}

async function lifetimeOf(id: string): Promise<number | null> {
  return (await fixture.row(id))['lifetime_seconds'] as number | null;
}

function jwtExpiringIn(seconds: number): Secret {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
  const exp = Math.round(Date.now() / 1_000) + seconds;
  return new Secret(`${part({ alg: 'none' })}.${part({ exp })}.c2lnbmF0dXJl`);
}

describe('a first import', () => {
  it('creates the connection, both tokens sealed', async () => {
    const id = `c-${randomUUID()}`;
    const result = await put(id, {
      ...tokens(id),
      expiresInSeconds: 600,
      scope: 'a b',
      variables: { region: 'eu' },
      metadata: { instance_url: 'https://eu.example.com' },
    });
    expect(result).toMatchObject({
      created: true,
      credentials: 'stored',
      connection: {
        id,
        tenantId,
        appId,
        provider: 'generic',
        generation: 1,
        tokenVersion: 1,
        rotationClass: 'F',
        scope: 'a b',
        lifetimeSeconds: 600,
        expiryAssumed: false,
        variables: { region: 'eu' },
        metadata: { instance_url: 'https://eu.example.com' },
        lastRefreshedAt: null,
      },
    });
    expect(await fixture.openTokens(id)).toEqual({ access: `at-${id}`, refresh: `rt-${id}` });
    expect(await fixture.events(id)).toEqual([]);
  });

  it('of an access token alone has nothing to refresh with', async () => {
    const { accessToken } = ownTokens();
    const id = `c-${randomUUID()}`;
    const { connection } = await put(id, { accessToken, expiresInSeconds: 60 });
    expect(connection).toMatchObject({
      tokenVersion: 1,
      hasRefreshToken: false,
      refreshDueAt: null,
    });
  });

  it('of a refresh token alone is due at once, its version 0', async () => {
    const { refreshToken } = ownTokens();
    const id = `c-${randomUUID()}`;
    const { connection } = await put(id, { refreshToken });
    expect(connection).toMatchObject({ tokenVersion: 0, hasAccessToken: false, expiresAt: null });
    const { refreshDueAt, readAt } = connection;
    expect(Math.abs(Number(refreshDueAt) - Number(readAt))).toBeLessThan(1_000);
  });

  it('without any token is refused, unless the app itself is the credential', async () => {
    const id = `c-${randomUUID()}`;
    await expect(put(id, {})).rejects.toMatchObject({
      code: 'input_validation',
      errors: [{ pointer: '/refresh_token' }],
    });
    const clientApp = await fixture.addApp({ credential: 'client', rotation: { class: 'S' } });
    const result = await put(id, { appId: clientApp });
    expect(result).toMatchObject({ created: true, connection: { credential: 'client' } });
  });

  it('by ten at once makes one connection', async () => {
    const id = `c-${randomUUID()}`;
    const results = await Promise.all(Array.from({ length: 10 }, () => put(id, tokens(id))));
    expect(results.filter(({ created }) => created)).toHaveLength(1);
    expect(results.filter(({ credentials }) => credentials === 'kept')).toHaveLength(9);
    expect(await fixture.row(id)).toMatchObject({ generation: 1, token_version: 1 });
  });
});

describe('the app of an import', () => {
  it('must be there', async () => {
    const missing = put(`c-${randomUUID()}`, { appId: 'nobody', ...ownTokens() });
    await expect(missing).rejects.toMatchObject({ code: 'app_not_found' });
  });

  it('must be for the tenant, or is as if it were not there', async () => {
    const restricted = `app-${randomUUID()}`;
    await fixture.apps.put(restricted, {
      provider: 'generic',
      clientId: 'client',
      overrides: { token_url: 'https://as.example.com/token' },
      tenantIds: ['t-allowed'],
    });
    const id = `c-${randomUUID()}`;
    const body = { appId: restricted, ...ownTokens() };
    await expect(put(id, body)).rejects.toMatchObject({ code: 'app_not_found' });
    expect(await put(id, { ...body, tenantId: 't-allowed' })).toMatchObject({ created: true });
  });

  it('and the tenant never change', async () => {
    const id = await fixture.addConnection({ appId });
    const other = await fixture.addApp();
    const taken = { code: 'connection_id_taken', connectionId: id };
    await expect(put(id, { appId: other, ...ownTokens() })).rejects.toMatchObject(taken);
    await expect(put(id, { tenantId: 'other', ...ownTokens() })).rejects.toMatchObject(taken);
    expect(await fixture.row(id)).toMatchObject({ generation: 1, app_id: appId });
  });

  it('of another tenant is told of only where an unknown id would become a connection', async () => {
    const id = await fixture.addConnection({ appId, tenantId: 'theirs' });
    const templated = await fixture.addApp({
      token_url: 'https://${region}.example.com/token',
      variables: { region: { pattern: '^[a-z]+$' } },
    });
    const outcome = (target: string, input: Parameters<typeof put>[1]) =>
      put(target, { tenantId: 'mine', ...input }).catch((error: unknown) => {
        const { code, message, errors } = error as TokenManagerError;
        return { code, message, errors };
      });
    const harmless = [
      {},
      { appId: 'nobody', ...ownTokens() },
      { appId: templated, ...ownTokens() },
      { dpopKey: new Secret('no key'), ...ownTokens() },
      { ...ownTokens(), refreshToken: new Secret(`rt-of-${id}`) },
    ];
    for (const input of harmless) {
      const unknown = await outcome(`c-${randomUUID()}`, input);
      expect(unknown).toHaveProperty('code');
      expect(unknown).not.toHaveProperty('code', 'connection_id_taken');
      expect(await outcome(id, input)).toEqual(unknown);
    }
    expect(await outcome(id, ownTokens())).toMatchObject({ code: 'connection_id_taken' });
    expect(await fixture.row(id)).toMatchObject({ generation: 1, tenant_id: 'theirs' });
  });

  it('says which variables are needed', async () => {
    const templated = await fixture.addApp({
      token_url: 'https://${region}.example.com/token',
      variables: { region: { pattern: '^[a-z]+$' } },
    });
    const id = `c-${randomUUID()}`;
    const body = { appId: templated, ...ownTokens() };
    await expect(put(id, body)).rejects.toMatchObject({
      code: 'input_validation',
      errors: [{ pointer: '/variables/region' }],
    });
    expect(await put(id, { ...body, variables: { region: 'eu' } })).toMatchObject({
      created: true,
    });
    // The stored ones serve a body without them.
    expect(await put(id, { appId: templated, ...ownTokens() })).toMatchObject({ created: false });
  });
});

describe('new credentials', () => {
  it('win over a refresh in flight, and clear intent, waiting and failure', async () => {
    const id = await fixture.addConnection({ appId });
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    await fixture.set(
      id,
      `uncertain_since = now(), next_attempt_at = now() + interval '1 hour',
       failure_class = 'transient', failure_code = 'x', failure_at = now(), failure_count = 4,
       refresh_token_expires_at = now()`,
    );
    const result = await put(id, { ...tokens(`new-${id}`), expiresInSeconds: 60 });
    expect(result).toMatchObject({ created: false, credentials: 'stored' });
    expect(await fixture.row(id)).toMatchObject({
      generation: 2,
      token_version: 2,
      attempt: 1,
      uncertain_since: null,
      next_attempt_at: null,
      failure_class: null,
      failure_count: 0,
      refresh_token_expires_at: null,
    });
    expect(await fixture.intent(id)).toBeUndefined();
    const late = await fixture.seal(id, 1, {});
    const sealed = await fixture.sealResult(id, 1);
    expect(await fixture.exchanges.commit(claim, late, record, sealed)).toBe('superseded');
    expect(await fixture.openTokens(id)).toEqual({
      access: `at-new-${id}`,
      refresh: `rt-new-${id}`,
    });
    expect(await fixture.events(id)).toEqual([]);
  });

  it('end a verdict, with an event, and are due again', async () => {
    const id = await fixture.addConnection({ appId });
    await fixture.exchanges.settle(verdict(await takeClaim(fixture.exchanges, claimRequest(id))));
    const { refreshToken } = ownTokens();
    const { connection } = await put(id, { refreshToken });
    expect(connection).toMatchObject({ verdict: null, generation: 2, tokenVersion: 1 });
    expect(connection.refreshDueAt).not.toBeNull();
    expect((await fixture.events(id)).at(-1)).toEqual({
      type: 'connection.recovered',
      data: { after: 'revoked' },
    });
  });

  it('leave what the body does not name', async () => {
    const id = await fixture.addConnection({
      appId,
      scope: 'a',
      variables: { x: '1' },
      metadata: { y: 2 },
    });
    await put(id, ownTokens());
    const kept = { scope: 'a', variables: { x: '1' }, metadata: { y: 2 } };
    expect(await fixture.row(id)).toMatchObject(kept);
    await put(id, { ...ownTokens(), scope: 'b', variables: {}, metadata: { z: 3 } });
    expect(await fixture.row(id)).toMatchObject({
      scope: 'b',
      variables: {},
      metadata: { z: 3 },
    });
  });

  it('of an access token alone keep the refresh token, sealed anew', async () => {
    const id = await fixture.addConnection({ appId });
    const { refresh_fingerprint } = await fixture.row(id);
    await put(id, { accessToken: new Secret('at-alone'), expiresInSeconds: 60 });
    expect(await fixture.row(id)).toMatchObject({
      generation: 2,
      token_version: 2,
      refresh_fingerprint,
    });
    expect(await fixture.openTokens(id)).toEqual({ access: 'at-alone', refresh: `rt-of-${id}` });
  });

  it('of a refresh token alone keep the access token and its expiry', async () => {
    const id = await fixture.addConnection({ appId });
    const { expires_at } = await fixture.row(id);
    await put(id, { refreshToken: new Secret(`rt-alone-${id}`) });
    expect(await fixture.row(id)).toMatchObject({ generation: 2, token_version: 1, expires_at });
    expect(await fixture.openTokens(id)).toEqual({
      access: `at-of-${id}`,
      refresh: `rt-alone-${id}`,
    });
  });
});

describe('an access token alone, while the stored refresh token', () => {
  const accessToken = new Secret('at-alone');

  it('is being spent, is refused: its answer would be lost', async () => {
    const id = await fixture.addConnection({ appId });
    await takeClaim(fixture.exchanges, claimRequest(id));
    const row = await fixture.row(id);
    await expect(put(id, { accessToken })).rejects.toMatchObject({ code: 'refresh_in_progress' });
    expect(await fixture.row(id)).toEqual(row);
    expect(await fixture.intent(id)).toMatchObject({ attempt: 1 });
  });

  it('may have been spent, is refused: it would be sent twice', async () => {
    const id = await fixture.addConnection({ appId });
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    await fixture.exchanges.settle(settlement(claim, { class: 'ambiguous', retryAfterMs: 0 }));
    await expect(put(id, { accessToken })).rejects.toMatchObject({ code: 'refresh_uncertain' });
    expect(await fixture.intent(id)).toMatchObject({ attempt: 1 });
    expect(await put(id, ownTokens())).toMatchObject({ credentials: 'stored' });
  });

  it('is being claimed, waits for that and is refused', async () => {
    const id = await fixture.addConnection({ appId });
    const transaction = await fixture.begin();
    await takeClaim(transaction.exchanges, claimRequest(id));
    const refused = expect(put(id, { accessToken })).rejects.toMatchObject({
      code: 'refresh_in_progress',
    });
    await fixture.untilWaiting(1);
    await transaction.commit();
    await refused;
  });
});

describe('the refresh token of an import', () => {
  it('that is stored now only updates the rest', async () => {
    const id = await fixture.addConnection({ appId });
    const before = await fixture.row(id);
    const result = await put(id, {
      accessToken: new Secret('at-older'),
      refreshToken: new Secret(`rt-of-${id}`),
      expiresInSeconds: 1,
      scope: 'wider',
    });
    expect(result).toMatchObject({ created: false, credentials: 'kept' });
    expect(await fixture.row(id)).toEqual({
      ...before,
      scope: 'wider',
      updated_at: (await fixture.row(id))['updated_at'],
    });
  });

  it('that this connection held before changes nothing', async () => {
    const id = await fixture.addConnection({ appId });
    await put(id, ownTokens());
    const before = await fixture.row(id);
    const result = await put(id, {
      accessToken: new Secret('at-older'),
      refreshToken: new Secret(`rt-of-${id}`),
      scope: 'wider',
    });
    expect(result).toMatchObject({ created: false, credentials: 'kept_newer' });
    expect(await fixture.row(id)).toEqual(before);
  });

  it('that a refresh has replaced changes nothing', async () => {
    const id = await fixture.addConnection({ appId });
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    const rotated = await fixture.seal(id, 1, { refresh: `rt-rotated-${id}` });
    const sealed = await fixture.sealResult(id, 1);
    await fixture.exchanges.commit(claim, rotated, record, sealed);
    expect(await put(id, tokens(`of-${id}`))).toMatchObject({ credentials: 'kept_newer' });
    expect(await fixture.openTokens(id)).toMatchObject({ refresh: `rt-rotated-${id}` });
  });

  it('is not needed to update the rest', async () => {
    const id = await fixture.addConnection({ appId });
    expect(await put(id, { metadata: { a: 1 } })).toMatchObject({ credentials: 'kept' });
    expect(await fixture.row(id)).toMatchObject({ generation: 1, metadata: { a: 1 } });
  });

  it.each([
    ['T', { class: 'T', grace_seconds: 30 }, true],
    ['C', { class: 'C' }, true],
    ['X', { class: 'X' }, true],
    ['F', { class: 'F' }, true],
    ['S', { class: 'S' }, false],
    ['L', { class: 'L' }, false],
  ])('of another live connection, class %s, is in use: %#', async (_class, rotation, isRefused) => {
    const shared = await fixture.addApp({ rotation });
    const both = ownTokens();
    const holder = await fixture.addConnection({ appId: shared, ...both });
    const second = put(`c-${randomUUID()}`, { appId: shared, ...both });
    if (!isRefused) {
      expect(await second).toMatchObject({ created: true });
      return;
    }
    await expect(second).rejects.toMatchObject({ code: 'credential_in_use' });
    // Another app, or a connection that is no longer live, holds nothing.
    expect(await put(`c-${randomUUID()}`, { appId, ...both })).toMatchObject({ created: true });
    await fixture.set(holder, 'deleted_at = now()');
    const third = put(`c-${randomUUID()}`, { appId: shared, ...both });
    expect(await third).toMatchObject({ created: true });
  });

  it('goes to one of eight connections that take it at once', async () => {
    const both = ownTokens();
    const ends = await Promise.allSettled(
      Array.from({ length: 8 }, () => put(`c-${randomUUID()}`, both)),
    );
    expect(ends.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const end of ends) {
      if (end.status === 'rejected')
        expect(end.reason).toMatchObject({ code: 'credential_in_use' });
    }
  });
});

describe('a tombstone', () => {
  it('goes on counting when its connection comes back, and keeps nothing else', async () => {
    const id = await fixture.addConnection({
      appId,
      scope: 'old',
      variables: { x: '1' },
      metadata: { y: 2 },
    });
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    // As DELETE will leave it.
    await fixture.set(
      id,
      `deleted_at = now(), app_id = null, generation = 5, token_version = 4,
       sealed_access_token = null, access_key_id = null, sealed_refresh_token = null, refresh_key_id = null`,
    );
    expect(await fixture.connections.get(id, null)).toBeUndefined();
    // The token that it held before counts as new: nothing is kept of the connection that was.
    const result = await put(id, { ...tokens(`of-${id}`), expiresInSeconds: 60 });
    expect(result).toMatchObject({
      created: true,
      credentials: 'stored',
      connection: { generation: 6, tokenVersion: 5, deletedAt: null, scope: null },
    });
    expect(await fixture.row(id)).toMatchObject({ attempt: 1, variables: {}, metadata: {} });
    const late = await fixture.seal(id, 1, {});
    const sealed = await fixture.sealResult(id, 1);
    expect(await fixture.exchanges.commit(claim, late, record, sealed)).toBe('superseded');
  });

  it('needs a token to come back, and its own tenant', async () => {
    const id = await fixture.addConnection({ appId });
    await fixture.set(id, 'deleted_at = now(), app_id = null');
    await expect(put(id, {})).rejects.toMatchObject({ code: 'input_validation' });
    const foreign = put(id, { tenantId: 'other', ...ownTokens() });
    await expect(foreign).rejects.toMatchObject({ code: 'connection_id_taken' });
  });
});

describe('new tokens without expiry', () => {
  it('take the default of the definition first, recorded as assumed', async () => {
    const app = await fixture.addApp({ expiry: { default_ttl_seconds: 900, skew_seconds: 60 } });
    const id = `c-${randomUUID()}`;
    const { connection } = await put(id, {
      appId: app,
      ...ownTokens(),
      accessToken: jwtExpiringIn(500),
    });
    expect(connection).toMatchObject({ lifetimeSeconds: 840, expiryAssumed: true });
  });

  it('take the last lifetime seen before the JWT’s', async () => {
    const id = await fixture.addConnection({ appId, expiresInSeconds: 700 });
    await put(id, { ...ownTokens(), accessToken: jwtExpiringIn(500) });
    expect(await fixture.row(id)).toMatchObject({ lifetime_seconds: 700, expiry_assumed: true });
  });

  it('take the JWT’s exp, then an hour', async () => {
    const [jwt, opaque] = [`c-${randomUUID()}`, `c-${randomUUID()}`];
    await put(jwt, { ...ownTokens(), accessToken: jwtExpiringIn(500) });
    const lifetime = await lifetimeOf(jwt);
    expect(Math.abs((lifetime ?? 0) - 500)).toBeLessThan(5);
    await put(opaque, ownTokens());
    expect(await fixture.row(opaque)).toMatchObject({
      lifetime_seconds: 3_600,
      expiry_assumed: true,
    });
  });

  it('never expire where there is no refresh token, or the definition says so', async () => {
    const forever = await fixture.addApp({ expiry: { never: true } });
    const [alone, said] = [`c-${randomUUID()}`, `c-${randomUUID()}`];
    await put(alone, { accessToken: new Secret('at') });
    await put(said, { appId: forever, ...ownTokens() });
    for (const id of [alone, said]) {
      expect(await fixture.row(id)).toMatchObject({ expires_at: null, lifetime_seconds: null });
    }
  });

  it('do not take the 0 of an import that had expired already', async () => {
    const id = await fixture.addConnection({ appId, expiresInSeconds: 0 });
    expect(await lifetimeOf(id)).toBeNull();
    await put(id, ownTokens());
    expect(await lifetimeOf(id)).toBe(3_600);
  });
});

describe('a DPoP key', () => {
  const keyOf = (namedCurve: string) =>
    new Secret(
      generateKeyPairSync('ec', { namedCurve })
        .privateKey.export({ type: 'pkcs8', format: 'pem' })
        .toString(),
    );

  it('is required by a provider that wants proofs, and must be able to make them', async () => {
    const app = await fixture.addApp({ dpop: true });
    const refused = { code: 'input_validation', errors: [{ pointer: '/dpop_key' }] };
    const members = { appId: app, ...ownTokens() };
    await expect(put(`c-${randomUUID()}`, members)).rejects.toMatchObject(refused);
    const unfit = { ...members, dpopKey: keyOf('P-384') };
    await expect(put(`c-${randomUUID()}`, unfit)).rejects.toMatchObject(refused);
  });

  it('stays under its seal when new credentials come, and is replaced by a new one', async () => {
    const id = `c-${randomUUID()}`;
    const app = await fixture.addApp({ dpop: true });
    const key = keyOf('P-256');
    const first = await put(id, { appId: app, ...ownTokens(), dpopKey: key });
    expect(first.connection.hasDpopKey).toBe(true);
    await put(id, { appId: app, ...ownTokens() });
    const opened = async () => {
      const { sealed_dpop_key: sealed } = await fixture.row(id);
      const owner = { tenantId, id, generation: dpopKeyGeneration };
      return (await fixture.vault.open('dpop-key', owner, sealed as Buffer)).reveal();
    };
    expect(await opened()).toBe(key.reveal());
    const other = keyOf('P-256');
    expect((await put(id, { appId: app, dpopKey: other })).credentials).toBe('kept');
    expect(await opened()).toBe(other.reveal());
  });
});
