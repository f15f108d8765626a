import type { Headers, WorkflowInterceptorsFactory } from '@temporalio/workflow';
import { refreshHeaderNames } from '../client/contract.ts';

/**
 * Hands the headers of a run, as they came, to its Activities and children: the trace that it belongs to,
 * and when it was asked for. They decide nothing here, so a history replays with or without them.
 */
export const interceptors: WorkflowInterceptorsFactory = () => {
  const carried: Headers = {};
  return {
    inbound: [
      {
        execute(input, next) {
          for (const name of Object.values(refreshHeaderNames)) {
            const payload = input.headers[name];
            if (payload !== undefined) carried[name] = payload;
          }
          return next(input);
        },
      },
    ],
    outbound: [
      {
        scheduleActivity: (input, next) =>
          next({ ...input, headers: { ...carried, ...input.headers } }),
        startChildWorkflowExecution: (input, next) =>
          next({ ...input, headers: { ...carried, ...input.headers } }),
      },
    ],
  };
};
