import { heartbeat } from '@temporalio/activity';
import { toApplicationFailure } from './activity-failure.ts';
import type { RevocationDependencies } from './revocation-requests.ts';
import { revokeTokens, type RevocationStep, type RevokeTokensInput } from './revoke-tokens.ts';
import { sweepDue, type SweepDependencies, type SweepSummary } from './sweep-due.ts';
import { tidyUp, type TidyUpDependencies, type TidyUpSummary } from './tidy-up.ts';

/** What the Workflows on the sweep Task Queue can ask for. */
export interface MaintenanceActivities {
  revokeTokens(input: RevokeTokensInput): Promise<RevocationStep>;
  sweepDue(): Promise<SweepSummary>;
  tidyUp(): Promise<TidyUpSummary>;
}

export type MaintenanceDependencies = RevocationDependencies &
  Omit<SweepDependencies, 'log'> &
  Omit<TidyUpDependencies, 'log'>;

/** The side effects beside those of a refresh. */
export function createMaintenanceActivities(
  dependencies: MaintenanceDependencies,
): MaintenanceActivities {
  return {
    revokeTokens: (input) =>
      logged({ connection_id: input.connectionId }, (scoped) => revokeTokens(scoped, input)),
    sweepDue: () => logged({}, (scoped) => sweepDue(scoped, () => heartbeat())),
    tidyUp: () => logged({}, tidyUp),
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
