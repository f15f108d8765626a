import { generateKeyPairSync, randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { resealRows, resealStanding, type ResealStep } from '../../activities/reseal-rows.ts';
import { parseAppCredentials } from '../../connections/app-credentials.ts';
import { countKeyUses, createResealStore, listKeyColumns } from '../../connections/reseal-store.ts';
import { sealedTables } from '../../connections/reseal.ts';
import { createRevocationStore } from '../../connections/revocation-store.ts';
import { tokenNoticeChannel } from '../../connections/token-notices.ts';
import { systemClock } from '../../platform/clock.ts';
import { Secret } from '../../platform/secret.ts';
import { createDataKeyStore, replaceablePurposes } from '../../vault/data-key-store.ts';
import { rotateDataKeys } from '../../vault/rotate-data-keys.ts';
import {
  claimRequest,
  createStoreFixture,
  takeReplay,
  tenantId,
  type StoreFixture,
} from './store-fixture.ts';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await createStoreFixture();
});
afterAll(() => fixture.database.drop());

const logged: unknown[] = [];
beforeEach(() => {
  logged.length = 0;
});

const rotate = () =>
  rotateDataKeys(
    { store: createDataKeyStore(fixture.pool), keyProviders: fixture.keyProviders },
    replaceablePurposes,
  );

function dependencies() {
  return {
    sealedRows: createResealStore(fixture.pool),
    dataKeys: createDataKeyStore(fixture.pool),
    vault: fixture.vault,
    clock: systemClock,
    sleep: () => Promise.resolve(),
    stopping: new AbortController().signal,
    log: { error: (...line: unknown[]) => void logged.push(line) },
  };
}

/** One pass over all tables. */
async function walk(beat: (step: ResealStep) => void = () => undefined): Promise<ResealStep> {
  const at = { table: 'connections', after: null };
  const step = await resealRows(dependencies(), { at, rowsPerSecond: 1e6 }, beat);
  expect(step.next).toBeNull();
  return step;
}

const stale = async () => (await resealStanding(dependencies(), { settleMs: 0 })).stale;

async function usesOfRetired(): Promise<unknown[]> {
  const retired = await createDataKeyStore(fixture.pool).listRetired();
  const ids = new Set(retired.map(({ id }) => id));
  return (await countKeyUses(fixture.pool)).filter(({ dataKeyId }) => ids.has(dataKeyId));
}

