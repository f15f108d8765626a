import { createTraceIds, formatTraceparent, parseTraceparent } from './trace-context.ts';

type Attributes = Record<string, string | number | boolean>;

/** One piece of work in a trace. Attributes never hold a secret. */
export interface Span {
  traceId: string;
  /** For whoever is asked to do part of the work. */
  traceparent: string;
  end(outcome?: { name?: string; attributes?: Attributes; isError?: boolean }): void;
}

export interface Tracer {
  /** `parent` is a `traceparent` from outside: one that is not valid begins a new trace. */
  start(
    name: string,
    options: { kind: 'server' | 'producer' | 'consumer'; parent?: string | undefined },
  ): Span;
  /** Sends what was recorded and not sent yet. */
  close(): Promise<void>;
}

const nothing = (): void => undefined;

/**
 * Tracing that is off: ids for the log and for `traceparent`, so that the lines of one request can be
 * found everywhere, and nothing recorded. A caller's context is handed on as it came.
 */
export function createIdTracer(newContext = createTraceIds()): Tracer {
  return {
    start(_name, { parent }) {
      const context = parseTraceparent(parent) ?? newContext();
      return { traceId: context.traceId, traceparent: formatTraceparent(context), end: nothing };
    },
    close: () => Promise.resolve(),
  };
}
