import type { ProblemCode } from '../client/contract.ts';
import type { Logger } from '../platform/log.ts';
import type { HttpLabels, Metrics } from '../platform/metrics.ts';

export type HttpMetrics = Pick<
  Metrics,
  'httpRequests' | 'httpRequestDurationSeconds' | 'httpRequestSizeBytes' | 'httpResponseSizeBytes'
>;

/** What requests have in common: labels of the metrics, and fixed parts of the log line. */
export interface RequestKind extends HttpLabels {
  problem: ProblemCode | undefined;
}

/** What is told of a single one. */
export interface RequestFacts {
  durationSeconds: number;
  requestBytes: number;
  responseBytes: number;
  requestId: string;
  traceId: string;
  connectionId: string | undefined;
}

export type RecordRequest = (facts: RequestFacts) => void;

export interface RequestRecords {
  /** Counts a request and writes its one log line. */
  of(kind: RequestKind): RecordRequest;
}

/**
 * Metrics and log of requests. Labels and line hold the route's template, never the path, the query or a
 * body, so they stay bounded and free of secrets; what is the same for all requests of a kind is made once.
 */
export function createRequestRecords(dependencies: {
  metrics: HttpMetrics;
  log: Pick<Logger, 'prepare'>;
  logHttpRequests: boolean;
}): RequestRecords {
  const { metrics, log, logHttpRequests } = dependencies;
  const known = new Map<string, RecordRequest>();

  function make(kind: RequestKind): RecordRequest {
    const requests = metrics.httpRequests.series({ ...kind, problem: kind.problem ?? '' });
    const durations = metrics.httpRequestDurationSeconds.series(kind);
    const requestSizes = metrics.httpRequestSizeBytes.series(kind);
    const responseSizes = metrics.httpResponseSizeBytes.series(kind);
    const names = ['duration_ms', 'request_id', 'trace_id', 'connection_id'];
    const writeLine = logHttpRequests ? log.prepare(kind, 'request', names) : undefined;
    return (facts) => {
      requests.inc();
      durations.observe(facts.durationSeconds);
      requestSizes.observe(facts.requestBytes);
      responseSizes.observe(facts.responseBytes);
      const durationMs = Math.round(facts.durationSeconds * 1_000_000) / 1_000;
      writeLine?.(durationMs, facts.requestId, facts.traceId, facts.connectionId);
    };
  }

  return {
    of(kind) {
      const key = `${kind.method} ${kind.route} ${kind.status} ${kind.problem ?? ''}`;
      let record = known.get(key);
      if (record === undefined) {
        record = make(kind);
        known.set(key, record);
      }
      return record;
    },
  };
}