describe('sealing anew', () => {
  it('knows every column that refers to a data key', async () => {
    const { rows } = await fixture.pool.query<{ name: string }>(
      `select conrelid::regclass || '.' || attname as name from pg_constraint
       join pg_attribute on attrelid = conrelid and attnum = any(conkey)
       where contype = 'f' and confrelid = 'data_keys'::regclass`,
    );
    expect(listKeyColumns().toSorted()).toEqual(rows.map(({ name }) => name).toSorted());
  });

  it('leaves nothing under a retired key, of any kind, and all of it opens', async () => {
    const appId = await fixture.addApp({ client_auth: 'post' });
    await fixture.apps.put(appId, {
      provider: 'generic',
      clientId: 'client',
      clientSecrets: [new Secret('client-secret')],
    });
    const jwk = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({
      format: 'jwk',
    });
    const id = await fixture.addConnection({
      appId,
      dpopKey: new Secret(JSON.stringify(jwk)),
    });
    const late = await fixture.addConnection();
    const { first } = await takeReplay(fixture.exchanges, late);
    const tokens = await fixture.seal(late, first.generation, {});
    expect(
      await fixture.exchanges.commit(first, tokens, null, await fixture.sealResult(late, 1)),
    ).toBe('late');
    const revocable = { revoke_url: 'https://as.example.com/revoke' };
    const deleted = await fixture.addConnection({ appId: await fixture.addApp(revocable) });
    await fixture.connections.disconnect(deleted, null);
    const before = await fixture.row(id);
    const notices: unknown[] = [];
    const listener = new pg.Client({ connectionString: fixture.database.url });
    await listener.connect();
    listener.on('notification', (notice) => notices.push(notice));
    await listener.query(`listen ${tokenNoticeChannel}`);

    await rotate();
    expect(await stale()).toBeGreaterThanOrEqual(4);
    expect((await usesOfRetired()).length).toBeGreaterThan(0);
    const tables = new Set<string | undefined>();
    const step = await walk((reached) => tables.add(reached.next?.table));
    expect(step).toMatchObject({ next: null, unopenable: 0 });
    expect([...tables]).toEqual([...sealedTables.slice(1), undefined]);
    expect(await stale()).toBe(0);
    expect(await usesOfRetired()).toEqual([]);

    const after = await fixture.row(id);
    const { access_key_id: oldKey, ...unchanged } = before;
    expect(after['access_key_id']).not.toBe(oldKey);
    for (const name of Object.keys(unchanged).filter(
      (each) => !each.startsWith('sealed_') && !each.endsWith('_key_id'),
    )) {
      expect(after[name], name).toEqual(before[name]);
    }
    expect(await fixture.openTokens(id)).toEqual({ access: `at-of-${id}`, refresh: `rt-of-${id}` });
    const dpopOwner = { tenantId, id, generation: 0 };
    const dpop = await fixture.vault.open(
      'dpop-key',
      dpopOwner,
      after['sealed_dpop_key'] as Buffer,
    );
    expect(dpop.reveal()).toContain('PRIVATE KEY');
    const { rows: apps } = await fixture.pool.query<{ sealed: Buffer; generation: string }>(
      'select sealed_client_secrets as sealed, generation from apps where id = $1',
      [appId],
    );
    const [app] = apps;
    if (app === undefined) throw new Error('there is no app');
    const appOwner = { tenantId: '', id: appId, generation: Number(app.generation) };
    const credentials = await fixture.vault.open('client-secrets', appOwner, app.sealed);
    expect(parseAppCredentials(credentials).clientSecrets[0]?.reveal()).toBe('client-secret');
    const intent = await fixture.intent(late);
    const resultOwner = { tenantId, id: late, generation: 1 };
    const result = await fixture.vault.open(
      'sealed-result',
      resultOwner,
      intent?.['late_sealed'] as Buffer,
    );
    expect(result.reveal()).toBe('{}');
    const subject = await createRevocationStore(fixture.pool).load(deleted);
    const [token] = subject?.tokens ?? [];
    if (token === undefined) throw new Error('there is nothing to revoke');
    const revoked = await fixture.vault.open(
      'refresh-token',
      { tenantId, id: deleted, generation: token.generation },
      token.sealed,
    );
    expect(revoked.reveal()).toBe(`rt-of-${deleted}`);
    expect(notices).toEqual([]);
    await listener.end();
  });

  it('leaves a row that somebody writes or holds to the next pass', async () => {
    const [held, written] = [await fixture.addConnection(), await fixture.addConnection()];
    await rotate();
    const store = createResealStore(fixture.pool);
    const retired = (await createDataKeyStore(fixture.pool).listRetired()).map(({ id }) => id);
    const page = await store.page('connections', retired, null, 1_000);
    const other = await fixture.begin();
    await other.query('select from connections where id = $1 for update', [held]);
    const sealer = await fixture.vault.sealer();
    const resealed = page.map(({ id, values }) => ({
      id,
      values: values.map(({ column, kind, owner, bytes }) => ({
        column,
        before: bytes,
        after: sealer.seal(kind, owner, new Secret('of-the-page')),
      })),
    }));
    const claim = await fixture.exchanges.claim(claimRequest(written));
    if (claim === undefined) throw new Error('the claim was refused');
    const tokens = await fixture.seal(written, 1, {});
    const result = await fixture.sealResult(written, 1);
    expect(await fixture.exchanges.commit(claim, tokens, null, result)).toBe('stored');

    expect(await store.replace('connections', resealed)).toBe(page.length - 2);
    expect(await fixture.openTokens(written)).toEqual({ access: 'at-new', refresh: 'rt-new' });
    await other.commit();
    expect(await fixture.openTokens(held)).toMatchObject({ access: `at-of-${held}` });
    // Those of the page hold what the test has sealed; the two are for the next pass.
    await walk();
    expect(await stale()).toBe(0);
    expect(await fixture.openTokens(held)).toMatchObject({ access: `at-of-${held}` });
    expect(await fixture.openTokens(written)).toMatchObject({ access: 'at-new' });
  });

  it('does not wait for whoever refers to a row', async () => {
    const id = await fixture.addConnection();
    await rotate();
    const other = await fixture.begin();
    await other.query('select from connections where id = $1 for key share', [id]);
    await walk();
    expect(await stale()).toBe(0);
    await other.commit();
  });

  it('leaves what does not open as it is, and says where', async () => {
    const [id, swapped] = [await fixture.addConnection(), await fixture.addConnection()];
    await fixture.pool.query(
      `update connections c set sealed_access_token = o.sealed_access_token from connections o
       where c.id = $1 and o.id = $2`,
      [swapped, id],
    );
    await rotate();
    expect(await walk()).toMatchObject({ unopenable: 1 });
    expect(await stale()).toBe(1);
    expect(JSON.stringify(logged)).toContain(swapped);
    expect(JSON.stringify(logged)).not.toContain(`at-of-${id}`);
    // Its refresh token went along.
    const { refresh_key_id: refreshKey, access_key_id: accessKey } = await fixture.row(swapped);
    const retired = (await createDataKeyStore(fixture.pool).listRetired()).map((key) => key.id);
    expect(retired).toContain(accessKey);
    expect(retired).not.toContain(refreshKey);
    await fixture.pool.query(
      'update connections set sealed_access_token = null, access_key_id = null where id = $1',
      [swapped],
    );
  });
});

