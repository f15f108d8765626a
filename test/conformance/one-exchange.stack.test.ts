import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  startDemoProviderServer,
  type DemoProviderServer,
} from '../support/demo-provider-server.ts';
import { startTestStack, type Answer, type TestStack } from '../support/test-stack.ts';

let stack: TestStack;
let provider: DemoProviderServer;
let appId: string;

beforeAll(async () => {
  [stack, provider] = await Promise.all([startTestStack(), startDemoProviderServer()]);
  appId = await provider.registerApp(stack);
});
afterAll(async () => {
  await stack.close();
  provider.close();
});

async function addConnection(): Promise<string> {
  const [id] = await provider.addConnections(stack, appId, 1);
  if (id === undefined) throw new Error('no connection was made');
  return id;
}

function exchangesOf(id: string): unknown {
  return provider.stats().connections[id];
}

function times<Result>(count: number, work: () => Promise<Result>): Promise<Result[]> {
  return Promise.all(Array.from({ length: count }, work));
}

function distinct(answers: Answer[], member: string): unknown[] {
  return [...new Set(answers.map(({ body }) => body[member]))];
}

describe('one exchange, at a provider that revokes on reuse', () => {
  it('R01 an expired token costs one exchange, and the new pair replaces the old', async () => {
    const id = await addConnection();
    const first = await stack.getToken(id);
    expect(first.status, JSON.stringify(first.body)).toBe(200);
    expect(first.body).toMatchObject({ refreshed: true, token_version: 2, token_type: 'Bearer' });
    expect(first.headers.get('cache-control')).toBe('no-store');
    // The second exchange works only with the refresh token that the first one brought.
    await stack.expire(id);
    const second = await stack.getToken(id);
    expect(second.body).toMatchObject({ refreshed: true, token_version: 3 });
    expect(second.body['access_token']).not.toBe(first.body['access_token']);
    expect(exchangesOf(id)).toEqual({ exchanges: 2, reuse: 0, family_revocations: 0 });
  });

  it('R02 fifty callers of one connection over two workers share one exchange', async () => {
    const second = await stack.addWorker();
    const id = await addConnection();
    const answers = await times(50, () => stack.getToken(id));
    await second.close();
    expect(distinct(answers, 'token_version')).toEqual([2]);
    expect(distinct(answers, 'access_token')).toHaveLength(1);
    expect(exchangesOf(id)).toEqual({ exchanges: 1, reuse: 0, family_revocations: 0 });
  });

  it('R04 a token that is valid beyond its margin costs no exchange', async () => {
    const id = await addConnection();
    await stack.getToken(id);
    const answers = await times(100, () => stack.getToken(id));
    expect(distinct(answers, 'refreshed')).toEqual([false]);
    expect(exchangesOf(id)).toEqual({ exchanges: 1, reuse: 0, family_revocations: 0 });
  });

  it('R06 forces that arrive while a refresh runs share it', async () => {
    const id = await addConnection();
    await stack.getToken(id);
    const answers = await times(5, () => stack.refresh(id, { force: true }));
    expect(distinct(answers, 'token_version')).toEqual([3]);
    expect(exchangesOf(id)).toEqual({ exchanges: 2, reuse: 0, family_revocations: 0 });
  });

  it('a rejected token version is refreshed once, and answered with the newer one after', async () => {
    const id = await addConnection();
    await stack.getToken(id);
    const herd = await times(20, () => stack.refresh(id, { rejected_token_version: 2 }));
    expect(distinct(herd, 'token_version')).toEqual([3]);
    const late = await stack.refresh(id, { rejected_token_version: 2 });
    expect(late.body).toMatchObject({ token_version: 3, refreshed: false });
    expect(exchangesOf(id)).toEqual({ exchanges: 2, reuse: 0, family_revocations: 0 });
  });

  it('a thousand callers of one expired connection share one exchange, and none gets an error', async () => {
    const id = await addConnection();
    const answers = await times(1_000, () => stack.getToken(id));
    expect(distinct(answers, 'status')).toEqual([undefined]);
    expect([...new Set(answers.map(({ status }) => status))]).toEqual([200]);
    expect(distinct(answers, 'token_version')).toEqual([2]);
    expect(exchangesOf(id)).toEqual({ exchanges: 1, reuse: 0, family_revocations: 0 });
  }, 60_000);

  it('three hundred expired connections with ten callers each cost three hundred exchanges', async () => {
    const ids = await provider.addConnections(stack, appId, 300);
    const before = provider.stats().total;
    const answers = await Promise.all(
      ids.flatMap((id) => Array.from({ length: 10 }, () => getTokenAtLast(id))),
    );
    const ends = answers.map(({ status, body }) => (status === 200 ? 200 : body['code']));
    expect([...new Set(ends)]).toEqual([200]);
    const total = provider.stats().total;
    expect(total.exchanges - before.exchanges).toBe(300);
    expect(total).toMatchObject({ reuse: 0, family_revocations: 0 });
  }, 120_000);
});

/** As callers do: what is retryable is asked again, for a busy Temporal may take longer than a start may. */
async function getTokenAtLast(id: string): Promise<Answer> {
  for (;;) {
    const answer = await stack.getToken(id, '?wait_seconds=60');
    if (answer.status !== 503) return answer;
    expect(answer.body['retryable']).toBe(true);
    await sleep(1_000);
  }
}
