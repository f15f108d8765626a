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
  /** A token handed out, a write or a refusal. */
  isAudited: boolean;
}

/** What is told of a single one. */
export interface RequestFacts {
  durationSeconds: number;
  requestBytes: number;
  responseBytes: number;
  requestId: string;
  traceId: string;
  connectionId: string | undefined;
  /** The rest is for the audit. */
  appId: string | undefined;
  /** As the policy names it; undefined: nobody that is known. */
  caller: string | undefined;
  /** Of whoever is not known, what the certificate says. */
  subjects: string[] | undefined;
  clientAddress: string;
}

/** What every line of a request tells. */
const ofEach = ['request_id', 'connection_id', 'duration_ms', 'trace_id'];

export type RecordRequest = (facts: RequestFacts) => void;

export interface RequestRecords {
  /** Counts a request and writes its one log line. */
  of(kind: RequestKind): RecordRequest;
}

/**
 * Metrics, log and audit of requests. Labels and line hold the route's template, never the path, the query
 * or a body, so they stay bounded and free of secrets; what is the same for all requests of a kind is
 * made once.
 *
 * The audit is a part of the request's line, which `audit: true` marks: who, what, of which connection or
 * app, and how it ended. Names and ids only: never a token, key or body. It is written whatever the level,
 * and if requests are not logged, by itself.
 */
export function createRequestRecords(dependencies: {
  metrics: HttpMetrics;
  log: Pick<Logger, 'prepare' | 'info' | 'child'>;
  logHttpRequests: boolean;
}): RequestRecords {
  const { metrics, log, logHttpRequests } = dependencies;
  const auditLog = log.child({ audit: true }, { level: 'info' });
  const known = new Map<string, RecordRequest>();

  function make(kind: RequestKind): RecordRequest {
    const { isAudited, problem, ...labels } = kind;
    const requests = metrics.httpRequests.series({ ...labels, problem: problem ?? '' });
    const durations = metrics.httpRequestDurationSeconds.series(labels);
    const requestSizes = metrics.httpRequestSizeBytes.series(labels);
    const responseSizes = metrics.httpResponseSizeBytes.series(labels);
    const ofRequest = logHttpRequests ? { ...labels, problem } : {};
    const writeLine = isAudited
      ? auditLine({
          ...ofRequest,
          action: `${labels.method} ${labels.route}`,
          outcome: problem ?? 'done',
        })
      : requestLine(ofRequest);
    return (facts) => {
      requests.inc();
      durations.observe(facts.durationSeconds);
      requestSizes.observe(facts.requestBytes);
      responseSizes.observe(facts.responseBytes);
      writeLine?.(facts);
    };
  }

  function requestLine(fixed: object): RecordRequest | undefined {
    if (!logHttpRequests) return undefined;
    const write = log.prepare(fixed, 'request', ofEach);
    return (facts) => {
      write(facts.requestId, facts.connectionId, durationMs(facts), facts.traceId);
    };
  }

  function auditLine(fixed: object): RecordRequest {
    const message = logHttpRequests ? 'request' : 'audit';
    const write = auditLog.prepare(fixed, message, [
      ...ofEach,
      'app_id',
      'caller',
      'client_address',
    ]);
    return (facts) => {
      const { requestId, connectionId, appId, caller, subjects, clientAddress } = facts;
      const took = logHttpRequests ? durationMs(facts) : undefined;
      const traceId = logHttpRequests ? facts.traceId : undefined;
      if (subjects === undefined) {
        write(requestId, connectionId, took, traceId, appId, caller, clientAddress);
      } else {
        // A list is for the log's own serializer; nobody who gives a certificate is refused often.
        const request = { request_id: requestId, connection_id: connectionId, duration_ms: took };
        const who = {
          trace_id: traceId,
          app_id: appId,
          caller,
          subjects,
          client_address: clientAddress,
        };
        auditLog.info({ ...fixed, ...request, ...who }, message);
      }
    };
  }

  return {
    of(kind) {
      const { method, route, status, problem = '', isAudited } = kind;
      const key = `${method} ${route} ${status} ${problem} ${isAudited}`;
      let record = known.get(key);
      if (record === undefined) {
        record = make(kind);
        known.set(key, record);
      }
      return record;
    },
  };
}

function durationMs({ durationSeconds }: RequestFacts): number {
  return Math.round(durationSeconds * 1_000_000) / 1_000;
}
