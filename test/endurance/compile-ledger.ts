import type { CallRecord } from './callers.ts';
import type { ConnectionOutcome } from './settle-connections.ts';
import { sortEvidence, type ConnectionEvidence, type Evidence } from './evidence.ts';
import { judgeAnswers, type WrongAnswer } from './judge-answers.ts';
import { judgeLosses, type Loss } from './judge-losses.ts';
import { judgeRefusals, type Refusal } from './judge-refusals.ts';
import { judgeSends, type Replay } from './judge-sends.ts';
import { isDuring, summariseReads, type LatencySummary } from './read-latency.ts';

const classes = ['S', 'L', 'T', 'C', 'X', 'F'] as const;
/** Of each kind of fault so many are told in full. */
const detailsMax = 10;

export interface RunFacts {
  seed: number;
  minutes: number;
  startedAt: string;
  seconds: number;
  faults: number;
  /** Connections whose customer authorised again after the grant was lost. */
  reauthorised: number;
}

export interface ClassTotals {
  class: string;
  connections: number;
  exchanges: number;
  replaysAllowed: number;
  replaysPrescribed: number;
  replaysForbidden: number;
  answersLost: number;
  familyRevocations: number;
  grantsLost: number;
}

export interface Ledger {
  run: RunFacts;
  verdict: 'PASS' | 'FAIL';
  /** Why it failed; empty: it passed. */
  reasons: string[];
  classes: ClassTotals[];
  losses: Loss[];
  outcomes: Record<string, number>;
  unsettled: ConnectionOutcome[];
  /** By problem code, or 200. */
  calls: { calm: Record<string, number>; chaos: Record<string, number> };
  reads: { calm: LatencySummary; chaos: LatencySummary };
  wrongAnswers: WrongAnswer[];
  refusals: Refusal[];
  /** Processes that ended by themselves, with the end of their output. */
  crashes: { name: string; lastWords: string | null }[];
  /** Everything known about each connection that a reason names. */
  details: Record<string, unknown>;
}

/** Judges the run. `reasons` is empty exactly if everything that is promised was kept. */
export function compileLedger(
  run: RunFacts,
  evidence: Evidence,
  outcomes: readonly ConnectionOutcome[],
): Ledger {
  const sorted = sortEvidence(evidence);
  const replays = judgeSends(sorted);
  const losses = judgeLosses(evidence, sorted);
  const wrongAnswers = judgeAnswers(evidence.calls, sorted);
  const refusals = judgeRefusals(evidence, sorted);
  const byClass = classes.map((name) => totalsOf(name, evidence, sorted, replays, losses));
  const forbidden = replays.filter(({ verdict }) => verdict === 'forbidden');
  const unsettled = outcomes.filter(({ isRight }) => !isRight);
  const faults = evidence.calls.filter(({ code }) => code === 'internal');
  const badLosses = losses.filter(
    ({ reason, because }) => reason !== 'lost_rotation' || because === null,
  );
  const crashes = evidence.lives.filter(({ lastWords }) => lastWords !== null);
  const mismatches = compareCounts(evidence, sorted);
  const reasons = [
    ...told(forbidden, 'forbidden replay', (each) => `${each.connectionId}: ${each.why}`),
    ...told(badLosses, 'grant lost without excuse', (each) =>
      [each.connectionId, each.reason, each.because ?? 'every answer reached a live process'].join(
        ', ',
      ),
    ),
    ...told(wrongAnswers, 'wrong answer', ({ call, why }) => `${call.connectionId}: ${why}`),
    ...told(refusals, 'valid token refused', ({ call }) =>
      [call.connectionId, call.gateway, String(call.status), call.code ?? ''].join(' '),
    ),
    ...told(faults, 'answer `internal`', ({ connectionId, gateway }) =>
      [connectionId, gateway].join(' '),
    ),
    ...told(unsettled, 'connection in the wrong state', (each) =>
      [each.connectionId, each.status, each.waitsFor].join(', '),
    ),
    ...told(mismatches, 'count that differs from the provider', (each) => each),
    ...told(crashes, 'process that ended by itself', ({ name, lastWords }) =>
      [name, tellingLine(lastWords ?? '')].join(': '),
    ),
    ...(byClass.every(({ exchanges }) => exchanges > 0) ? [] : ['a class had no exchange']),
  ];
  const named = [
    ...forbidden.map(({ connectionId }) => connectionId),
    ...badLosses.map(({ connectionId }) => connectionId),
    ...[...wrongAnswers, ...refusals].map(({ call }) => call.connectionId),
    ...unsettled.map(({ connectionId }) => connectionId),
  ];
  return {
    run,
    verdict: reasons.length === 0 ? 'PASS' : 'FAIL',
    reasons,
    classes: byClass,
    losses,
    outcomes: countBy(outcomes, ({ status }) => status),
    unsettled,
    calls: {
      calm: countAnswers(evidence.calls.filter((call) => !isDuring(call, evidence.strikes))),
      chaos: countAnswers(evidence.calls.filter((call) => isDuring(call, evidence.strikes))),
    },
    reads: summariseReads(evidence.calls, evidence.strikes),
    wrongAnswers: wrongAnswers.slice(0, detailsMax),
    refusals: refusals.slice(0, detailsMax),
    crashes: crashes.map(({ name, lastWords }) => ({ name, lastWords })),
    details: Object.fromEntries(
      [...new Set(named)]
        .slice(0, 4 * detailsMax)
        .map((id) => [
          id,
          { evidence: sorted.get(id), providerLedger: evidence.providerLedger[id] },
        ]),
    ),
  };
}

