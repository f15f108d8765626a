import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LoggedAttempt } from '../../connections/registry.ts';
import { createStoreFixture, type StoreFixture } from './store-fixture.ts';

let fixture: StoreFixture;

beforeAll(async () => {
  fixture = await createStoreFixture();
});
afterAll(() => fixture.database.drop());

/** Failures before anything was sent, with the codes `e1`, `e2` … */
async function addAttempts(connectionId: string, count: number): Promise<void> {
  for (let number = 1; number <= count; number += 1) {
    await fixture.exchanges.postpone({
      connectionId,
      generation: 1,
      attempt: 0,
      class: 'transient',
      code: `e${number}`,
      retryAfterMs: 0,
      refreshDueAfterMs: 0,
      record: { trigger: 'sweep', runId: `run-${number}`, durationMs: number },
    });
  }
}

function codesOf(items: LoggedAttempt[] = []): (string | null)[] {
  return items.map(({ code }) => code);
}

describe('the attempts of a connection', () => {
  it('come newest first, page by page, each with all that was recorded', async () => {
    const [id, other] = [await fixture.addConnection(), await fixture.addConnection()];
    await addAttempts(id, 5);
    await addAttempts(other, 1);
    const first = await fixture.connections.attempts(id, { visibleTo: null, limit: 3 });
    expect(codesOf(first?.items)).toEqual(['e5', 'e4', 'e3']);
    expect(first?.items[0]).toEqual({
      id: expect.any(String) as string,
      at: expect.any(Date) as Date,
      outcome: 'waiting',
      class: 'transient',
      code: 'e5',
      durationMs: 5,
      trigger: 'sweep',
      runId: 'run-5',
    });
    // Attempts that come meanwhile move no page.
    await addAttempts(id, 1);
    const cursor = first?.nextCursor ?? '';
    const second = await fixture.connections.attempts(id, { visibleTo: null, limit: 3, cursor });
    expect(codesOf(second?.items)).toEqual(['e2', 'e1']);
    expect(second?.nextCursor).toBeNull();
  });

  it('are the newest 50', async () => {
    const id = await fixture.addConnection();
    await addAttempts(id, 53);
    const page = await fixture.connections.attempts(id, { visibleTo: null, limit: 500 });
    expect(page?.items).toHaveLength(50);
    expect(codesOf(page?.items).at(-1)).toBe('e4');
    expect(page?.nextCursor).toBeNull();
  });

  it('are none before the first, and unknown where there is no connection', async () => {
    const id = await fixture.addConnection();
    const page = { visibleTo: null, limit: 50 };
    expect(await fixture.connections.attempts(id, page)).toEqual({ items: [], nextCursor: null });
    expect(await fixture.connections.attempts('nobody', page)).toBeUndefined();
    await fixture.set(id, 'deleted_at = now()');
    expect(await fixture.connections.attempts(id, page)).toBeUndefined();
  });

  it.each(['', 'x', 'c1', '-1', '1;', '9'.repeat(19)])(
    'refuse a cursor that holds %j',
    async (text) => {
      const id = await fixture.addConnection();
      const cursor = Buffer.from(text).toString('base64url');
      await expect(
        fixture.connections.attempts(id, { visibleTo: null, limit: 1, cursor }),
      ).rejects.toMatchObject({
        code: 'input_validation',
        errors: [{ parameter: 'cursor' }],
      });
    },
  );
});
