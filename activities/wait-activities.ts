import { ApplicationFailure, cancellationSignal, heartbeat } from '@temporalio/activity';
import type { ActivityCall } from '../platform/activity-calls.ts';
import type { Logger } from '../platform/log.ts';
import { toApplicationFailure } from './activity-failure.ts';
import {
  awaitFreshToken,
  type AwaitFreshTokenInput,
  type AwaitStep,
  type WaitDependencies,
} from './await-fresh-token.ts';

/** Most waits are over sooner. By a beat a slot is free again soon after the wait was cancelled. */
const heartbeatEveryMs = 5_000;

/** What the Workflow `ensureFresh` can ask for. */
export interface WaitActivities {
  awaitFreshToken(input: AwaitFreshTokenInput): Promise<AwaitStep>;
}

export function createWaitActivities(
  dependencies: WaitDependencies & { currentCall: () => ActivityCall; log: Logger },
): WaitActivities {
  return {
    async awaitFreshToken(input) {
      const { runId, traceId, traceparent } = dependencies.currentCall();
      const beat = setInterval(() => {
        heartbeat();
      }, heartbeatEveryMs);
      try {
        // Aborted when the wait was cancelled, and when the worker ends: another one takes it on.
        const stopped = cancellationSignal();
        return await awaitFreshToken(dependencies, input, { traceparent, stopped });
      } catch (error) {
        // A caller's mistake, which says so itself.
        if (error instanceof ApplicationFailure) throw error;
        const log = dependencies.log.child({
          connection_id: input.connectionId,
          run_id: runId,
          trace_id: traceId,
        });
        log.error({ err: error }, 'an Activity failed');
        throw toApplicationFailure(error);
      } finally {
        clearInterval(beat);
      }
    },
  };
}
