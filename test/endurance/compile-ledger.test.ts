import { describe, expect, it } from 'vitest';
import type { RotationClass } from '../../connections/connection.ts';
import type { CallRecord } from './callers.ts';
import { compileLedger, type Ledger } from './compile-ledger.ts';
import type { ClaimRecord, StateRecord } from './database-audit.ts';
import type { Evidence } from './evidence.ts';
import type { ConnectionOutcome } from './settle-connections.ts';
import type { SendEntry } from './witness-journal.ts';

const classes = ['S', 'L', 'T', 'C', 'X', 'F'] as const;
const lifetimeMs = 20_000;

function nameOf(rotationClass: RotationClass, introspection = false): string {
  return `app-${rotationClass.toLowerCase()}${introspection ? 'i' : ''}-1`;
}

function send(connectionId: string, members: Partial<SendEntry> = {}): SendEntry {
  const arrivedAtMs = members.arrivedAtMs ?? 1_000;
  return {
    kind: 'send',
    connectionId,
    refreshToken: 'rt-1',
    wasSpent: false,
    arrivedAtMs,
    endedAtMs: arrivedAtMs + 10,
    status: 200,
    error: null,
    issued: {
      accessToken: `at-${connectionId}-2`,
      refreshToken: 'rt-2',
      expiresAtMs: arrivedAtMs + lifetimeMs,
    },
    fault: null,
    delivery: 'answered',
    ...members,
  };
}

function refused(connectionId: string, arrivedAtMs: number): SendEntry {
  return send(connectionId, {
    arrivedAtMs,
    wasSpent: true,
    status: 400,
    error: 'invalid_grant',
    issued: null,
  });
}

function claim(connectionId: string, members: Partial<ClaimRecord> = {}): ClaimRecord {
  const sentAtMs = members.sentAtMs ?? 990;
  return {
    connectionId,
    generation: 1,
    attempt: 1,
    replays: 0,
    sentAtMs,
    answerByMs: sentAtMs + 8_000,
    process: 'worker-1.1',
    ...members,
  };
}

function state(connectionId: string, members: Partial<StateRecord> = {}): StateRecord {
  return {
    connectionId,
    atMs: 0,
    generation: 1,
    tokenVersion: 1,
    expiresAtMs: lifetimeMs,
    verdict: null,
    isUncertain: false,
    failure: null,
    ...members,
  };
}

function call(connectionId: string, members: Partial<CallRecord> = {}): CallRecord {
  return {
    connectionId,
    caller: 0,
    kind: 'plain',
    gateway: 'gateway-1.1',
    startedAtMs: 5_000,
    endedAtMs: 5_010,
    status: 503,
    code: 'store_unavailable',
    token: null,
    versionMin: 0,
    ...members,
  };
}

/** One exchange of each class, and what a case adds to it. */
function judge(
  members: {
    sends?: SendEntry[];
    claims?: ClaimRecord[];
    states?: StateRecord[];
    calls?: CallRecord[];
    outcomes?: ConnectionOutcome[];
    evidence?: Partial<Evidence>;
  } = {},
): Ledger {
  const ids = [...classes.map((name) => nameOf(name)), nameOf('F', true)];
  const named = new Set(members.sends?.map(({ connectionId }) => connectionId));
  const sends = [
    ...ids.filter((id) => !named.has(id)).map((id) => send(id)),
    ...(members.sends ?? []),
  ];
  const connections = ids.map((id) => ({
    id,
    app: {
      id: id.slice(0, -2),
      clientId: id,
      class: id.charAt(4).toUpperCase() as RotationClass,
      introspection: id.charAt(5) === 'i',
      share: 0.1,
    },
    lifetimeSeconds: 20,
    firstLifetimeSeconds: 20,
  }));
  const evidence: Evidence = {
    connections,
    calls: members.calls ?? [],
    journal: sends,
    trail: { claims: members.claims ?? [], states: members.states ?? [], attempts: [] },
    providerLedger: Object.fromEntries(
      connections.map(({ id, app }) => [
        id,
        {
          class: app.class,
          exchanges: sends.filter((each) => each.connectionId === id && each.issued !== null)
            .length,
          replays_allowed: 0,
          replays_forbidden: 0,
          replays_after_lost_answer: 0,
          family_revocations: 0,
          answers_lost: 0,
          live_refresh_tokens: 1,
        },
      ]),
    ),
    lives: [
      {
        name: 'worker-1.1',
        readyAtMs: 0,
        endedAtMs: Infinity,
        isEnding: false,
        lastWords: null,
        stops: [],
      },
      {
        name: 'gateway-1.1',
        readyAtMs: -50_000,
        endedAtMs: Infinity,
        isEnding: false,
        lastWords: null,
        stops: [],
      },
    ],
    strikes: [],
    postgresAway: [],
    temporalAway: [],
    ...members.evidence,
  };
  const run = { seed: 1, minutes: 2, startedAt: '', seconds: 120, faults: 0, reauthorised: 0 };
  return compileLedger(run, evidence, members.outcomes ?? []);
}

/** A lost answer and its replay, which the provider refuses. */
function lostAndReplayed(id: string, lost: Partial<SendEntry> = { delivery: 'cut' }) {
  return {
    sends: [send(id, lost), refused(id, 10_000)],
    claims: [claim(id), claim(id, { attempt: 2, replays: 1, sentAtMs: 9_990 })],
    states: [state(id), state(id, { atMs: 10_010, verdict: 'lost_rotation' })],
  };
}

