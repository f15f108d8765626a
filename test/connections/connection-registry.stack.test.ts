import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectionStatuses, type ConnectionStatus } from '../../client/contract.ts';
import { connectionStatus, type Connection } from '../../connections/connection.ts';
import {
  countConnections,
  createConnectionRegistry,
  getConnection,
} from '../../connections/connection-registry.ts';
import type { ConnectionFilter, VisibleTenants } from '../../connections/registry.ts';
import type { Queryable, Statement } from '../../connections/store-query.ts';
import { createProviderCatalogue } from '../../oauth/provider-catalogue.ts';
import { Secret } from '../../platform/secret.ts';
import { createStoreFixture, type StoreFixture } from './store-fixture.ts';

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await createStoreFixture();
});
afterAll(() => fixture.database.drop());

/** Every page, following the cursors. */
async function listAll(
  filter: Omit<ConnectionFilter, 'cursor' | 'visibleTo'>,
  visibleTo: VisibleTenants = null,
): Promise<Connection[][]> {
  const pages: Connection[][] = [];
  let cursor: string | null | undefined;
  do {
    const page = await fixture.connections.list({
      ...filter,
      visibleTo,
      ...(cursor && { cursor }),
    });
    pages.push(page.items);
    cursor = page.nextCursor;
  } while (cursor !== null);
  return pages;
}

const idsOf = (connections: Connection[]): string[] => connections.map(({ id }) => id);

describe('reading a token', () => {
  /** A registry whose statements are recorded, and its clocks. */
  function createRecordingRegistry() {
    const state = { fails: false };
    const statements: Statement[] = [];
    const observed: [Date, number][] = [];
    const store = {
      query(statement: Statement) {
        statements.push(statement);
        if (state.fails) return Promise.reject(new Error('broken'));
        return fixture.pool.query(statement);
      },
      connect: () => fixture.pool.connect(),
    } as Queryable & { connect: typeof fixture.pool.connect };
    const registry = createConnectionRegistry({
      store,
      vault: fixture.vault,
      apps: fixture.apps,
      providers: createProviderCatalogue({ builtIn: {} }),
      clock: { monotonicMs: () => 5_000, wallMs: () => 0 },
      databaseClock: {
        observe: (now, startedAtMs) => void observed.push([now, startedAtMs]),
        now: () => new Date(0),
      },
      random: () => 0,
    });
    return { registry, statements, observed, state };
  }

  it('is one SELECT that never fetches a column of the refresh token', async () => {
    const id = await fixture.addConnection();
    const { registry, statements } = createRecordingRegistry();
    const reading = await registry.readToken(id);
    expect(statements).toHaveLength(1);
    const [statement] = statements;
    // That there is one is a fact, and not the token.
    const text = statement?.text ?? '';
    const fetched = text.replace('c.sealed_refresh_token is not null', '');
    expect(fetched).toMatch(/^select/);
    expect(fetched).not.toMatch(/sealed_refresh|refresh_key|fingerprint|\*/);
    expect(fetched).toContain('sealed_access_token');
    const { rows } = await fixture.pool.query<Record<string, unknown>>(text, [id]);
    const { sealed_refresh_token } = await fixture.row(id);
    const buffers = Object.values(rows[0] ?? {}).filter((value) => Buffer.isBuffer(value));
    expect(buffers).toHaveLength(1);
    expect(buffers).not.toContainEqual(sealed_refresh_token);
    expect((await reading?.open())?.reveal()).toBe(`at-of-${id}`);
    expect(statements).toHaveLength(1);
  });

  it('is the same for all who ask in one turn, up to a hundred', async () => {
    const ids = await Promise.all(Array.from({ length: 3 }, () => fixture.addConnection()));
    const { registry, statements } = createRecordingRegistry();
    const [one = '', two = '', three = ''] = ids;
    const asked = [one, 'nobody', two, one, three];
    const readings = await Promise.all(asked.map((id) => registry.readToken(id)));
    expect(readings.map((reading) => reading?.connection.id)).toEqual([
      one,
      undefined,
      two,
      one,
      three,
    ]);
    for (const reading of readings) {
      if (reading === undefined) continue;
      expect((await reading.open()).reveal()).toBe(`at-of-${reading.connection.id}`);
    }
    expect(statements).toHaveLength(1);
    await Promise.all(Array.from({ length: 101 }, (_, at) => registry.readToken(`c-${at}`)));
    expect(statements).toHaveLength(3);
  });

  it('fails for all who ask in one turn, and for nobody after', async () => {
    const id = await fixture.addConnection();
    const { registry, statements, state } = createRecordingRegistry();
    state.fails = true;
    const asked = [registry.readToken(id), registry.readToken('nobody')];
    for (const { status } of await Promise.allSettled(asked)) expect(status).toBe('rejected');
    state.fails = false;
    expect((await registry.readToken(id))?.connection.id).toBe(id);
    expect(statements).toHaveLength(2);
  });

  it('tells the clock what the database said, and when it was asked', async () => {
    const id = await fixture.addConnection();
    const { registry, observed } = createRecordingRegistry();
    const reading = await registry.readToken(id);
    expect(observed).toEqual([[reading?.connection.readAt, 5_000]]);
  });

  it('finds nothing where there is no connection, or a deleted one', async () => {
    const id = await fixture.addConnection();
    await fixture.set(id, 'deleted_at = now()');
    expect(await fixture.connections.readToken(id)).toBeUndefined();
    expect(await fixture.connections.get(id, null)).toMatchObject({ id });
    await fixture.set(id, 'app_id = null');
    expect(await fixture.connections.get(id, null)).toBeUndefined();
    expect(await fixture.connections.readToken('nobody')).toBeUndefined();
    expect(await getConnection(fixture.pool, 'nobody', null)).toBeUndefined();
  });

  it('of a connection without one does not open', async () => {
    const id = await fixture.addConnection();
    await fixture.set(id, 'sealed_access_token = null, access_key_id = null');
    const reading = await fixture.connections.readToken(id);
    expect(reading?.connection.hasAccessToken).toBe(false);
    expect(() => reading?.open()).toThrow('holds no access token');
  });

  it('whose row was moved or put back does not open', async () => {
    const [one, other] = [await fixture.addConnection(), await fixture.addConnection()];
    await fixture.pool.query(
      `update connections c set sealed_access_token = o.sealed_access_token
       from connections o where c.id = $1 and o.id = $2`,
      [one, other],
    );
    const moved = await fixture.connections.readToken(one);
    await expect(moved?.open()).rejects.toMatchObject({ code: 'internal' });
    await fixture.set(other, 'generation = generation + 1');
    const putBack = await fixture.connections.readToken(other);
    await expect(putBack?.open()).rejects.toMatchObject({ code: 'internal' });
  });
});