describe('dropping a data key', () => {
  const dayMs = 86_400_000;
  const drop = (id: string) => createDataKeyStore(fixture.pool).drop(id, 8 * dayMs);
  const age = (id: string) =>
    fixture.pool.query(
      `update data_keys set retired_at = retired_at - interval '9 days' where id = $1`,
      [id],
    );
  const currentId = async (purpose: string) =>
    (
      await fixture.pool.query<{ id: string }>(
        'select id from data_keys where purpose = $1 and retired_at is null',
        [purpose],
      )
    ).rows[0]?.id ?? '';

  it('is refused while it is current, recent, or used', async () => {
    await fixture.addConnection();
    const id = await currentId('access');
    expect(await drop(id)).toBe('current');
    await rotate();
    expect(await drop(id)).toBe('too_recent');
    await age(id);
    expect(await drop(id)).toBe('in_use');
    await walk();
    expect(await drop(id)).toBe('dropped');
    expect(await drop(id)).toBe('unknown');
    expect(await drop(randomUUID())).toBe('unknown');
  });

  it('is refused while late tokens of an intent need it, though nothing else does', async () => {
    const connection = await fixture.addConnection();
    const { first } = await takeReplay(fixture.exchanges, connection);
    const tokens = await fixture.seal(connection, 1, {});
    const result = await fixture.sealResult(connection, 1);
    const id = result().dataKeyId;
    expect(await fixture.exchanges.commit(first, tokens, null, result)).toBe('late');
    await rotate();
    await age(id);
    expect(await drop(id)).toBe('in_use');
    await walk();
    expect(await drop(id)).toBe('dropped');
  });

  it('refuses, afterwards, what a straggler has sealed with it', async () => {
    const connection = await fixture.addConnection();
    const claim = await fixture.exchanges.claim(claimRequest(connection));
    if (claim === undefined) throw new Error('the claim was refused');
    const tokens = await fixture.seal(connection, 1, {});
    const result = await fixture.sealResult(connection, 1);
    const id = tokens.accessToken?.dataKeyId ?? '';
    await rotate();
    await age(id);
    await walk();
    expect(await drop(id)).toBe('dropped');
    await expect(fixture.exchanges.commit(claim, tokens, null, result)).rejects.toThrow();
    expect(await fixture.openTokens(connection)).toMatchObject({ access: `at-of-${connection}` });
  });
});
