import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  claimRequest,
  createStoreFixture,
  takeClaim,
  type StoreFixture,
} from '../connections/store-fixture.ts';

const file = new URL('../../deploy/postgres/after-restore.sql', import.meta.url);

let fixture: StoreFixture;
beforeAll(async () => {
  fixture = await createStoreFixture();
});
afterAll(() => fixture.database.drop());

/** As psql runs it: without its own commands, its variable put in as a literal. Answers the rows it lists. */
async function runScript(workersStoppedAt: string): Promise<Map<string, string>> {
  const script = readFileSync(file, 'utf8')
    .replaceAll(/^\\.*$/gm, '')
    .replaceAll(":'workers_stopped_at'", `'${workersStoppedAt}'`);
  const results = (await fixture.pool.query(script)) as unknown as {
    command: string;
    rows: { id: string; why: string }[];
  }[];
  const rows = results.find(({ rows }) => rows.length > 0)?.rows ?? [];
  return new Map(rows.map(({ id, why }) => [id, why]));
}

describe('deploy/postgres/after-restore.sql', () => {
  it('pauses what the provider may be ahead of, and says why', async () => {
    const add = async (assignments: string): Promise<string> => {
      const id = await fixture.addConnection();
      await fixture.set(id, assignments);
      return id;
    };
    const later = "refresh_due_at = '2031-01-01Z'";
    const due = "refresh_due_at = '2030-01-01Z'";
    const [dueX, dueF, lateT, lateC] = [
      await add(`rotation_class = 'X', ${due}`),
      await add(`rotation_class = 'F', ${due}`),
      await add(`rotation_class = 'T', ${later}`),
      await add(`rotation_class = 'C', ${later}`),
    ];
    const sentF = await fixture.addConnection();
    await takeClaim(fixture.exchanges, claimRequest(sentF));
    await fixture.set(sentF, `rotation_class = 'F', ${later}`);
    const leftAlone = [
      await add(`rotation_class = 'S', ${due}`),
      await add(`rotation_class = 'L', ${due}`),
      await add(`rotation_class = 'F', verdict = 'revoked', ${due}`),
      await add(`rotation_class = 'F', deleted_at = now(), ${due}`),
    ];

    const listed = await runScript('2030-06-01 00:00:00+00');

    expect(Object.fromEntries(listed)).toEqual({
      [dueX]: 'a refresh was due',
      [dueF]: 'a refresh was due',
      [lateT]: 'only if somebody forced one',
      [lateC]: 'only if somebody forced one',
      [sentF]: 'a send was under way',
    });
    for (const id of listed.keys()) {
      expect((await fixture.row(id))['paused_at']).toBeInstanceOf(Date);
      expect(await fixture.exchanges.claim(claimRequest(id))).toBeUndefined();
    }
    for (const id of leftAlone) expect((await fixture.row(id))['paused_at']).toBeNull();
  });

  it('raises token versions above all that callers may name, and every token still opens', async () => {
    const id = await fixture.addConnection();
    const { token_version: before } = await fixture.row(id);
    const tokens = await fixture.openTokens(id);
    await runScript('2030-06-01 00:00:00+00');
    expect(await fixture.row(id)).toMatchObject({ token_version: Number(before) + 1_000 });
    expect(await fixture.openTokens(id)).toEqual(tokens);
  });
});