describe('lists', () => {
  const count = 7;
  let appId: string;
  let ids: string[];
  beforeAll(async () => {
    appId = await fixture.addApp();
    ids = [];
    for (let at = 0; at < count; at += 1) {
      const tenantId = at % 2 === 0 ? 'even' : 'odd';
      ids.push(await fixture.addConnection({ appId, tenantId }));
    }
    ids.sort();
  });

  it.each([1, 3, 7, 8])('of %d a page hold every connection once, in order', async (limit) => {
    const pages = await listAll({ appId, limit });
    expect(pages).toHaveLength(Math.ceil(count / limit));
    expect(pages.slice(0, -1).every((page) => page.length === limit)).toBe(true);
    expect(idsOf(pages.flat())).toEqual(ids);
  });

  it('by tenant and app hold those of both', async () => {
    const even = (await listAll({ appId, tenantId: 'even', limit: 2 })).flat();
    expect(even).toHaveLength(4);
    expect(new Set(even.map(({ tenantId }) => tenantId))).toEqual(new Set(['even']));
    expect((await listAll({ appId, tenantId: 'nobody', limit: 2 })).flat()).toEqual([]);
    expect((await listAll({ appId: 'nobody', limit: 2 })).flat()).toEqual([]);
  });

  it.each([1, 2, 500])('of %d a page hold only what the caller may see', async (limit) => {
    const visible = async (...tenants: string[]) =>
      idsOf((await listAll({ appId, limit }, new Set(tenants))).flat());
    const pages = await listAll({ appId, limit }, new Set(['odd']));
    // No page is short, or one too many, for what lies in between.
    expect(pages).toHaveLength(Math.ceil(3 / limit));
    expect(pages.slice(0, -1).every((page) => page.length === limit)).toBe(true);
    expect(new Set(pages.flat().map(({ tenantId }) => tenantId))).toEqual(new Set(['odd']));
    expect(await visible('odd', 'even')).toEqual(ids);
    expect(await visible('nobody')).toEqual([]);
    expect(await visible()).toEqual([]);
    expect((await listAll({ appId, tenantId: 'even', limit }, new Set(['odd']))).flat()).toEqual(
      [],
    );
  });

  it('go on behind a connection that came meanwhile, and skip none', async () => {
    const first = await fixture.connections.list({ visibleTo: null, appId, limit: 3 });
    const late = await fixture.addConnection({ appId });
    await fixture.set(late, 'deleted_at = now()');
    const { nextCursor } = first;
    if (nextCursor === null) throw new Error('there is no second page');
    const rest = await fixture.connections.list({
      visibleTo: null,
      appId,
      limit: 500,
      cursor: nextCursor,
    });
    expect([...idsOf(first.items), ...idsOf(rest.items)]).toEqual(ids);
  });

  it.each(['', 'x', '!!!', Buffer.from("a' or 1=1").toString('base64url')])(
    'refuse the cursor %j',
    async (cursor) => {
      await expect(
        fixture.connections.list({ visibleTo: null, limit: 1, cursor }),
      ).rejects.toMatchObject({
        code: 'input_validation',
        errors: [{ parameter: 'cursor' }],
      });
    },
  );
});

