import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createBulkImport,
  type BulkConnection,
  type BulkImport,
  type BulkOutcome,
} from '../../connections/bulk-import.ts';
import type { ConnectionInput } from '../../connections/registry.ts';
import type { TransactionalStore } from '../../connections/store-query.ts';
import { tokenNoticeChannel } from '../../connections/token-notices.ts';
import { createProviderCatalogue, loadBuiltInProviders } from '../../oauth/provider-catalogue.ts';
import { createDatabaseClock, systemClock } from '../../platform/clock.ts';
import { Secret } from '../../platform/secret.ts';
import {
  claimRequest,
  createStoreFixture,
  record,
  takeClaim,
  tenantId,
  type StoreFixture,
} from './store-fixture.ts';

let fixture: StoreFixture;
/** Of class F, the strictest. */
let appId: string;
let statements: string[];
let importAll: BulkImport;
beforeAll(async () => {
  fixture = await createStoreFixture();
  appId = await fixture.addApp();
  statements = [];
  const store: TransactionalStore = {
    query: (statement) => {
      statements.push(statement.name);
      return fixture.pool.query(statement);
    },
    connect: () => fixture.pool.connect(),
  };
  importAll = createBulkImport({
    store,
    vault: fixture.vault,
    apps: fixture.apps,
    providers: createProviderCatalogue({ builtIn: loadBuiltInProviders() }),
    clock: systemClock,
    databaseClock: createDatabaseClock(systemClock),
    random: () => 0,
  });
});
afterAll(() => fixture.database.drop());

function line(id: string, members: Partial<ConnectionInput> = {}): BulkConnection {
  return {
    id,
    input: {
      tenantId,
      appId,
      accessToken: new Secret(`at-of-${id}`),
      refreshToken: new Secret(`rt-of-${id}`),
      expiresInSeconds: 3_600,
      ...members,
    },
  };
}

const newId = (): string => `b-${randomUUID()}`;
const codesOf = (outcomes: BulkOutcome[]): string[] =>
  outcomes.map((each) => (each.outcome === 'refused' ? each.error.code : each.outcome));

/** Columns that tell how a row was written, but for whose it is and when. */
async function comparableRow(id: string): Promise<Record<string, unknown>> {
  const row = await fixture.row(id);
  const own = ['id', 'created_at', 'updated_at', 'expires_at', 'refresh_due_at', 'reauthorize_by'];
  const bytes = ['sealed_access_token', 'sealed_refresh_token', 'refresh_fingerprint'];
  return Object.fromEntries(
    Object.entries(row)
      .filter(([name]) => !own.includes(name) && name !== 'reauthorize_notice_at')
      .map(([name, value]) => [name, bytes.includes(name) ? value !== null : value]),
  );
}

