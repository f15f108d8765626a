import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { announceEvent } from '../../connections/announce-event.ts';
import { createEventFeed, trimEvents, type EventFeed } from '../../connections/event-feed.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

let database: TestDatabase;
let feed: EventFeed;

beforeAll(async () => {
  database = await createTestDatabase();
  feed = createEventFeed(database.pool);
});
afterAll(() => database.drop());

function insertOf(id: string, tenantId = 'acme'): string {
  return announceEvent({
    type: 'connection.recovered',
    source: `(values ('${id}', '${tenantId}', 'app')) t (id, tenant_id, app_id)`,
    data: `'{}'`,
  });
}

/** Everything after the cursor, in pages of the size, and the cursor at its end. */
async function readOn(after: string | null, limit = 100, tenants: string[] | null = null) {
  const ids: (string | null)[] = [];
  let cursor = after;
  for (;;) {
    const page = await feed.read({
      limit,
      visibleTo: tenants && new Set(tenants),
      ...(cursor !== null && { after: cursor }),
    });
    ids.push(...page.items.map(({ connectionId }) => connectionId));
    cursor = page.nextCursor;
    if (page.items.length < limit) return { ids, cursor };
  }
}

/**
 * Until what is written by now can be shown. The feed stops before the oldest transaction that runs, and
 * those of other databases of the server, so of other tests, count.
 */
async function untilShown(): Promise<void> {
  const { rows: written } = await database.pool.query<{ end: string }>(
    `select pg_snapshot_xmax(pg_current_snapshot())::text as end`,
  );
  await vi.waitUntil(
    async () => {
      const { rows } = await database.pool.query<{ shown: boolean }>(
        `select pg_snapshot_xmin(pg_current_snapshot()) >= $1::xid8 as shown`,
        [written[0]?.end],
      );
      return rows[0]?.shown === true;
    },
    { timeout: 60_000, interval: 20 },
  );
}

describe('the feed of events', () => {
  it('shows a transaction that commits late after what was read before it, and never skips it', async () => {
    const { cursor: start } = await readOn(null);
    const slow = await database.pool.connect();
    await slow.query('begin');
    await slow.query(insertOf('slow-1'));
    await database.pool.query(insertOf('quick-1'));
    // Its number is higher, but the slow transaction began first: showing it now would skip that one.
    const during = await readOn(start);
    expect(during.ids).toEqual([]);
    await slow.query(insertOf('slow-2'));
    await slow.query('commit');
    slow.release();
    await untilShown();
    const after = await readOn(during.cursor);
    expect(after.ids).toEqual(['slow-1', 'slow-2', 'quick-1']);
    expect((await readOn(after.cursor)).ids).toEqual([]);
  });

  it('has each event of many writers once, in one order for readers of any page size', async () => {
    const { cursor: start } = await readOn(null);
    const seenWhileWritten: (string | null)[] = [];
    const writing = new AbortController();
    const reading = (async () => {
      let cursor = start;
      while (!writing.signal.aborted) {
        const page = await readOn(cursor, 7);
        seenWhileWritten.push(...page.ids);
        cursor = page.cursor;
      }
      seenWhileWritten.push(...(await readOn(cursor, 7)).ids);
    })();
    const written: string[] = [];
    await Promise.all(
      Array.from({ length: 8 }, async (_writer, writer) => {
        for (let at = 0; at < 25; at += 1) {
          const client = await database.pool.connect();
          await client.query('begin');
          const id = `w${String(writer)}-${String(at)}`;
          await client.query(insertOf(id));
          await client.query('select pg_sleep(random() / 100)');
          // A third of them come to nothing.
          const isKept = (writer + at) % 3 !== 0;
          await client.query(isKept ? 'commit' : 'rollback');
          if (isKept) written.push(id);
          client.release();
        }
      }),
    );
    await untilShown();
    writing.abort();
    await reading;
    const afterwards = await readOn(start, 100);
    expect(seenWhileWritten).toEqual(afterwards.ids);
    expect(afterwards.ids.toSorted()).toEqual(written.toSorted());
  });

  it('shows a caller of some tenants only theirs, and no event of an app', async () => {
    const { cursor: start } = await readOn(null);
    await database.pool.query(insertOf('mine', 'mine'));
    await database.pool.query(insertOf('theirs', 'theirs'));
    await database.pool.query(
      `insert into events (type, tenant_id, app_id) values ('app.recovered', '', 'app')`,
    );
    await untilShown();
    expect((await readOn(start, 1, ['mine', 'none'])).ids).toEqual(['mine']);
    expect((await readOn(start)).ids).toEqual(['mine', 'theirs', null]);
    const { items } = await feed.read({ limit: 500, visibleTo: null });
    expect(items.at(-1)).toMatchObject({ type: 'app.recovered', tenantId: null });
  });

  it('deletes what is old, and says so to whoever reads on from before it', async () => {
    const { cursor: before } = await readOn(null);
    await database.pool.query(insertOf('old'));
    await database.pool.query(`update events set at = now() - interval '31 days'`);
    await database.pool.query(insertOf('new'));
    await untilShown();
    expect(await trimEvents(database.pool)).toBeGreaterThan(0);
    expect(await trimEvents(database.pool)).toBe(0);
    await expect(readOn(before)).rejects.toMatchObject({
      code: 'input_validation',
      errors: [{ parameter: 'after' }],
    });
    const { ids, cursor } = await readOn(null);
    expect(ids).toEqual(['new']);
    expect((await readOn(cursor)).ids).toEqual([]);
  });

  it.each([
    ['none', 'x'],
    ['from before a restore', Buffer.from('7.1.1').toString('base64url')],
  ])('refuses a cursor that is %s', async (_what, cursor) => {
    await expect(readOn(cursor)).rejects.toMatchObject({ code: 'input_validation' });
  });
});
