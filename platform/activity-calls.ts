import { Context } from '@temporalio/activity';
import type { ActivityInterceptorsFactory } from '@temporalio/worker';
import { readRefreshHeaders } from './refresh-headers.ts';
import type { Tracer } from './tracer.ts';

/** What an Activity under way belongs to. */
export interface ActivityCall {
  runId: string | undefined;
  traceId: string | undefined;
  /** For what the Activity asks of others; empty without a trace. */
  traceparent: string;
  /** When its refresh was asked for, by the database's clock; undefined from the second try on. */
  requestedAt: Date | undefined;
}

export interface ActivityCalls {
  /** Reads the headers that the Workflow handed on, and traces the Activity. */
  interceptors: ActivityInterceptorsFactory;
  /** Of the Activity that asks. */
  current: () => ActivityCall;
}

const firstExchange = 'refresh-token-1';

export function createActivityCalls(tracer: Tracer): ActivityCalls {
  const calls = new WeakMap<Context, ActivityCall>();
  return {
    interceptors: (context) => ({
      inbound: {
        async execute(input, next) {
          const { activityType, activityId, workflowExecution } = context.info;
          const { traceparent, requestedAt } = readRefreshHeaders(input.headers);
          const span = tracer.start(`RunActivity:${activityType}`, {
            kind: 'consumer',
            parent: traceparent,
          });
          calls.set(context, {
            runId: workflowExecution?.runId,
            traceId: span.traceId,
            traceparent: span.traceparent,
            requestedAt: activityId === firstExchange ? requestedAt : undefined,
          });
          const attributes = {
            'temporal.workflow_id': workflowExecution?.workflowId ?? '',
            'temporal.run_id': workflowExecution?.runId ?? '',
            'temporal.activity_id': activityId,
          };
          try {
            const result = await next(input);
            span.end({ attributes });
            return result;
          } catch (error) {
            span.end({ attributes, isError: true });
            throw error;
          }
        },
      },
    }),
    current: () =>
      calls.get(Context.current()) ?? {
        runId: undefined,
        traceId: undefined,
        traceparent: '',
        requestedAt: undefined,
      },
  };
}