describe('a bulk of new connections', () => {
  it('writes the rows that PUT would write', async () => {
    const members: Partial<ConnectionInput> = {
      scope: 'a b',
      variables: { region: 'eu' },
      metadata: { instance_url: 'https://eu.example.com', odd: ['{"', '\\', null, 1.5] },
    };
    const bodies: Partial<ConnectionInput>[] = [members, {}, { expiresInSeconds: 0 }];
    for (const body of bodies) {
      const byPut = await fixture.addConnection({ appId, ...body });
      const inBulk = newId();
      expect(codesOf(await importAll([line(inBulk, body)]))).toEqual(['created']);
      expect(await comparableRow(inBulk)).toEqual(await comparableRow(byPut));
      expect(await fixture.openTokens(inBulk)).toEqual({
        access: `at-of-${inBulk}`,
        refresh: `rt-of-${inBulk}`,
      });
      const at = async (id: string, column: string) => Number((await fixture.row(id))[column]);
      for (const column of ['expires_at', 'refresh_due_at']) {
        const apart = (await at(inBulk, column)) - (await at(byPut, column));
        expect(Math.abs(apart)).toBeLessThan(5_000);
      }
    }
  });

  it('takes one insert for 500 rows, and tells no gateway', async () => {
    const listener = new pg.Client({ connectionString: fixture.database.url });
    await listener.connect();
    const heard: string[] = [];
    listener.on('notification', ({ payload }) => heard.push(payload ?? ''));
    await listener.query(`listen ${tokenNoticeChannel}`);
    statements.length = 0;
    const lines = Array.from({ length: 1_100 }, () => line(newId()));
    const outcomes = await importAll(lines);
    expect(new Set(codesOf(outcomes))).toEqual(new Set(['created']));
    expect(statements.filter((name) => name === 'read-stored-connections')).toHaveLength(3);
    const { rows } = await fixture.pool.query<{ count: string }>(
      'select count(distinct xmin::text) as count from connections where id = any($1)',
      [lines.map(({ id }) => id)],
    );
    expect(rows).toEqual([{ count: '3' }]);
    await listener.query('select 1');
    expect(heard).toEqual([]);
    await listener.end();
  });

  it('remembers the refresh tokens, so that the same again changes nothing but the rest', async () => {
    const ids = [newId(), newId()];
    await importAll(ids.map((id) => line(id)));
    const again = await importAll(ids.map((id) => line(id, { scope: 'c' })));
    expect(codesOf(again)).toEqual(['kept', 'kept']);
    for (const id of ids) {
      expect(await fixture.row(id)).toMatchObject({ generation: 1, token_version: 1, scope: 'c' });
    }
  });

  it('refuses the bad ones by themselves, each for its reason', async () => {
    const held = await fixture.addConnection({ appId });
    const restricted = `app-${randomUUID()}`;
    await fixture.apps.put(restricted, {
      provider: 'generic',
      clientId: 'client',
      overrides: { token_url: 'https://as.example.com/token' },
      tenantIds: ['t-allowed'],
    });
    const regional = await fixture.addApp({
      token_url: 'https://${region}.example.com/token',
      variables: { region: { pattern: '^[a-z]{2}$' } },
    });
    const { accessToken, refreshToken, ...tokenless } = line(newId()).input;
    expect([accessToken, refreshToken]).not.toContain(undefined);
    const lines = [
      line(newId()),
      line(newId(), { appId: 'nobody' }),
      line(newId(), { appId: restricted }),
      line(newId(), { appId: restricted, tenantId: 't-allowed' }),
      line(newId(), { appId: regional, variables: { region: 'eu1' } }),
      { id: newId(), input: tokenless },
      line(newId(), { refreshToken: new Secret(`rt-of-${held}`) }),
      line(held, { tenantId: 'another', refreshToken: new Secret(`rt-${randomUUID()}`) }),
      line(held, { appId: regional, variables: { region: 'eu' } }),
      line(newId()),
    ];
    expect(codesOf(await importAll(lines))).toEqual([
      'created',
      'app_not_found',
      'app_not_found',
      'created',
      'input_validation',
      'input_validation',
      'credential_in_use',
      'connection_id_taken',
      'connection_id_taken',
      'created',
    ]);
    const [, , , , badVariable, noTokens] = await importAll(lines);
    expect(badVariable).toMatchObject({ error: { errors: [{ pointer: '/variables/region' }] } });
    expect(noTokens).toMatchObject({ error: { errors: [{ pointer: '/refresh_token' }] } });
  });

  it('writes an id that is there twice twice, and a token that is there twice once', async () => {
    const [id, other] = [newId(), newId()];
    const outcomes = await importAll([
      line(id),
      line(other, { refreshToken: new Secret(`rt-of-${id}`) }),
      line(id, { refreshToken: new Secret(`rt-2-of-${id}`), scope: 'second' }),
    ]);
    expect(codesOf(outcomes)).toEqual(['created', 'credential_in_use', 'stored']);
    expect(await fixture.row(id)).toMatchObject({ generation: 2, scope: 'second' });
  });

  it('shares refresh tokens where the class allows it', async () => {
    const shared = await fixture.addApp({ rotation: { class: 'S' } });
    const body = { appId: shared, refreshToken: new Secret(`rt-${randomUUID()}`) };
    const outcomes = await importAll([line(newId(), body), line(newId(), body)]);
    expect(codesOf(outcomes)).toEqual(['created', 'created']);
  });
});