it('one connection and its attempts are there for its own tenant only', async () => {
  const id = await fixture.addConnection({ tenantId: 'own' });
  const [own, other] = [new Set(['other', 'own']), new Set(['other'])];
  expect((await fixture.connections.get(id, own))?.id).toBe(id);
  expect(await fixture.connections.get(id, other)).toBeUndefined();
  expect(await fixture.connections.get(id, new Set())).toBeUndefined();
  const attempts = (visibleTo: VisibleTenants) =>
    fixture.connections.attempts(id, { limit: 5, visibleTo });
  expect(await attempts(own)).toEqual({ items: [], nextCursor: null });
  expect(await attempts(other)).toBeUndefined();
});

describe('the status in SQL', () => {
  it('is the status in TypeScript, whatever the row holds', async () => {
    const appId = await fixture.addApp();
    // Every combination of what the columns that the status depends on may hold.
    const { rowCount } = await fixture.pool.query(
      `with instants (at) as (values (null), (now() - interval '1 hour'))
       insert into connections (id, tenant_id, app_id, generation, token_version, credential,
         rotation_class, deleted_at, paused_at, uncertain_since, verdict, sealed_access_token,
         sealed_refresh_token, expires_at)
       select 'status-' || row_number() over (), 'tenant', $1, 1, 1, credential,
         'F', deleted.at, paused.at, uncertain.at, verdict, access, refresh, expires_at
       from instants deleted, instants paused, instants uncertain,
         (values (null), ('revoked')) verdicts (verdict),
         (values ('refresh_token'), ('access_token'), ('client')) credentials (credential),
         (values (null), ('\\x01'::bytea)) accesses (access),
         (values (null), ('\\x01'::bytea)) refreshes (refresh),
         (values (null), (now() - interval '1 hour'), (now() + interval '1 hour')) ends (expires_at)`,
      [appId],
    );
    const listed = new Map<string, ConnectionStatus>();
    for (const status of connectionStatuses) {
      const found = (await listAll({ appId, status, limit: 500 })).flat();
      expect(found.length, status).toBeGreaterThan(0);
      for (const connection of found) {
        expect(connectionStatus(connection, connection.readAt), connection.id).toBe(status);
        expect(listed.has(connection.id)).toBe(false);
        listed.set(connection.id, status);
      }
    }
    expect(listed.size).toBe(rowCount);
    const unfiltered = idsOf((await listAll({ appId, limit: 500 })).flat());
    const live = [...listed].filter(([, status]) => status !== 'revoking').map(([id]) => id);
    expect(unfiltered.sort()).toEqual(live.sort());
  });

  it('counts all connections', async () => {
    const counted = await countConnections(fixture.pool);
    const { rows } = await fixture.pool.query<{ count: string }>(
      'select count(*) from connections where app_id is not null',
    );
    const sum = Object.values(counted).reduce((total, one) => total + one, 0);
    expect(sum).toBe(Number(rows[0]?.count));
    expect(counted.revoking).toBeGreaterThan(0);
  });
});

it('an import through the registry is what the exchange loads', async () => {
  const id = await fixture.addConnection({ refreshToken: new Secret('rt-through') });
  const subject = await fixture.exchanges.load(id);
  expect(subject?.connection).toMatchObject({
    ...(await fixture.connections.get(id, null)),
    readAt: expect.any(Date) as Date,
  });
});
