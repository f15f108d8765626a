import { expect, it } from 'vitest';
import { createGateLine } from '../../activities/gate-line.ts';
import type { GateAnswer, GateEnd, GateEntry, GateRequest } from '../../connections/app-gate.ts';

const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms / 50);
  });

function requestOf(connectionId: string, members: Partial<GateRequest> = {}): GateRequest {
  return {
    appId: 'a1',
    host: 'as.example.com',
    connectionId,
    claimId: `claim of ${connectionId}`,
    leaseMs: 60_000,
    limits: { perWindow: null, concurrency: null },
    isUrgent: false,
    ...members,
  };
}

/** A gate that lets one send pass at a time until somebody has succeeded. */
function createGate() {
  const asked: string[] = [];
  const left: string[] = [];
  let holder: string | undefined;
  let isProven = false;
  const entryOf = ({ appId, connectionId, claimId }: GateRequest): GateEntry => ({
    appId,
    connectionId,
    claimId,
    gateId: '1',
    isProven,
    isSuccessNews: true,
    isLeased: !isProven,
    enteredAt: '',
  });
  const gates = {
    enter: (request: GateRequest): Promise<GateAnswer> => {
      asked.push(request.connectionId);
      if (!isProven && holder !== undefined && !request.isUrgent) {
        return Promise.resolve({ kind: 'wait', afterMs: 700, reason: 'busy' });
      }
      holder = request.connectionId;
      return Promise.resolve({ kind: 'open', entry: entryOf(request) });
    },
    leave: ({ connectionId }: GateEntry, end: GateEnd): Promise<void> => {
      left.push(connectionId);
      if (holder === connectionId) holder = undefined;
      isProven ||= end.kind === 'succeeded';
      return Promise.resolve();
    },
  };
  const line = createGateLine({ gates, random: () => 0.5, sleep });
  return { gates, line, asked, left };
}

const patienceMs = 5_000;

it('one asks for all who wait, and all pass once it has succeeded', async () => {
  const { gates, line, asked } = createGate();
  const first = await line.enter(requestOf('c0'), patienceMs);
  const waiting = Array.from({ length: 100 }, (_, at) =>
    line.enter(requestOf(`c${at + 1}`), patienceMs),
  );
  // Each asked once on arrival at most, and then the first of the line for everybody.
  await expect.poll(() => new Set(asked.slice(-3)).size).toBe(1);
  const askedBefore = asked.length;
  if (first.kind === 'open') await gates.leave(first.entry, { kind: 'succeeded' });
  const answers = await Promise.all(waiting);
  expect(answers.every(({ kind }) => kind === 'open')).toBe(true);
  expect(asked.length - askedBefore).toBeLessThan(110);
});

it('patience ends, and leaves no place taken', async () => {
  const { gates, line, left } = createGate();
  const first = await line.enter(requestOf('c0'), patienceMs);
  expect(await line.enter(requestOf('c1'), 30)).toMatchObject({ kind: 'wait', reason: 'busy' });
  if (first.kind === 'open') await gates.leave(first.entry, { kind: 'unsent' });
  expect(await line.enter(requestOf('c2'), patienceMs)).toMatchObject({ kind: 'open' });
  expect(left).toEqual(['c0']);
});

it('an urgent send passes the line', async () => {
  const { line } = createGate();
  await line.enter(requestOf('c0'), patienceMs);
  const waiting = line.enter(requestOf('c1'), 200);
  const urgent = await line.enter(requestOf('c2', { isUrgent: true }), patienceMs);
  expect(urgent.kind).toBe('open');
  expect((await waiting).kind).toBe('wait');
});

it('lines of other hosts are not held up', async () => {
  const { line } = createGate();
  await line.enter(requestOf('c0'), patienceMs);
  const waiting = line.enter(requestOf('c1'), 200);
  const elsewhere = await line.enter(requestOf('c2', { appId: 'a2', isUrgent: true }), patienceMs);
  expect(elsewhere.kind).toBe('open');
  await waiting;
});