describe('a bulk that meets what is stored', () => {
  it('goes on counting a tombstone', async () => {
    const id = await fixture.addConnection({ appId });
    await fixture.connections.disconnect(id, null);
    await fixture.set(id, 'app_id = null, deleted_at = now()');
    const { generation } = await fixture.row(id);
    expect(codesOf(await importAll([line(id)]))).toEqual(['created']);
    expect(await fixture.row(id)).toMatchObject({ generation: Number(generation) + 1 });
  });

  it('replaces credentials, over a refresh in flight, and tells it', async () => {
    const id = await fixture.addConnection({ appId });
    await takeClaim(fixture.exchanges, claimRequest(id));
    const outcomes = await importAll([line(id, { refreshToken: new Secret(`rt-new-${id}`) })]);
    expect(codesOf(outcomes)).toEqual(['stored']);
    expect(await fixture.intent(id)).toBeUndefined();
    expect(await fixture.openTokens(id)).toMatchObject({ refresh: `rt-new-${id}` });
  });

  it('leaves what a refresh has replaced', async () => {
    const [id, other] = [newId(), newId()];
    await importAll([line(id), line(other)]);
    const claim = await takeClaim(fixture.exchanges, claimRequest(id));
    const rotated = await fixture.seal(id, 1, {});
    const sealed = await fixture.sealResult(id, 1);
    expect(await fixture.exchanges.commit(claim, rotated, record, sealed)).toBe('stored');
    expect(codesOf(await importAll([line(id), line(other)]))).toEqual(['kept_newer', 'kept']);
    expect(await fixture.openTokens(id)).toMatchObject({ refresh: 'rt-new' });
  });

  it('refuses what is being revoked, and an access token alone while the stored one is spent', async () => {
    const [revoked, spent] = [
      await fixture.addConnection({ appId }),
      await fixture.addConnection({ appId }),
    ];
    await fixture.set(revoked, 'deleted_at = now()');
    await takeClaim(fixture.exchanges, claimRequest(spent));
    const { refreshToken, ...accessOnly } = line(spent).input;
    expect(refreshToken).toBeDefined();
    const outcomes = await importAll([
      line(revoked, { refreshToken: new Secret(`rt-new-${revoked}`) }),
      { id: spent, input: accessOnly },
    ]);
    expect(codesOf(outcomes)).toEqual(['connection_revoking', 'refresh_in_progress']);
  });

  it('at the same time as another bulk, and as PUT, makes one connection of each line', async () => {
    const lines = Array.from({ length: 200 }, () => line(newId()));
    const [one, other, ...puts] = await Promise.all([
      importAll(lines),
      importAll(lines.toReversed()),
      ...lines.slice(0, 40).map(({ id, input }) => fixture.connections.put(id, input)),
    ]);
    const created = [...codesOf(one), ...codesOf(other)].filter((code) => code === 'created');
    expect(created.length + puts.filter(({ created: isNew }) => isNew).length).toBe(200);
    const rest = [...codesOf(one), ...codesOf(other)].filter((code) => code !== 'created');
    expect(new Set(rest)).toEqual(new Set(['kept']));
  });

  it('gives one token to one of many connections that take it at once', async () => {
    const refreshToken = new Secret(`rt-${randomUUID()}`);
    const outcomes = await Promise.all(
      Array.from({ length: 6 }, (_, at) =>
        at % 2 === 0
          ? importAll([line(newId()), line(newId(), { refreshToken })]).then(codesOf)
          : fixture.connections
              .put(newId(), line('', { refreshToken }).input)
              .then(({ created }) => ['created', created ? 'created' : 'stored'])
              .catch((error: unknown) => ['created', (error as { code: string }).code]),
      ),
    );
    const seconds = outcomes.map(([, second]) => second);
    expect(seconds.filter((code) => code === 'created')).toHaveLength(1);
    expect(seconds.filter((code) => code === 'credential_in_use')).toHaveLength(5);
  });
});