describe('the ledger', () => {
  it('passes a run in which nothing went wrong', () => {
    expect(judge()).toMatchObject({ verdict: 'PASS', reasons: [] });
  });

  it.each(['X', 'F', 'T'] as const)(
    'class %s: a grant whose answer was lost may end, by a replay that is prescribed',
    (name) => {
      const ledger = judge(lostAndReplayed(nameOf(name)));
      expect(ledger).toMatchObject({ verdict: 'PASS', losses: [{ reason: 'lost_rotation' }] });
      expect(ledger.classes.find((each) => each.class === name)).toMatchObject({
        replaysPrescribed: 1,
        replaysForbidden: 0,
        grantsLost: 1,
      });
    },
  );

  it('class C: no grant may end', () => {
    const { reasons } = judge(lostAndReplayed(nameOf('C')));
    expect(reasons).toContainEqual(expect.stringContaining('forbidden replay'));
    expect(reasons).toContainEqual(expect.stringContaining('grant lost without excuse'));
  });

  it('a grant may not end where the answer reached a live process', () => {
    const { reasons } = judge(lostAndReplayed(nameOf('F'), {}));
    expect(reasons).toEqual([expect.stringContaining('every answer reached a live process')]);
  });

  it.each([
    ['soon', 1_500, 'PASS'],
    ['long', 7_000, 'FAIL'],
  ] as const)('a process that died %s after the answer', (_when, endedAtMs, verdict) => {
    const evidence: Partial<Evidence> = {
      lives: [
        {
          name: 'worker-1.1',
          readyAtMs: 0,
          endedAtMs,
          isEnding: true,
          lastWords: null,
          stops: [],
        },
      ],
    };
    expect(judge({ ...lostAndReplayed(nameOf('F'), {}), evidence }).verdict).toBe(verdict);
  });

  it('a grant may end as lost only', () => {
    const id = nameOf('F');
    const ledger = judge({
      ...lostAndReplayed(id),
      states: [state(id, { atMs: 10_010, verdict: 'revoked' })],
    });
    expect(ledger.reasons).toEqual([expect.stringContaining('grant lost without excuse')]);
  });

  it.each([
    ['as a first send', { attempt: 2, replays: 0, sentAtMs: 9_990 }],
    ['while the first may still be answered', { attempt: 2, replays: 1, sentAtMs: 8_000 }],
    ['of another generation', { generation: 2, attempt: 2, replays: 1, sentAtMs: 9_990 }],
  ])('a spent token may not be sent %s', (_what, second) => {
    const id = nameOf('F');
    const ledger = judge({
      ...lostAndReplayed(id),
      sends: [send(id, { delivery: 'cut' }), refused(id, second.sentAtMs + 10)],
      claims: [claim(id), claim(id, second)],
    });
    expect(ledger.reasons).toEqual([expect.stringContaining('forbidden replay')]);
  });

  it('with introspection a spent token may not be sent at all', () => {
    const ledger = judge(lostAndReplayed(nameOf('F', true)));
    expect(ledger.reasons).toEqual([
      expect.stringContaining('introspection had not called the token active'),
    ]);
  });

  it('counts an answer with a token that is foreign, over or old as wrong', () => {
    const id = nameOf('S');
    const token = {
      name: `at-${id}-2`,
      version: 2,
      refreshed: false,
      expiresAtMs: 0,
    };
    const answered = { status: 200, code: null, token };
    expect(judge({ calls: [call(id, answered)] }).verdict).toBe('PASS');
    const wrong = [
      call(nameOf('L'), answered),
      call(id, { ...answered, startedAtMs: 1_000 + lifetimeMs + 1 }),
      call(id, { ...answered, versionMin: 3 }),
    ];
    expect(judge({ calls: wrong }).wrongAnswers).toHaveLength(wrong.length);
  });

  it('counts a refusal as wrong while the stored token is valid', () => {
    const id = nameOf('S');
    const states = [state(id)];
    const code = 'refresh_uncertain';
    expect(judge({ states, calls: [call(id, { code })] }).refusals).toHaveLength(1);
    const over = call(id, { code, startedAtMs: lifetimeMs, endedAtMs: lifetimeMs + 10 });
    expect(judge({ states, calls: [over] }).refusals).toEqual([]);
  });

  it('excuses a gateway that PostgreSQL is away from, unless it has the token in memory', () => {
    const id = nameOf('S');
    const states = [state(id)];
    expect(judge({ states, calls: [call(id)] }).verdict).toBe('PASS');
    const before = call(id, {
      startedAtMs: 3_500,
      endedAtMs: 3_510,
      status: 200,
      code: null,
      token: { name: `at-${id}-2`, version: 1, refreshed: false, expiresAtMs: lifetimeMs },
    });
    expect(judge({ states, calls: [before, call(id)] }).refusals).toHaveLength(1);
    const newer = state(id, { atMs: call(id).startedAtMs, tokenVersion: 2 });
    expect(judge({ states: [...states, newer], calls: [before, call(id)] }).refusals).toEqual([]);
  });

  it('fails for a connection that is still uncertain, and says what it waits for', () => {
    const outcome = {
      connectionId: nameOf('F'),
      class: 'F',
      status: 'uncertain',
      isRight: false,
      waitsFor: 'token until noon',
    };
    expect(judge({ outcomes: [outcome] }).reasons).toEqual([
      'connection in the wrong state: app-f-1, uncertain, token until noon',
    ]);
  });
});
