import { activityInfo, cancellationSignal, heartbeat } from '@temporalio/activity';
import { toApplicationFailure } from './activity-failure.ts';
import {
  resealRows,
  resealStanding,
  type ResealDependencies,
  type ResealRowsInput,
  type ResealStanding,
  type ResealStep,
} from './reseal-rows.ts';
import type { RevocationDependencies } from './revocation-requests.ts';
import { revokeTokens, type RevocationStep, type RevokeTokensInput } from './revoke-tokens.ts';
import { sweepDue, type SweepDependencies, type SweepSummary } from './sweep-due.ts';
import { tidyUp, type TidyUpDependencies, type TidyUpSummary } from './tidy-up.ts';

/** What the Workflows on the sweep Task Queue can ask for. */
export interface MaintenanceActivities {
  revokeTokens(input: RevokeTokensInput): Promise<RevocationStep>;
  sweepDue(): Promise<SweepSummary>;
  tidyUp(): Promise<TidyUpSummary>;
  resealRows(input: ResealRowsInput): Promise<ResealStep>;
  resealStanding(input: { settleMs: number }): Promise<ResealStanding>;
}

export type MaintenanceDependencies = RevocationDependencies &
  Omit<SweepDependencies, 'log'> &
  Omit<TidyUpDependencies, 'log'> &
  Omit<ResealDependencies, 'log'>;

/** The side effects beside those of a refresh. */
export function createMaintenanceActivities(
  dependencies: MaintenanceDependencies,
): MaintenanceActivities {
  return {
    revokeTokens: (input) =>
      logged({ connection_id: input.connectionId }, (scoped) => revokeTokens(scoped, input)),
    sweepDue: () => logged({}, (scoped) => sweepDue(scoped, () => heartbeat())),
    tidyUp: () => logged({}, tidyUp),
    resealRows: (input) =>
      logged({}, (scoped) => {
        const reached = activityInfo().heartbeatDetails as ResealStep | undefined;
        const stopping = AbortSignal.any([scoped.stopping, cancellationSignal()]);
        return goOnFrom(reached, input, (from, beat) =>
          resealRows({ ...scoped, stopping }, from, beat),
        );
      }),
    resealStanding: (input) => logged({}, (scoped) => resealStanding(scoped, input)),
  };

  /** Errors cross into Temporal in one form, logged here, where their causes are still known. */
  async function logged<Output>(
    subject: Record<string, string>,
    activity: (scoped: MaintenanceDependencies) => Promise<Output>,
  ): Promise<Output> {
    const { runId, traceId } = dependencies.currentCall();
    const log = dependencies.log.child({ ...subject, run_id: runId, trace_id: traceId });
    try {
      return await activity({ ...dependencies, log });
    } catch (error) {
      log.error({ err: error }, 'an Activity failed');
      throw toApplicationFailure(error);
    }
  }
}

/** Begins where the heartbeat of an attempt that died has been, and counts what that one did. */
async function goOnFrom(
  reached: ResealStep | undefined,
  input: ResealRowsInput,
  work: (from: ResealRowsInput, beat: (step: ResealStep) => void) => Promise<ResealStep>,
): Promise<ResealStep> {
  if (reached?.next === null) return reached;
  const before = reached ?? { next: input.at, resealed: 0, unopenable: 0 };
  const withBefore = (step: ResealStep): ResealStep => ({
    next: step.next,
    resealed: before.resealed + step.resealed,
    unopenable: before.unopenable + step.unopenable,
  });
  const from = { ...input, at: before.next ?? input.at };
  return withBefore(await work(from, (step) => heartbeat(withBefore(step))));
}