/** What a process said of its end: a native one ends with a stack, whose first words matter. */
function tellingLine(output: string): string {
  const lines = output.trim().split('\n');
  return (
    lines.findLast((line) => /fatal|assert|panicked|terminate called/i.test(line)) ??
    lines.at(-1) ??
    ''
  );
}

function totalsOf(
  name: (typeof classes)[number],
  evidence: Evidence,
  sorted: Map<string, ConnectionEvidence>,
  replays: readonly Replay[],
  losses: readonly Loss[],
): ClassTotals {
  const mine = [...sorted.values()].filter(({ connection }) => connection.app.class === name);
  const ids = new Set(mine.map(({ connection }) => connection.id));
  const ledgers = mine.flatMap(({ connection }) => evidence.providerLedger[connection.id] ?? []);
  const sends = mine.flatMap((each) => each.sends);
  const replaysOf = (verdict: Replay['verdict']): number =>
    replays.filter((each) => ids.has(each.connectionId) && each.verdict === verdict).length;
  return {
    class: name,
    connections: mine.length,
    exchanges: sum(ledgers.map(({ exchanges }) => exchanges)),
    replaysAllowed: replaysOf('allowed'),
    replaysPrescribed: replaysOf('prescribed'),
    replaysForbidden: replaysOf('forbidden'),
    answersLost: sends.filter(({ issued, delivery }) => issued !== null && delivery !== 'answered')
      .length,
    familyRevocations: sum(ledgers.map((ledger) => ledger.family_revocations)),
    grantsLost: losses.filter(({ connectionId }) => ids.has(connectionId)).length,
  };
}

/** The witness and the authorization server count apart from each other. */
function compareCounts(evidence: Evidence, sorted: Map<string, ConnectionEvidence>): string[] {
  return [...sorted].flatMap(([id, { sends }]) => {
    const truth = evidence.providerLedger[id];
    if (truth === undefined) return [`${id}: the provider does not know it`];
    const exchanges = sends.filter(({ issued }) => issued !== null).length;
    return exchanges === truth.exchanges
      ? []
      : [`${id}: ${exchanges} exchanges witnessed, ${truth.exchanges} counted`];
  });
}

function told<Item>(
  items: readonly Item[],
  what: string,
  describe: (item: Item) => string,
): string[] {
  if (items.length === 0) return [];
  const lines = items.slice(0, detailsMax).map((item) => `${what}: ${describe(item)}`);
  const more = items.length - lines.length;
  return more === 0 ? lines : [...lines, `${what}: and ${more} more`];
}

function countAnswers(calls: readonly CallRecord[]): Record<string, number> {
  return countBy(calls, ({ code, token }) => (token === null ? (code ?? 'unknown') : '200'));
}

function countBy<Item>(
  items: readonly Item[],
  keyOf: (item: Item) => string,
): Record<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1);
  return Object.fromEntries([...counts].toSorted(([, a], [, b]) => b - a));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
