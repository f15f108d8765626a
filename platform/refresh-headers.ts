import { WorkflowClient, type Client } from '@temporalio/client';
import { defaultPayloadConverter, type Headers } from '@temporalio/common';
import { refreshHeaderNames } from '../client/contract.ts';

/** What a refresh is told beside its input: nothing that it would decide by. */
export interface RefreshHeaders {
  traceparent?: string | undefined;
  /** By the database's clock. */
  requestedAt?: Date | undefined;
}

/** A client like this one that starts runs with these headers, which only interceptors may set. */
export function withRefreshHeaders(
  client: Client,
  { traceparent, requestedAt }: RefreshHeaders,
): Pick<WorkflowClient, 'start'> {
  const headers: Headers = {};
  if (traceparent !== undefined) {
    headers[refreshHeaderNames.trace] = defaultPayloadConverter.toPayload({ traceparent });
  }
  if (requestedAt !== undefined) {
    headers[refreshHeaderNames.requestedAt] = defaultPayloadConverter.toPayload(
      requestedAt.toISOString(),
    );
  }
  if (Object.keys(headers).length === 0) return client.workflow;
  return new WorkflowClient({
    connection: client.connection,
    namespace: client.options.namespace,
    interceptors: [
      {
        startWithDetails: (input, next) =>
          next({ ...input, headers: { ...input.headers, ...headers } }),
      },
    ],
  });
}

/** Anybody who may start runs writes these headers, so that whatever is not ours is left out. */
export function readRefreshHeaders(headers: Headers): RefreshHeaders {
  const trace = valueOf(headers, refreshHeaderNames.trace);
  const requested = valueOf(headers, refreshHeaderNames.requestedAt);
  const traceparent =
    typeof trace === 'object' && trace !== null && 'traceparent' in trace
      ? trace.traceparent
      : undefined;
  const requestedAt = typeof requested === 'string' ? new Date(requested) : undefined;
  return {
    traceparent: typeof traceparent === 'string' ? traceparent : undefined,
    requestedAt: Number.isNaN(requestedAt?.getTime()) ? undefined : requestedAt,
  };
}

function valueOf(headers: Headers, name: string): unknown {
  const payload = headers[name];
  if (payload === undefined) return undefined;
  try {
    return defaultPayloadConverter.fromPayload(payload);
  } catch {
    return undefined;
  }
}
