import { randomUUID } from 'node:crypto';
import { inspect } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { App, AppInput } from '../../connections/app.ts';
import { Secret } from '../../platform/secret.ts';
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

async function openSecrets(id: string): Promise<unknown> {
  const { sealed_client_secrets, generation } = await stored(id);
  const owner = { tenantId: '', id, generation: Number(generation) };
  const opened = await fixture.vault.open('client-secrets', owner, sealed_client_secrets as Buffer);
  return JSON.parse(opened.reveal());
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
    expect(await fixture.apps.get(id)).toEqual(again.app);
  });

  it('is made once by ten at once, and the last writer’s values stay', async () => {
    const id = `app-${randomUUID()}`;
    const names = Array.from({ length: 4 }, (_, at) => `client-${at}`);
    const results = await Promise.all(names.map((clientId) => put(id, { clientId })));
    expect(results.filter(({ created }) => created)).toHaveLength(1);
    expect(names).toContain((await fixture.apps.get(id))?.clientId);
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
    expect(await fixture.apps.get(id)).toBeUndefined();
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
    expect(inspect([app, await fixture.apps.get(id)], { depth: 9 })).not.toContain('cs-');
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
    const [value] = (await openSecrets(id)) as string[];
    expect(values).toContain(value);
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

describe('a pause of the app', () => {
  const pause = async (id: string) =>
    fixture.pool.query(
      `update apps set paused_until = 'infinity', paused_reason = 'invalid_client' where id = $1`,
      [id],
    );

  it.each([
    ['new secrets', { clientSecrets: secrets('cs-2') }, true],
    ['another client id', { clientId: 'other' }, true],
    ['a new limit', { limits: { concurrency: 1 } }, false],
  ])('and a PUT with %s: over %s', async (_name, members, isOver) => {
    const id = await addApp({ clientSecrets: secrets('cs-1') });
    await pause(id);
    await put(id, members);
    expect((await stored(id))['paused_reason']).toBe(isOver ? null : 'invalid_client');
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
    expect(await fixture.apps.get(id)).toBeUndefined();
    await expect(fixture.apps.delete(id)).rejects.toMatchObject({ code: 'app_not_found' });
  });
});

it('a list of apps holds every app once', async () => {
  const seen: string[] = [];
  let cursor: string | null | undefined;
  do {
    const page = await fixture.apps.list({ limit: 4, ...(cursor && { cursor }) });
    seen.push(...page.items.map(({ id }) => id));
    cursor = page.nextCursor;
  } while (cursor !== null);
  const { rows } = await fixture.pool.query<{ id: string }>('select id from apps order by id');
  expect(seen).toEqual(rows.map(({ id }) => id));
});
