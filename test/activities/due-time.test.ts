import fc from 'fast-check';
import { expect, it } from 'vitest';
import { endOfAttempt } from '../../activities/attempt-end.ts';
import { dueAfterMs, offeredProbe, resolveAmbiguity } from '../../activities/resolve-ambiguity.ts';
import type { RefreshIntent } from '../../connections/exchange.ts';
import type { Failure } from '../../oauth/failure-class.ts';
import type { ProviderDefinition } from '../../oauth/provider-definition.ts';
import { defaultDeadlinesMs } from '../../oauth/rotation.ts';
import {
  readAt,
  sampleFailure,
  sampleIntent,
  sampleSubject,
} from '../connections/sample-connection.ts';
import { defineProvider } from '../oauth/definitions.ts';

/*
 * The due-time invariant: a connection that fails, or whose end nobody knows, is never due in the past, nor before
 * callers may ask, and after its first failures not each minute.
 */

const dayMs = 86_400_000;
const minuteMs = 60_000;
const graceMs = 30_000;
/** What comes so soon after each other is one bad moment of the provider, not a habit. */
const promptFailures = 8;
const picksOfADayMax = 250;
const runs = 500;
/** Around the token's end two tries may be close: one before it, one after. */
const aroundExpiryMs = 120_000;

const rotations = [
  ...['S', 'L', 'C', 'X', 'F'].map((rotationClass) => ({ class: rotationClass })),
  { class: 'T', grace_seconds: graceMs / 1_000 },
  { class: 'F', old_access_token_dies: true },
];

const failures: Pick<Failure, 'class' | 'code'>[] = [
  { class: 'transient', code: 'http_503' },
  { class: 'misconfigured', code: 'invalid_client' },
  { class: 'rate_limited', code: 'http_429' },
  { class: 'protocol_break', code: 'http_200' },
  { class: 'protocol_break', code: 'not_json' },
  { class: 'ambiguous', code: 'ECONNRESET' },
];

const story = fc.record({
  rotation: fc.constantFrom(...rotations),
  policy: fc.constantFrom('by_class', 'never_replay'),
  /** Of the token in use; null: it does not expire. */
  validForMs: fc.option(fc.integer({ min: -minuteMs, max: dayMs })),
  /** What the provider answers, again and again in this order. */
  answers: fc.array(
    fc.record({
      failure: fc.constantFrom(...failures),
      retryAfterSeconds: fc.option(fc.integer({ min: 0, max: 3_600 }), { freq: 3 }),
    }),
    { minLength: 1, maxLength: 4 },
  ),
  seed: fc.integer({ min: 1, max: 2 ** 31 - 2 }),
});

type Story = typeof story extends fc.Arbitrary<infer Value> ? Value : never;

interface SweepPick {
  atMs: number;
  /** As it was written by the end of this one; null: never of its own accord. */
  dueAfterMs: number | null;
  retryAfterMs: number;
  /** Class T: the grace of the refresh token in use ends soon, so its replays are urgent. */
  isInsideGrace: boolean;
}

