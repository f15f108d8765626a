import type { Arrival, AwaitStep } from '../../activities/await-fresh-token.ts';
import type { RefreshOutcome } from '../../client/contract.ts';
import { connectionId } from './scenarios.ts';

/** One run of ensureFresh: what its Activity answers, and what it answers to that. */
export interface WaitScenario {
  /** Of the recorded history, too. */
  name: string;
  steps: AwaitStep[];
  /** Cancelled once so many Activities have been asked, while the last one waits. */
  cancelAfter?: number;
  /** Undefined: the run is cancelled. */
  outcome: RefreshOutcome | undefined;
}

export const arrival: Arrival = {
  tokenVersion: 1,
  wanted: { newerThan: 1 },
  accepted: { newerThan: 1 },
  trigger: 'workflow',
};

const end = (outcome: RefreshOutcome): AwaitStep => ({
  next: 'end',
  result: { connectionId, outcome, tokenVersion: 2, expiresAt: null },
});
const again = (afterMs: number): AwaitStep => ({ next: 'again', afterMs, arrival });

export const waitScenarios: WaitScenario[] = [
  { name: 'wait-satisfied', steps: [end('already_fresh')], outcome: 'already_fresh' },
  {
    name: 'wait-again',
    steps: [again(0), again(20), end('refreshed')],
    outcome: 'refreshed',
  },
  { name: 'wait-cancelled', steps: [again(0)], cancelAfter: 2, outcome: undefined },
];
