import type { Activities } from '../../activities/index.ts';
import type { RefreshStep } from '../../activities/refresh-step.ts';
import type { RefreshOutcome, RefreshResult } from '../../client/contract.ts';

export const connectionId = 'golden';

/** One run of refreshConnection: what its Activities answer, and what it answers to that. */
export interface Scenario {
  /** Of the recorded history, too. */
  name: string;
  /** Answers of `refreshToken`, one after the other. */
  steps: RefreshStep[];
  stored?: RefreshResult;
  recovered?: RefreshResult | null;
  /** Cancelled once so many Activities have answered. */
  cancelAfter?: number;
  /** Undefined: the run is cancelled. */
  outcome: RefreshOutcome | undefined;
  /** Activities in the order in which they are asked. */
  asked: (keyof Activities)[];
}

function result(outcome: RefreshOutcome, tokenVersion = 1): RefreshResult {
  return { connectionId, outcome, tokenVersion, expiresAt: null };
}

const done = { next: 'end', result: result('refreshed', 2) } as const;
const again = (afterMs: number): RefreshStep => ({
  next: 'again',
  afterMs,
  unsettled: null,
  result: result('waiting'),
});
const ambiguous = (decision: 'replay' | 'uncertain', settleMs: number): RefreshStep => ({
  next: 'resolve',
  ambiguous: { generation: 1, attempt: 1, workflowRunId: 'another run', settleMs, decision },
  result: result('uncertain'),
});
const sealed: RefreshStep = {
  next: 'store',
  sealed: { connectionId, tenantId: 'tenant', generation: 1, attempt: 1, sealed: 'c2VhbGVk' },
  result: result('waiting'),
};

export const scenarios: Scenario[] = [
  { name: 'happy', steps: [done], outcome: 'refreshed', asked: ['refreshToken'] },
  {
    name: 'retry',
    steps: [again(20), done],
    outcome: 'refreshed',
    asked: ['refreshToken', 'refreshToken'],
  },
  {
    name: 'sealed-then-stored',
    steps: [sealed],
    stored: result('refreshed', 2),
    outcome: 'refreshed',
    asked: ['refreshToken', 'storeSealedTokens'],
  },
  {
    name: 'permanent',
    steps: [{ next: 'end', result: result('reauthorization_required') }],
    outcome: 'reauthorization_required',
    asked: ['refreshToken'],
  },
  {
    name: 'uncertain',
    steps: [ambiguous('uncertain', 20)],
    recovered: null,
    outcome: 'uncertain',
    asked: ['refreshToken', 'recoverSealedTokens'],
  },
  {
    name: 'recovered',
    steps: [ambiguous('uncertain', 20)],
    recovered: result('refreshed', 2),
    outcome: 'refreshed',
    asked: ['refreshToken', 'recoverSealedTokens'],
  },
  {
    name: 'replayed',
    steps: [ambiguous('replay', 20), done],
    recovered: null,
    outcome: 'refreshed',
    asked: ['refreshToken', 'recoverSealedTokens', 'refreshToken'],
  },
  {
    name: 'waiting',
    steps: [again(30_001)],
    outcome: 'waiting',
    asked: ['refreshToken'],
  },
  {
    name: 'cancelled',
    steps: [again(20_000)],
    cancelAfter: 1,
    outcome: undefined,
    asked: ['refreshToken'],
  },
];