/** Every time within a day at which the sweep picks the connection, by what each end had written. */
function picksOfADay({ rotation, policy, validForMs, answers, seed }: Story): SweepPick[] {
  const random = parkMiller(seed);
  const definition = definitionOf(rotation, policy);
  const picks: SweepPick[] = [];
  let replay: RefreshIntent | null = null;
  let failure = null as ReturnType<typeof sampleFailure> | null;
  for (let atMs: number | null = 0; atMs !== null && atMs < dayMs;) {
    const now = new Date(readAt.getTime() + atMs);
    const expiresAt = validForMs === null ? null : new Date(readAt.getTime() + validForMs);
    const subject = sampleSubject({ readAt: now, expiresAt, failure });
    const input = { connectionId: 'c1', newerThan: 7, trigger: 'sweep' } as const;
    if (replay !== null) {
      const decision = resolveAmbiguity(
        { subject, intent: replay, definition, deadlinesMs: defaultDeadlinesMs, input, now },
        offeredProbe(definition),
      );
      if (decision.kind === 'lost') break;
      if (decision.kind === 'wait') {
        const waitMs = dueAfterMs(decision);
        picks.push({ atMs, dueAfterMs: waitMs, retryAfterMs: 0, isInsideGrace: false });
        atMs = waitMs === null ? null : atMs + waitMs;
        continue;
      }
    }
    const answer = answers[picks.length % answers.length];
    if (answer === undefined) break;
    const { settlement } = endOfAttempt(
      {
        input: { ...input, replayOf: replay?.attempt ?? null, unsettled: null },
        subject,
        replay,
        claim: { connectionId: 'c1', generation: 3, attempt: 6, claimedAt: now, replays: 0 },
        claimId: 'claim',
        record: { trigger: 'sweep', runId: 'run', durationMs: 1_000 },
        definition,
        deadlinesMs: defaultDeadlinesMs,
        fraction: random(),
      },
      {
        kind: 'failure',
        ...answer.failure,
        retryAfterSeconds: answer.retryAfterSeconds,
        reason: null,
      },
    );
    if (settlement.class === 'permanent') break;
    const { refreshDueAfterMs, retryAfterMs, isFateOpen, isReplayCounted } = settlement;
    const sentForMs = now.getTime() - (replay?.firstSentAt ?? now).getTime();
    const isInsideGrace = rotation.class === 'T' && sentForMs <= graceMs;
    picks.push({ atMs, dueAfterMs: refreshDueAfterMs, retryAfterMs, isInsideGrace });
    failure = sampleFailure({ ...answer.failure, at: now, count: (failure?.count ?? 0) + 1 });
    if (isFateOpen || replay !== null) {
      replay = sampleIntent({
        firstSentAt: replay?.firstSentAt ?? now,
        replays: (replay?.replays ?? 0) + (isReplayCounted ? 1 : 0),
      });
    }
    // The Activity itself takes its time.
    atMs = refreshDueAfterMs === null ? null : atMs + Math.max(refreshDueAfterMs, 1_000);
  }
  return picks;
}

const definitions = new Map<string, ProviderDefinition>();

/** Read once each, for that takes longer than a day of picks. */
function definitionOf(rotation: object, policy: string): ProviderDefinition {
  const key = JSON.stringify([rotation, policy]);
  const definition = definitions.get(key) ?? defineProvider({ rotation, ambiguity: { policy } });
  definitions.set(key, definition);
  return definition;
}

/** Uniform, so that a back-off is what it is on the average; fast-check would draw 0 all day. */
function parkMiller(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

/** What is wrong with a day of picks. */
function faultsOf(told: Story): string[] {
  const picks = picksOfADay(told);
  const faults = picks.flatMap(({ atMs, dueAfterMs: afterMs, retryAfterMs }) => {
    if (retryAfterMs < 0) return [`${atMs}: callers may ask in the past`];
    return afterMs !== null && afterMs < retryAfterMs
      ? [`${atMs}: due before callers may ask`]
      : [];
  });
  const isAroundExpiry = (atMs: number): boolean =>
    told.validForMs !== null && Math.abs(atMs - told.validForMs) <= aroundExpiryMs;
  for (const [at, { atMs, isInsideGrace }] of picks.entries()) {
    const next = picks[at + 1];
    if (at < promptFailures || next === undefined || isInsideGrace) continue;
    if (isAroundExpiry(atMs) || isAroundExpiry(next.atMs)) continue;
    if (next.atMs - atMs <= minuteMs) faults.push(`${atMs}: picked again within a minute`);
  }
  if (picks.length > picksOfADayMax) faults.push(`picked ${picks.length} times`);
  return faults;
}

it('is never in the past, never before callers may ask, and seldom after the first failures', () => {
  fc.assert(
    fc.property(story, (told) => {
      expect(faultsOf(told)).toEqual([]);
    }),
    { numRuns: runs },
  );
});
